"""The study that a call of `make run`, `status`, `why` or `clean-orphans` is about: its folder, config and code."""

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "src" / "ntk_atlas"
sys.path.insert(0, str(PACKAGE.parent))  # the package beside this workflow, as its jobs have it

from ntk_atlas.config.study import EXPERIMENT_NAME, RESERVED_NAMES, StudySettings  # noqa: E402
from ntk_atlas.jobs import JOBS, Slice  # noqa: E402
from ntk_atlas.provenance import SourceMemory, source_digest  # noqa: E402
from ntk_atlas.study.load import load_study, read_tree, with_preset  # noqa: E402
from ntk_atlas.study.problems import ConfigError, Node  # noqa: E402


def default_config(folder: Path) -> Path:
    """The config that every other file lies over: of the folder of results, or of this repository."""
    own = folder / "config" / "config.yaml"
    return own if own.is_file() else REPOSITORY / "config" / "config.yaml"


def config_files(folder: Path, given: Sequence[str | Path]) -> list[Path]:
    """The files of a config in the order in which they lie over each other, as short as can be for messages.

    Args:
        folder: of the results; the working directory.
        given: files named in the call, relative to the folder or absolute.

    Returns:
        The default config, and the given files.
    """
    files = [default_config(folder), *(folder / file for file in given)]
    if len(files) > 1 and files[0].resolve() == files[1].resolve():
        files = files[1:]
    return [file.relative_to(folder) if file.is_relative_to(folder) else file for file in files]


