"""The claims on planted evidence: what each finds, and what it says where there is nothing to find."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_claims import BROKEN, HOLDS, SEED, synthetic_evidence

from ntk_atlas.claims.a5 import crossing_depth
from ntk_atlas.config import claim_head, thresholds_of
from ntk_atlas.cubes import write_netcdf
from ntk_atlas.jobs.parts import RESULTS
from ntk_atlas.judging import COLUMNS, Evidence, SeedsError, judge_experiment, measured, read_evidence, verdict_table
from ntk_atlas.study import load_thresholds

THRESHOLDS = load_thresholds(Path(__file__).parents[2] / "config" / "claims" / "finite_width.yaml")
LAMBDA_NEEDED = ("A1", "A2", "A3", "A'3", "A'4")


def evidence(world=BROKEN, seed=0, **keys) -> Evidence:
    return synthetic_evidence(world, np.random.default_rng(seed), **keys)


def judged(found: Evidence) -> dict[str, object]:
    return {verdict.claim: verdict for verdict in judge_experiment(found, THRESHOLDS)}


def words(found: Evidence) -> dict[str, str]:
    return {name: verdict.verdict for name, verdict in judged(found).items()}


def test_where_all_is_as_the_papers_say_all_is_supported():
    for seed in range(4):
        assert set(words(evidence(seed=seed)).values()) == {"supported"}


def test_where_theory_holds_nothing_says_that_it_is_broken():
    for seed in range(4):
        found = words(evidence(HOLDS, seed=seed))
        assert found["A4"] == "supported" and found["A'1"] == "supported"
        assert {found[name] for name in ("A1", "A2", "A3", "A6", "A'2", "A'3", "A'4")} == {"not supported"}


def test_order_and_columns():
    verdicts = judge_experiment(evidence(), THRESHOLDS)
    names = ["A1", "A2", "A3", "A4", "A5", "A6", "A'1", "A'2", "A'3", "A'4"]
    assert [v.claim for v in verdicts] == names
    table = verdict_table(verdicts)
    assert list(table.columns) == COLUMNS
    assert (table["thresholds"] == THRESHOLDS.digest()).all()
    assert table["statistic"].str.len().min() > 20 and (table["low"] <= table["value"]).all()


@pytest.mark.parametrize(
    ("claim", "change", "word"),
    [
        ("A3", {"drift": {"ordered": 0.03, "critical": 0.6, "chaotic": 0.25}}, "inconclusive"),  # 0.2 at equal loss
        ("A3", {"drift": {"ordered": 0.03, "critical": 0.6, "chaotic": 0.1}}, "not supported"),
        ("A4", {"drift": {"ordered": 0.3, "critical": 0.6, "chaotic": 0.8}}, "not supported"),
        ("A4", {"slope": {"ordered": 2.0, "critical": 2.5, "chaotic": 4.0}}, "not supported"),
        ("A'3", {"drift": {"ordered": 0.03, "critical": 0.05, "chaotic": 0.8}}, "not supported"),
        ("A'2", {"slope": {"ordered": 0.0, "critical": 0.3, "chaotic": 4.0}}, "not supported"),
        ("A'2", {"slope": {"ordered": 1.0, "critical": 2.5, "chaotic": 4.0}}, "not supported"),
        ("A5", {"share": {"ordered": 0.3, "critical": 0.05, "chaotic": 0.05}}, "not supported"),
        ("A5", {"share": {"ordered": 0.97, "critical": 0.95, "chaotic": 0.05}}, "not supported"),
        ("A6", {"variance_ratio": {"easy": 2.0, "hard": 3.0}}, "not supported"),
        ("A'4", {"blocks": -0.3}, "supported"),
        ("A'4", {"blocks": 0.01}, "not supported"),
    ],
)
def test_each_part_of_a_claim_counts(claim, change, word):
    assert words(evidence(BROKEN | change))[claim] == word


def test_pairing_by_seed_finds_what_unpaired_networks_would_hide():
    """All init scales share the noise of their seed: A1's ratios stay sharp whatever the spread between networks."""
    found = evidence(BROKEN | {"drift": {"ordered": 0.2, "critical": 0.6, "chaotic": 0.8}}, noise=0.0)
    shared = np.random.default_rng(3).normal(0, 0.7, (1, 1, 1, 1, 9, 2, 1))
    found.cube["kernel_drift"] = found.cube["kernel_drift"] * np.exp(shared)
    verdict = judged(found)["A1"]
    assert verdict.verdict == "supported" and verdict.high / verdict.low < 1.001


