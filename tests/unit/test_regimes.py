"""Regimes of cells, frontiers and sentences: on planted distances with a known truth."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from dictionary_checks import departures
from pydantic import ValidationError

from ntk_atlas.config import ExperimentSettings, FigureSettings, RegimeThresholds
from ntk_atlas.figures.regime_map import LOOKS, STRIP, draw
from ntk_atlas.folds import N_FOLDS
from ntk_atlas.regimes import (
    REGIMES,
    FirstBreak,
    FrontierStatus,
    Regime,
    counts,
    decide,
    first_break,
    frontier,
    ratio_interval,
    regime_map,
    regimes,
    said_of,
    sentences,
    squared_distances,
)
from ntk_atlas.statistics import effective_cells
from ntk_atlas.study import ConfigError, load_regime_thresholds

FILE = Path(__file__).parents[2] / "config" / "regimes.yaml"
THRESHOLDS = load_regime_thresholds(FILE)
TAU, RHO = THRESHOLDS.distance.value, THRESHOLDS.error_ratio.value
DIMS = ("left_out", "depth", "width", "init_scale", "n_train", "draw", "seed")
WIDTHS, DEPTHS, SCALES, SIZES = (16, 64, 256, 1024), (1, 3), (1.0, 2.0, 3.0), (32, 128, 512)
DISTANCE = "distance_infinite_ntk"


def planted(
    generator: np.random.Generator, log_distance: np.ndarray, *, draws: int, shared: float = 0.0, own: float = 0.2,
    spreads: np.ndarray | float = 1.0, name: str = DISTANCE,
) -> xr.Dataset:  # fmt: skip
    """Squared distances of one network per draw: exp(2 log d + noise), noise of the draw and of the cell."""
    shape = (1, *log_distance.shape, draws, 1)
    noise = shared * generator.standard_normal((1, 1, 1, 1, 1, draws, 1)) + own * generator.standard_normal(shape)
    values = np.exp(2.0 * log_distance[None, ..., None, None] + noise * np.asarray(spreads))
    coords = {"depth": list(DEPTHS), "width": list(WIDTHS), "init_scale": list(SCALES), "n_train": list(SIZES)}
    return xr.Dataset({name: (DIMS, values), f"{name}_scale": (DIMS, np.ones(shape))}, coords=coords)


def power_law(exponent: float, at_64: float = 1.0) -> np.ndarray:
    """log d of d = at_64 (width/64)^exponent in every cell."""
    law = np.log(at_64) + exponent * np.log(np.array(WIDTHS) / 64.0)
    return np.broadcast_to(law[None, :, None, None], (len(DEPTHS), len(WIDTHS), len(SCALES), len(SIZES)))


@pytest.mark.parametrize(
    ("draws", "shared", "own", "least"),
    [(3, 0.0, 0.2, 0.93), (3, 0.2, 0.2, 0.91), (5, 0.2, 0.05, 0.93), (9, 0.2, 0.2, 0.93)],
)
def test_intervals_cover_whatever_draws_do_to_all_cells_alike(draws, shared, own, least):
    """Cells share draws: a pooled spread that took them for independent would cover .81 with three draws."""
    generator, covered = np.random.default_rng(3), []
    for _ in range(60):
        found = ratio_interval(
            planted(generator, power_law(-0.5), draws=draws, shared=shared, own=own), DISTANCE,
            confidence=0.95, uneven=0.01,
        )  # fmt: skip
        truth = np.exp(power_law(-0.5))
        covered.append(((found["low"].values < truth) & (truth < found["high"].values)).mean())
    assert least <= np.mean(covered) <= 0.985


def test_cells_that_spread_unevenly_have_their_own_spread():
    generator, covered = np.random.default_rng(4), []
    spreads = np.array([0.3, 1.0, 1.7, 3.0])[None, None, :, None, None, None, None]
    for _ in range(60):
        found = ratio_interval(
            planted(generator, power_law(-0.5), draws=6, spreads=spreads), DISTANCE, confidence=0.95, uneven=0.01
        )
        truth = np.exp(power_law(-0.5))
        covered.append(((found["low"].values < truth) & (truth < found["high"].values)).mean((0, 2, 3)))
    assert np.mean(covered, 0).min() > 0.92


def test_effective_cells_are_all_cells_if_independent_and_one_if_alike():
    generator = np.random.default_rng(0)
    centred = generator.standard_normal((200, 20, 9))
    centred = centred - centred.mean(-1, keepdims=True)
    assert np.mean([effective_cells(r) for r in centred]) == pytest.approx(20.0, rel=0.1)
    alike = np.broadcast_to(centred[:, :1], centred.shape)
    assert [effective_cells(r) for r in alike] == pytest.approx([1.0] * 200, abs=1e-9)


def test_of_one_draw_seeds_are_the_replicates_and_of_one_network_there_is_no_interval():
    values = np.exp(np.random.default_rng(1).standard_normal((1, 2, 4, 3, 3, 1, 6)))
    coords = {"depth": list(DEPTHS), "width": list(WIDTHS), "init_scale": list(SCALES), "n_train": list(SIZES)}
    squares = xr.Dataset({DISTANCE: (DIMS, values), f"{DISTANCE}_scale": (DIMS, np.ones_like(values))}, coords=coords)
    found = ratio_interval(squares, DISTANCE, confidence=0.95, uneven=0.0)
    assert np.allclose(found["value"], np.exp(0.5 * np.log(values).mean(-1)[0, ..., 0]))
    assert bool((found["high"] < np.inf).all())
    alone = ratio_interval(squares.isel(seed=[0]), DISTANCE, confidence=0.95, uneven=0.0)
    assert bool((alone["low"] == 0.0).all()) and bool(np.isinf(alone["high"]).all())


def cell(**numbers: tuple[float, float] | float) -> xr.Dataset:
    """One cell with the ends of its intervals; shares of diverged and unfinished networks are 0 unless given."""
    found = xr.Dataset({"diverged": ("depth", [0.0]), "unfinished": ("depth", [0.0])})
    for name, ends in numbers.items():
        if isinstance(ends, tuple):
            found[f"{name}_low"], found[f"{name}_high"] = (("depth", [end]) for end in ends)
            found[name] = ("depth", [np.sqrt(ends[0] * ends[1])])
        else:
            found[name] = ("depth", [ends])
    return found


LOW, HIGH, WIDE = (0.1, 0.2), (0.5, 0.6), (0.2, 0.5)


@pytest.mark.parametrize(
    ("numbers", "regime"),
    [
        ({"diverged": 0.6, "distance_infinite_ntk": LOW}, Regime.DIVERGED),
        ({"diverged": np.nan}, Regime.MISSING),
        ({"unfinished": 0.6, "distance_linearized": LOW, "distance_own_ntk": HIGH}, Regime.FINITE_TIME),
        ({"unfinished": 0.6, "distance_linearized": HIGH}, Regime.FEATURES_UNFINISHED),
        ({"unfinished": 0.6, "distance_linearized": WIDE}, Regime.NOT_TRAINED),
        ({"distance_infinite_ntk": LOW, "distance_own_ntk": HIGH}, Regime.INFINITE_NTK),
        ({"distance_infinite_ntk": HIGH, "distance_own_ntk": LOW}, Regime.OWN_NTK),
        ({"distance_infinite_ntk": WIDE, "distance_own_ntk": LOW}, Regime.OWN_NTK_AT_LEAST),
        ({"distance_own_ntk": LOW}, Regime.OWN_NTK_AT_LEAST),  # a network without an infinite kernel
        ({"distance_linearized": LOW, "distance_own_ntk": HIGH}, Regime.FINITE_TIME),
        ({"distance_linearized": HIGH, "error_ratio": (0.5, 0.8)}, Regime.FEATURES_BETTER),
        ({"distance_linearized": HIGH, "error_ratio": (0.95, 1.05)}, Regime.FEATURES_NO_DIFFERENT),
        ({"distance_linearized": HIGH, "error_ratio": (1.2, 1.3)}, Regime.FEATURES_WORSE),
        ({"distance_linearized": HIGH, "error_ratio": (0.8, 1.2)}, Regime.FEATURES_UNDECIDED),
        ({"distance_own_ntk": HIGH, "error_ratio": (0.5, 0.8)}, Regime.FEATURES_BETTER),  # none was linearized
        ({"distance_linearized": WIDE, "distance_own_ntk": WIDE, "distance_infinite_ntk": HIGH}, Regime.UNDECIDED),
        ({"distance_linearized": (0.0, np.inf)}, Regime.UNDECIDED),  # one draw of one network
    ],
)
def test_the_first_rule_that_applies_is_the_regime(numbers, regime):
    assert Regime(int(decide(cell(**numbers), THRESHOLDS)[0])) is regime
    assert regime.words


@pytest.mark.parametrize(
    ("numbers", "link"),
    [
        ({"diverged": np.nan}, FirstBreak.MISSING),
        ({"diverged": 0.6}, FirstBreak.DIVERGED),
        ({"distance_infinite_ntk": LOW, "distance_linearized": HIGH}, FirstBreak.NOTHING),
        ({"distance_own_ntk": LOW}, FirstBreak.NOTHING),  # a network without an infinite kernel
        ({"distance_infinite_ntk": HIGH, "distance_own_ntk": LOW}, FirstBreak.KERNEL_RANDOM),
        ({"distance_infinite_ntk": WIDE, "distance_own_ntk": LOW}, FirstBreak.UNDECIDED),
        (
            {"distance_infinite_ntk": HIGH, "distance_own_ntk": HIGH, "distance_linearized": HIGH},
            FirstBreak.KERNEL_MOVES,
        ),
        ({"unfinished": 0.6, "distance_linearized": HIGH}, FirstBreak.KERNEL_MOVES),
        ({"unfinished": 0.6, "distance_linearized": LOW, "distance_own_ntk": HIGH}, FirstBreak.NOT_TRAINED),
        ({"unfinished": 0.6, "distance_own_ntk": HIGH}, FirstBreak.NOT_TRAINED),
        ({"distance_linearized": LOW, "distance_own_ntk": HIGH}, FirstBreak.NOT_TRAINED),
        ({"distance_own_ntk": WIDE, "error_ratio": (1.2, 1.3)}, FirstBreak.ERROR),
        ({"distance_own_ntk": WIDE, "error_ratio": (0.9, 1.3)}, FirstBreak.UNDECIDED),
    ],
)
def test_what_breaks_first(numbers, link):
    assert FirstBreak(int(first_break(cell(**numbers), THRESHOLDS)[0])) is link
    assert link.words


@pytest.mark.parametrize("draws", [3, 6])
@pytest.mark.parametrize("shared", [0.0, 0.2])
def test_no_more_than_one_label_in_twenty_is_wrong(draws, shared):
    """Truth at, beside and far from the threshold, in distance and error ratio: labels that contradict it."""
    generator, wrong, decided = np.random.default_rng(5), 0, 0
    log_distance = np.log(TAU) + np.linspace(-1.0, 1.0, 72).reshape(2, 4, 3, 3)
    log_ratio = generator.permutation(np.linspace(-0.6, 0.6, 72)).reshape(2, 4, 3, 3)
    noise = {"draws": draws, "shared": shared}
    for _ in range(30):
        found = xr.Dataset({name: (DIMS[1:5], np.zeros((2, 4, 3, 3))) for name in ("diverged", "unfinished")})
        asked = {"confidence": 0.95, "uneven": 0.01}
        planted_numbers = (("distance_own_ntk", log_distance, True), ("error_ratio", 0.5 * log_ratio, False))
        for name, truth, root in planted_numbers:
            ends = ratio_interval(planted(generator, truth, name=name, **noise), name, root=root, **asked)
            for key, end in (("value", ""), ("low", "_low"), ("high", "_high")):
                found[f"{name}{end}"] = DIMS[1:5], ends[key].values
        labels = decide(found, THRESHOLDS).values
        lazy = log_distance < np.log(TAU)
        truth = np.select([log_ratio < -np.log(RHO), log_ratio > np.log(RHO)], [4, 6], 5)
        holds, learns = labels == Regime.OWN_NTK_AT_LEAST, (labels >= 4) & (labels <= 7)
        wrong += int((holds & ~lazy).sum() + (learns & lazy).sum())
        wrong += int((learns & ~lazy & (labels != 7) & (labels != truth)).sum())
        decided += int((labels != Regime.UNDECIDED).sum())
    assert wrong <= 0.05 * 30 * 72
    assert decided > 0.3 * 30 * 72, "labels are given"


@pytest.mark.parametrize("draws", [3, 6])
def test_the_frontier_is_where_the_law_meets_the_threshold(draws):
    generator, covered = np.random.default_rng(6), []
    star = 64.0 * (TAU / 1.0) ** (1.0 / -0.5)
    for _ in range(40):
        found = frontier(planted(generator, power_law(-0.5), draws=draws, shared=0.2), DISTANCE, THRESHOLDS)
        assert set(np.unique(found["status"])) <= {FrontierStatus.FOUND, FrontierStatus.NOT_MONOTONE}
        there = found["status"].values == FrontierStatus.FOUND
        covered.append(((found["frontier_low"] < star) & (star < found["frontier_high"])).values[there].mean())
        assert np.isnan(found["frontier"].values[~there]).all()
    assert 0.92 <= np.mean(covered) <= 0.99


@pytest.mark.parametrize(
    ("exponent", "at_64", "status"),
    [
        (-0.5, 1.0, FrontierStatus.FOUND),
        (-0.5, 2.0, FrontierStatus.EXTRAPOLATED),  # at 64 · 36 = 2,350
        (-0.5, 9.0, FrontierStatus.TOO_FAR),
        (-0.5, 0.05, FrontierStatus.HOLDS_ON_GRID),
        (0.0, 1.0, FrontierStatus.NO_TREND),
        (0.5, 1.0, FrontierStatus.NOT_MONOTONE),
    ],
)
def test_what_becomes_of_a_frontier(exponent, at_64, status):
    squares = planted(np.random.default_rng(7), power_law(exponent, at_64), draws=6, own=0.02)
    found = frontier(squares, DISTANCE, THRESHOLDS)
    assert (found["status"] == int(status)).mean() > 0.9
    given = status in (FrontierStatus.FOUND, FrontierStatus.EXTRAPOLATED)
    assert bool(np.isfinite(found["frontier"]).any()) == given and status.words
    few = frontier(squares.isel(width=[0, 1]), DISTANCE, THRESHOLDS)
    assert bool((few["status"] == int(FrontierStatus.TOO_FEW)).all())


def test_up_to_how_many_samples_theory_holds():
    law = np.log(0.1) + 0.5 * np.log(np.array(SIZES) / 32.0)
    log_distance = np.broadcast_to(law[None, None, None, :], (2, 4, 3, 3))
    squares = planted(np.random.default_rng(8), log_distance, draws=6, own=0.02)
    found = frontier(squares, DISTANCE, THRESHOLDS, along="n_train")
    assert found["frontier"].dims == ("depth", "width", "init_scale")
    assert np.allclose(found["frontier"], 32.0 * (TAU / 0.1) ** 2, rtol=0.1)
    assert np.allclose(found["exponent"], 0.5, atol=0.05)


def test_the_interval_of_a_frontier_is_where_the_mean_line_is_not_told_from_the_threshold():
    """Slow twin of the quadratic: the same set, found on a fine grid from lines fitted draw by draw."""
    squares = planted(np.random.default_rng(9), power_law(-0.5), draws=6)
    only = squares.isel(depth=[0], init_scale=[0], n_train=[0])
    found = frontier(only, DISTANCE, THRESHOLDS).squeeze()
    logs = 0.5 * np.log(only[DISTANCE].values[0, 0, :, 0, 0, :, 0])
    lines = np.array([np.polyfit(np.log(WIDTHS), column, 1) for column in logs.T])
    x = np.linspace(np.log(20), np.log(20_000), 200_001)
    on_line = lines[:, :1] * x + lines[:, 1:]
    inside = abs(on_line.mean(0) - np.log(TAU)) <= 2.5705818 * on_line.std(0, ddof=1) / np.sqrt(6)  # t of 5 at .975
    assert np.exp(x[inside][[0, -1]]) == pytest.approx(
        [float(found["frontier_low"]), float(found["frontier_high"])], rel=1e-4
    )


def experiment(regression: dict | None = None, **training: object) -> ExperimentSettings:
    return ExperimentSettings.model_validate(
        {
            "dataset": {"source": "digits", "task": "binary"},
            "grid": {
                "depth": [1],
                "width": [16, 64, 256],
                "init_scale": [2.0],
                "n_train": [64],
                "draws": 5,
                "seeds": 2,
            },
            "training": {"initial_output": "subtract", **training},
            "regression": {"predictors": ["linearized", "ntk_init", "infinite_ntk"], **(regression or {})},
        }
    )


def cube_of(predictions: dict[str, np.ndarray]) -> xr.Dataset:
    """The cube of networks and predictors with these outputs, and targets of zero."""
    dims = ("depth", "width", "init_scale", "n_train", "draw", "seed")
    shape = (1, 3, 1, 1, 5, 2)
    coords = {"depth": [1], "width": [16, 64, 256], "init_scale": [2.0], "n_train": [64], "ridge": ["zero", "tuned"]}
    cube = xr.Dataset(coords=coords)
    cube["status"] = dims, np.zeros(shape, dtype=np.int8)
    size = np.full((5, N_FOLDS), 2)
    cube["test_fold_size"] = ("draw", "test_fold"), size
    cube["shared_test"], cube["shared_train"] = 0.0, ("n_train", [0.0])
    for name, values in predictions.items():
        square = (values**2).mean(-1)
        of_kernel = name in ("ntk_init", "infinite_ntk")
        array = np.stack([square, 2.0 * square], -1) if of_kernel else square
        cube[f"test_mse_{name}"] = (*dims, "ridge") if of_kernel else dims, array
        if name != "network":
            apart = np.sqrt(((predictions["network"] - values) ** 2).mean(-1) / square)
            own = {"linearized": "linearized", "ntk_init": "own_ntk", "infinite_ntk": "infinite_ntk"}[name]
            cube[f"distance_{own}"] = dims, apart
    return cube


def outputs(generator: np.random.Generator, apart: dict[str, float]) -> dict[str, np.ndarray]:
    """Outputs on 64 test samples: the network's, and predictors this share of its size apart."""
    network = generator.standard_normal((1, 3, 1, 1, 5, 2, 64))
    noise = {name: share * generator.standard_normal(network.shape) for name, share in apart.items()}
    return {"network": network, **{name: network + own for name, own in noise.items()}}


