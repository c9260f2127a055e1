"""What `make status`, `make why` and `make clean-orphans` are asked about: a study, its folder and its code."""

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

from ntk_atlas.config.study import StudySettings
from ntk_atlas.source_digest import SourceMemory, source_digest
from ntk_atlas.study.load import read_study

PACKAGE = Path(__file__).parents[1] / "src" / "ntk_atlas"
DEFAULT = "config/config.yaml"


@dataclass(frozen=True)
class Call:
    """A call's study: where it runs, and the files and values that give its config."""

    folder: Path
    files: tuple[str, ...] = (DEFAULT,)
    values: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """The same for Snakemake."""
        values = ["--config", *self.values] if self.values else []
        return ["--directory", str(self.folder), "--configfile", *self.files, *values]

    def study(self) -> StudySettings:
        """The study; `ConfigError` lists what is wrong with its config."""
        files = dict.fromkeys((DEFAULT, *self.files))
        return read_study([Path(file) for file in files], dict(value.split("=", 1) for value in self.values))


def sources() -> SourceMemory:
    """What is known of the code of this folder's runs; the working directory is the folder."""
    return SourceMemory(Path(".snakemake/ntk-atlas/sources.json"))


def module_digest(module: str) -> str:
    """Digest of a module of the package beside this workflow, as rules have it."""
    return source_digest(PACKAGE / module, PACKAGE, sources())


def call_of(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Call]:
    """Parses the command line; goes to the folder of the study, which files are relative to."""
    parser.add_argument("--directory", "-d", type=Path, default=Path(), help="folder of the results")
    parser.add_argument("--configfile", nargs="+", default=[DEFAULT], help="config files, later ones win")
    parser.add_argument("--config", nargs="+", default=[], help="values of the config, e.g. preset=full")
    parser.add_argument("--report", help=argparse.SUPPRESS)  # `make` gives all of its commands the same options
    given = parser.parse_args()
    os.chdir(given.directory)
    return given, Call(Path.cwd(), tuple(given.configfile), tuple(given.config))
