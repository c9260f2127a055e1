"""What the dictionary is made of: variables, files, and the coordinates that files share.

The chapter of untrained networks (`dispersion.nc`, `kernel_variants.nc`) is here: a job writes one of these files.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

import numpy as np

SCHEMA_VERSION = 1
"""Version of the names, dimensions and meanings in the dictionary: every file has it as the attribute `schema_version`.
How a cube of an older version is read: `cubes.files`."""

ARCHITECTURE = ("depth", "width")
CELL = (*ARCHITECTURE, "init_scale", "n_train", "draw", "seed")
"""Dimensions of one network."""


@dataclass(frozen=True)
class Variable:
    """One row of the dictionary.

    Attributes:
        name: name in the file; `*` stands for one of several names, of predictors where no others are given.
        dims: its dimensions; `…` are those that a predictor has.
        long_name: what it is.
        units: its unit; `1` for pure numbers.
        valid_min: smallest possible value, if there is one.
        valid_max: largest possible value, if there is one.
        missing: what NaN (−1 in integers, nothing in text) says.
        dtype: its type in the file; float32 or float64 where it is what `training.dtype` says.
        flags: what integers mean, if they are flags.
        names: the names that `*` stands for, each with the words for it in `long_name`.
    """

    name: str
    dims: tuple[str, ...]
    long_name: str
    units: str = "1"
    valid_min: float | None = None
    valid_max: float | None = None
    missing: str = "cell missing, network diverged, or kernel singular"
    dtype: str = "float64"
    flags: Sequence[IntEnum] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def with_ends(self, low: str, high: str, missing: str = "") -> "tuple[Variable, Variable, Variable]":
        """The variable and the ends `*_low` and `*_high` of its interval, with the words for them and for their NaN."""
        missing = missing or self.missing
        lower = replace(self, name=f"{self.name}_low", long_name=low, missing=missing)
        return self, lower, replace(lower, name=f"{self.name}_high", long_name=high)

    def star(self, name: str) -> str | None:
        """What `*` stands for in the name of a variable of a file; None if the name is of another variable."""
        before, star, after = self.name.partition("*")
        if not star:
            return "" if name == self.name else None
        inside = name[len(before) : len(name) - len(after)]
        matches = inside and name == f"{before}{inside}{after}" and (not self.names or inside in self.names)
        return inside if matches else None

    def attributes(self, star: str = "") -> dict[str, Any]:
        """The attributes that the variable has in a file, with `star` for `*`."""
        words = self.long_name.replace("*", self.names.get(star, star)) if star else self.long_name
        attributes: dict[str, Any] = {"long_name": words, "units": self.units}
        if self.valid_min is not None:
            attributes["valid_min"] = self.valid_min
        if self.valid_max is not None:
            attributes["valid_max"] = self.valid_max
        if self.flags:  # as CF has them
            attributes["flag_values"] = np.array([int(flag) for flag in self.flags], dtype=np.int8)
            attributes["flag_meanings"] = " ".join(flag.name.lower() for flag in self.flags)
        return attributes


@dataclass(frozen=True)
class File:
    """A kind of file: a chapter of the dictionary.

    Attributes:
        name: its name in the folder of an experiment.
        title: its attribute `title`.
        coordinates: names of the coordinates that it may have.
        tables: its variables, by a title that says what they are.
        suffix: what names end in that mean the same of other samples.
    """

    name: str
    title: str
    coordinates: tuple[str, ...]
    tables: Mapping[str, tuple[Variable, ...]]
    suffix: str = ""

    @property
    def head(self) -> dict[str, Any]:
        """The attributes that say what kind of file it is."""
        return {"title": self.title, "Conventions": "CF-1.11", "schema_version": SCHEMA_VERSION}

    def find(self, name: str) -> tuple[Variable, str] | None:
        """The row of the dictionary that a name in the file is of, and what `*` stands for; None if there is none.

        Where several match, the row with the longest name counts: `test_mse_folds_x` is no `test_mse_*`.
        """
        if self.suffix:
            name = name.removesuffix(self.suffix)
        rows = [COORDINATES[coordinate] for coordinate in self.coordinates]
        rows += [variable for table in self.tables.values() for variable in table]
        found = [(row, star) for row in rows if (star := row.star(name)) is not None]
        return max(found, key=lambda each: ("*" not in each[0].name, len(each[0].name)), default=None)

    def attributes_of(self, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Attributes of those of the variables and coordinates that the dictionary has."""
        found = {name: self.find(name) for name in names}
        return {name: each[0].attributes(each[1]) for name, each in found.items() if each is not None}


_DRAW = "draw of the data (docs/conventions.md): split, nested training sets, and the networks' streams"
_SEED = "network: initial weights and batch order, independent in every draw"
_EPOCH = "checkpoint: Trainer epochs done; 0 is initialization"
_MODE = "rank of an eigenvalue of the probe kernel, largest first"
_FOLD = "group of samples of the data set, the same in every draw"
_METRIC = "test error that is fitted: `mse` (target²), `error` (share of wrong classes)"
_OF_SCALE = ("init_scale",)


def _own(name: str, long_name: str, dtype: str, low: float | None = None, high: float | None = None) -> Variable:
    return Variable(name, (name,), long_name, valid_min=low, valid_max=high, dtype=dtype)


