"""What one job depends on: the settings that it reads, under the names that they have in the config, and no other.

A job declares paths of the config (`training.dtype`, or a section, `network`). Its slice has their values, each
perhaps narrowed to the job (the depth of its row, the predictors that it makes), and digests of the user's code. It is
read like the settings of an experiment, and reading a path that is not declared raises: what a job depends on is what
it says it depends on.

A *row* is one (depth, width) at one or more init scales: one training job. Its *units* are (init_scale, n_train, draw)
and a block of seeds that train stacked. A name and a cell turn into each other without loss: names carry the canonical
text of the validated value, so that `1`, `1.0` and `1.00` are one cell.
"""

import ast
import hashlib
import importlib
import inspect
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from types import MethodType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Self, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from ntk_atlas.arrays import unit_digest
from ntk_atlas.config.base import Settings, canonical_json
from ntk_atlas.config.grid import GridSettings
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.provenance import code_digest, file_digest
from ntk_atlas.registry import is_own
from ntk_atlas.user_code import followed

if TYPE_CHECKING:
    from ntk_atlas.config.analyses import DispersionSettings, KernelVariantsSettings
    from ntk_atlas.config.figures import FigureSettings
    from ntk_atlas.config.regression import RegressionSettings
    from ntk_atlas.config.study import ExperimentSettings, StudySettings
    from ntk_atlas.config.training import TrainingSettings
    from ntk_atlas.datasets import DatasetBase


def canonical_text(value: int | float) -> str:
    """The shortest text that reads back as `value`: `64`, `2.0`, `1e-05`."""
    return repr(int(value)) if isinstance(value, int) else repr(float(value))


@dataclass(frozen=True, order=True)
class Row:
    """One architecture at one or more initializations: depth (hidden layers), width, init scales (σ_w²)."""

    depth: int
    width: int
    init_scale: tuple[float, ...]

    @property
    def name(self) -> str:
        """Name in paths, e.g. `depth-3_width-64_init_scale-2.0`, or `…_init_scale-1.0,2.0` of several."""
        scales = ",".join(canonical_text(float(scale)) for scale in self.init_scale)
        return f"depth-{self.depth}_width-{self.width}_init_scale-{scales}"

    def per_init_scale(self) -> tuple["Row", ...]:
        """The row cut into rows of one init scale each: what finished units are filed under."""
        return tuple(Row(self.depth, self.width, (scale,)) for scale in self.init_scale)

    @classmethod
    def parse(cls, name: str) -> "Row":
        """The row that has this name.

        Raises:
            ValueError: if no row has it.
        """
        match = re.fullmatch(r"depth-(\d+)_width-(\d+)_init_scale-([0-9.e+-]+(?:,[0-9.e+-]+)*)", name)
        if match is None:
            raise ValueError(f"{name!r} is not the name of a row (depth-D_width-W_init_scale-S, or S,S,… for several)")
        return cls(int(match[1]), int(match[2]), tuple(float(scale) for scale in match[3].split(",")))


@dataclass(frozen=True, order=True)
class Unit:
    """One cell of a row in one draw: what a block of seeds trains on."""

    n_train: int
    draw: int

    @property
    def name(self) -> str:
        """Name in paths, e.g. `n_train-64_draw-0`."""
        return f"n_train-{self.n_train}_draw-{self.draw}"


def rows(grid: GridSettings, init_scales_per_job: int = 1) -> tuple[Row, ...]:
    """All rows of a grid, in ascending order; init scales in consecutive groups of `init_scales_per_job`."""
    scales = grid.init_scale
    groups = [scales[start : start + init_scales_per_job] for start in range(0, len(scales), init_scales_per_job)]
    return tuple(Row(d, w, group) for d in grid.depth for w in grid.width for group in groups)


def units(n_train: Sequence[int], draws: int) -> tuple[Unit, ...]:
    """All units of a row at one init scale, small ones first."""
    return tuple(Unit(n, draw) for n in n_train for draw in range(draws))


