"""The files that an experiment's cube is joined from, each placed on the grid by its name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.labelled import read_labelled
from ntk_atlas.study.cells import Row
from ntk_atlas.study.jobs import infinite_spec, rival_spec
from ntk_atlas.study.made_with import ROWS, check_made_with, check_row

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

    def check_kernels(self, experiment: ExperimentSettings, data_digest: str | None) -> None:
        """Checks that the files of infinite kernels and rivals are of this experiment.

        Args:
            experiment: its settings.
            data_digest: digest of its data; None if it is not known.

        Raises:
            OtherSettingsError: naming the first that is not.
        """
        specs = {path: ("regress_infinite", infinite_spec(experiment, scale)) for scale, path in self.infinite.items()}
        specs |= {path: ("regress_rivals", rival_spec(experiment, tuple(path.stem.split("+")))) for path in self.rivals}
        for path, (rule, spec) in specs.items():
            check_made_with(path, read_labelled(path, ()).attributes, rule, spec, data_digest)


def row_check(
    kind: str, experiment: ExperimentSettings, data_digest: str | None
) -> Callable[[Row, Path, Mapping], None]:
    """A function that raises if the file of a row is not of this experiment, for `read_rows`.

    Args:
        kind: of `ROWS`.
        experiment: its settings.
        data_digest: digest of its data; None if it is not known.
    """
    rule, spec_of = ROWS[kind]

    def check(row: Row, path: Path, attributes: Mapping) -> None:
        check_row(path, attributes, rule, spec_of(experiment, row), data_digest)

    return check
