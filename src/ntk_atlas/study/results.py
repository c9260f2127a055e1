"""What an experiment ends in: figures, tables and files, the finished units that its settings find, how far it is.

Results of another config beside those of this one are found, for whoever opens the folder takes them for its results.
"""

import re
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ntk_atlas.arrays import Status, UnitStore, finished_seeds, read_labelled, seeds_of
from ntk_atlas.config.figures import FIGURES, FigureError, Shown
from ntk_atlas.config.study import ExperimentSettings, StudySettings
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.datasets.read import inspect_dataset
from ntk_atlas.jobs import JOBS, Job, Slice
from ntk_atlas.jobs.parts.finished import initial_kernel_digests, linearized_digests, scale_name, training_digests
from ntk_atlas.jobs.parts.regression_digests import regression_digests
from ntk_atlas.jobs.parts.results import has_scaling_laws, made_in_the_end
from ntk_atlas.jobs.parts.slice import rows
from ntk_atlas.registry import is_own

_DEFAULT = "config"
_SCALING = ("scaling_laws", "exponent_differences")


def figures_of(experiment: ExperimentSettings, *, has_classes: bool, one_feature: bool = False) -> tuple[str, ...]:
    """Names of the figures of an experiment, as `show` has them, built-in ones first.

    Args:
        experiment: its settings.
        has_classes: whether its data have classes.
        one_feature: whether its inputs are single numbers, so that functions of them can be drawn.

    Returns:
        Those asked for (`show`) whose files there are; by default those that show more than a single point.
    """
    shown, made, found = Shown(experiment, has_classes, one_feature), cubes_of(experiment), []
    for name in FIGURES.names() if experiment.show is None else sorted(set(experiment.show), key=_own_last):
        figure = FIGURES.head(name)
        wanted = experiment.show is not None or figure.by_default(shown)
        if wanted and set(figure.files) <= set(made) and figure.possible(shown):
            found.append(name)
    return tuple(found)


def _own_last(name: str) -> tuple[bool, str]:
    return is_own(name), name


def file_name(figure: str) -> str:
    """The name of a figure's files: its own, or `x` for `my_figure.py:x`."""
    return figure.rpartition(":")[2]


def figure_problems(experiment: ExperimentSettings) -> Iterator[str]:
    """What is wrong with the figures of the user's that an experiment shows; nothing below their heads is run."""
    taken = {*FIGURES.names(), "claims"}
    for name in dict.fromkeys(experiment.show or ()):
        if not is_own(name):
            continue
        if file_name(name) in taken:
            yield f"{name}: there is another figure {file_name(name)!r} already: take another name"
        taken.add(file_name(name))
        try:
            FIGURES.head(name)
        except FigureError as error:
            yield str(error)


def tables_of(experiment: ExperimentSettings) -> tuple[str, ...]:
    """Names of its tables (CSV)."""
    return ("summary", *(_SCALING if has_scaling_laws(experiment) else ()))


def cubes_of(experiment: ExperimentSettings) -> tuple[str, ...]:
    """Names of its NetCDF files, the cube first."""
    return tuple(job.folder for job in made_in_the_end().values() if job.wanted(experiment))


def study_folder(files: Sequence[Path]) -> str:
    """Where the tables over all experiments of a study lie: studies share a folder of results, and each has its own.

    Args:
        files: the config files of the call, later ones over earlier ones; none is the default config.

    Returns:
        `results/studies/<name>`, the name of the last file, of which letters of other kinds become `-`.
    """
    return f"results/studies/{_study_name(files)}"


def page_file(files: Sequence[Path]) -> str:
    """The page of a study: `results/atlas.html` of the default one, `results/atlas_<name>.html` of others.

    Args:
        files: as `study_folder` takes them.
    """
    name = _study_name(files)
    return "results/atlas.html" if name == _DEFAULT else f"results/atlas_{name}.html"


def _study_name(files: Sequence[Path]) -> str:
    name = Path(files[-1]).stem if files else _DEFAULT
    return re.sub("[^A-Za-z0-9_-]+", "-", name)


_WITH_CONFIG = ("assemble_cube", "assemble_functions", "assemble_output_variance", "assemble_dispersion")
"""Rules whose files carry the settings they were made with as `config`."""
_KINDS = ("*.nc", "*.csv", "figures/*.svg", "figures/*.png")