def test_tiny_movements_make_no_regime():
    """A ratio of ten between drifts of 1e-4 and 1e-5 is no difference of regime."""
    tiny = {"ordered": 1e-5, "critical": 1e-4, "chaotic": 1e-4}
    assert words(evidence(BROKEN | {"drift": tiny}))["A1"] == "not supported"


def test_ntk_parameterization_without_biases_has_no_phases():
    found = judged(evidence(network={"parameterization": "ntk", "bias_variance": 0.0}))
    for name in ("A1", "A2", "A4", "A5", "A'2", "A'3"):
        assert found[name].verdict == "not applicable" and "σ_b = 0" in found[name].reason
    assert found["A3"].verdict == "supported"
    assert words(evidence(network={"parameterization": "ntk", "bias_variance": 0.1}))["A2"] == "supported"
    assert words(evidence(network={"trainable_biases": False}))["A2"] == "not applicable"


def test_one_phase_is_no_comparison_and_a_missing_phase_is_not_run():
    found = judged(evidence(init_scale=(3.0,)))
    assert found["A2"].verdict == "not applicable" and "all init scales are chaotic" in found["A2"].reason
    found = judged(evidence(init_scale=(1.0, 3.0)))
    assert found["A'2"].verdict == "not run" and "critical" in found["A'2"].reason
    assert found["A2"].verdict == "supported"


def test_the_exact_law_is_for_relu():
    found = judged(evidence(network={"activation": "tanh"}))["A'1"]
    assert found.verdict == "not applicable" and "ReLU" in found.reason


@pytest.mark.parametrize("dataset", [{"source": "diabetes"}, {"source": "teacher"}])
def test_class_blocks_need_classes(dataset):
    found = judged(evidence(dataset=dataset))["A'4"]
    assert found.verdict == "not applicable" and "regression" in found.reason


def test_class_blocks_are_judged_where_the_cube_has_classes_whatever_the_data_are_called():
    found = evidence(dataset={"source": "teacher"})
    probe = ("draw", "probe")
    for classes, verdict in (([0, 1], "supported"), ([-1, -1], "not applicable")):
        labelled = found.cube.assign(probe_class=(probe, np.tile(classes, (found.cube.sizes["draw"], 1))))
        assert judged(replace(found, cube=labelled))["A'4"].verdict == verdict


def test_what_was_not_asked_for_is_not_run():
    found = judged(evidence(dispersion=False, output_variance=False))
    for name, key in (("A1", "dispersion"), ("A2", "dispersion"), ("A'1", "dispersion"), ("A6", "output_variance")):
        assert found[name].verdict == "not run" and f"add `{key}`" in found[name].reason
    assert found["A3"].verdict == "supported"
    missing = evidence()
    without = Evidence("x", missing.settings, missing.cube.drop_vars("kernel_drift"), missing.dispersion)
    assert "kernel_drift is not in the files" in judged(without)["A3"].reason


def test_shallow_networks_say_nothing_of_deep_ones():
    found = judged(evidence(depth=(1, 2), width=(1024,)))
    for name in ("A1", "A3", "A'4"):
        assert found[name].verdict == "not run" and "no deep networks" in found[name].reason


def test_ordered_claims_wait_for_the_phase_to_settle():
    """σ_w² = 1.9, width 32: M L χ₁^L is 225 at L = 16, the deepest here."""
    found = judged(evidence(init_scale=(1.9, 2.0, 3.0)))
    for name in ("A4", "A5", "A'2", "A'3"):
        assert found[name].verdict == "not run" and "no ordered cell has settled" in found[name].reason


def test_a5_needs_several_rates_and_no_adam():
    one = judged(evidence(training={"learning_rate": {"relative": 0.5}}))["A5"]
    assert one.verdict == "not run" and "several" in one.reason
    adam = judged(evidence(training={"optimizer": "adam", "learning_rate": {"absolute": 1e-3}}))["A5"]
    assert adam.verdict == "not run" and "adam" in adam.reason