def seed_blocks(seeds: int, block: int) -> tuple[tuple[int, ...], ...]:
    """Seeds 0 … seeds − 1 in fixed blocks: the blocks do not change when seeds are added."""
    return tuple(tuple(range(start, min(start + block, seeds))) for start in range(0, seeds, block))


def user_code(network: NetworkSettings | None, optimizer: str | None = None) -> dict[str, str]:
    """What the user has brought for networks and their training: `my_file.py:name` by key; empty if all is built in."""
    named = {}
    if network is not None:
        keys = ("factory", "architecture", "activation", "parameterization")
        named = {f"network.{key}": getattr(network, key) for key in keys}
    if optimizer is not None:
        named["training.optimizer"] = optimizer
    return {key: name for key, name in named.items() if name is not None and is_own(name)}


def user_file_digest(network: NetworkSettings | None, optimizer: str | None = None) -> str:
    """Digest of the user's code and weights behind networks and their training; empty if all is built in."""
    digests = [code_file_digest(Path(n.rpartition(":")[0])) for n in user_code(network, optimizer).values()]
    if network is not None and network.initial_state is not None:
        digests.append(state_file_digest(Path(network.initial_state)))
    return "+".join(digests)


def state_file_digest(file: Path) -> str:
    """16 hexadecimal digits of a file of weights; empty if it cannot be read: the job that reads it says so."""
    try:
        return file_digest(file)
    except OSError:
        return ""


def code_file_digest(file: Path) -> str:
    """16 hexadecimal digits of a user's file and of all files of the user's own that it imports.

    It is blind to comments, docstrings and formatting, and to where the files lie.

    Args:
        file: named in the config.

    Returns:
        The digest.
    """
    parts = sorted((name, _code_digest(place)) for name, place in followed(file).items())
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def _code_digest(file: Path) -> str:
    try:
        return _digest_of(file.read_bytes())
    except OSError:  # gone since it was found: the job that imports it says so
        return ""


@lru_cache(maxsize=512)
def _digest_of(content: bytes) -> str:
    try:
        return code_digest(ast.parse(content))
    except (SyntaxError, ValueError, RecursionError):
        return hashlib.sha256(content).hexdigest()


CONTENTS, FOUND = "contents", "found"
"""Parts of a slice that are no settings: digests of files that settings name, and numbers looked up in the data."""


class _Dropped:
    """Stands for a setting that a job declares, and does not depend on as it is configured."""


DROPPED = _Dropped()


class UndeclaredSettingError(LookupError):
    """A job reads a setting that it does not declare, so that it would not run again when the setting changes."""