@dataclass(frozen=True)
class Call:
    """A call's study: where it runs, and the files and values that give its config.

    Attributes:
        folder: of the results.
        files: absolute paths of the files over the default config.
        values: `key=value` over all files.
    """

    folder: Path
    files: tuple[str, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def options(self) -> list[str]:
        """The same for Snakemake, wherever it is started."""
        files = ["--configfile", *self.files] if self.files else []
        values = ["--config", *self.values] if self.values else []
        return ["--snakefile", str(REPOSITORY / "Snakefile"), "--directory", str(self.folder), *files, *values]

    def tree(self) -> Node:
        """The whole config, not validated; raises as `study` if a file cannot be read."""
        return read_tree(config_files(self.folder, self.files), values_of(self.values))

    def study(self) -> StudySettings:
        """The study.

        Raises:
            ConfigError: with all that is wrong with its config.
        """
        with contextlib.chdir(self.folder):  # which the config's paths are relative to
            return load_study(self.tree())


def as_written(config: Mapping, files: Sequence[Path], values: Mapping[str, Any]) -> Mapping | Node:
    """The config of a module, read again by the reader of this workflow.

    Args:
        config: what another workflow gives this one: its whole config, or a section of it, as Snakemake read it.
        files: that Snakemake read.
        values: over them.

    Returns:
        The same part of the files; `config` itself if the other workflow has made it differ from them.
    """
    whole: dict = {}
    for file in files:
        _update(whole, yaml.safe_load(file.read_text()) or {})
    _update(whole, values)
    for key, part in (((), whole), *(((name,), part) for name, part in whole.items())):
        if part == config:
            return read_tree(files, values).path(key)[-1]
    return config


def _update(below: dict, above: Mapping) -> None:
    """As Snakemake lays configs over each other."""
    for key, value in above.items():
        if isinstance(value, Mapping):
            below[key] = below[key] if isinstance(below.get(key), dict) else {}
            _update(below[key], value)
        else:
            below[key] = value


def values_of(entries: Sequence[str]) -> dict[str, Any]:
    """Values over the config from `key=value`, as Snakemake reads them: YAML, whose scalars are text.

    Raises:
        ConfigError: if there is no `=` in one.
    """
    values = {}
    for entry in entries:
        key, equals, text = entry.partition("=")
        if not (key and equals):
            raise ConfigError([f"--config {entry}: write key=value, such as preset=full"])
        try:
            values[key] = yaml.load(text, yaml.BaseLoader) if text else None
        except yaml.YAMLError:
            values[key] = text
    return values


def sources() -> SourceMemory:
    """What is known of the code of this folder's runs; the working directory is the folder."""
    return SourceMemory(Path(".snakemake/ntk-atlas/sources.json"))


def job_digest(job: str, part: Slice) -> str:
    """Digest of the code that the units of a job depend on, as its rule has it."""
    return _digest(JOBS.module_file(job), JOBS.head(job).code(part))


@cache
def _digest(file: Path, values: tuple[Path, ...]) -> str:
    return source_digest(file, PACKAGE, sources(), values)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that name a study."""
    parser.add_argument("--directory", "-d", type=Path, default=Path(), help="folder of the results")
    parser.add_argument(
        "--mine", metavar="FILE", help="a config of your own: its experiments alone, the rest from the default config"
    )
    parser.add_argument(
        "--configfile", "--configfiles", nargs="+", default=[], help="files over the default config, later ones win"
    )
    parser.add_argument("--config", nargs="+", default=[], help="values over the files, e.g. preset=full")
    parser.add_argument("--report", help="where the report goes, relative to the folder of the results")


def call_of(given: argparse.Namespace) -> Call:
    """The call that these options make.

    Args:
        given: parsed options; without a `report` they get the one that is named after the file of `--mine`.

    Returns:
        The call; its files are absolute.

    Raises:
        ConfigError: if there is no folder, or the file of `--mine` cannot be read.
    """
    folder, values = given.directory.resolve(), tuple(given.config)
    if not folder.is_dir():
        raise ConfigError([f"there is no folder {given.directory}: create it, or correct --directory"])
    files = tuple(str(Path(file).absolute()) for file in given.configfile)
    if given.mine is not None:
        mine = _files_of(given.mine)
        values += _only(mine, values)
        files += tuple(map(str, mine))
    if given.report is None:
        given.report = f"results/{Path(files[-1]).stem if given.mine is not None else 'report'}.html"
    return Call(folder, files, values)


def asked(parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Call, StudySettings]:
    """Parses the command line of a question about a study, and goes to its folder.

    Returns:
        The options, the call and its study; this process ends, with all that is wrong, if there is no study.
    """
    add_options(parser)
    given = parser.parse_args()
    try:
        call = call_of(given)
        study = call.study()
    except ConfigError as error:
        sys.exit(str(error))
    os.chdir(call.folder)
    return given, call, study


def _files_of(words: str) -> list[Path]:
    """One file, or several with spaces between; `make -C elsewhere` leaves the caller's folder in PWD."""

    def found(name: str) -> Path | None:
        places = [folder / Path(name).expanduser() for folder in (Path.cwd(), Path(os.environ.get("PWD", "/")))]
        there = list(dict.fromkeys(place.resolve() for place in places if place.exists()))
        if len(there) > 1:
            raise ConfigError([f"{name} may be {' or '.join(map(str, there))}: give its whole path"])
        return there[0] if there else None

    whole = found(words)
    if whole is not None:
        return [whole]
    return [found(word) or Path(word).absolute() for word in words.split()]


def _only(files: Sequence[Path], values: tuple[str, ...]) -> tuple[str, ...]:
    """The value that lets only those experiments run that files name; none if they say so themselves, or name none.

    Raises:
        ConfigError: if a file cannot be read, or all experiments that it names are null.
    """
    tree = read_tree(files)
    chosen = values_of(values)
    if "only" in chosen or tree.get("only") is not None:
        return ()
    if chosen.get("preset") is not None and (tree.get("presets") or Node({})).get(str(chosen["preset"])) is not None:
        tree = Node({**tree.value, "preset": Node(str(chosen["preset"]))})
    experiments = (with_preset(tree) if _has_its_preset(tree) else tree).get("experiments")
    named = {} if experiments is None or not experiments.is_section else experiments.value
    names = [name for name, node in named.items() if node.value is not None]
    if named and not names:
        raise ConfigError(
            [f"{' '.join(map(str, files))}: its experiments are all null, so nothing of yours would run: write one"]
        )
    # What cannot be a name is said of the name, and would be no list here.
    names = [name for name in names if re.match(EXPERIMENT_NAME, name) and name.lower() not in RESERVED_NAMES]
    return (f"only=[{', '.join(names)}]",) if names else ()


def _has_its_preset(tree: Node) -> bool:
    preset, presets = tree.get("preset"), tree.get("presets")
    return preset is not None and presets is not None and presets.get(str(preset.value)) is not None