def test_distances_are_of_functions_in_units_of_the_predictors_own_error():
    generator = np.random.default_rng(10)
    said = outputs(generator, {"linearized": 0.1, "ntk_init": 0.15, "infinite_ntk": 1.0})
    cube = cube_of(said)
    squares = squared_distances(cube, experiment())
    found = ratio_interval(squares, "distance_own_ntk", confidence=0.95, uneven=0.0)
    apart = ((said["network"] - said["ntk_init"]) ** 2).mean((-2, -1)) / (said["ntk_init"] ** 2).mean((-2, -1))
    assert np.allclose(found["value"].values[0, :, 0, 0], np.sqrt(np.exp(np.log(apart).mean(-1)))[0, :, 0, 0])
    labels = regimes(cube, experiment(), THRESHOLDS)["regime"].values
    assert set(labels.ravel()) == {int(Regime.OWN_NTK)}
    cube["status"][:] = 1
    assert set(regimes(cube, experiment(), THRESHOLDS)["regime"].values.ravel()) == {int(Regime.FINITE_TIME)}
    cube["status"][..., 0] = 2
    cube["status"][..., :4, :] = 2
    labels = regimes(cube, experiment(), THRESHOLDS)["regime"].values
    assert set(labels.ravel()) == {int(Regime.DIVERGED)}


