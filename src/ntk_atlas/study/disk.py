"""How much disk an experiment will fill, known before it runs."""

from collections.abc import Sequence

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.datasets.read import inspect_dataset
from ntk_atlas.jobs.parts.cells import rows
from ntk_atlas.study.own_cost import OwnCost, cost_at
from ntk_atlas.training.schedule import epoch_budget, scheduled_epochs

BYTES = {"float32": 4, "float64": 8}


def probe_kernel_bytes(experiment: ExperimentSettings) -> int:
    """Bytes of all probe kernels: once in the store of units and once, before compression, in the rows' files."""
    training, grid = experiment.training, experiment.grid
    checkpoints = sum(
        len(scheduled_epochs(training.checkpoints, epoch_budget(training, n_train))) for n_train in grid.n_train
    )
    networks = len(rows(grid)) * grid.draws * grid.seeds
    n_probe = training.checkpoints.probe_count(grid.n_train) * len(training.checkpoints.probed_parts)
    return 2 * networks * checkpoints * n_probe**2 * BYTES[training.dtype]


def weight_bytes(experiment: ExperimentSettings, costs: Sequence[OwnCost] = ()) -> int | None:
    """Bytes of all weights kept; None for a network of the user's own that was not measured (`costs`)."""
    own = experiment.network.family.measured
    if own and not costs:
        return None
    training, grid = experiment.training, experiment.grid
    size = inspect_dataset(experiment.dataset)
    total = 0
    for row in rows(grid):
        if own:
            parameters = cost_at(costs, row.depth, row.width).parameters
        else:
            network, n_outputs = experiment.network, size.n_outputs or 10
            layers = network.family.layers(network, size.input_shape, row.depth, row.width, n_outputs)
            parameters = sum(layer.parameters for layer in layers)
        for n_train in grid.n_train:
            epochs = scheduled_epochs(training.checkpoints, epoch_budget(training, n_train))
            kept = len(epochs) if training.checkpoints.weights == "scheduled" else 2
            total += parameters * kept
    return total * grid.draws * grid.seeds * BYTES[training.dtype]


def disk_estimate(experiment: ExperimentSettings, costs: Sequence[OwnCost] = ()) -> str:
    """The estimate in words."""
    kernels, weights = probe_kernel_bytes(experiment), weight_bytes(experiment, costs)
    said = "weights of unknown size" if weights is None else f"weights {_readable(weights)}"
    return f"disk: probe kernels {_readable(kernels)}, {said}"


def _readable(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
