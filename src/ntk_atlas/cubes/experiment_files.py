"""The files that an experiment's cube is joined from, each placed on the grid by its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ntk_atlas.study.cells import Row

INFINITE = "init_scale-"
"""Before the init scale in the name of a file of infinite kernels."""


@dataclass(frozen=True)
class ExperimentFiles:
    """What the jobs of one experiment wrote.

    Attributes:
        networks: file of each row of networks, whatever init scales share a row.
        linearized: file of each row of linearized networks, if they are a predictor.
        empirical: file of each row's empirical kernels.
        infinite: file of the infinite kernels at each init_scale.
        rivals: files of the rivals.
    """

    networks: Mapping[Row, Path]
    linearized: Mapping[Row, Path] = field(default_factory=dict)
    empirical: Mapping[Row, Path] = field(default_factory=dict)
    infinite: Mapping[float, Path] = field(default_factory=dict)
    rivals: Sequence[Path] = ()

    @classmethod
    def named(cls, files: Mapping[str, Sequence[str | Path]]) -> Self:
        """The files by what they are: the names of the attributes; kinds that are not there have none."""
        paths = {kind: [Path(file) for file in files.get(kind, ())] for kind in cls.__dataclass_fields__}
        rows = {
            kind: {Row.parse(file.stem): file for file in paths[kind]}
            for kind in ("networks", "linearized", "empirical")
        }
        infinite = {float(file.stem.removeprefix(INFINITE)): file for file in paths["infinite"]}
        return cls(**rows, infinite=infinite, rivals=paths["rivals"])
