"""The measured parts of documents: a page of `docs/studies` with verdicts, numbers and costs, and the lines of README.

Both are made from the files of a study, so that no number is copied by hand.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from ntk_atlas.config.predictors import predictor_label
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.files import predictor_values, read_netcdf, summary_table
from ntk_atlas.judging.evidence import final_values
from ntk_atlas.judging.verdicts import JUDGED, read_verdicts
from ntk_atlas.regimes import said_of
from ntk_atlas.statistics.estimates import from_replicates

MARKERS = "<!-- measured: begin -->", "<!-- measured: end -->"
NEAR = 0.2
"""Half-widths of the interval from which on other rounding is not expected to turn a word into another one."""
OPEN_AND_NEAR = "open and near"
"""What documents say in place of a word that is nearer to another one."""
_MOST_NAMED = 8
_CELL = ("depth", "width", "init_scale")


def measured_part(page: str, text: str, markers: tuple[str, str] = MARKERS) -> str:
    """A document with the part between its markers written anew.

    Raises:
        ValueError: if it has no markers.
    """
    begin, end = markers
    before, first, rest = page.partition(begin)
    _, second, after = rest.partition(end)
    if not (first and second):
        raise ValueError(f"the document has no place for what is measured: add {begin} and {end}")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def readme_markers(study: str) -> tuple[str, str]:
    """Where README has the lines of a study."""
    return f"<!-- measured, {study}: begin -->", f"<!-- measured, {study}: end -->"


def headlines(experiments: Mapping[str, ExperimentSettings], results: Path, tables: Path) -> str:
    """What README says of a study: the verdicts in words, or for a study without claims what its maps say.

    Args:
        experiments: settings of the study's experiments, by name.
        results: folder that has a folder of results for each experiment.
        tables: folder of the tables over all experiments.

    Returns:
        Lines of a list, whose numbers all stand in the study's page.
    """
    if not (tables / "claims.csv").is_file():
        return "\n".join(f"* {line}" for name in experiments for line in _in_short(results / name))
    table, lines = read_verdicts(tables / "claims.csv"), []
    near = table["nearness"] < NEAR
    words = table["verdict"].where(~near, OPEN_AND_NEAR)
    named = table["experiment"].where(~near | (table["verdict"] == "inconclusive"), table["experiment"] + _just(table))
    for word in (*JUDGED, OPEN_AND_NEAR):
        chosen = table.assign(experiment=named)[(words == word) & table["verdict"].isin(JUDGED)]
        found = chosen.groupby("claim", sort=False)["experiment"].agg(list)
        said = "; ".join(f"{claim}: {', '.join(names)}" for claim, names in found.items())
        lines += [f"* **{word}**: {said}"] if said else []
    return "\n".join(lines)


def _just(table: pd.DataFrame) -> pd.Series:
    return " (just " + table["verdict"] + ")"


def _in_short(folder: Path) -> Iterator[str]:
    """What the map says, and how many networks it rests on."""
    yield from _map_says(folder)
    yield _networks(read_netcdf(folder / "cube.nc"))


def _map_says(folder: Path) -> list[str]:
    """The sentences of an experiment's map; none if it has no map."""
    return said_of(read_netcdf(folder / "regimes.nc")) if (folder / "regimes.nc").is_file() else []


def study_page(
    page: str, experiments: Mapping[str, ExperimentSettings], results: Path, tables: Path, machine: str, wall: str = ""
) -> str:
    """A page with its measured part written anew.

    Args:
        page: the page as it is, with `MARKERS`; what is outside of them stays.
        experiments: settings of the study's experiments, by name.
        results: folder that has a folder of results for each experiment.
        tables: folder of the tables over all experiments.
        machine: what it was measured on, in words.
        wall: how long the run took, in words; left out if it is not known.

    Returns:
        The page.

    Raises:
        ValueError: if the page has no markers.
        FileNotFoundError: if a file of the study is not there.
    """
    parts = [_costs(tables / "cost.csv", machine, wall)]
    if (tables / "claims.csv").is_file():
        parts += _verdicts(read_verdicts(tables / "claims.csv"))
    for name, experiment in experiments.items():
        parts += _experiment(name, experiment, results / name)
    return measured_part(page, "\n\n".join(parts))


def _costs(table: Path, machine: str, wall: str) -> str:
    costs = pd.read_csv(table)
    took = f"The run took {wall}. " if wall else ""
    taken = costs["CPU seconds, sum"]
    cpu = f", {_minutes(taken.sum())} of CPU time" if taken.notna().all() else ""
    return (
        f"Measured on {machine}. {took}Its {costs['jobs'].sum():.0f} jobs took "
        f"{_minutes(costs['wall seconds, sum'].sum())} in all{cpu}; the longest "
        f"{_minutes(costs['wall seconds, longest'].max())}, and none held more than "
        f"{costs['peak memory of a job, MiB'].max() / 1024:.1f} GiB."
    )


