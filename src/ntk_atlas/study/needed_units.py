"""Which finished units the settings of an experiment still find; all others will never be read again."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.dispersion.networks import CHUNK
from ntk_atlas.labelled import read_labelled
from ntk_atlas.study.cells import rows
from ntk_atlas.study.dispersion_inputs import dispersion_spec
from ntk_atlas.study.dispersion_spec import architectures, parse_architecture, scale_name
from ntk_atlas.study.jobs import empirical_spec, predictors, train_spec
from ntk_atlas.study.linearized_specs import linearize_spec
from ntk_atlas.unit_store import finished_seeds, seeds_of

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


def needed_units(experiment: ExperimentSettings, folder: Path, sources: dict[str, str]) -> NeededUnits | None:
    """The units that an experiment needs.

    Args:
        experiment: its settings.
        folder: of its results.
        sources: digest of the code of each of `STAGES`.

    Returns:
        The units; None as long as no data are prepared, when it cannot be known.
    """
    if not (folder / "dataset.nc").is_file():
        return None
    data = str(read_labelled(folder / "dataset.nc", ()).attributes["digest"])
    seeds = dict.fromkeys(_of_rows(experiment, data, sources), experiment.grid.seeds)
    for name in architectures(experiment):
        spec = dispersion_spec(experiment, *parse_architecture(name))
        for scale, digest in spec.unit_digests(sources["initial_kernels"]).items():
            seeds[Path("units", "initial_kernels", name, scale_name(scale), digest)] = -(-spec.n_networks // CHUNK)
    return NeededUnits(folder, seeds)


def _of_rows(experiment: ExperimentSettings, data: str, sources: dict[str, str]) -> Iterator[Path]:
    linearized = bool(predictors(experiment, "linearized")) or experiment.output_variance is not None
    for row in rows(experiment.grid):

        def folder(stage: str, unit: str, digest: str, row: str = row.name) -> Path:
            return Path("units", stage, row, unit, digest)

        trained = train_spec(experiment, row).unit_digests(data, sources["networks"])
        for unit, digest in trained.items():
            yield folder("networks", unit.name, digest)
        if linearized:
            digests = linearize_spec(experiment, row).linearized_digests(trained, sources["linearized"])
            for unit, digest in digests.items():
                yield folder("linearized", unit.name, digest)
        regressed = empirical_spec(experiment, row).unit_digests(data, sources["initial_ntk"], trained)
        for draw, digest in regressed.initial.items():
            yield folder("initial_ntk", f"draw-{draw}", digest)
        for stage in ("trained", "pretrained", "epochs"):
            for unit, digest in getattr(regressed, stage).items():
                yield folder(f"{stage.removesuffix('s')}_ntk", unit.name, digest)
