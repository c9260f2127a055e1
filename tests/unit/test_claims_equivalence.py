"""Claims C1–C5∞ on planted errors and predictions: supported where it is so, rejected where it is not."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from ntk_atlas.arrays import Status
from ntk_atlas.config import ExperimentSettings
from ntk_atlas.cubes import with_distances
from ntk_atlas.folds import N_FOLDS
from ntk_atlas.judging import Evidence, judge_experiment
from ntk_atlas.study import load_thresholds

THRESHOLDS = load_thresholds(Path(__file__).parents[2] / "config" / "claims" / "equivalence.yaml")
NAMES = ["C1", "C2", "C3", "C4", "C5", "C5∞"]
DEPTH, WIDTH, DRAWS, SEEDS = (1, 2, 3), (64, 128, 256, 1024), 8, 3
NETWORK = ("depth", "width", "init_scale", "n_train", "draw", "seed")
KERNEL = ("depth", "init_scale", "n_train", "draw", "ridge")


def settings(**training) -> ExperimentSettings:
    return ExperimentSettings.model_validate(
        {
            "grid": {
                "depth": DEPTH, "width": WIDTH, "init_scale": (2.0,), "n_train": (16, 32), "draws": DRAWS,
                "seeds": SEEDS,
            },
            "network": {"bias_variance": 0.1},
            "training": {"seed": 1234, "initial_output": "subtract", **training},
            "regression": {"predictors": ("infinite_ntk", "nngp", "laplace", "rbf"), "keep_predictions": True},
        }
    )  # fmt: skip


def evidence(*, network=(1.0, 1.0, 1.0), nngp=1.0, rivals=(1.0, 1.0), limit=0.0, narrow=0.1, spread=0.02, slope=-0.5,
             **training):  # fmt: skip
    """An experiment whose errors are these multiples of the NTK's: of networks by depth, of the NNGP, of two rivals."""
    generator, own = np.random.default_rng(0), settings(**training)
    grid = own.grid
    sizes = dict(zip(NETWORK, (3, 4, 1, 2, DRAWS, SEEDS), strict=True)) | {"ridge": 2}
    coordinates = {dim: np.array(getattr(grid, dim)) for dim in ("depth", "width", "init_scale", "n_train")}
    coordinates |= {"draw": range(DRAWS), "seed": range(SEEDS), "ridge": ["zero", "tuned"]}
    coordinates["predictor"] = ["network", *own.regression.predictors]

    def noisy(dims, factor):
        noise = np.exp(spread * generator.standard_normal([sizes[dim] for dim in dims]))
        return xr.DataArray(noise, {dim: coordinates[dim] for dim in dims}, dims) * factor

    by_depth = xr.DataArray([0.4, 0.3, 0.25], {"depth": list(DEPTH)}, "depth")
    shares = xr.DataArray(list(network), {"depth": list(DEPTH)}, "depth")
    width = xr.DataArray([2.5, 2.0, 1.7, 1.0], {"width": coordinates["width"]}, "width")  # only the widest counts
    fields = {
        "test_mse_network": noisy(NETWORK, by_depth * shares * width).transpose(*NETWORK),
        "test_mse_infinite_ntk": noisy(KERNEL, by_depth).transpose(*KERNEL),
        "test_mse_nngp": noisy(KERNEL, by_depth * nngp).transpose(*KERNEL),
    }
    for name, factor in zip(("laplace", "rbf"), rivals, strict=True):
        fields[f"test_mse_{name}"] = noisy(KERNEL[2:], 0.25 * factor)
    for name in ("infinite_ntk", "nngp", "laplace", "rbf"):
        fields[f"validation_mse_{name}"] = fields[f"test_mse_{name}"]
    cube = xr.Dataset(fields, coordinates)
    cube["status"] = NETWORK, np.zeros([sizes[dim] for dim in NETWORK], dtype=np.int8)
    return Evidence(
        "planted",
        own,
        cube,
        functions=predictions(generator, cube, by_depth, limit, narrow),
        kernel_variants=kernels(slope),
    )


def predictions(generator, cube, error, limit, narrow):
    """Networks whose distance from the NTK, over √err_NTK, is `narrow` at width 1,024 and falls to `limit`."""
    kernel = generator.standard_normal([*(cube.sizes[dim] for dim in KERNEL), 20, 1])
    functions = xr.Dataset({"test_predictions_infinite_ntk": ((*KERNEL, "test_sample", "output"), kernel)}, cube.coords)
    sign = xr.DataArray(np.where(np.arange(20) % 2, 1.0, -1.0), dims="test_sample")
    there = functions["test_predictions_infinite_ntk"].sel(ridge="zero", drop=True)
    noise = xr.zeros_like(cube["test_mse_network"]) + np.exp(0.02 * generator.standard_normal(cube["status"].shape))
    law = np.sqrt(limit**2 + narrow**2 * 1024 / cube["width"])
    functions["test_predictions_network"] = there + noise * law * np.sqrt(error) * sign
    return with_distances(functions, np.arange(20) % N_FOLDS + np.zeros((cube.sizes["draw"], 1), dtype=int))


