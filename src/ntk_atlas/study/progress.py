"""How far an experiment is: what became of its networks, counted from the finished units of training."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ntk_atlas.arrays import UnitStore, read_labelled
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.jobs import JOBS, Slice
from ntk_atlas.jobs.parts.cells import rows
from ntk_atlas.jobs.parts.finished import training_digests
from ntk_atlas.status import Status

_JUDGED = ("status", "train_mse", "train_error")


@dataclass(frozen=True)
class Progress:
    """Counts of one experiment.

    Attributes:
        cells: (depth, width, init_scale, n_train) that are configured.
        finished_cells: those of which no network is missing.
        networks: by what became of them.
        under_way: networks whose training left a state from which it goes on.
    """

    cells: int = 0
    finished_cells: int = 0
    networks: Counter[Status] = field(default_factory=Counter)
    under_way: int = 0

    def __add__(self, other: "Progress") -> "Progress":
        """The counts of both together."""
        return Progress(
            self.cells + other.cells,
            self.finished_cells + other.finished_cells,
            self.networks + other.networks,
            self.under_way + other.under_way,
        )

    def __str__(self) -> str:
        """The counts in words."""
        total, missing = self.networks.total(), self.networks[Status.MISSING]
        order = (Status.CONVERGED, Status.BUDGET_SPENT, Status.DIVERGED, Status.TIMED_OUT)
        said = [f"{self.networks[flag]:,} {flag.meaning.replace('_', ' ')}" for flag in order if self.networks[flag]]
        if missing:
            said.append(f"{missing:,} missing" + (f" ({self.under_way:,} half trained)" if self.under_way else ""))
        return (
            f"{self.finished_cells:,} of {self.cells:,} cells, {total - missing:,} of {total:,} networks: "
            f"{', '.join(said)}"
        )


def progress_of(experiment: ExperimentSettings, folder: Path, source: Callable[[Slice], str]) -> Progress:
    """Counts the networks of an experiment; only those of its present settings, data and code are there.

    Args:
        experiment: its settings.
        folder: of its results.
        source: digest of the code that trains the networks of a spec.

    Returns:
        The counts; as long as no data are prepared, all networks are missing.
    """
    dataset, total = folder / "dataset.nc", Progress()
    digest = str(read_labelled(dataset, ()).attributes["digest"]) if dataset.is_file() else None
    for row in rows(experiment.grid):
        spec = JOBS.head("train_networks").slice(experiment, row.name)
        total += (
            _missing(spec) if digest is None else _of_row(spec, folder / "units" / "networks", digest, source(spec))
        )
    return total


def _missing(spec: Slice) -> Progress:
    cells = len(spec.grid.n_train)
    return Progress(cells, 0, Counter({Status.MISSING: cells * spec.grid.draws * spec.grid.seeds}))


def _of_row(spec: Slice, units: Path, dataset_digest: str, source: str) -> Progress:
    store, under_way = UnitStore(units / spec.row.name), 0
    networks, unfinished = Counter(), set()
    for unit, digest in training_digests(spec, dataset_digest, source).items():
        flags = dict.fromkeys(range(spec.grid.seeds), Status.MISSING)
        flags |= dict.fromkeys(store.timed_out(unit.name, digest), Status.TIMED_OUT)
        for seeds in store.finished(unit.name, digest):
            flags |= _statuses(store, unit.name, digest, seeds, spec.training)
        here = Counter(flags[seed] for seed in range(spec.grid.seeds))
        networks += here
        if here[Status.MISSING]:
            unfinished.add(unit.n_train)
            under_way += sum(flags.get(seed) == Status.MISSING for seed in store.under_way(unit.name, digest))
    return Progress(len(spec.grid.n_train), len(spec.grid.n_train) - len(unfinished), networks, under_way)


def _statuses(
    store: UnitStore, unit: str, digest: str, seeds: tuple[int, ...], training: TrainingSettings
) -> dict[int, Status]:
    """What became of the networks of a block; nothing is known of a file that is damaged or another unit's."""
    try:
        status, mse, error = store.peek(unit, digest, seeds, _JUDGED).values()
    except Exception:  # whatever a flipped bit makes of an archive; the job that needs the block names it
        return {}
    reached = error[:, -1] == 0.0 if training.loss == "cross_entropy" else mse[:, -1] <= training.target_mse
    trained = {Status.CONVERGED, Status.BUDGET_SPENT}
    judged = (Status.BUDGET_SPENT, Status.CONVERGED)
    found = zip(seeds, status, reached, strict=True)
    return {seed: judged[bool(ok)] if Status(int(flag)) in trained else Status(int(flag)) for seed, flag, ok in found}
