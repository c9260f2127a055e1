"""Which finished units the settings of an experiment still find; all others will never be read again."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ntk_atlas.arrays import finished_seeds, read_labelled, seeds_of
from ntk_atlas.config.base import Settings
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.dispersion.networks import CHUNK
from ntk_atlas.study.cells import rows
from ntk_atlas.study.dispersion_inputs import dispersion_spec
from ntk_atlas.study.dispersion_spec import architectures, parse_architecture, scale_name
from ntk_atlas.study.jobs import empirical_spec, predictors, train_spec
from ntk_atlas.study.linearized_specs import linearize_spec

STAGES = {
    "networks": "stages/train_row.py",
    "linearized": "stages/linearize_row.py",
    "initial_ntk": "stages/regress_row.py",
    "trained_ntk": "stages/regress_row.py",
    "pretrained_ntk": "stages/regress_row.py",
    "epoch_ntk": "stages/regress_row.py",
    "initial_kernels": "dispersion/networks.py",
}
"""Stages that keep units, and the module on whose code each stage's units depend."""


Sources = Mapping[str, Callable[[Settings], str]]
"""Of each of `STAGES` the digest of its code, as a function of a job's spec."""


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
        sources: of the code.

    Returns:
        The units; None as long as no data are prepared, when it cannot be known.
    """
    if not (folder / "dataset.nc").is_file():
        return None
    data = str(read_labelled(folder / "dataset.nc", ()).attributes["digest"])
    seeds = dict.fromkeys(_of_rows(experiment, data, sources), experiment.grid.seeds)
    for name in architectures(experiment):
        spec = dispersion_spec(experiment, *parse_architecture(name))
        for scale, digest in spec.unit_digests(sources["initial_kernels"](spec)).items():
            seeds[Path("units", "initial_kernels", name, scale_name(scale), digest)] = -(-spec.n_networks // CHUNK)
    return NeededUnits(folder, seeds)


def _of_rows(experiment: ExperimentSettings, data: str, sources: Sources) -> Iterator[Path]:
    linearized = bool(predictors(experiment, "linearized")) or experiment.output_variance is not None
    for row in rows(experiment.grid):

        def folder(stage: str, unit: str, digest: str, row: str = row.name) -> Path:
            return Path("units", stage, row, unit, digest)

        spec = train_spec(experiment, row)
        trained = spec.unit_digests(data, sources["networks"](spec))
        for unit, digest in trained.items():
            yield folder("networks", unit.name, digest)
        if linearized:
            spec = linearize_spec(experiment, row)
            digests = spec.linearized_digests(trained, sources["linearized"](spec))
            for unit, digest in digests.items():
                yield folder("linearized", unit.name, digest)
        spec = empirical_spec(experiment, row)
        regressed = spec.unit_digests(data, sources["initial_ntk"](spec), trained)
        for draw, digest in regressed.initial.items():
            yield folder("initial_ntk", f"draw-{draw}", digest)
        for stage in ("trained", "pretrained", "epochs"):
            for unit, digest in getattr(regressed, stage).items():
                yield folder(f"{stage.removesuffix('s')}_ntk", unit.name, digest)
