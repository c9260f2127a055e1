"""Claims B1–B7 on planted learning curves: what is supported where it holds, and rejected where it does not."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from synthetic_scaling import EPOCHS, FEATURES, LAZY, evidence, settings

from ntk_atlas.claims.b6 import first_below, last_slopes, last_turn
from ntk_atlas.config import claim_head
from ntk_atlas.cubes import velocities
from ntk_atlas.judging import judge_experiment, measured
from ntk_atlas.study import ConfigError, load_study, load_thresholds

THRESHOLDS = load_thresholds(Path(__file__).parents[2] / "config" / "claims" / "scaling_laws.yaml")
NAMES = ["B1", "B1∞", "B2", "B3", "B4", "B5", "B6", "B7"]


def judged(found, **variants):
    found = dataclasses.replace(found, variants=variants)
    return {verdict.claim: verdict for verdict in judge_experiment(found, THRESHOLDS)}


def generator(seed=0):
    return np.random.default_rng(seed)


def three_variants(world, seed=5, **keys):
    changes = {
        "fast": {"learning_rate": {"absolute": 0.3}},
        "large": {"batch_size": 64},
        "adam": {"optimizer": "adam", "learning_rate": {"absolute": 0.01}},
    }
    found = {}
    for name, change in changes.items():
        one = evidence(world, generator(seed), predictors=(), variant_of="planted", **change, **keys)
        found[name] = (one.settings, one.cube)
    return found


def test_a_world_of_features_supports_the_claims_of_exponents():
    found = judged(evidence(FEATURES, generator()), **three_variants(FEATURES))
    assert list(found) == NAMES
    words = {name: verdict.verdict for name, verdict in found.items()}
    assert words == dict.fromkeys(NAMES, "supported") | {"B3": "not run", "B7": "not supported"}
    assert found["B1"].value == pytest.approx(0.4, abs=0.02) and found["B1"].n == 6
    assert "exponents: network 0.81, empirical NTK, initial 0.4" in found["B1"].reason
    assert "difference for the 0–1 error 0.4" in found["B1"].reason
    assert "held out" in found["B1"].reason


def test_a_lazy_world_supports_none_of_them():
    keys = {"noise": 0.005}
    found = judged(evidence(LAZY, generator(), slope=0.0, turn=0.0, **keys), **three_variants(LAZY, **keys))
    words = {name: verdict.verdict for name, verdict in found.items()}
    assert words == dict.fromkeys(NAMES, "not supported") | {"B3": "not run", "B7": "supported"}


def test_few_draws_and_wide_intervals_leave_claims_open():
    few = judged(evidence(FEATURES, generator(), draws=4))
    assert few["B1"].verdict == "inconclusive" and "4 replicate(s), 5 are needed" in few["B1"].reason
    noisy = judged(evidence({**FEATURES, "network": 0.5}, generator(), noise=0.5))
    assert noisy["B1"].verdict == "inconclusive"


def test_exponents_are_compared_over_the_n_that_both_have():
    """Two equal curves that bend, one of them without the largest n: their exponents do not differ."""
    planted = evidence({"network": 0.5, "ntk_init": 0.5}, generator(), noise=0.05, predictors=("ntk_init",))
    cube = planted.cube
    bend = xr.DataArray([1.0, 1.0, 1.0, 1.0, 1.4], dims="n_train")
    cube["test_mse_network"] = cube["test_mse_network"] * bend
    cube["test_mse_ntk_init"] = (cube["test_mse_ntk_init"] * 0.0 + cube["test_mse_network"]).transpose(
        *cube["test_mse_ntk_init"].dims
    )
    assert judged(planted)["B1"].value == 0.0
    cube["test_mse_ntk_init"] = cube["test_mse_ntk_init"].where(cube["n_train"] < 512)
    found = judged(planted)["B1"]
    assert found.value == 0.0 and found.low < 0.0 < found.high
    assert "n left out of both laws, an error is missing: 512 in 6 of 6 draws" in found.reason
    cube["test_mse_network"] = cube["test_mse_network"].where((cube["n_train"] > 32) | (cube["draw"] > 1))
    short = judged(planted)["B1"]
    assert short.verdict == "inconclusive"
    assert "3 n_train at which every draw has both errors, a law needs 4" in short.reason


def test_with_one_draw_seeds_are_the_replicates():
    found = judged(evidence(FEATURES, generator(), draws=1, seeds=6))
    assert found["B1"].verdict == "supported" and "over networks only" in found["B1"].reason
    assert found["B1∞"].n == 6, "a kernel without seeds stands beside each"


def curves(network, kernel, seed=0, noise=0.02):
    """Evidence for B1 with these errors over the five sizes, with independent noise of each."""
    found = evidence(FEATURES, generator(), predictors=("ntk_init",))
    random = generator(seed)
    for name, values in (("network", network), ("ntk_init", kernel)):
        array = found.cube[f"test_mse_{name}"]
        scatter = np.exp(noise * random.standard_normal((6, 1, 5))).transpose(2, 0, 1)
        scatter = scatter if name == "network" else scatter[..., None]
        found.cube[f"test_mse_{name}"] = (array.dims, np.ones(array.shape) * _over_sizes(values, array) * scatter)
    return found


def _over_sizes(values, array):
    return np.reshape(values, [5 if dim == "n_train" else 1 for dim in array.dims])


DECAY = 2.0 ** np.arange(5)


@pytest.mark.parametrize(("floor_network", "floor_kernel"), [(0.01, 0.06), (0.06, 0.01), (0.0, 0.2), (0.2, 0.0)])
def test_floors_turn_no_equal_exponents_into_a_difference(floor_network, floor_kernel):
    """Pure laws of these curves differ by up to .25, which the judge took for a difference of exponents."""
    found = judged(curves(DECAY**-0.6 + floor_network, DECAY**-0.6 + floor_kernel))["B1"]
    assert found.verdict != "supported" and found.low < 0.0 < found.high
    assert "floors up to 0.9 of the error at n = 32 are allowed for" in found.reason


def test_a_difference_under_a_common_floor_is_not_rejected():
    """With exponents .7 and .5 and floors of .08 the pure laws differ by .14; noise of .05 leaves the claim open."""
    assert judged(curves(DECAY**-0.7 + 0.08, DECAY**-0.5 + 0.08, noise=0.05))["B1"].verdict == "inconclusive"


def test_a_kernel_that_learns_nothing_has_exponent_zero():
    """Any exponent fits a flat curve if its floor may be anything: floors are bounded, so that B1 can be judged."""
    found = judged(curves(DECAY**-0.6, np.ones(5)))["B1"]
    assert found.verdict == "supported" and found.low > 0.3


@pytest.mark.parametrize("share", [1.25, 1.5])
def test_a_last_point_that_misses_its_interval_leaves_the_claim_open(share):
    """Networks trained too little at the largest n: without a floor their exponent was read as too small."""
    last = np.array([1.0, 1.0, 1.0, 1.0, share])
    found = judged(curves(DECAY**-0.6 * last, DECAY**-0.5))["B1"]
    assert found.verdict == "inconclusive"
    assert "no power law with a floor: n = 512 held out misses its interval (network" in found.reason


def test_a_steep_curve_whose_floor_is_known_is_told_from_a_slow_one():
    """With seven sizes and little noise a floor of the kernel's is measured, and its exponent told."""
    sizes = tuple(int(n) for n in 32 * 2 ** np.arange(7))
    found = evidence({"network": 0.8, "ntk_init": 0.5}, generator(), predictors=("ntk_init",), n_train=sizes)
    floored = found.cube["test_mse_ntk_init"] + 0.1
    found.cube["test_mse_ntk_init"] = floored
    verdict = judged(found)["B1"]
    assert verdict.verdict == "supported" and verdict.value == pytest.approx(0.3, abs=0.05)
    assert "with a floor of 0.0" in verdict.reason or "with a floor of 0.1" in verdict.reason