def final_results(experiment: ExperimentSettings, *, claims: bool) -> tuple[str, ...]:
    """What is made of an experiment in the end.

    Args:
        experiment: its settings.
        claims: whether the study judges claims.

    Returns:
        Paths of its cubes, tables and figures, relative to its folder.
    """
    data = inspect_dataset(experiment.dataset)
    shown = figures_of(experiment, has_classes=data.task != "regression", one_feature=data.input_shape == (1,))
    judged = ("claims",) if claims else ()
    return (
        *(f"{cube}.nc" for cube in cubes_of(experiment)),
        *(f"{table}.csv" for table in (*tables_of(experiment), *judged)),
        *(f"figures/{figure}.{kind}" for figure in (*map(file_name, shown), *judged) for kind in ("svg", "png")),
    )


def missing_results(study: StudySettings, results: Path) -> tuple[Path, ...]:
    """Cubes, tables and figures of a study's experiments that are not there.

    Args:
        study: the study.
        results: the folder of all results.

    Returns:
        Their paths.
    """
    claims = study.claims is not None
    wanted = [
        results / name / place
        for name, experiment in study.active().items()
        for place in final_results(experiment, claims=claims)
    ]
    return tuple(path for path in wanted if not path.is_file())


def earlier_results(study: StudySettings, results: Path) -> tuple[Path, ...]:
    """Cubes, tables and figures in the folders of a study's experiments that its config does not make.

    Args:
        study: the study.
        results: the folder of results.

    Returns:
        The files; intermediate ones, which nobody opens by chance, are not among them.
    """
    # Where earlier versions had what all experiments of a study have together.
    found = sorted((*results.glob("*.csv"), *results.glob("figures/*.*")))
    for name, experiment in study.active().items():
        folder = results / name
        there = {path for kind in _KINDS for path in folder.glob(kind)}
        made = {folder / file for file in (*final_results(experiment, claims=study.claims is not None), "dataset.nc")}
        found += sorted(there - made)
    return tuple(found)


def foreign_results(study: StudySettings, results: Path, records: Path) -> Iterator[Path]:
    """Results that were put here from a study with other settings, and that Snakemake believes.

    A result that Snakemake has no record of counts as right whatever the config says: it has to say itself what it was
    made with. One that has a record is made anew by Snakemake if its settings have changed.

    Args:
        study: the study.
        results: the folder of results.
        records: the folder of Snakemake's records, named by the path of each result.

    Yields:
        The NetCDF files.
    """
    for name, experiment in study.active().items():
        folder = results / name
        for path in sorted(folder.glob("**/*.nc")):
            place = path.relative_to(folder)
            record = urlsafe_b64encode(f"results/{name}/{place.as_posix()}".encode()).decode()
            if (records / record).is_file():
                continue
            wanted = _made_with(experiment, place)
            if wanted is not None and read_labelled(path, ()).attributes.get(wanted[0]) != wanted[1]:
                yield path


def _made_with(experiment: ExperimentSettings, place: Path) -> tuple[str, str] | None:
    """The attribute in which a file says what it was made with, and what that must be; None if nothing needs the file.

    Args:
        experiment: the settings of the experiment.
        place: the file, relative to the experiment's folder.
    """
    file = place.as_posix()
    cubes = {job.file: job for name, job in made_in_the_end().items() if name in _WITH_CONFIG}
    if file in cubes:
        wanted = cubes[file].wanted(experiment)
        return ("config", cubes[file].slice(experiment).canonical_json()) if wanted else None
    for job in map(JOBS.head, JOBS.names()):
        if (name := job.name_of(file)) is not None and job.wanted(experiment):
            try:
                return ("spec", job.slice(experiment, name).canonical_json()) if _is_of(experiment, job, name) else None
            except (ValueError, KeyError):  # no name of ours
                return None
    return None


def _is_of(experiment: ExperimentSettings, job: Job, name: str) -> bool:
    """Whether the job of a name is one of the experiment's, however its work is cut into jobs."""
    for path, values in job.per.narrowed(experiment, name).items():
        section, _, key = path.rpartition(".")
        here = getattr(getattr(experiment, section), key)
        if not set(values) <= set(here):  # type: ignore[call-overload]
            return False
    return True


def earlier_results_told(study: StudySettings, results: Path) -> str:
    """A sentence on `earlier_results`; empty if there are none."""
    found = earlier_results(study, results)
    if not found:
        return ""
    number = "1 result is" if len(found) == 1 else f"{len(found)} results are"
    return (
        f"{number} not of this config but of an earlier one, for example {found[0]}: "
        "`make clean-orphans` lists and removes what no config needs"
    )


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