def kernels(slope):
    """Distances of networks from two variants, the second of which has this exponent in the width."""
    width = np.array([64, 256, 1024])
    exponents = np.array([-0.5, slope])[:, None, None, None, None]
    noise = np.exp(0.05 * np.random.default_rng(1).standard_normal((2, 1, 1, 3, 12)))
    dims = ("variant", "depth", "init_scale", "width", "network")
    distance = (dims, 0.05 * (width[:, None] / 1024.0) ** exponents * noise)
    coordinates = {"variant": ["ntk_with_bias", "c1_with_bias"], "depth": [1], "init_scale": [2.0], "width": width}
    return xr.Dataset({"variant_distance": distance}, coordinates)


def judged(**world):
    return {verdict.claim: verdict for verdict in judge_experiment(evidence(**world), THRESHOLDS)}


def test_where_networks_are_their_kernel_nothing_is_found_broken():
    found = judged()
    assert list(found) == NAMES
    assert {name: verdict.verdict for name, verdict in found.items()} == {
        "C1": "not supported", "C2": "supported", "C3": "supported", "C4": "supported", "C5": "not supported",
        "C5∞": "not supported",
    }  # fmt: skip
    assert found["C1"].n == DRAWS, "a draw is one replicate, whatever its seeds"


@pytest.mark.parametrize(
    ("world", "claim", "verdict", "value"),
    [
        # From 1 to 2 layers (0.39 − 0.4 + 0.1)/0.4 = 0.22, from 2 to 3 (0.25 − 0.39 + 0.05)/0.3 = −0.3, in all 0.
        ({"network": (1.0, 1.3, 1.0)}, "C1", "supported", None),
        # Each step is within the margin of a tenth: 0.075 and 0.1 · 0.25/0.3; together they are not.
        ({"network": (1.0, 1.1, 1.24)}, "C1", "supported", 0.15),
        ({"network": (1.6, 1.6, 1.6)}, "C5", "supported", 1.6),
        ({"spread": 0.3}, "C1", "inconclusive", None),
        ({"nngp": 1.3}, "C2", "not supported", 1.3),
        ({"nngp": 0.75}, "C2", "supported", 0.75),  # a kernel that ignores training and does better
        ({"rivals": (1.6, 1.4)}, "C3", "not supported", 1.4),
        ({"rivals": (1.6, 0.9)}, "C3", "supported", 0.9),  # the one that validates best counts
        ({"narrow": 0.6}, "C5", "supported", 0.6),  # the same errors, other functions
        ({"narrow": 0.6}, "C5∞", "not supported", 0.0),  # which become the same as the width grows
        ({"limit": 0.6}, "C5", "supported", 0.6),
        ({"limit": 0.6}, "C5∞", "supported", 0.36),
        ({"limit": 0.2, "narrow": 0.02}, "C5∞", "inconclusive", -0.03),  # near the kernel, and not by the theorem
        ({"slope": 0.0}, "C4", "not supported", 0.0),  # a kernel with a wrong limit
        ({"slope": -0.8}, "C4", "supported", -0.5),  # faster than fluctuations: terms of higher order, the same limit
    ],
)
def test_planted_worlds_are_found(world, claim, verdict, value):
    found = judged(**world)[claim]
    assert found.verdict == verdict, found.reason
    if value is not None:
        assert found.value == pytest.approx(value, abs=0.06)


def test_networks_stopped_early_are_held_against_the_tuned_ridge():
    assert "kernels at ridge zero" in judged()["C1"].reason
    early = judged(selection="best_validation")
    assert "kernels at ridge tuned" in early["C1"].reason and "kernel at ridge tuned" in early["C5"].reason


def test_networks_that_were_not_trained_to_the_end_are_counted():
    found = evidence()
    found.cube["status"][dict(draw=0)] = 1
    verdicts = {verdict.claim: verdict for verdict in judge_experiment(found, THRESHOLDS)}
    for claim in ("C1", "C5"):
        assert "9 of 72 networks ended above the training MSE of 0.01" in verdicts[claim].reason


def test_diverged_networks_are_left_out_and_single_depths_are_not_run():
    found = evidence()
    found.cube["status"][dict(depth=1, draw=slice(0, 4))] = 2
    found.cube["test_mse_network"][dict(depth=1, draw=slice(0, 4))] = 1e6
    verdicts = {verdict.claim: verdict for verdict in judge_experiment(found, THRESHOLDS)}
    assert verdicts["C1"].verdict == "inconclusive" and "rests on 4 replicate(s)" in verdicts["C1"].reason
    one = settings()
    one = one.model_copy(update={"grid": one.grid.model_copy(update={"depth": DEPTH[:1]})})
    one = Evidence("planted", one, evidence().cube.isel(depth=[0]))
    assert {v.claim: v.verdict for v in judge_experiment(one, THRESHOLDS)}["C1"] == "not run"