def test_kernels_of_networks_with_their_initial_output_say_nothing_of_them():
    generator = np.random.default_rng(11)
    cube = cube_of(outputs(generator, {"linearized": 0.1, "ntk_init": 0.3, "infinite_ntk": 1.0}))
    kept = squared_distances(cube, experiment(initial_output="keep"))
    assert set(kept.data_vars) == {
        "distance_linearized",
        "distance_linearized_scale",
        "error_ratio",
        "error_ratio_scale",
    }


@pytest.mark.parametrize(
    ("predictors", "kept", "message"),
    [
        (["nngp"], "subtract", "no predictor is of NTK theory: add linearized, ntk_init or infinite_ntk to regression"),
        (["ntk_init"], "keep", "set training.initial_output: subtract, or add linearized .*predictor_center: both"),
        (["ntk_init"], "subtract", "an older version wrote it; run its study again"),
    ],
)
def test_what_a_regime_lacks_is_said_with_the_keys_that_add_it(predictors, kept, message):
    cube = cube_of(outputs(np.random.default_rng(11), {}))
    with pytest.raises(ValueError, match=rf"no regime can be told: .*{message}"):
        regimes(cube, experiment({"predictors": predictors}, initial_output=kept), THRESHOLDS)


def test_sentences_have_the_numbers_of_the_map():
    generator = np.random.default_rng(12)
    squares = planted(generator, power_law(-0.5), draws=6, own=0.05)
    own = planted(generator, power_law(-1.0, at_64=0.5), draws=6, own=0.05, name="distance_own_ntk")
    better = planted(generator, power_law(0.3, at_64=0.5), draws=6, own=0.05, name="error_ratio")
    cells = {name: (DIMS[1:5], np.zeros((2, 4, 3, 3))) for name in ("diverged", "unfinished")}
    found = xr.Dataset(cells, coords={dim: squares[dim] for dim in DIMS[1:5]})
    for dataset, name in ((squares, DISTANCE), (own, "distance_own_ntk"), (better, "error_ratio")):
        ends = ratio_interval(dataset, name, confidence=0.95, uneven=0.01, root=name != "error_ratio")
        found = found.assign({f"{name}{e}": ends[k] for k, e in (("value", ""), ("low", "_low"), ("high", "_high"))})
    found["regime"] = decide(found, THRESHOLDS)
    fronts = frontier(squares, DISTANCE, THRESHOLDS)
    said = sentences(found, fronts, THRESHOLDS, 6)
    number = counts(found)
    holds = sum(n for regime, n in number.items() if regime.holds)
    assert said[0].startswith(f"NTK theory holds in {holds} of 72 cells")
    first = fronts.isel(depth=0, init_scale=0, n_train=0)
    ends = [f"{float(first[name]):.0f}" for name in ("frontier", "frontier_low", "frontier_high")]
    assert f"depth 1, σ_w² = 1, n = 32 the infinite NTK holds from width {ends[0]} [{ends[1]}, {ends[2]}] on" in said[1]
    best = found["error_ratio"].where(found["regime"] == int(Regime.FEATURES_BETTER))
    (beaten,) = [line for line in said if "beat their own kernel" in line]
    assert f"in {number[Regime.FEATURES_BETTER]} cells" in beaten and f": {float(best.min()):.2f} [" in beaten
    assert len(said) <= 7 and all(line.endswith(".") for line in said)


