"""The files that an experiment's cubes are joined from, each at its place on the grid, and the grid."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from ntk_atlas.arrays import Grid, LabelledArrays, read_labelled
from ntk_atlas.config.grid import GridSettings
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.variables import ARCHITECTURE
from ntk_atlas.folds import N_FOLDS
from ntk_atlas.jobs import INIT_SCALE, JOBS, ROW, Job
from ntk_atlas.jobs.parts.run import check_made_with, check_row
from ntk_atlas.jobs.parts.slice import Row, canonical_text
from ntk_atlas.phases import phase_of

_SCALE = "init_scale-"
"""Before the init scale in the name of a file of one init scale."""


@dataclass(frozen=True)
class ExperimentFiles:
    """What the jobs of one experiment wrote.

    Attributes:
        networks: file of each row of networks, whatever init scales share a row.
        linearized: file of each row of linearized networks, if they are a predictor.
        empirical: file of each row's empirical kernels.
        infinite: file of the infinite kernels at each init_scale.
        theory: file of the theory of the outputs' variance at each init_scale.
        rivals: files of the rivals.
    """

    networks: Mapping[Row, Path]
    linearized: Mapping[Row, Path] = field(default_factory=dict)
    empirical: Mapping[Row, Path] = field(default_factory=dict)
    infinite: Mapping[float, Path] = field(default_factory=dict)
    theory: Mapping[float, Path] = field(default_factory=dict)
    rivals: Sequence[Path] = ()

    @classmethod
    def named(cls, files: Mapping[str, Sequence[str | Path]]) -> Self:
        """The files by what they are: the names of the attributes; kinds that are not there have none."""
        paths = {kind: [Path(file) for file in files.get(kind, ())] for kind in cls.__dataclass_fields__}
        per = {kind: job.per for kind, job in _jobs().items() if kind in paths}
        rows: dict[str, Any] = {
            kind: {Row.parse(file.stem): file for file in paths[kind]} for kind in paths if per[kind] is ROW
        }
        scales: dict[str, Any] = {
            kind: {float(file.stem.removeprefix(_SCALE)): file for file in paths[kind]}
            for kind in paths
            if per[kind] is INIT_SCALE
        }
        return cls(**rows, **scales, rivals=paths["rivals"])

    def read(
        self,
        kind: str,
        experiment: ExperimentSettings,
        data_digest: str | None,
        *,
        only: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        of: Row | None = None,
    ) -> Iterator[LabelledArrays]:
        """Reads the files of a kind.

        There may be thousands: they are read without xarray's lazy loading, which takes longer than the reading.

        Args:
            kind: the name of an attribute.
            experiment: settings that the files must have been made with.
            data_digest: digest of the data; None if it is not known.
            only: arrays that are read, labels too; None for all.
            drop: arrays that are not read.
            of: the row whose file is read; None for all files.

        Yields:
            The contents of each file, at the file's place on the grid.

        Raises:
            OtherSettingsError: naming the first file that is not of this experiment.
        """
        files, job = getattr(self, kind), _jobs()[kind]
        keys: list[Any] = list(files) if of is None else [of] * (of in files)
        for key in keys:
            path = key if kind == "rivals" else files[key]
            contents = read_labelled(path, only, drop=drop)
            if isinstance(key, Row):
                check_row(path, contents.attributes, job.slice(experiment, key.name), data_digest)
                yield contents.at(depth=key.depth, width=key.width)
            elif isinstance(key, float):
                check_made_with(path, contents.attributes, job.slice(experiment, canonical_text(key)), data_digest)
                yield contents.at(init_scale=key)
            else:
                check_made_with(path, contents.attributes, job.slice(experiment, path.stem), data_digest)
                yield contents


def _jobs() -> dict[str, Job]:
    """The jobs by what their results are called."""
    return {job.kind: job for job in map(JOBS.head, JOBS.names())}


def grid_labels(grid: GridSettings) -> Grid:
    """The labels of an experiment's arrays, in the order of their dimensions; checkpoints are those that there are."""
    labels: dict[str, Any] = {name: getattr(grid, name) for name in ("depth", "width", "init_scale", "n_train")}
    return labels | {"draw": range(grid.draws), "seed": range(grid.seeds), "epoch": None}


def coordinates(
    experiment: ExperimentSettings, names: Sequence[str], **labels: Sequence[object] | np.ndarray
) -> dict[str, Any]:
    """Coordinates of a file of an experiment.

    Args:
        experiment: its settings.
        names: coordinates that the file has; those that are not of the grid are left out.
        labels: labels of dimensions on which the file is not of the experiment's grid.

    Returns:
        What xarray's `assign_coords` takes: labels of the grid, and what theory says of them: σ_w, λ = (L + 1)/M over
        (depth, width); χ₁, ξ₁ and the phase of each init scale.
    """
    grid: dict[str, Any] = {**grid_labels(experiment.grid), "test_fold": range(N_FOLDS), **labels}
    found: dict[str, Any] = {dim: np.array(grid[dim]) for dim in names if grid.get(dim) is not None}
    if "phase" in names:
        phases = [phase_of(experiment.network, scale) for scale in grid["init_scale"]]
        found |= {
            "sigma_w": ("init_scale", np.sqrt(grid["init_scale"])),
            "lambda": (ARCHITECTURE, (found["depth"][:, None] + 1) / found["width"][None, :]),
            "chi_1": ("init_scale", [phase.chi_1 for phase in phases]),
            "xi_1": ("init_scale", [phase.xi_1 for phase in phases]),
            "phase": ("init_scale", [phase.name for phase in phases]),
        }
    return found