def _verdicts(table: pd.DataFrame) -> Iterator[str]:
    judged = table[table["verdict"].isin(JUDGED)]
    yield "## Verdicts"
    yield (
        "The number that each verdict turns on, its interval for new data of this kind, where the claim says that it "
        "lies, and how near the verdict is to another word (in half-widths of the interval). Nearer than "
        f"{NEAR}, other rounding or a few more draws may turn it into the other one: it is not stated here, but "
        f"called {OPEN_AND_NEAR}, with the word that `claims.csv` has."
    )
    rows = [
        (
            row.claim, row.experiment, _stated(row.verdict, row.nearness),
            _interval(row.value, row.low, row.high), row.threshold, _number(row.nearness), row.n,
        )
        for row in judged.itertuples()
    ]  # fmt: skip
    yield _table(("claim", "experiment", "verdict", "value", "claimed", "nearness", "n"), rows)
    others = table[~table["verdict"].isin(JUDGED)]
    grouped = others.groupby(["claim", "verdict"], sort=False)["experiment"].agg(list)
    lines = [f"* {claim} {word}: {', '.join(names)}" for (claim, word), names in grouped.items()]
    if lines:
        yield "\n".join(lines)
    yield "What each verdict rests on:"
    yield "\n".join(f"* **{row.claim}**, {row.experiment}: {_one_line(row.reason)}" for row in judged.itertuples())


def _stated(verdict: str, nearness: float) -> str:
    if nearness >= NEAR or math.isnan(nearness):
        return f"**{verdict}**"
    return f"**{OPEN_AND_NEAR}**" + ("" if verdict == "inconclusive" else f" (just {verdict})")


def _experiment(name: str, experiment: ExperimentSettings, folder: Path) -> Iterator[str]:
    cube, said = read_netcdf(folder / "cube.nc"), _map_says(folder)
    parts = [
        *(["What the [map of regimes](../regimes.md) says:", "\n".join(f"* {line}" for line in said)] if said else []),
        _networks(cube),
        *_errors(cube),
        *_drifts(cube),
        *(_laws(read_netcdf(folder / "scaling_laws.nc")) if (folder / "scaling_laws.nc").is_file() else ()),
        *(_dispersion(read_netcdf(folder / "dispersion.nc")) if experiment.dispersion is not None else ()),
    ]
    yield f"## Numbers of `{name}`"
    yield from (part[0].upper() + part[1:] for part in parts)


def _networks(cube: xr.Dataset) -> str:
    lines = summary_table(cube)
    counted = lines[(lines["init_scale"] == "all")]
    parts = [
        f"{row['phase']} {100 * row['share that reached it']:.1f} % of {row['networks']}"
        for _, row in counted.iterrows()
    ]
    return f"networks that reached the training error asked: {', '.join(dict.fromkeys(parts))}"


def _errors(cube: xr.Dataset) -> Iterator[str]:
    """Test MSE of network and kernels at the smallest and the largest n_train."""
    names = [str(name) for name in cube["predictor"].values if f"test_mse_{name}" in cube]
    kernels = [name for name in names if name != "network" and "epoch" not in cube[f"test_mse_{name}"].dims]
    if not kernels:
        return
    sizes = sorted({int(cube["n_train"].min()), int(cube["n_train"].max())})
    yield f"Test MSE at n = {' and '.join(map(str, sizes))} (mean over draws and seeds, kernels at the tuned ridge):"

    def row(place: dict, words: Sequence[str]) -> Iterator[Sequence]:
        for n in sizes:
            found = [_mean(predictor_values(cube, name).sel(n_train=n), place) for name in ["network", *kernels]]
            yield (*words, n, *map(_number, found))

    yield _cells(cube, ("n", "network", *map(predictor_label, kernels)), row)
    if "infinite_ntk" not in kernels:
        return
    yield "Test MSE of the network over that of the infinite NTK, paired by draw, with its interval for further draws:"

    def ratio(place: dict, words: Sequence[str]) -> Iterator[Sequence]:
        for n in sizes:
            yield (*words, n, _network_over_ntk(cube, place, n))

    yield _cells(cube, ("n", "ratio"), ratio)


def _network_over_ntk(cube: xr.Dataset, place: dict, n: int) -> str:
    pair = [_per_draw(predictor_values(cube, name).sel(n_train=n), place) for name in ("network", "infinite_ntk")]
    estimate = from_replicates(pair[0] / pair[1], logarithmic=True)
    return _interval(*estimate.interval(0.95, new_data=False))


