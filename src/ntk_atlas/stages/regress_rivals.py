"""Kernel regression with the rivals of the NTK, their length scales chosen together with the ridge."""

import logging

from ntk_atlas.arrays import LabelledArrays, join
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw, make_draw
from ntk_atlas.kernels.rival_kernel import Rival
from ntk_atlas.kernels.rivals import rival
from ntk_atlas.kernels.user_kernel import UserKernel, check_user_kernel, load_user_kernel
from ntk_atlas.regression.length_scale import NoLengthScaleError, RivalRegression, regress_rival
from ntk_atlas.stages.regression_arrays import regression_arrays, regression_targets
from ntk_atlas.stages.row_networks import as_tensor
from ntk_atlas.study.prediction_specs import RivalSpec

log = logging.getLogger(__name__)


def regress_rivals(spec: RivalSpec, dataset: Dataset) -> LabelledArrays:
    """Regression at every n_train and draw.

    Args:
        spec: the kernels and the settings.
        dataset: the data.

    Returns:
        `<field>_<kernel>` over (n_train, draw, ridge), `length_scale` among the fields.

    Raises:
        UserKernelError: a kernel from a file of the user's is none on the samples of the first draw.
    """
    draws = [make_draw(dataset, spec.dataset, number) for number in range(spec.draws)]
    pieces = []
    for name in spec.kernels:
        log.info("%s, %d draws", name, len(draws))
        kernel = _kernel(name, spec, draws[0])
        results = [_regress(name, kernel, spec, draw) for draw in draws]
        pieces.append(regression_arrays(results, name, spec.n_train, draw=range(spec.draws)))
    joined = join(pieces, {"n_train": spec.n_train, "draw": range(spec.draws)})
    return joined.with_attributes(spec=spec.canonical_json())


def _kernel(name: str, spec: RivalSpec, draw: Draw) -> Rival | UserKernel:
    if name not in spec.user_kernels:
        return rival(name)
    kernel = load_user_kernel(spec.user_kernels[name])
    check_user_kernel(kernel, as_tensor(draw.training_set(max(spec.n_train))[0]))
    return kernel


def _regress(name: str, kernel: Rival | UserKernel, spec: RivalSpec, draw: Draw) -> RivalRegression:
    n_train = max(spec.n_train)
    inputs = (draw.training_set(n_train)[0], draw.x_validation, draw.x_test)
    try:
        return regress_rival(
            kernel,
            *(as_tensor(x).flatten(1) for x in inputs),
            **regression_targets(draw, n_train),
            sizes=spec.n_train,
            settings=spec.solve,
        )
    except NoLengthScaleError as error:  # the other predictors, and the other draws, have an answer
        log.warning("%s has no values here: %s", spec.user_kernels.get(name, name), error)
        kept = draw.y_test.shape if spec.solve.keep_predictions else None
        return RivalRegression.singular(len(spec.n_train), kept)