def test_diverged_networks_are_never_untrainable():
    found = evidence(HOLDS | {"share": {"ordered": 0.1, "critical": 0.05, "chaotic": 0.05}})
    deep_ordered = {"depth": 15, "width": 128, "init_scale": 1.0}
    found.cube["status"].loc[deep_ordered | {"draw": 0}] = 2
    found.cube["final_train_mse"].loc[deep_ordered | {"draw": 0}] = 1e6
    assert judged(found)["A5"].verdict == "not supported"
    found.cube["status"].loc[deep_ordered | {"draw": [1, 2, 3, 4]}] = 2
    verdict = judged(found)["A5"]
    assert verdict.verdict == "inconclusive" and "56% of the networks diverged" in verdict.reason


def test_networks_that_never_reach_the_loss_leave_movement_open():
    found = evidence()
    found.cube["kernel_drift_at_equal_loss"][:] = np.nan
    verdict = judged(found)["A3"]
    assert verdict.verdict == "inconclusive" and "0 of 18 networks reached movement.equal_loss" in verdict.reason
    assert judged(found)["A4"].verdict == "supported", "networks that cannot be trained are judged at the last epoch"


def test_some_networks_that_never_reach_the_loss_leave_movement_open_too():
    """One seed of each draw gets there: the median of those says nothing of the others."""
    found = evidence()
    found.cube["kernel_drift_at_equal_loss"].loc[{"seed": 1}] = np.nan
    assert judged(found)["A3"].verdict == "inconclusive"
    assert "9 of 18 networks never got there" in judged(found)["A3"].reason
    a4 = judged(found)["A4"]
    assert a4.verdict == "supported" and "4 of 4 comparisons hold" in a4.reason, "at the last epoch alone"


@pytest.mark.parametrize(
    ("drift", "never", "word"),
    [
        (0.8, 2, "supported"),  # counted as unmoved they are the smallest of twelve, which the interval leaves out
        (0.8, 3, "inconclusive"),
        (0.8, 7, "inconclusive"),  # the median itself is not known
        (0.1, 1, "not supported"),  # counted as moved it is the largest of twelve
        (0.1, 2, "inconclusive"),
    ],
)
def test_networks_that_never_reach_the_loss_bound_the_median(drift, never, word):
    found = evidence(draws=12, seeds=1)
    found.cube["kernel_drift_at_equal_loss"][:] = drift
    found.cube["kernel_drift_at_equal_loss"].loc[{"draw": np.arange(never)}] = np.nan
    verdict = judged(found)["A3"]
    assert verdict.verdict == word
    assert f"{never} of 12" in verdict.reason or word == "supported"


def test_half_of_each_draw_that_never_reaches_the_loss_is_no_median_of_the_other_half():
    found = evidence(draws=9, seeds=2)
    found.cube["kernel_drift_at_equal_loss"][:] = 5.0
    found.cube["kernel_drift_at_equal_loss"].loc[{"seed": 1}] = np.nan
    assert judged(found)["A3"].verdict == "inconclusive"


def test_phases_are_compared_where_the_ordered_one_has_settled():
    """A1: before it has settled, an ordered network is as random as a critical one, and says nothing of its phase."""
    found = evidence()
    found.cube["chi_1"].loc[{"init_scale": 1.0}] = 0.9
    verdict = judged(found)["A1"]
    assert verdict.verdict == "not run" and "no ordered cell has settled" in verdict.reason


def test_diverged_networks_are_left_out_at_equal_loss_too():
    found = evidence()
    found.cube["status"].loc[{"draw": [0, 1]}] = 2
    found.cube["kernel_drift_at_equal_loss"].loc[{"draw": [0, 1]}] = 1e-3  # they got there before
    for claim in ("A3", "A4"):
        compared = measured(claim_head(claim), found, THRESHOLDS.claims.by_name()[claim]).comparisons
        assert {c.estimate.n for c in compared if c.trained} == {7}
        assert any("at equal loss" in c.label for c in compared)