def test_the_fit_range_rule_and_the_kernels_own_sizes_count():
    curve = evidence(FEATURES, generator(), n_train_min=64)
    curve.cube["test_mse_network"][:, :, :, 0] = 1e6  # below the range: looked at by nobody
    assert judged(curve)["B1"].value == pytest.approx(0.4, abs=0.03)
    short = judged(evidence(FEATURES, generator(), n_train_min=256))
    assert short["B1"].verdict == "not run" and "2 n_train from scaling.n_train_min on" in short["B1"].reason
    bent = evidence(FEATURES, generator())
    bent.cube["test_mse_network"][:, :, :, 0] *= 50.0  # at n = 32, where the kernel trained on 64 has nothing
    assert judged(bent)["B4"].value == pytest.approx(0.3, abs=0.03)


def test_networks_that_did_not_reach_their_training_error_leave_exponents_open():
    found = judged(evidence(FEATURES, generator(), unfinished=(512,)))
    assert {found[name].verdict for name in ("B1", "B1∞", "B4", "B5")} == {"inconclusive"}
    assert "6 of 6 networks at n = 512 ended above training.target_mse; give more epochs" in found["B1"].reason
    assert "above training MSE 0.01: 6 of 6 at n = 512" in found["B1"].reason
    planted = evidence(FEATURES, generator(), draws=10)
    planted.cube["status"][0, 0, 0, 2, 4] = 1
    assert judged(planted)["B1"].verdict == "supported", "one network in ten at one size"
    planted.cube["status"][0, 0, 0, 2, 5] = 1
    assert judged(planted)["B1"].verdict == "inconclusive"