class Slice:
    """What one job depends on.

    Attributes:
        job: the name of its rule.
        values: the settings by their paths in the config.
        contents: digests of the user's files by the path that names them.
        found: what was looked up when the run was planned, JSON values by name.
    """

    if TYPE_CHECKING:  # read like the settings of an experiment
        variant_of: str | None
        dataset: DatasetBase
        grid: GridSettings
        network: NetworkSettings
        training: TrainingSettings
        regression: RegressionSettings
        dispersion: DispersionSettings
        kernel_variants: KernelVariantsSettings
        figures: FigureSettings

    def __init__(
        self,
        job: str,
        values: Mapping[str, object],
        contents: Mapping[str, str] | None = None,
        found: Mapping[str, Any] | None = None,
    ):
        self.job, self.values = job, dict(values)
        self.contents, self.found = dict(contents or {}), dict(found or {})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self.at(name)

    def at(self, path: str) -> Any:
        """The value at a path: a setting, a whole section, or a section of which some settings are declared.

        Raises:
            UndeclaredSettingError: if the job declares nothing there.
        """
        if path in self.values:
            return self.values[path]
        if any(each.startswith(f"{path}.") for each in self.values):
            return _Section(self, path)
        raise UndeclaredSettingError(
            f"{self.job} reads {path}, which is not among the `reads` of jobs/{self.job}.py, or is left out of its "
            "slice there: add it, so that the job runs again when it changes"
        )

    @property
    def row(self) -> Row:
        """The row of the grid, of a job that has one."""
        (depth,), (width,) = self.grid.depth, self.grid.width
        return Row(depth, width, self.grid.init_scale)

    @property
    def only_init_scale(self) -> float:
        """The init scale of a slice that has one.

        Raises:
            ValueError: if it has several.
        """
        scales = self.grid.init_scale
        if len(scales) != 1:
            raise ValueError(f"the slice has {len(scales)} init scales: take one of `per_init_scale`")
        return scales[0]

    def per_init_scale(self) -> dict[float, Self]:
        """The same slice at each init scale alone: what networks are built, trained and filed by."""
        return {scale: self.narrowed({"grid.init_scale": (scale,)}) for scale in self.grid.init_scale}

    def narrowed(self, values: Mapping[str, object]) -> Self:
        """The slice with other values at some paths, those inside a declared section too; `DROPPED` leaves one out."""
        found = dict(self.values)
        for path, value in values.items():
            section = next((each for each in found if path.startswith(f"{each}.")), None)
            if section is not None:
                found[section] = _updated(found[section], path.removeprefix(f"{section}.").split("."), value)
            elif value is DROPPED:
                found.pop(path, None)
            else:
                found[path] = value
        return type(self)(self.job, found, self.contents, self.found)

    def settings(self, without: Collection[str] = ()) -> dict[str, Any]:
        """The slice as JSON values, nested as in a config; paths in `without` are left out."""
        nested: dict[str, Any] = {}
        for path, value in self.values.items():
            plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else to_jsonable_python(value)
            _put(nested, path.split("."), plain)
        for path in without:
            _remove(nested, path.split("."))
        nested |= {CONTENTS: self.contents} if self.contents else {}
        return nested | ({FOUND: self.found} if self.found else {})

    def canonical_json(self) -> str:
        """The slice as JSON text that depends on nothing but its values."""
        return canonical_json(self.settings())

    def digest(self, kind: str, *parts: object, without: Collection[str] = ()) -> str:
        """Digest of a unit of this job: over the slice without some paths, and what else its numbers depend on."""
        return unit_digest(kind, self.settings(without), *parts)

    def named_values(self) -> Iterator[tuple[object, FieldInfo]]:
        """Each value with its field, which says whether it names a value of a room (`registry.value_files`)."""
        for path, value in self.values.items():
            yield value, _field(path)

    @classmethod
    def parse(cls, job: str, reads: Sequence[str], text: str) -> Self:
        """The slice that `canonical_json` gives as this text.

        Args:
            job: the name of the rule.
            reads: what it declares.
            text: JSON.

        Returns:
            The slice, each value validated as the config's is.
        """
        nested = json.loads(text)
        values = {
            path: _adapter(path).validate_python(value)
            for path in reads
            if (value := _get(nested, path.split("."))) is not DROPPED
        }
        return cls(job, values, nested.get(CONTENTS), nested.get(FOUND))


class _Section:
    """A section of which a job declares some settings; its methods and properties see those alone."""

    def __init__(self, owner: Slice, path: str):
        self._owner, self._path, self._kind = owner, path, _section(_field(path))

    def __getattr__(self, name: str) -> Any:
        if name in self._kind.model_fields:
            return self._owner.at(f"{self._path}.{name}")
        if name.startswith(("__", "model_")):
            raise AttributeError(name)
        member = inspect.getattr_static(self._kind, name)
        if isinstance(member, property):
            assert member.fget is not None
            return member.fget(self)
        return MethodType(member, self) if callable(member) else member