def test_draws_are_the_replicates_and_networks_only_if_there_is_one_draw():
    assert judged(evidence(draws=4, seeds=9))["A3"].verdict == "inconclusive"
    single = judged(evidence(draws=1, seeds=6))["A3"]
    assert single.verdict == "supported" and single.n == 6 and "over networks only" in single.reason
    assert judged(evidence())["A3"].n == 9


def test_stopped_networks_count_with_their_last_checkpoint():
    found = evidence()
    whole = judged(found)["A3"].value
    found.cube["kernel_drift"].loc[{"epoch": 10}] = found.cube["kernel_drift"].loc[{"epoch": 400}]
    found.cube["kernel_drift"].loc[{"epoch": 400}] = np.nan
    assert judged(found)["A3"].value == pytest.approx(whole)


def test_few_networks_leave_variances_open():
    found = evidence()
    found.output_variance["n_networks"][:] = 10
    assert judged(found)["A6"].verdict == "inconclusive" and "10 finite networks" in judged(found)["A6"].reason
    few_draws = judged(evidence(draws=1))["A6"]
    assert few_draws.verdict == "supported" and few_draws.n == 100 and "linearization" in few_draws.reason


def test_variances_over_draws_are_for_new_data_too():
    """Five draws or more are the replicates of A6, whose samples in common count; fewer are said."""
    found = evidence()
    values = found.output_variance["variance_ratio_network_infinite_ntk"]
    values[:] = np.exp(0.3 * np.random.default_rng(2).standard_normal(values.shape))
    alone = judged(found)["A6"]
    assert alone.n == 9 and alone.low == alone.low_this_data
    assert alone.verdict == "inconclusive" and " draws would" in alone.reason and " networks would" not in alone.reason
    found.cube["shared_train"] = "n_train", np.full(found.cube.sizes["n_train"], 0.5)
    shared = judged(found)["A6"]
    assert shared.high > shared.high_this_data == pytest.approx(alone.high)
    assert "3 draws: the interval is over networks only" in judged(evidence(draws=3, seeds=9))["A6"].reason


def test_unreliable_ratios_are_marked():
    assert "(unreliable)" in judged(evidence())["A2"].reason
    assert "(unreliable)" not in judged(evidence(HOLDS))["A2"].reason


def test_seeds_that_chose_the_thresholds_are_refused():
    chosen = THRESHOLDS.model_dump(by_alias=True)
    chosen["chosen_with"]["seeds"] = (5, SEED)
    with pytest.raises(SeedsError, match=rf"experiments\.planted\.training\.seed: {SEED} is among the seeds"):
        judge_experiment(evidence(), thresholds_of(chosen))


def test_only_claims_with_thresholds_are_judged():
    some = THRESHOLDS.model_dump(by_alias=True)
    some["claims"] = {"A3": some["claims"]["A3"]}
    assert [v.claim for v in judge_experiment(evidence(), thresholds_of(some))] == ["A3"]


def test_files_give_the_same_verdicts_as_arrays(tmp_path):
    """The cube does not carry the settings of other files, so jobs hand them over."""
    found = evidence()
    cube = found.cube.copy()
    cube.attrs["config"] = found.settings.model_copy(update={"dispersion": None}).canonical_json()
    for name, dataset in (("cube", cube), ("dispersion", found.dispersion), ("ov", found.output_variance)):
        write_netcdf(dataset, tmp_path / f"{name}.nc")
    files = (tmp_path / "dispersion.nc", tmp_path / "ov.nc")
    read = read_evidence("planted", tmp_path / "cube.nc", None, *files)
    with_settings = read_evidence(
        "planted", tmp_path / "cube.nc", RESULTS["judge_claims"].slice(found.settings), *files
    )
    expected = verdict_table(judge_experiment(found, THRESHOLDS))
    for other in (read, with_settings):
        pd.testing.assert_frame_equal(verdict_table(judge_experiment(other, THRESHOLDS)), expected)


def test_crossing_depth_is_interpolated_in_log_share():
    depth = np.array([1, 3, 5])
    assert crossing_depth(depth, np.array([0.01, 0.1, 1.0]), np.sqrt(0.1)) == pytest.approx(5.0)  # depth 4, L = 5
    assert np.isnan(crossing_depth(depth, np.array([0.9, 0.9, 1.0]), 0.5))
    assert np.isnan(crossing_depth(depth, np.array([0.1, 0.1, 0.2]), 0.5))