def test_the_map_has_the_numbers_of_the_file_and_says_the_finding():
    generator = np.random.default_rng(13)
    said = outputs(generator, {"linearized": 0.1, "ntk_init": 0.15})
    halving = np.array([0.9, 0.45, 0.2])[:, None, None, None, None, None]  # from width 16 to 256
    said["infinite_ntk"] = said["network"] + halving[None] * generator.standard_normal(said["network"].shape)
    cube = cube_of(said)
    found = regime_map(cube, experiment(), THRESHOLDS)
    assert departures(found, REGIMES, besides=("ridge", "shared_train")) == []
    assert found["regime"].attrs["flag_meanings"].split()[:2] == ["missing", "infinite_ntk"]
    assert found["distance_infinite_ntk"].attrs["units"] == "1" and len(said_of(found)) >= 2
    figure = draw(found, FigureSettings())
    texts = [text.get_text() for text in figure.axes[0].texts]
    for width in found["width"].values:
        cell = found.sel(width=width).squeeze()
        value, low, high = (float(cell[f"{DISTANCE}{end}"]) for end in ("", "_low", "_high"))
        assert f"{value:.2f} [{low:.2f}, {high:.2f}]" in texts
        assert LOOKS[Regime(int(cell["regime"]))][1] in texts
        link = FirstBreak(int(cell["breaks_first"]))
        assert link not in STRIP or STRIP[link][1] in texts
    title = figure.get_suptitle()
    assert said_of(found)[0].split(" (")[0] in title.replace("\n", " ")
    assert f"{float(found['frontier_infinite_ntk'].squeeze()):.0f} [" in title
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any(Regime.INFINITE_NTK.words in text for text in legend)
    assert any(FirstBreak.KERNEL_RANDOM.words in text for text in legend)


