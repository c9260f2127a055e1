"""Mean and variance over initializations at infinite width, at the epochs at which networks are checkpointed."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ntk_atlas.jobs import DROPPED, INIT_SCALE, Job
from ntk_atlas.kernels.infinite.variants import depends_on_the_width

if TYPE_CHECKING:
    from ntk_atlas.config.study import ExperimentSettings

_MIN_SEEDS = 8
_OF_TRAINING = ("optimizer", "momentum", "learning_rate", "max_epochs", "min_steps", "target_scale")


def _problems(experiment: "ExperimentSettings") -> Iterator[tuple[str, str]]:
    """What a comparison of variances lacks beside a closed form (`value_checks`).

    Theory and linearization are about training at one learning rate for all networks, to the end, with f₀ left in.
    """
    if experiment.output_variance is None:
        return
    training, rate = experiment.training, experiment.training.learning_rate
    if reason := experiment.network.family.without_infinite_kernel():
        yield "output_variance", f"there is no theory at infinite width: {reason}; remove output_variance"
    if training.initial_output == "subtract":
        yield (
            "training.initial_output",
            "without f₀ the variance that theory predicts is 0 at all times: use keep, or remove output_variance",
        )
    if training.stop_loss is not None:
        yield (
            "training.stop_loss",
            "output_variance compares training with its linearization at equal times, and a network that stopped has "
            "left it: remove it",
        )
    if rate.relative is not None and (rate.of != "infinite_ntk" or isinstance(rate.relative, tuple)):
        yield (
            "training.learning_rate",
            "output_variance needs one learning rate for all networks of a cell: give {relative: η₀, of: infinite_ntk} "
            "with a single η₀, or {absolute: η}",
        )
    if experiment.grid.seeds < _MIN_SEEDS:
        yield (
            "grid.seeds",
            f"a variance over {experiment.grid.seeds} networks says nothing: give at least {_MIN_SEEDS} (50 for an "
            "interval of ± 40 %), or remove output_variance",
        )


def _narrowed(experiment: "ExperimentSettings") -> Mapping[str, object]:
    of_widths = depends_on_the_width("infinite_ntk", experiment.network)
    return {
        "training.checkpoints.n_probe": experiment.training.checkpoints.probe_count(experiment.grid.n_train),
        **({} if of_widths else {"grid.width": DROPPED}),
    }


JOB = Job(
    reads=(
        "dataset",
        *(f"grid.{axis}" for axis in ("depth", "width", "init_scale", "n_train", "draws")),
        "network",
        *(f"training.{key}" for key in _OF_TRAINING),
        *(f"training.checkpoints.{key}" for key in ("epochs", "n_log", "n_probe")),
    ),
    folder="predictions/output_variance",
    kind="theory",
    made_of=("prepare_dataset",),
    per=INIT_SCALE,
    wanted=lambda experiment: experiment.output_variance is not None,
    narrowed=_narrowed,
    looked_up=("training.checkpoints.probe",),
    problems=_problems,
    message="output variance of theory, init_scale {init_scale}",
)

import logging
from collections.abc import Sequence

import numpy as np
import torch

from ntk_atlas.arrays import LabelledArrays, join
from ntk_atlas.config.training import CheckpointSettings, TrainingSettings
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw, make_draw, output_probes
from ntk_atlas.jobs import Given, Slice
from ntk_atlas.jobs.parts.row_networks import as_tensor
from ntk_atlas.regression.finite_time import finite_time_mean, finite_time_variance
from ntk_atlas.training.rates import common_learning_rate
from ntk_atlas.training.schedule import dynamics_of, epoch_budget, scheduled_epochs

log = logging.getLogger(__name__)


def compute(part: Slice, given: Given) -> LabelledArrays:
    """See `predict_output_variance`."""
    return predict_output_variance(part, given.dataset)


def full_batch_training(spec: Slice) -> TrainingSettings:
    """The training that theory is about, of full batches on squared error at a constant rate: all else has its default.

    `value_checks` has made sure that the networks' training is no other.
    """
    training = spec.training
    checkpoints = CheckpointSettings(**{key: getattr(training.checkpoints, key) for key in ("epochs", "n_log")})
    return TrainingSettings(**{key: getattr(training, key) for key in _OF_TRAINING}, checkpoints=checkpoints)


def theory_epochs(spec: Slice) -> tuple[int, ...]:
    """The epochs at which networks are checkpointed: a full-batch epoch is a step at every n_train."""
    training = full_batch_training(spec)
    return scheduled_epochs(training.checkpoints, epoch_budget(training, max(spec.grid.n_train)))


def predict_output_variance(spec: Slice, dataset: Dataset) -> LabelledArrays:
    r"""Mean and variance of f_t on the first `n_probe` test samples, f₀ ~ GP(0, K) and training by the infinite NTK Θ.

    μ_t = A_t y and σ²_t = K_xx + A_t K_XX A_tᵀ − 2 A_t K_Xx with A_t = Θ(x, X) Θ⁻¹ (I − D_t), D_t that of gradient
    descent or heavy ball (Lee et al. 2019), in units of the targets, at the learning rate of the networks.

    Args:
        spec: the grid at one init_scale.
        dataset: the data.

    Returns:
        `mean` (…, epoch, probe, output), `variance` (…, epoch, probe; each output has the same) and `learning_rate`
        over (depth, width, n_train, draw); there is no width in the NTK parameterization, where none matters.
    """
    pieces, epochs, grid = [], theory_epochs(spec), spec.grid
    widths = grid.width if depends_on_the_width("infinite_ntk", spec.network) else ()
    for number in range(grid.draws):
        draw = make_draw(dataset, spec.dataset, number)
        for width in widths or (None,):
            log.info("theory at init_scale %s, draw %d, width %s", spec.only_init_scale, number, width)
            place = {"draw": number} | ({"width": width} if widths else {})
            pieces += [of_cell.at(**place) for of_cell in _theory(spec, draw, width, epochs)]
    axes = {"width": widths} if widths else {}
    labels = {"depth": grid.depth, **axes, "n_train": grid.n_train, "draw": range(grid.draws)}
    return join(pieces, labels).with_attributes(spec=spec.canonical_json())


def _theory(spec: Slice, draw: Draw, width: int | None, epochs: Sequence[int]) -> Iterator[LabelledArrays]:
    """Each depth and size of one draw."""
    training, largest, n_probe = full_batch_training(spec), max(spec.grid.n_train), spec.training.checkpoints.n_probe
    x_train, y_train = draw.training_set(largest)
    x_probe = output_probes(draw, n_probe)
    both = torch.cat([as_tensor(x_train), as_tensor(x_probe)])
    family, choice = spec.network.family, {"settings": spec.network, "init_scale": spec.only_init_scale}
    kernels = family.infinite_kernels(both, depths=spec.grid.depth, width=width, **choice)
    dynamics = {"dynamics": dynamics_of(training), "momentum": training.momentum}
    for d, depth in enumerate(spec.grid.depth):
        ntk, nngp = kernels.ntk[d], kernels.nngp[d]
        scale = 1.0
        if training.target_scale == "initial_output":
            variances = family.output_variance(as_tensor(draw.x_pool), depth=depth, **choice)
            scale = float(variances.mean()) ** 0.5
        for n in spec.grid.n_train:
            gram, rows, rate = ntk[:n, :n], ntk[largest:, :n], np.nan
            variance = np.full((len(epochs), n_probe), np.nan)
            mean = np.full((*variance.shape, y_train.shape[1]), np.nan)
            if bool(torch.isfinite(ntk).all() & torch.isfinite(nngp).all()):
                rate = common_learning_rate(
                    training.learning_rate,
                    n,
                    output_scale=spec.network.output_scale,
                    lambda_max=float(torch.linalg.eigvalsh(gram)[-1]),
                )
                path = {"times": epochs, "learning_rate": float(rate), "allow_divergence": True, **dynamics}
                # Linear in the targets: their scale leaves the mean in their units, and divides the variance.
                mean[:] = finite_time_mean(gram, rows, as_tensor(y_train[:n]), **path).test
                spread = finite_time_variance(
                    gram, rows, nngp[:n, :n], nngp[largest:, :n], nngp[largest:, largest:].diagonal(), **path
                )
                variance[:] = spread.test / scale**2
            else:
                log.warning("depth %d, n_train %d has no theory: kernels that overflow", depth, n)
            found = {
                "mean": (("epoch", "probe", "output"), mean),
                "variance": (("epoch", "probe"), variance),
                "learning_rate": ((), np.float64(rate)),
            }
            yield LabelledArrays.of(found, epoch=epochs).at(depth=depth, n_train=n)
