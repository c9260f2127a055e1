"""Mean and variance over initializations at infinite width, at the epochs at which networks are checkpointed."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ntk_atlas.arrays import LabelledArrays, join
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw, make_draw
from ntk_atlas.datasets.probes import output_probes
from ntk_atlas.kernels.infinite.network_kernels import network_kernels, network_output_variance
from ntk_atlas.regression.finite_time import finite_time_mean, finite_time_variance
from ntk_atlas.stages.row_networks import as_tensor
from ntk_atlas.study.output_variance_specs import VarianceTheorySpec
from ntk_atlas.training.closed_form import dynamics_of
from ntk_atlas.training.learning_rates import common_learning_rate
from ntk_atlas.training.schedule import epoch_budget, scheduled_epochs

log = logging.getLogger(__name__)


def theory_epochs(spec: VarianceTheorySpec) -> tuple[int, ...]:
    """The epochs at which networks are checkpointed: a full-batch epoch is a step at every n_train."""
    return scheduled_epochs(spec.training.checkpoints, epoch_budget(spec.training, max(spec.n_train)))


def predict_output_variance(spec: VarianceTheorySpec, dataset: Dataset) -> LabelledArrays:
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
    pieces, epochs = [], theory_epochs(spec)
    for number in range(spec.draws):
        draw = make_draw(dataset, spec.dataset, number)
        for width in spec.width or (None,):
            log.info("theory at init_scale %s, draw %d, width %s", spec.init_scale, number, width)
            place = {"draw": number} | ({"width": width} if spec.width else {})
            pieces += [of_cell.at(**place) for of_cell in _theory(spec, draw, width, epochs)]
    grid = {"depth": spec.depth, "width": spec.width, "n_train": spec.n_train, "draw": range(spec.draws)}
    return join(pieces, grid).with_attributes(spec=spec.canonical_json())


def _theory(spec: VarianceTheorySpec, draw: Draw, width: int | None, epochs: Sequence[int]) -> Iterator[LabelledArrays]:
    """Each depth and size of one draw."""
    training, largest = spec.training, max(spec.n_train)
    x_train, y_train = draw.training_set(largest)
    x_probe = output_probes(draw, spec.n_probe)
    both = torch.cat([as_tensor(x_train), as_tensor(x_probe)])
    kernels = network_kernels(both, depths=spec.depth, settings=spec.network, init_scale=spec.init_scale, width=width)
    dynamics = {"dynamics": dynamics_of(training), "momentum": training.momentum}
    for d, depth in enumerate(spec.depth):
        ntk, nngp = kernels.ntk[d], kernels.nngp[d]
        scale = 1.0
        if training.target_scale == "initial_output":
            choice = {"depth": depth, "settings": spec.network, "init_scale": spec.init_scale}
            scale = float(network_output_variance(as_tensor(draw.x_pool), **choice).mean()) ** 0.5
        for n in spec.n_train:
            gram, rows, rate = ntk[:n, :n], ntk[largest:, :n], np.nan
            variance = np.full((len(epochs), spec.n_probe), np.nan)
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
