"""What the page of a study shows, as plain values and arrays: slices of its cubes and maps, means with their intervals.

Everything that the page can colour a map by, or draw along an axis, is a *layer*: an array over named axes with the
ends of its interval, as the file has them or as the mean over networks. The page itself computes nothing more.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn
import xarray as xr
import yaml
from matplotlib.colors import to_hex

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.dictionary import KERNEL_MEASURES, TRAINING_CURVES
from ntk_atlas.cubes.files import compared_ridge, experiment_settings, scaling_settings, stand_ins_of
from ntk_atlas.cubes.scaling import laws_of
from ntk_atlas.cubes.variables import CELL as NETWORK
from ntk_atlas.cubes.variables import COORDINATES
from ntk_atlas.figures.parts.curves import replicate_interval
from ntk_atlas.figures.parts.look import INK, color_map, predictor_styles, readable_subset
from ntk_atlas.figures.regime_map import LOOKS
from ntk_atlas.regimes.distances import CELL
from ntk_atlas.regimes.frontiers import FrontierStatus
from ntk_atlas.regimes.map_file import said_of
from ntk_atlas.regimes.regime import Regime

MOST_CELLS = 10_000
"""Cells of an experiment that the page holds; of larger grids it has every other value of the longest axes."""
_FEW_CELLS = 1_000
"""Up to so many cells every checkpoint and mode is kept."""
_MANY = {"epoch": 6, "mode": 16}
"""Values kept of an axis where there are more cells."""
_SPECTRA = 4
"""Checkpoints whose spectrum is kept."""
_ENDS = ("_low", "_high")
_SHADES = 32
_GIVEN = (FrontierStatus.FOUND, FrontierStatus.EXTRAPOLATED)
"""Frontiers that are given as numbers."""
_METRICS = {"test_mse": "test error (mean square)", "test_error": "test error (share of wrong classes)"}

Layer = dict[str, Any]
"""`label`, `units`, `group`, `dims`, and the arrays `value`, `low`, `high` of which the ends may be missing."""


def study_contents(
    name: str,
    experiments: Sequence[Mapping[str, Any]],
    claims: pd.DataFrame | None,
    *,
    style: FigureSettings,
) -> dict[str, Any]:
    """Everything on the page of a study.

    Args:
        name: of the study.
        experiments: what `experiment_contents` gives of each, in the order of the config.
        claims: the verdicts of the study; None if it judges no claims.
        style: the palette.

    Returns:
        Plain values, and NumPy arrays where there are many numbers.
    """
    rows = [] if claims is None else [_plain(row) for row in claims.to_dict("records")]
    shades = seaborn.color_palette(color_map(style), _SHADES)
    return {
        "study": name,
        "experiments": list(experiments),
        "claims": rows,
        "judges": claims is not None,
        "shades": [to_hex(color) for color in shades],
    }


def experiment_contents(
    name: str,
    cube: xr.Dataset,
    regimes: xr.Dataset | None = None,
    laws: xr.Dataset | None = None,
    *,
    style: FigureSettings,
    folder: str = "",
) -> dict[str, Any]:
    """What the page shows of one experiment.

    Args:
        name: of the experiment.
        cube: its cube.
        regimes: its map of regimes, if it has one.
        laws: its scaling laws, if it has any.
        style: the palette.
        folder: where its files lie, for code that reads them.

    Returns:
        `axes` (values of every axis), `layers` by name, `flags` of layers that are flags, `frontiers`, `predictors`
        with their looks, `counts` of what became of networks and solves, sentences, thresholds, the config, what is
        missing and which key adds it, and notes.
    """
    limits = _limits(cube)
    note = readable_subset(cube, limits).note
    shown = {dim: _spread(cube.sizes[dim], most) for dim, most in limits.items()}
    cube = cube.isel(shown)
    regimes = None if regimes is None else regimes.isel(shown)
    laws = None if laws is None else laws.isel({dim: at for dim, at in shown.items() if dim in laws.dims})
    settings = experiment_settings(cube) if "config" in cube.attrs else None
    confidence = scaling_settings(cube).confidence
    layers = _layers(cube, regimes, confidence)
    predictors = [
        str(p) for p in cube["predictor"].values if any(layer.get("predictor") == p for layer in layers.values())
    ]
    used = {dim for layer in layers.values() for dim in layer["dims"]}
    return {
        "name": name,
        "folder": folder or f"results/{name}",
        "axes": {dim: _axis(cube, dim) for dim in (*CELL, "epoch", "ridge", "mode", "checkpoint") if dim in used},
        "phase": [str(p) for p in cube["phase"].values] if "phase" in cube.coords else [],
        "frontiers": {} if regimes is None else _frontiers(regimes),  # these, and then the first layer, are drawn first
        "layers": layers,
        "flags": {key: _flags(key, regimes) for key, layer in layers.items() if layer["kind"] == "flags"},
        "laws": {} if laws is None else _laws(laws, predictors),
        "predictors": _predictors(cube, predictors, style),
        "counts": _counts(cube, predictors),
        "ridge": compared_ridge(settings) if settings is not None else "zero",
        "confidence": confidence,
        "replicates": "draws" if cube.sizes["draw"] > 1 else "seeds of one draw",
        "n_networks": int(cube["status"].size),
        "draws": cube.sizes["draw"],
        "seeds": cube.sizes["seed"],
        "sentences": [] if regimes is None else said_of(regimes),
        "thresholds": {} if regimes is None else _thresholds(regimes, layers),
        "config": _config(settings),
        "settings": _settings(settings),
        "missing": list(_missing(cube, regimes, settings)),
        "notices": str(cube.attrs.get("notices", "")).splitlines() + ([note] if note else []),
        "made": {key: str(cube.attrs[key]) for key in ("versions", "git_revision", "data_digest") if key in cube.attrs},
    }


def _limits(cube: xr.Dataset) -> dict[str, int]:
    """Values to keep of each axis of the grid, so that there are no more than `MOST_CELLS` cells."""
    kept = {dim: cube.sizes[dim] for dim in CELL}
    while math.prod(kept.values()) > MOST_CELLS:
        longest = max(kept, key=lambda dim: kept[dim])
        kept[longest] = max(2, math.ceil(kept[longest] / 2))
    return kept


def _spread(size: int, most: int) -> np.ndarray:
    """Places of `most` of `size` values, first and last among them."""
    return np.unique(np.round(np.linspace(0, size - 1, min(size, most))).astype(int))


def _axis(cube: xr.Dataset, dim: str) -> dict[str, Any]:
    if dim == "checkpoint":
        return {"label": "epoch", "values": cube["epoch"].values[_spread(cube.sizes["epoch"], _SPECTRA)].tolist()}
    values = cube[dim].values[_places(cube, dim)] if dim in _MANY else cube[dim].values
    labels = {"init_scale": "init scale σ_w²", "n_train": "training samples n", "mode": "mode"}
    return {"label": labels.get(dim, COORDINATES[dim].name), "values": values.tolist()}


def _places(cube: xr.Dataset, dim: str) -> np.ndarray:
    """Places kept of an axis that large grids have fewer values of."""
    many = math.prod(cube.sizes[d] for d in CELL) > _FEW_CELLS
    if dim == "mode":  # eigenvalues fall as powers: places are logarithmic
        size, most = cube.sizes[dim], _MANY[dim] if many else 32
        return np.unique(np.round(np.geomspace(1, size, min(size, most))).astype(int) - 1)
    return _spread(cube.sizes[dim], _MANY[dim] if many else cube.sizes[dim])


def _layers(cube: xr.Dataset, regimes: xr.Dataset | None, confidence: float) -> dict[str, Layer]:
    found: dict[str, Layer] = {}
    if regimes is not None:
        found |= dict(_map_layers(regimes))
    for metric, words in _METRICS.items():
        for predictor in map(str, cube["predictor"].values):
            key = f"{metric}_{predictor}"
            if key in cube:
                label = f"{words}, {predictor_label(predictor, stand_ins_of(cube))}"
                more = {"group": "errors", "metric": metric, "predictor": predictor, "label": label}
                found[key] = _mean(cube[key], confidence) | more
    for row in (*TRAINING_CURVES, *KERNEL_MEASURES):
        if row.name in cube and set(cube[row.name].dims) == {*NETWORK, "epoch"}:
            values = cube[row.name].isel(epoch=_places(cube, "epoch"))
            group = "kernel along training" if row in KERNEL_MEASURES else "training"
            found[row.name] = _mean(values, confidence, single=True) | {"group": group}
    for key in map(str, cube.data_vars):
        values = cube[key]
        if set(values.dims) == set(NETWORK) and key not in found and "flag_values" not in values.attrs:
            found[key] = _mean(values, confidence, logarithmic=False) | {"group": "one number a network"}
    if "kernel_spectrum" in cube and set(cube["kernel_spectrum"].dims) == {*NETWORK, "epoch", "mode"}:
        found["kernel_spectrum"] = _spectrum(cube)
    return {key: layer for key, layer in found.items() if layer["kind"] == "flags" or np.isfinite(layer["value"]).any()}


def _map_layers(regimes: xr.Dataset) -> Iterator[tuple[str, Layer]]:
    """Variables of a map over its cells, by what their attributes say of them; flags first."""
    over_cells = [str(key) for key in regimes.data_vars if set(regimes[key].dims) == set(CELL)]
    for key in sorted(over_cells, key=lambda name: "flag_values" not in regimes[name].attrs):
        if key.endswith(_ENDS) and key.rpartition("_")[0] in regimes:
            continue
        values = regimes[key].transpose(*CELL)
        kind = "flags" if "flag_values" in values.attrs else "number"
        layer = {
            "kind": kind,
            "label": str(values.attrs.get("long_name", key)),
            "units": str(values.attrs.get("units", "1")),
            "group": "regimes",
            "file": "regimes",
            "dims": list(CELL),
            "value": values.values.astype(np.int8 if kind == "flags" else np.float64),
        }
        for end in _ENDS:
            if f"{key}{end}" in regimes:
                layer[end[1:]] = regimes[f"{key}{end}"].transpose(*CELL).values.astype(np.float64)
        yield key, layer


def _mean(values: xr.DataArray, confidence: float, *, single: bool = False, logarithmic: bool | None = None) -> Layer:
    """Mean over networks with its interval over draws, as figures have it: of logarithms where it has no upper bound.

    Args:
        values: over draw, and whatever else.
        confidence: coverage of the interval.
        single: keep float32.
        logarithmic: geometric mean; by default of what is not below zero and has no largest value.
    """
    attributes = values.attrs
    if logarithmic is None:
        logarithmic = attributes.get("valid_min", 0.0) == 0.0 and "valid_max" not in attributes
    ends, _ = replicate_interval(values, logarithmic=logarithmic, confidence=confidence)
    dims = [dim for dim in (*CELL, "epoch", "ridge") if dim in ends[0].dims]
    with np.errstate(over="ignore"):  # ends of few draws may be beyond float32
        kept = [end.transpose(*dims).values.astype(np.float32 if single else np.float64) for end in ends]
    return {
        "kind": "number",
        "label": str(attributes.get("long_name", values.name)),
        "units": str(attributes.get("units", "1")),
        "dims": dims,
        "logarithmic": logarithmic,
        "file": "cube",
        **dict(zip(("value", "low", "high"), kept, strict=True)),
    }


def _spectrum(cube: xr.Dataset) -> Layer:
    """Geometric mean over networks of the eigenvalues, at a few checkpoints."""
    epochs, modes = _spread(cube.sizes["epoch"], _SPECTRA), _places(cube, "mode")
    values = cube["kernel_spectrum"].isel(epoch=epochs, mode=modes).rename(epoch="checkpoint")
    logs = xr.apply_ufunc(np.log, values.where(values > 0.0).astype(np.float64)).mean(["draw", "seed"])
    mean = xr.apply_ufunc(np.exp, logs).transpose(*CELL, "checkpoint", "mode")
    return {
        "kind": "number",
        "label": str(values.attrs.get("long_name", "eigenvalues")),
        "units": "kernel",
        "group": "spectrum",
        "file": "cube",
        "dims": list(mean.dims),
        "logarithmic": True,
        "value": mean.values.astype(np.float32),
    }


def _flags(key: str, regimes: xr.Dataset | None) -> list[dict[str, Any]]:
    """Words and looks of each flag of a layer, in the order of the file."""
    assert regimes is not None
    attributes = regimes[key].attrs
    values, names = np.atleast_1d(attributes["flag_values"]), str(attributes["flag_meanings"]).split()
    is_regime = set(names) <= {regime.name.lower() for regime in Regime}
    palette = [to_hex(color) for color in seaborn.color_palette("colorblind", max(len(names), 1))]
    found = []
    for place, (value, meaning) in enumerate(zip(values.tolist(), names, strict=True)):
        words, color, letters = meaning.replace("_", " "), palette[place], "".join(w[0] for w in meaning.split("_"))
        if is_regime:
            regime = Regime[meaning.upper()]
            words, (color, letters) = regime.words, LOOKS[regime]
        open_ = "undecided" in meaning
        color = "#ffffff" if open_ and not is_regime else color
        found.append({"value": value, "words": words, "color": color, "letters": letters, "hatched": open_})
    return found


def _frontiers(regimes: xr.Dataset) -> dict[str, Any]:
    """Frontiers in the width: variables over all axes of a cell but the width, with their ends and status."""
    found = {}
    rest = set(CELL) - {"width"}
    for key in map(str, regimes.data_vars):
        kernel = key.removeprefix("frontier_")
        status = f"frontier_status_{kernel}"
        if kernel == key or key.endswith(_ENDS) or set(regimes[key].dims) != rest or status not in regimes:
            continue
        dims = [dim for dim in CELL if dim != "width"]
        attributes = regimes[status].attrs
        names = str(attributes["flag_meanings"]).split()
        arrays = {
            end: regimes[f"{key}{suffix}"].transpose(*dims).values.astype(np.float64)
            for end, suffix in (("value", ""), ("low", "_low"), ("high", "_high"))
        }
        given = regimes[status].isin([int(status) for status in _GIVEN]).transpose(*dims).values
        arrays = {end: np.where(given, values, np.nan) for end, values in arrays.items()}
        found[key] = {
            "label": str(regimes[key].attrs.get("long_name", key)),
            "dims": dims,
            "status": regimes[status].transpose(*dims).values.astype(np.int8),
            "statuses": dict(zip(map(str, np.atleast_1d(attributes["flag_values"]).tolist()), names, strict=True)),
            **arrays,
        }
    return found


def _laws(laws: xr.Dataset, predictors: Sequence[str]) -> dict[str, Any]:
    """Fitted laws of the metric that the study names: error at each n_train and the exponent with its interval."""
    one = laws_of(laws)
    names = [str(p) for p in one["predictor"].values if str(p) in predictors]
    one = one.sel(predictor=names)
    cell: list[str] = ["predictor", *(dim for dim in CELL if dim != "n_train")]
    exponents = {end: one[f"exponent{end}"].transpose(*cell).values for end in ("", *_ENDS)}
    return {
        "metric": f"test_{one.attrs.get('metric', 'mse')}",
        "ridge": one.attrs.get("ridge", "tuned"),
        "predictors": names,
        "dims": [dim for dim in CELL if dim != "n_train"],
        "line": one["law_error"].transpose(*cell, "n_train").values.astype(np.float32),
        "exponent": exponents[""],
        "exponent_low": exponents["_low"],
        "exponent_high": exponents["_high"],
    }


def _predictors(cube: xr.Dataset, names: Sequence[str], style: FigureSettings) -> list[dict[str, Any]]:
    looks = predictor_styles(names, style)
    return [
        {
            "name": name,
            "label": predictor_label(name, stand_ins_of(cube)),
            "color": "ink" if look.color == INK else look.color,
            "marker": look.marker,
            "dash": [] if isinstance(look.dash, str) else [float(part) * 1.6 for part in look.dash[1]],
        }
        for name, look in looks.items()
    ]


def _counts(cube: xr.Dataset, predictors: Sequence[str]) -> dict[str, Any]:
    """What became of the networks of each cell, and of the solves of each kernel that was regressed there."""
    found = {}
    names = {"status": "networks"} | {f"solve_status_{p}": predictor_label(p, stand_ins_of(cube)) for p in predictors}
    for key, label in names.items():
        if key not in cube or "flag_values" not in cube[key].attrs:
            continue
        values = cube[key]
        flags = np.atleast_1d(values.attrs["flag_values"]).tolist()
        over = [dim for dim in values.dims if dim not in (*CELL, "ridge")]
        counts = xr.concat([(values == flag).sum(over) for flag in flags], "flag")
        dims = [dim for dim in (*CELL, "ridge") if dim in counts.dims]
        found[key] = {
            "label": label,
            "dims": [*dims, "flag"],
            "flags": [word.replace("_", " ") for word in str(values.attrs["flag_meanings"]).split()],
            "value": counts.transpose(*dims, "flag").values.astype(np.int32),
        }
    return found


def _thresholds(regimes: xr.Dataset, layers: Mapping[str, Layer]) -> dict[str, Any]:
    """Thresholds of the regimes with their reasons, and the layers that each is about."""
    given = json.loads(str(regimes.attrs.get("thresholds", "{}")))
    found = {}
    for key, threshold in given.items():
        if isinstance(threshold, dict):
            about = [n for n in layers if n.startswith(key.removeprefix("most_"))]
            # A ratio is taken either way: 1/ρ … ρ.
            both = [1.0 / threshold["value"]] if key.endswith("ratio") else []
            found[key] = threshold | {"about": about, "bounds": [*both, threshold["value"]]}
    return found


def _config(settings: ExperimentSettings | None) -> str:
    """The settings of the experiment as YAML, with its defaults left out; `grid` is for the page to write."""
    if settings is None:
        return ""
    given = settings.model_dump(mode="json", exclude_defaults=True)
    given.pop("grid", None)
    given["dataset"] = {"source": str(settings.dataset.source)} | given.get("dataset", {})
    return str(yaml.safe_dump(given, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100))


def _settings(settings: ExperimentSettings | None) -> dict[str, str]:
    """What one line of the list of experiments says of its settings."""
    if settings is None:
        return {}
    network, training = settings.network, settings.training
    return {
        "data": str(settings.dataset.source),
        "network": str(network.factory or f"{network.architecture}, {network.activation}, {network.parameterization}"),
        "training": f"{training.optimizer}, {training.loss}, at most {training.max_epochs} epochs",
    }


def _missing(
    cube: xr.Dataset, regimes: xr.Dataset | None, settings: ExperimentSettings | None
) -> Iterator[dict[str, str]]:
    """What the page would show and this experiment lacks, with the keys that add it."""

    def lacks(what: str, key: str) -> dict[str, str]:
        return {"what": what, "key": key}

    own = settings is not None and bool(settings.network.factory)
    there = {str(name) for name in cube["predictor"].values}
    if regimes is None:
        keys = "linearized, ntk_init or infinite_ntk in regression.predictors"
        subtract = settings is None or settings.training.initial_output == "subtract"
        yield lacks("regimes and frontiers", keys if subtract else f"{keys}, training.initial_output: subtract")
    if "linearized" not in there:
        yield lacks("the distance of networks from their linearization", "linearized in regression.predictors")
    if "infinite_ntk" not in there:
        word = "a network of your own has no infinite kernel: name a built-in network.architecture"
        yield lacks("the infinite NTK", word if own else "infinite_ntk in regression.predictors")
    if cube.sizes["width"] < 3:
        yield lacks("frontiers in the width: a law needs three widths", "three or more values in grid.width")
    if cube.sizes["n_train"] < 2:
        yield lacks("learning curves: there is a single training size", "more values in grid.n_train")
    if cube.sizes["draw"] < 2:
        yield lacks("intervals for new data: with one draw they are over seeds", "grid.draws: 2 or more")
    if "kernel_drift" not in cube:
        yield lacks("the kernel along training", "training.checkpoints")


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(key): None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()
    }
