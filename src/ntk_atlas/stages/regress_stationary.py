"""Kernel regression with a stationary kernel, its length scale chosen together with the ridge."""

import logging

import numpy as np
import torch

from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import make_draw
from ntk_atlas.regression.length_scale import regress_stationary as regress_one_draw
from ntk_atlas.stages.regression_arrays import regression_arrays
from ntk_atlas.stages.row_networks import as_tensor
from ntk_atlas.study.prediction_specs import StationarySpec
from ntk_atlas.unit_store import Arrays

log = logging.getLogger(__name__)


def regress_stationary(spec: StationarySpec, dataset: Dataset) -> Arrays:
    """Regression at every n_train and draw.

    Args:
        spec: the kernel and the settings.
        dataset: the data.

    Returns:
        `(n_sizes, n_draws, 2)` arrays by field, `length_scale` among them.
    """
    results = []
    for number in range(spec.draws):
        log.info("%s, draw %d", spec.kernel, number)
        draw = make_draw(dataset, spec.dataset, number)
        x_train, y_train = draw.training_set(max(spec.n_train))
        result = regress_one_draw(
            spec.kernel,
            as_tensor(x_train).flatten(1),
            as_tensor(draw.x_validation).flatten(1),
            as_tensor(draw.x_test).flatten(1),
            y_train=as_tensor(y_train),
            y_validation=as_tensor(draw.y_validation),
            y_test=as_tensor(draw.y_test),
            test_labels=None if draw.labels_test is None else torch.as_tensor(draw.labels_test),
            sizes=spec.n_train,
            settings=spec.solve,
        )
        results.append(result)
    arrays = regression_arrays(results) | {"length_scale": np.stack([result.length_scale for result in results])}
    return {field: np.transpose(values, (2, 0, 1)) for field, values in arrays.items()}