def test_the_limit_is_judged_where_the_theorem_speaks():
    def limit(found: Evidence):
        (verdict,) = [v for v in judge_experiment(found, THRESHOLDS) if v.claim == "C5∞"]
        return verdict.verdict, verdict.reason

    for training, said in (
        ({"selection": "best_validation"}, "best validation"),
        ({"batch_size": 8}, "minibatches of 8"),
        ({"optimizer": "adam", "learning_rate": {"absolute": 1e-3}}, "Adam"),
        ({"initial_output": "keep"}, "initial output is kept"),
    ):
        word, reason = limit(evidence(**training))
        assert word == "not applicable" and said in reason
    found = evidence()
    two = {name: getattr(found, name).isel(width=[0, 3]) for name in ("cube", "functions")}
    asked = settings()
    asked = asked.model_copy(update={"grid": asked.grid.model_copy(update={"width": asked.grid.width[::3]})})
    assert limit(Evidence("planted", asked, **two)) == (
        "not run", "2 width(s), 4 are needed: add some to grid.width",
    )  # fmt: skip
    for draw, status in enumerate((Status.BUDGET_SPENT, Status.DIVERGED)):
        found.cube["status"][dict(width=0, depth=2, draw=draw)] = int(status)
    word, reason = limit(found)
    assert word == "inconclusive" and "25% of the networks at depth 3, width 64 diverged or ended above" in reason


def test_of_one_draw_seeds_are_the_replicates_of_the_limit_too():
    found = evidence(limit=0.6)
    grid = found.settings.grid.model_copy(update={"draws": 1, "seeds": DRAWS})
    asked = found.settings.model_copy(update={"grid": grid})

    def of_one_draw(data):
        one = data.isel(draw=[0])
        networks = [str(name) for name in data.data_vars if "seed" in data[name].dims]
        seeds = data[networks].isel(seed=0, drop=True).rename(draw="seed").expand_dims(draw=[0])
        return one.drop_dims("seed").merge(seeds)

    alone = Evidence("planted", asked, of_one_draw(found.cube), functions=of_one_draw(found.functions))
    verdicts = {v.claim: v for v in judge_experiment(alone, THRESHOLDS)}
    assert verdicts["C5∞"].verdict == "supported" and verdicts["C5∞"].n == DRAWS == verdicts["C5"].n
    assert "over networks only" in verdicts["C5∞"].reason
    assert "rests on 1 replicate(s)" in verdicts["C2"].reason, "kernels have no seeds"


def test_the_limit_says_rate_and_fixed_width_beside_it():
    reason = judged(narrow=0.6)["C5∞"].reason
    distance, exponent, width = re.search(
        r"depth 1, σ_w² = 2: distance (\S+) of .*? width 1024, exponent (\S+) .*? 0.33 from width (\d+) on; ", reason
    ).groups()
    assert float(distance) == pytest.approx(0.6, abs=0.011) and float(exponent) == pytest.approx(-0.5, abs=0.011)
    assert int(width) == pytest.approx(0.6**2 * 1024 / 0.33**2, rel=0.1)


def lazy(distance: float, **training: object) -> Evidence:
    """Networks at this distance from their linearization at the largest width, ten times as far at others."""
    own = settings(**training)
    regression = own.regression.model_copy(update={"predictors": ("linearized",)})
    cube = evidence().cube.drop_vars([f"test_mse_{name}" for name in ("infinite_ntk", "nngp", "laplace", "rbf")])
    error = cube["test_mse_network"]
    cube = cube.assign(test_mse_linearized=error, distance_linearized=xr.full_like(error, 10.0 * distance))
    cube["distance_linearized"][{"width": -1}] = distance
    return Evidence("planted", own.model_copy(update={"regression": regression}), cube)


@pytest.mark.parametrize(("distance", "word"), [(0.2, "supported"), (0.5, "not supported")])
def test_a_network_is_its_linearization_or_not(distance, word):
    thresholds = load_thresholds(Path(__file__).parents[2] / "config" / "claims" / "laziness.yaml")
    (verdict,) = judge_experiment(lazy(distance), thresholds)
    assert (verdict.claim, verdict.verdict, verdict.threshold) == ("R1", word, "< 0.33")
    assert verdict.value == pytest.approx(distance) and "networks of width 1024" in verdict.reason
    (lacking,) = judge_experiment(evidence(), thresholds)
    assert lacking.verdict == "not run" and "add linearized to regression.predictors" in lacking.reason