def test_networks_with_their_initial_output_have_a_map_beside_their_linearization_alone():
    generator = np.random.default_rng(14)
    cube = cube_of(outputs(generator, {"linearized": 1.5, "ntk_init": 0.1}))
    found = regime_map(cube, experiment(initial_output="keep"), THRESHOLDS)
    assert set(found["regime"].values.ravel()) <= {int(r) for r in Regime if r.learns}
    assert "frontier_infinite_ntk" not in found and said_of(found)[0].startswith("NTK theory holds in 0 of 3 cells")
    assert draw(found, FigureSettings()).get_suptitle().startswith("NTK theory holds in 0 of 3 cells")


def test_a_network_without_an_infinite_kernel_has_the_frontier_of_its_own():
    generator = np.random.default_rng(15)
    said = outputs(generator, {"linearized": 0.1})
    falling = np.array([0.9, 0.3, 0.1])[:, None, None, None, None, None]
    said["ntk_init"] = said["network"] + falling[None] * generator.standard_normal(said["network"].shape)
    found = regime_map(cube_of(said), experiment(), THRESHOLDS)
    (line,) = [line for line in said_of(found) if "holds from width" in line]
    assert "each network's own NTK holds from width" in line and "in theory −1" in line
    assert not any("infinite" in each for each in said_of(found)), "there is none"
    assert f"{float(found['frontier_own_ntk'].squeeze()):.0f} [" in line and "infinite NTK holds from" not in line