_ROWS = (
    _own("depth", "hidden layers; 0 is a linear model", "int64", 0),
    _own("width", "units of each hidden layer", "int64", 1),
    _own("init_scale", "σ_w²: weight variance times fan-in", "float64", 0.0),
    _own("n_train", "training samples", "int64", 1),
    _own("draw", _DRAW, "int64"),
    _own("seed", _SEED, "int64"),
    _own("epoch", _EPOCH, "int64", 0),
    _own("mode", _MODE, "int64", 0),
    _own("ridge", "`zero`: ridge → 0; `tuned`: chosen on validation or by leave-one-out", "text"),
    _own("test_fold", _FOLD, "int64", 0),
    _own("predictor", "names of all predictors in this cube", "text"),
    Variable("sigma_w", _OF_SCALE, "σ_w, the square root of init_scale", valid_min=0.0),
    Variable("lambda", ARCHITECTURE, "weight layers over width, (depth + 1)/width", valid_min=0.0),
    Variable("chi_1", _OF_SCALE, "χ₁: factor by which squared gradients grow a layer", valid_min=0.0),
    Variable("xi_1", _OF_SCALE, "depth scale ξ₁ = 1/|log χ₁|: infinite at the critical point", "layers", 0.0),
    Variable("phase", _OF_SCALE, "ordered (χ₁ < 1), critical (χ₁ = 1) or chaotic (χ₁ > 1)", dtype="text"),
    _own("metric", _METRIC, "text"),
    _own("parameters", "which parameters Θ sums over: `all` that are trained, or the `weights`", "text"),
    _own("correlation", "cosine r of x and x′, ‖x‖ = ‖x′‖; 1 is the diagonal", "float64", -1.0, 1.0),
    _own("variant", "variant of the NTK", "text"),
    _own("network", "untrained network of a cell", "int64", 0),
)
COORDINATES = {row.name: row for row in _ROWS}
"""Every coordinate of every file, once."""

THEORY = ("sigma_w", "lambda", "chi_1", "xi_1", "phase")
"""Coordinates that theory says of a grid."""


_SCALED = (*ARCHITECTURE, "init_scale")
_PARTS = (*_SCALED, "parameters")
_PAIRS = (*_PARTS, "correlation")
_NOT_RELU = "not ReLU, or biases that are not 0 at initialization"
_FEW = "fewer than two finite networks"


def _estimate(name: str, dims: tuple[str, ...], long_name: str, units: str, low: float | None) -> tuple[Variable, ...]:
    ends = (f"{end} end of the interval of {name}" for end in ("lower", "upper"))
    return Variable(name, dims, long_name, units, low, missing=_FEW).with_ends(*ends)


DISPERSION_ESTIMATES = (
    *_estimate("ntk_ratio", _PAIRS, "R = E[Θ(x,x′)²]/E[Θ(x,x′)]² over networks at initialization", "1", 1.0),
    *_estimate("log_ntk_variance", _PARTS, "Var log Θ(x,x) over networks whose Θ(x,x) is not 0", "1", 0.0),
    *_estimate("ntk_mean", _PAIRS, "E[Θ(x,x′)] over networks", "kernel", None),
    Variable(
        "ntk_ratio_reliable",
        _PARTS,
        "1 where R on the diagonal can be trusted; 0 where Var log Θ > 1 with fewer than 10⁴ networks, or where R "
        "is not known to a factor: √((R⁴ − 1)/n) > ½ at R = exp(Var log Θ)",
        "1",
        0,
        1,
        "cell missing",
        dtype="int8",
    ),
    Variable("n_finite", _SCALED, "networks whose kernel is finite", "1", 0, missing="cell missing", dtype="int64"),
)

DISPERSION_THEORY = (
    Variable("ntk_ratio_exponential", ARCHITECTURE, "exp(5λ)", "1", 1.0, missing="cell missing"),
    Variable("ntk_ratio_limit", _PARTS, "limit of R in its phase, L, M → ∞ at fixed λ", "1", 1.0, missing=_NOT_RELU),
    Variable(
        "ntk_ratio_finite_sum", _PARTS, "R by sums over layers, leading order in 1/M", "1", 1.0, missing=_NOT_RELU
    ),
    Variable("ntk_ratio_exact", _PARTS, "R by draws of the exact law of Θ(x,x)", "1", 1.0, missing=_NOT_RELU),
    Variable("ntk_ratio_exact_error", _PARTS, "standard error of ntk_ratio_exact", "1", 0.0, missing=_NOT_RELU),
    Variable("log_ntk_variance_exact", _PARTS, "Var log Θ(x,x) by draws of the exact law", "1", 0.0, missing=_NOT_RELU),
    Variable(
        "log_ntk_variance_exact_error", _PARTS, "standard error of log_ntk_variance_exact", "1", 0.0, missing=_NOT_RELU
    ),
)

DISPERSION = File(
    "dispersion.nc",
    "NTK Atlas: dispersion of the kernel at initialization",
    (*_PAIRS, *THEORY),
    {
        "Kernels of untrained networks, in `dispersion.nc`": DISPERSION_ESTIMATES,
        "Theory beside them": DISPERSION_THEORY,
    },
)

KERNEL_VARIANTS_VARIABLES = (
    Variable(
        "variant_distance",
        ("variant", "depth", "init_scale", "width", "network"),
        "relative distance ‖Θ̂ − Θ‖_F / ‖Θ‖_F of the kernel of a network from the infinite kernel of the variant",
        valid_min=0.0,
        missing="never",
    ),
)
KERNEL_VARIANTS = File(
    "kernel_variants.nc",
    "NTK Atlas: kernels of untrained networks beside the infinite kernel of each variant of the NTK",
    ("variant", "depth", "init_scale", "width", "network"),
    {"Untrained networks beside the variants of the NTK, in `kernel_variants.nc`": KERNEL_VARIANTS_VARIABLES},
)
