"""The finished units of an experiment: which its settings still find, and how far its networks are by them."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ntk_atlas.arrays import UnitStore, finished_seeds, read_labelled, seeds_of
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.jobs import JOBS, Slice
from ntk_atlas.jobs.parts.finished import initial_kernel_digests, linearized_digests, scale_name, training_digests
from ntk_atlas.jobs.parts.regression_digests import regression_digests
from ntk_atlas.jobs.parts.slice import rows
from ntk_atlas.status import Status

Sources = Callable[[str, Slice], str]
"""The digest of the code that a job's units depend on: of the job of a name, with a slice."""


@dataclass(frozen=True)
class NeededUnits:
    """The units that an experiment needs.

    Attributes:
        folder: the experiment's folder.
        seeds: folders of units, relative to it, each with how many seeds of it are wanted.
    """

    folder: Path
    seeds: dict[Path, int]

    def is_needed(self, file: Path) -> bool:
        """Whether a file below `units` is wanted.

        Args:
            file: its path, relative to the experiment's folder.

        Returns:
            Whether it is a block with a wanted seed, or a state or mark with one that no block has.
        """
        wanted = {seed for seed in seeds_of(file) if seed < self.seeds.get(file.parent, 0)}
        if file.suffix == ".npz":
            return bool(wanted)
        return bool(wanted) and not wanted <= finished_seeds(self.folder / file.parent)


def needed_units(experiment: ExperimentSettings, folder: Path, sources: Sources) -> NeededUnits | None:
    """The units that an experiment needs.

    Args:
        experiment: its settings.
        folder: of its results.
        sources: digests of code.

    Returns:
        The units; None as long as no data are prepared, when it cannot be known.
    """
    if not (folder / "dataset.nc").is_file():
        return None
    data = str(read_labelled(folder / "dataset.nc", ()).attributes["digest"])
    from ntk_atlas.dispersion.networks import CHUNK  # imports torch, which counting networks does without

    seeds = dict.fromkeys(_of_rows(experiment, data, sources), experiment.grid.seeds)
    job = JOBS.head("sample_initial_kernels")
    for name in job.names(experiment):
        part = job.slice(experiment, name)
        for scale, digest in initial_kernel_digests(part, sources(job.name, part)).items():
            seeds[Path("units", "initial_kernels", name, scale_name(scale), digest)] = -(
                -part.dispersion.n_networks // CHUNK
            )
    return NeededUnits(folder, seeds)


def _of_rows(experiment: ExperimentSettings, data: str, sources: Sources) -> Iterator[Path]:
    train, linearize, regress = (
        JOBS.head(name) for name in ("train_networks", "linearize_networks", "regress_empirical")
    )
    for row in rows(experiment.grid):

        def folder(stage: str, unit: str, digest: str, row: str = row.name) -> Path:
            return Path("units", stage, row, unit, digest)

        part = train.slice(experiment, row.name)
        trained = training_digests(part, data, sources(train.name, part))
        for unit, digest in trained.items():
            yield folder("networks", unit.name, digest)
        if linearize.wanted(experiment):
            part = linearize.slice(experiment, row.name)
            for unit, digest in linearized_digests(part, trained, sources(linearize.name, part)).items():
                yield folder("linearized", unit.name, digest)
        if not regress.wanted(experiment):
            continue
        part = regress.slice(experiment, row.name)
        regressed = regression_digests(part, data, sources(regress.name, part), trained)
        for draw, digest in regressed.initial.items():
            yield folder("initial_ntk", f"draw-{draw}", digest)
        for stage in ("trained", "pretrained", "epochs"):
            for unit, digest in getattr(regressed, stage).items():
                yield folder(f"{stage.removesuffix('s')}_ntk", unit.name, digest)


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
