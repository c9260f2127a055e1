"""Kernel regression with the rivals of the NTK, their length scales chosen together with the ridge."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ntk_atlas.config.predictors import predictor_name, predictors_of
from ntk_atlas.config.regression import RivalSettings
from ntk_atlas.jobs import Job, Per

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings, JobSettings


def _of_kernels(experiment: "ExperimentSettings", name: str) -> Mapping[str, object]:
    by_name = {predictor_name(each): each for each in experiment.regression.predictors}
    return {"regression.predictors": tuple(by_name[each] for each in name.split("+"))}


def _groups(experiment: "ExperimentSettings", jobs: "JobSettings") -> tuple[str, ...]:
    names, size = predictors_of("rival", experiment.regression.predictors), jobs.rivals_per_job
    return tuple("+".join(names[start : start + size]) for start in range(0, len(names), size))


JOB = Job(
    reads=(
        "dataset",
        "grid.n_train",
        "grid.draws",
        "regression.predictors",
        *(f"regression.{key}" for key in RivalSettings.model_fields),
    ),
    folder="predictions/rivals",
    kind="rivals",
    made_of=("prepare_dataset",),
    per=Per("kernels", "{kernels}", _groups, _of_kernels, ("jobs.rivals_per_job",)),
    wanted=lambda experiment: bool(predictors_of("rival", experiment.regression.predictors)),
    narrowed=lambda experiment: {"regression.solver": experiment.regression.chosen_solver(experiment.grid.n_train)[0]},
    message="regression with {kernels}",
)

import logging

from ntk_atlas.arrays import LabelledArrays, join
from ntk_atlas.config.predictors import is_user_kernel
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw, make_draw
from ntk_atlas.jobs import Given, Slice
from ntk_atlas.jobs.parts.regression_arrays import regression_arrays, regression_targets
from ntk_atlas.jobs.parts.row_networks import as_tensor
from ntk_atlas.kernels.rivals import Rival, rival
from ntk_atlas.kernels.user_kernel import UserKernel, check_user_kernel, load_user_kernel
from ntk_atlas.regression.length_scale import NoLengthScaleError, RivalRegression, regress_rival

log = logging.getLogger(__name__)


def compute(part: Slice, given: Given) -> LabelledArrays:
    """See `regress_rivals`."""
    return regress_rivals(part, given.dataset)


def regress_rivals(spec: Slice, dataset: Dataset) -> LabelledArrays:
    """Regression at every n_train and draw.

    Args:
        spec: the kernels and the settings.
        dataset: the data.

    Returns:
        `<field>_<kernel>` over (n_train, draw, ridge), `length_scale` among the fields.

    Raises:
        UserKernelError: a kernel from a file of the user's is none on the samples of the first draw.
    """
    draws = [make_draw(dataset, spec.dataset, number) for number in range(spec.grid.draws)]
    pieces = []
    for name in spec.regression.predictors:
        log.info("%s, %d draws", name, len(draws))
        kernel = _kernel(name, spec, draws[0])
        results = [_regress(name, kernel, spec, draw) for draw in draws]
        pieces.append(regression_arrays(results, predictor_name(name), spec.grid.n_train, draw=range(spec.grid.draws)))
    joined = join(pieces, {"n_train": spec.grid.n_train, "draw": range(spec.grid.draws)})
    return joined.with_attributes(spec=spec.canonical_json())


def _kernel(name: str, spec: Slice, draw: Draw) -> Rival | UserKernel:
    if not is_user_kernel(name):
        return rival(name)
    kernel = load_user_kernel(name)
    check_user_kernel(kernel, as_tensor(draw.training_set(max(spec.grid.n_train))[0]))
    return kernel


def _regress(name: str, kernel: Rival | UserKernel, spec: Slice, draw: Draw) -> RivalRegression:
    n_train = max(spec.grid.n_train)
    inputs = (draw.training_set(n_train)[0], draw.x_validation, draw.x_test)
    try:
        return regress_rival(
            kernel,
            *(as_tensor(x).flatten(1) for x in inputs),
            **regression_targets(draw, n_train),
            sizes=spec.grid.n_train,
            settings=spec.regression.rivals(spec.grid.n_train),
        )
    except NoLengthScaleError as error:  # the other predictors, and the other draws, have an answer
        log.warning("%s has no values here: %s", name, error)
        kept = draw.y_test.shape if spec.regression.keep_predictions else None
        return RivalRegression.singular(len(spec.grid.n_train), kept)