def test_a_stand_in_is_not_judged():
    keys = {"predictors": ("ntk_init", "stand_in_ntk")}
    found = judged(evidence({**FEATURES, "stand_in_ntk": 0.4}, generator(), **keys))["B1∞"]
    assert found.verdict == "not run" and "add infinite_ntk to regression.predictors" in found.reason
    assert "not judged: network minus stand-in" in found.reason


@pytest.mark.parametrize(
    ("claim", "without", "message"),
    [
        ("B1", "ntk_init", "add ntk_init to regression.predictors"),
        ("B4", "ntk_pretrained_64", "add ntk_pretrained_<m> to predictors"),
        ("B5", "ntk_final", "add ntk_final to regression.predictors"),
        ("B6", "ntk_epochs", "add ntk_epochs to predictors"),
        ("B7", "ntk_final", "add ntk_final to regression.predictors"),
    ],
)
def test_what_is_missing_is_said(claim, without, message):
    keys = {"predictors": tuple(name for name in settings().regression.predictors if name != without)}
    found = judged(evidence(FEATURES, generator(), **keys))[claim]
    assert found.verdict == "not run" and message in found.reason


def test_robustness_needs_all_three_knobs_and_leaves_out_untrained_variants():
    variants = three_variants(FEATURES)
    lacking = judged(evidence(FEATURES, generator()), fast=variants["fast"])["B2"]
    assert lacking.verdict == "not run" and "no variant has another batch size, optimizer" in lacking.reason
    short = evidence(LAZY, generator(), predictors=(), variant_of="planted", n_train=(32, 64, 128), schedule="cosine")
    found = judged(evidence(FEATURES, generator()), **variants, short=(short.settings, short.cube))["B2"]
    assert found.verdict == "supported", "three n make no law: that variant is not about exponents"
    untrained = three_variants(LAZY, unfinished=(32, 64, 128, 256, 512))
    found = judged(evidence(FEATURES, generator()), **(variants | {"fast": untrained["fast"]}))["B2"]
    assert found.verdict == "supported"
    assert "fast (learning rate) left out: 30 of 30 networks above training MSE" in found.reason
    bad = judged(evidence(FEATURES, generator()), **(variants | {"adam": three_variants(LAZY)["adam"]}))["B2"]
    assert bad.verdict == "supported", "0.5 is still above the kernel's 0.4"
    worse = three_variants({"network": 0.4}, noise=0.005)["adam"]
    planted = evidence(FEATURES, generator(), noise=0.005)
    assert judged(planted, **(variants | {"adam": worse}))["B2"].verdict == "not supported"


def test_a_variant_is_judged_with_what_it_is_a_variant_of():
    found = judged(evidence(FEATURES, generator(), variant_of="planted"))
    assert {verdict.verdict for verdict in found.values()} == {"not applicable"}


@pytest.mark.parametrize(("gap", "word"), [(0.3, "supported"), (-0.3, "not supported")])
def test_width(gap, word):
    keys = {"width": (16, 64, 256), "gap_of_width": gap}
    assert judged(evidence(FEATURES, generator(), **keys))["B3"].verdict == word
    assert judged(evidence(LAZY, generator(), **keys))["B3"].verdict == "not supported"


def test_ratios_of_errors_keep_what_training_samples_make_draws_share():
    """B3, B5 and B7 compare errors at single n, B3 at two of them: the share of samples in common is the larger."""
    found = evidence(FEATURES, generator(), width=(16, 64), gap_of_width=0.3, noise=0.1)
    alone = judged(found)
    found.cube["shared_test"], found.cube["shared_train"] = 0.2, ("n_train", [0.05, 0.1, 0.2, 0.4, 0.8])
    for name in ("B3", "B5", "B7"):
        compared = measured(claim_head(name), found, THRESHOLDS.claims.by_name()[name]).comparisons
        ratios = [c.estimate for c in compared if c.estimate.logarithmic]
        last = 0.1 * 0.8 * np.array([e.error_low**2 * e.n for e in ratios])  # a tenth of the bound, at the largest n
        common = np.array([e.common for e in ratios])
        assert (common[-1] >= last[-1] - 1e-12) and (common > 0.0).all(), name
    wider = judged(found)["B3"]
    assert wider.low < wider.low_this_data and alone["B3"].low == alone["B3"].low_this_data


