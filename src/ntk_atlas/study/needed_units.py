"""Which finished units the settings of an experiment still find; all others will never be read again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ntk_atlas.arrays import finished_seeds, read_labelled, seeds_of
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.dispersion.networks import CHUNK
from ntk_atlas.jobs import JOBS, Slice
from ntk_atlas.jobs.parts.cells import rows
from ntk_atlas.jobs.parts.finished import (
    initial_kernel_digests,
    linearized_digests,
    scale_name,
    training_digests,
)
from ntk_atlas.jobs.parts.regression_digests import regression_digests

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