def test_every_regime_has_a_look_of_its_own_without_colours_too():
    there = [regime for regime in Regime if regime is not Regime.MISSING]
    assert set(LOOKS) == set(Regime)
    assert len({letter for _, letter in STRIP.values()}) == len(STRIP)
    assert len({LOOKS[regime][1] for regime in there}) == len({LOOKS[regime][0] for regime in there}) == len(there)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance": {"value": 0.0, "reason": "none at all"}}, "distance: 0 is no distance"),
        ({"error_ratio": {"value": 0.9, "reason": "none at all"}}, r"leaves no ratio that is no different: give 1 or"),
        ({"most_diverged": {"value": 1.5, "reason": "none at all"}}, "most_diverged: 1.5 is no share"),
    ],
)
def test_thresholds_that_contradict_themselves_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        RegimeThresholds.model_validate(THRESHOLDS.model_dump() | change)


def test_a_file_of_thresholds_says_what_is_wrong_with_it(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(FILE.read_text().replace("error_ratio:", "error_ration:"))
    with pytest.raises(
        ConfigError, match=r"mine\.yaml, line \d+: error_ration: unknown key; did you mean `error_ratio`"
    ):
        load_regime_thresholds(file)
    with pytest.raises(ConfigError, match="there is no file of thresholds"):
        load_regime_thresholds(tmp_path / "none.yaml")