def test_around_the_network_b7_is_a_tautology_and_not_judged():
    found = judged(evidence(FEATURES, generator(), center="network"))["B7"]
    assert found.verdict == "not run" and "matches by construction" in found.reason


def test_b6_is_judged_up_to_the_fit_and_at_a_constant_rate():
    """A kernel that improves until networks fit and rests from then on keeps evolving through training."""
    resting = {"slope": 0.0, "turn": 0.0}
    found = judged(evidence(FEATURES, generator(), fit_at=30.0, **resting))["B6"]
    assert found.verdict == "supported" and found.value == pytest.approx(-0.3, abs=0.02)
    assert "6 of 6 reach a training MSE of 0.01" in found.reason and "first 30 epochs" in found.reason
    assert judged(evidence(FEATURES, generator(), fit_at=300.0, **resting))["B6"].verdict == "not supported"
    cosine = evidence(FEATURES, generator(), schedule="cosine")
    bare = judged(cosine)["B6"]
    assert bare.verdict == "not run" and "training.schedule: constant and ntk_epochs" in bare.reason
    constant = evidence(FEATURES, generator(), variant_of="planted")
    found = judged(cosine, steady=(constant.settings, constant.cube))["B6"]
    assert found.verdict == "supported" and "networks of steady: momentum at a constant rate" in found.reason


def test_slopes_and_turns_of_the_last_part_by_hand():
    errors = np.where(EPOCHS < 30, 9.0, np.maximum(EPOCHS, 1.0) ** -0.25)
    late, end = np.stack([errors, np.where(EPOCHS > 100, np.nan, errors)]), np.array([300, 100])
    np.testing.assert_allclose(last_slopes(EPOCHS, late[:1], end[:1], 0.1), [-0.25], rtol=1e-12)
    # A network whose last checkpoint is at 100 has its last part from 10 on.
    by_hand = np.polyfit(np.log([10, 30, 100]), np.log(late[1, 3:6]), 1)[0]
    assert last_slopes(EPOCHS, late, end, 0.1)[1] == pytest.approx(by_hand)
    assert last_slopes(EPOCHS, late, np.array([100, 100]), 0.1)[0] == pytest.approx(by_hand), "and one that fits there"
    assert np.isnan(last_slopes(EPOCHS, late[:1], end[:1], 0.5)), "two checkpoints make no slope"
    training = np.stack([np.array([1.0, 0.5, 0.1, 0.02, 0.009, 0.02, 0.001]), np.full(7, np.nan), np.full(7, 0.3)])
    training[2, 5:] = np.nan
    np.testing.assert_array_equal(first_below(EPOCHS, training, 0.01), [30, 0, 30])
    # Kernels cos t, sin t in a plane turn by the differences of t.
    angles = np.array([0.0, 0.5, 0.7, 0.75, 0.85, 0.9, 1.1])
    kernels = torch.stack([torch.diag(torch.tensor([np.cos(t), np.sin(t)])) for t in angles])
    velocity = velocities(kernels[None], EPOCHS).numpy()
    np.testing.assert_allclose(last_turn(EPOCHS, velocity, end[:1], 0.1), [1.1 - 0.85], rtol=1e-9)
    np.testing.assert_allclose(last_turn(EPOCHS, velocity, end[1:], 0.1), [0.9 - 0.75], rtol=1e-9)
    assert np.isnan(last_turn(EPOCHS, velocity, end[:1], 0.5)), "two checkpoints are no course"


def study(**second):
    base = {
        "grid": {"depth": [1], "width": [8], "init_scale": [2.0], "n_train": [16, 32]},
        "training": {"max_epochs": 7, "learning_rate": {"absolute": 0.1}},
    }
    return {"experiments": {"one": base, "two": {"variant_of": "one", **second}}}


def test_a_variant_has_the_settings_of_its_base_but_for_its_own():
    two = load_study(study(training={"batch_size": 4})).experiments["two"]
    one = load_study(study()).experiments["one"]
    assert two.training == one.training.model_copy(update={"batch_size": 4})
    assert two.grid == one.grid and two.variant_of == "one"


def test_presets_reach_variants_through_their_base():
    config = study() | {"preset": "big", "presets": {"big": {"experiments": {"one": {"grid": {"draws": 9}}}}}}
    assert load_study(config).experiments["two"].grid.draws == 9


@pytest.mark.parametrize("base", ["three", "two"])
def test_a_variant_of_nothing_is_refused(base):
    config = study()
    config["experiments"]["two"]["variant_of"] = base
    with pytest.raises(ConfigError, match=f"two.variant_of: '{base}' is no experiment that can have .* can: one"):
        load_study(config)