def _drifts(cube: xr.Dataset) -> Iterator[str]:
    if "kernel_drift" not in cube or not bool(np.isfinite(cube["kernel_drift"]).any()):
        return
    last = final_values(cube, "kernel_drift").isel(n_train=int(np.argmax(cube["n_train"].values)))
    yield "Relative drift of the kernel at the end of training, at the largest n (geometric mean over networks):"

    def row(place: dict, words: Sequence[str]) -> Iterator[Sequence]:
        yield (*words, _number(_geometric_mean(last.sel(place))))

    yield _cells(cube, ("drift",), row)


def _geometric_mean(values: xr.DataArray) -> float:
    found = values.values[np.isfinite(values.values) & (values.values > 0)]
    return float(np.exp(np.log(found).mean())) if len(found) else math.nan


def _laws(laws: xr.Dataset) -> Iterator[str]:
    mse = laws.sel(metric="mse")
    names = [str(name) for name in mse["predictor"].values]
    yield "Exponents α of test MSE = A n^−α, with their intervals over draws:"

    def row(place: dict, words: Sequence[str]) -> Iterator[Sequence]:
        at = mse.sel(place)
        yield (
            *words,
            *(
                _interval(*(float(at[f"exponent{end}"].sel(predictor=name)) for end in ("", "_low", "_high")))
                for name in names
            ),
        )

    yield _cells(mse, tuple(map(predictor_label, names)), row)
    yield _differences(mse)


def _differences(mse: xr.Dataset) -> str:
    """How many differences of exponents are on which side of zero, by their intervals over draws."""
    low, high = (mse[f"exponent_difference_{end}"] for end in ("low", "high"))
    known = (np.isfinite(low) & np.isfinite(high)).values
    above, below = known & (low > 0).values, known & (high < 0).values
    covering = known & ~above & ~below
    cells = []
    for place in np.argwhere(covering):
        at = {dim: mse[dim].values[i] for dim, i in zip(low.dims, place, strict=True)}
        where = f"depth {at['depth']}, width {at['width']}, σ_w² {at['init_scale']:g}"
        cells.append(f"{predictor_label(str(at['predictor']))} at {where}")
    named = f": {'; '.join(cells)}" if 0 < len(cells) <= _MOST_NAMED else ""
    return (
        f"of {known.sum()} differences of exponents, network minus kernel, {above.sum()} intervals over draws lie "
        f"above zero, {below.sum()} below, and {covering.sum()} cover it{named}"
    )


def _dispersion(dispersion: xr.Dataset) -> Iterator[str]:
    norm = float(dispersion.attrs.get("squared_norm", math.nan))
    yield (
        "Var log Θ(x, x) over untrained networks with its bootstrap interval, all parameters, "
        f"at the largest λ = (depth + 1)/width (‖x‖² = {norm:g}):"
    )
    place = {"depth": int(dispersion["depth"].max()), "width": int(dispersion["width"].min())}
    ratio = (place["depth"] + 1) / place["width"]
    at = dispersion.sel(place | {"parameters": "all"})
    rows = [
        (
            place["depth"], place["width"], f"{ratio:.3g}", f"{scale:g}", str(at["phase"].sel(init_scale=scale).values),
            _interval(*(float(at[f"log_ntk_variance{end}"].sel(init_scale=scale)) for end in ("", "_low", "_high"))),
        )
        for scale in dispersion["init_scale"].values
    ]  # fmt: skip
    yield _table(("depth", "width", "λ", "σ_w²", "phase", "Var log Θ"), rows)


def _cells(data: xr.Dataset, head: Sequence[str], rows: Callable[[dict, Sequence[str]], Iterable[Sequence]]) -> str:
    """A table with some rows for each (depth, width, init_scale)."""
    found = []
    for depth in data["depth"].values:
        for width in data["width"].values:
            for scale in data["init_scale"].values:
                place = dict(zip(_CELL, (depth, width, scale), strict=True))
                found += rows(place, (str(depth), str(width), f"{scale:g}"))
    return _table(("depth", "width", "σ_w²", *head), found)


def _per_draw(values: xr.DataArray, place: dict) -> np.ndarray:
    values = values.sel({dim: at for dim, at in place.items() if dim in values.dims})
    return values.mean([dim for dim in values.dims if dim != "draw"]).values


def _mean(values: xr.DataArray, place: dict) -> float:
    found = _per_draw(values, place)
    return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else math.nan


def _table(head: Sequence[str], rows: Iterable[Sequence]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(str(entry).replace('|', chr(92) + '|') for entry in line)} |" for line in lines)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _interval(value: float, low: float, high: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def _minutes(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 90
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )


def _one_line(text: str) -> str:
    return " ".join(str(text).split())
