"""Mean and variance over initializations at infinite width, at the epochs at which networks are checkpointed."""

import logging
from collections.abc import Sequence

import numpy as np
import torch

from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.draws import Draw, make_draw
from ntk_atlas.datasets.probes import output_probes
from ntk_atlas.kernels.infinite.network_kernels import network_kernels, network_output_variance
from ntk_atlas.regression.finite_time import finite_time_mean
from ntk_atlas.regression.output_variance import finite_time_variance
from ntk_atlas.stages.row_networks import as_tensor
from ntk_atlas.study.output_variance_specs import VarianceTheorySpec
from ntk_atlas.training.learning_rates import common_learning_rate
from ntk_atlas.training.linearized import dynamics_of
from ntk_atlas.training.schedule import epoch_budget, scheduled_epochs
from ntk_atlas.unit_store import Arrays

log = logging.getLogger(__name__)


def theory_epochs(spec: VarianceTheorySpec) -> tuple[int, ...]:
    """The epochs at which networks are checkpointed: a full-batch epoch is a step at every n_train."""
    return scheduled_epochs(spec.training.checkpoints, epoch_budget(spec.training, max(spec.n_train)))


def predict_output_variance(spec: VarianceTheorySpec, dataset: Dataset) -> Arrays:
    r"""Mean and variance of f_t on the first `n_probe` test samples, f₀ ~ GP(0, K) and training by the infinite NTK Θ.

    μ_t = A_t y and σ²_t = K_xx + A_t K_XX A_tᵀ − 2 A_t K_Xx with A_t = Θ(x, X) Θ⁻¹ (I − D_t), D_t that of gradient
    descent or heavy ball (Lee et al. 2019), in units of the targets, at the learning rate of the networks.

    Args:
        spec: the grid at one init_scale.
        dataset: the data.

    Returns:
        `mean` `(n_depths, n_widths, n_sizes, n_draws, E, P, C)`, `variance` without the outputs (each has the same)
        and `learning_rate` `(n_depths, n_widths, n_sizes, n_draws)`; one width in the NTK parameterization, where none
        matters.
    """
    widths: tuple[int | None, ...] = spec.width or (None,)
    epochs, n_probe = theory_epochs(spec), spec.n_probe
    cells = (len(spec.depth), len(widths), len(spec.n_train), spec.draws)
    variance = np.full((*cells, len(epochs), n_probe), np.nan)
    mean = np.full((*variance.shape, dataset.y.shape[1]), np.nan)
    rates = np.full(cells, np.nan)
    for number in range(spec.draws):
        draw = make_draw(dataset, spec.dataset, number)
        for w, width in enumerate(widths):
            log.info("theory at init_scale %s, draw %d, width %s", spec.init_scale, number, width)
            _fill(spec, draw, width, epochs, *(array[:, w, :, number] for array in (mean, variance, rates)))
    return {"mean": mean, "variance": variance, "learning_rate": rates}


def _fill(
    spec: VarianceTheorySpec,
    draw: Draw,
    width: int | None,
    epochs: Sequence[int],
    mean: np.ndarray,
    variance: np.ndarray,
    rates: np.ndarray,
) -> None:
    """Writes all depths and sizes of one draw: arrays over (depth, n_train, ...)."""
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
        for i, n in enumerate(spec.n_train):
            gram, rows = ntk[:n, :n], ntk[largest:, :n]
            if not bool(torch.isfinite(ntk).all() & torch.isfinite(nngp).all()):
                log.warning("depth %d, n_train %d has no theory: kernels that overflow", depth, n)
                continue
            rates[d, i] = common_learning_rate(
                training.learning_rate,
                n,
                output_scale=spec.network.output_scale,
                lambda_max=float(torch.linalg.eigvalsh(gram)[-1]),
            )
            path = {"times": epochs, "learning_rate": float(rates[d, i]), "allow_divergence": True, **dynamics}
            # Linear in the targets: their scale leaves the mean in their units, and divides the variance.
            mean[d, i] = finite_time_mean(gram, rows, as_tensor(y_train[:n]), **path).test
            spread = finite_time_variance(
                gram, rows, nngp[:n, :n], nngp[largest:, :n], nngp[largest:, largest:].diagonal(), **path
            )
            variance[d, i] = spread.test / scale**2