def slice_of(
    job: str,
    reads: Sequence[str],
    experiment: "ExperimentSettings",
    *,
    narrowed: Mapping[str, object],
    found: Mapping[str, Any],
    study: "StudySettings | None" = None,
    users_code: bool = True,
) -> Slice:
    """The slice of a config that a job declares.

    Args:
        job: the name of its rule.
        reads: paths of an experiment, or of the study.
        experiment: settings.
        narrowed: values that some paths have for this job.
        found: what was looked up.
        study: settings that experiments share; not needed for jobs that read nothing of them.
        users_code: whether the job runs code of the user's that its settings name, whose digests it then has.

    Returns:
        The slice.
    """
    values = {path: _value(experiment, study, path) for path in reads}
    part = Slice(job, values, None, found).narrowed(narrowed)
    return Slice(job, part.values, _contents(part) if users_code else None, found)


def declares(reads: Sequence[str], key: str) -> bool:
    """Whether one of the paths is a key of the config, a section that holds it, or a part of it."""
    return any(key == path or key.startswith(f"{path}.") or path.startswith(f"{key}.") for path in reads)


def _contents(part: Slice) -> dict[str, str]:
    """Digests of the user's code that the settings name."""
    network, training = part.values.get("network"), part.values.get("training")
    named = user_code(
        network,  # type: ignore[arg-type]
        part.values.get("training.optimizer") if training is None else training.optimizer,  # type: ignore[arg-type, attr-defined]
    )
    predictors: Iterable[str] = part.values.get("regression.predictors", ())  # type: ignore[assignment]
    named |= {f"regression.predictors.{name}": name for name in predictors if is_own(name)}
    contents = {path: code_file_digest(Path(name.rpartition(":")[0])) for path, name in named.items()}
    state = None if network is None else network.initial_state  # type: ignore[attr-defined]
    return contents | ({} if state is None else {"network.initial_state": state_file_digest(Path(state))})


def _value(experiment: "ExperimentSettings", study: "StudySettings | None", path: str) -> object:
    first, *rest = path.split(".")
    found: object = getattr(experiment if first in _roots()[0].model_fields else study, first)
    for name in rest:
        found = getattr(found, name)
    return found


def _roots() -> tuple[type[Settings], type[Settings]]:
    """The settings of an experiment and of a study.

    They are looked up by name: a unit's digest covers the sections that its job's code imports, and no other.
    """
    config = importlib.import_module("ntk_atlas.config.study")
    return config.ExperimentSettings, config.StudySettings


@cache
def _field(path: str) -> FieldInfo:
    first, *rest = path.split(".")
    experiment, study = _roots()
    field = (experiment if first in experiment.model_fields else study).model_fields[first]
    for name in rest:
        field = _section(field).model_fields[name]
    return field


def _section(field: FieldInfo) -> type[Settings]:
    """The section that a field holds, optional or not."""
    annotation = field.annotation
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    (found,) = (each for each in options if isinstance(each, type) and issubclass(each, Settings))
    return found


@cache
def _adapter(path: str) -> TypeAdapter[Any]:
    field = _field(path)
    kind: Any = field.annotation
    return TypeAdapter(Annotated[kind, *field.metadata] if field.metadata else kind)


def _updated(section: Any, path: Sequence[str], value: object) -> Any:
    first, *rest = path
    return section.model_copy(update={first: _updated(getattr(section, first), rest, value) if rest else value})


def _put(nested: dict[str, Any], path: Sequence[str], value: object) -> None:
    for name in path[:-1]:
        nested = nested.setdefault(name, {})
    nested[path[-1]] = value


def _get(nested: Any, path: Sequence[str]) -> Any:
    for name in path:
        if not isinstance(nested, dict) or name not in nested:
            return DROPPED
        nested = nested[name]
    return nested


def _remove(nested: dict[str, Any], path: Sequence[str]) -> None:
    for name in path[:-1]:
        nested = nested.get(name, {})
    nested.pop(path[-1], None)


Narrowing = Callable[..., Mapping[str, object]]
"""From an experiment, and where a job lies on the grid, the values that some paths have for the job."""
