"""Kernel regression with the rivals of the NTK, their length scales chosen together with the ridge."""

import logging

import numpy as np

from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw, make_draw
from ntk_atlas.regression.length_scale import RivalRegression, regress_rival
from ntk_atlas.stages.regression_arrays import regression_arrays, regression_targets
from ntk_atlas.stages.row_networks import as_tensor
from ntk_atlas.study.prediction_specs import RivalSpec
from ntk_atlas.unit_store import Arrays

log = logging.getLogger(__name__)


def regress_rivals(spec: RivalSpec, dataset: Dataset) -> dict[str, Arrays]:
    """Regression at every n_train and draw.

    Args:
        spec: the kernels and the settings.
        dataset: the data.

    Returns:
        A kernel: `(n_sizes, n_draws, 2)` arrays by field, `length_scale` among them.
    """
    draws = [make_draw(dataset, spec.dataset, number) for number in range(spec.draws)]
    arrays = {}
    for kernel in spec.kernels:
        log.info("%s, %d draws", kernel, len(draws))
        results = [_regress(kernel, spec, draw) for draw in draws]
        fields = regression_arrays(results) | {"length_scale": np.stack([result.length_scale for result in results])}
        arrays[kernel] = {field: np.moveaxis(values, (0, 1, 2), (1, 2, 0)) for field, values in fields.items()}
    return arrays


def _regress(kernel: str, spec: RivalSpec, draw: Draw) -> RivalRegression:
    n_train = max(spec.n_train)
    inputs = (draw.training_set(n_train)[0], draw.x_validation, draw.x_test)
    return regress_rival(
        kernel,
        *(as_tensor(x).flatten(1) for x in inputs),
        **regression_targets(draw, n_train),
        sizes=spec.n_train,
        settings=spec.solve,
    )