def test_a5_is_about_the_most_ordered_networks():
    """A budget may train what is only a little ordered; what is most ordered must fail first."""
    found = evidence(init_scale=(1.0, 1.2, 2.0, 3.0))
    found.cube["final_train_mse"].loc[{"init_scale": 1.2}] = 0.05
    assert judged(found)["A5"].verdict == "supported"
    found.cube["final_train_mse"].loc[{"init_scale": 1.0}] = 0.05
    assert judged(found)["A5"].verdict == "not supported"


def test_an_open_verdict_says_what_would_decide_it_and_all_say_how_near_they_are():
    world = BROKEN | {"drift": {"ordered": 0.03, "critical": 0.6, "chaotic": 0.35}}
    found = judged(evidence(world, noise=0.6))["A3"]
    assert found.verdict == "inconclusive" and "draws would decide it if the value stayed" in found.reason
    assert 0.0 < found.nearness < 1.0
    single = judged(evidence(world, noise=0.6, draws=1, seeds=6))["A3"]
    assert single.verdict == "inconclusive" and "networks would decide it" in single.reason
    table = verdict_table(judge_experiment(evidence(init_scale=(1.0, 3.0)), THRESHOLDS))
    definite = table["verdict"].isin(["supported", "not supported"])
    assert (table.loc[definite, "nearness"] >= 0.0).all() and table.loc[~definite, "nearness"].isna().all()
    assert (table.loc[definite, "low_this_data"] >= table.loc[definite, "low"]).all(), "no wider than for new data"


def test_a6_names_the_phase_in_which_theory_fails_most():
    """Only ordered networks leave theory; a claim about the largest χ₁ alone would miss them."""
    found = evidence(HOLDS, draws=1)
    data = found.output_variance
    failing = {"depth": 15, "width": 32, "init_scale": 1.0}
    for end in ("", "_low", "_high"):
        data[f"variance_ratio_network_infinite_ntk{end}"].loc[failing] *= 18.0
    verdict = judged(found)["A6"]
    assert verdict.verdict == "supported"
    for end in ("", "_low", "_high"):
        for depth, width in ((3, 32), (15, 128)):
            place = {"depth": depth, "width": width, "init_scale": 1.0}
            data[f"variance_ratio_network_infinite_ntk{end}"].loc[place] *= 1e4
    falling = judged(found)["A6"]
    assert falling.verdict == "inconclusive" and "slope in L/M" in falling.reason
    assert "σ_w² = 1" in falling.reason, "it fails more at the smaller L/M, so that nothing says that depth is why"


def test_verdicts_on_movement_say_the_size_of_the_targets_and_the_samples():
    scaled = evidence(training={"target_scale": "initial_output"})
    scaled.cube.attrs["kernel_probe"] = "first 60 training samples"
    for name in ("A1", "A3", "A4", "A5", "A'3", "A'4"):
        assert "targets of the size of f₀" in judged(scaled)[name].reason
        assert "targets of size one" in judged(evidence())[name].reason
    assert "kernel of the first 60 training samples" in judged(scaled)["A3"].reason
    assert "(18 of 18 networks > 0.2)" in judged(scaled)["A3"].reason


def test_measures_on_test_samples_stand_beside_those_on_training_samples():
    found = evidence()
    for name in ("kernel_drift", "within_class_ratio", "between_class_ratio"):
        found.cube[f"{name}_test_probe"] = found.cube[name] * 0.5
    place = {"depth": 15, "width": 32, "n_train": 64}
    drift = float(found.cube["kernel_drift_test_probe"].sel(place | {"init_scale": 3.0}).isel(epoch=-1).median())
    blocks = found.cube["within_class_ratio_test_probe"] - found.cube["between_class_ratio_test_probe"]
    change = float((blocks.isel(epoch=-1) - blocks.isel(epoch=0)).sel(place | {"init_scale": 2.0}).median())
    assert f"median drift on test samples {drift:.2g}" in judged(found)["A3"].reason
    assert f"median |change| on test samples {change:.2g}" in judged(found)["A'4"].reason
