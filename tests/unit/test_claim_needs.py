"""The plan says which claims a study cannot judge, and the judge says the same of the same settings."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ntk_atlas.claims import CLAIMS
from ntk_atlas.config import ExperimentSettings, StudySettings, claim_head
from ntk_atlas.judging import Comparison, NotJudgedError, Region, decide, judge_experiment, need_settings
from ntk_atlas.statistics import median_of
from ntk_atlas.study import claim_notices, load_thresholds, read_study
from tests.synthetic_claims import BROKEN, synthetic_evidence
from tests.synthetic_scaling import settings as scaling_settings

ROOT = Path(__file__).parents[2]
FINITE_WIDTH, SCALING_LAWS, EQUIVALENCE = (
    load_thresholds(ROOT / "config" / "claims" / f"{name}.yaml")
    for name in ("finite_width", "scaling_laws", "equivalence")
)


def study(**experiments: ExperimentSettings) -> StudySettings:
    return StudySettings(experiments=experiments)


def notices(thresholds, **experiments: ExperimentSettings) -> dict[str, str]:
    """What the plan says, by the claim or the experiment that it begins with."""
    said = claim_notices(study(**experiments), thresholds)
    return {line.partition(" ")[0].rstrip(":"): line for line in said}


def test_every_claim_of_single_experiments_says_what_it_needs():
    heads = [CLAIMS.head(name) for name in CLAIMS.names()]
    assert [head.label for head in heads if not (head.needs or head.over_experiments)] == []


@pytest.mark.parametrize("preset", ["quick", "full"])
@pytest.mark.parametrize(
    ("name", "lacking"), [("finite_width", set()), ("equivalence", set()), ("scaling_laws", {"B1∞", "B2", "B3"})]
)
def test_the_shipped_studies_can_bear_what_they_ask_for(name, lacking, preset):
    found = read_study(
        [ROOT / "config" / "config.yaml", ROOT / "config" / "studies" / f"{name}.yaml"], {"preset": preset}
    )
    said = claim_notices(found, load_thresholds(ROOT / "config" / "claims" / f"{name}.yaml"))
    claims = {line.partition(" ")[0] for line in said}
    assert claims <= (lacking if preset == "quick" else set())


def test_three_sizes_and_two_draws_are_said_before_anything_runs():
    few = scaling_settings(n_train=(64, 128, 256), draws=2)
    said = notices(SCALING_LAWS, few=few)
    needed = int(SCALING_LAWS.claims.by_name()["B1"].least_sizes.value)
    assert "B1 will not be judged: 3 n_train from scaling.n_train_min on, a law needs" in said["B1"]
    assert f"a law needs {needed}: add some to grid.n_train (few)" in said["B1"]
    two = notices(SCALING_LAWS, two=scaling_settings(draws=2))["B1"]
    assert two == "B1 will not be judged: each number rests on 2 replicate(s), 5 are needed: raise grid.draws (two)"
    assert "B1" not in notices(SCALING_LAWS, few=few, many=scaling_settings())


def test_seeds_of_a_single_draw_are_replicates():
    assert "B1" not in notices(SCALING_LAWS, one=scaling_settings(draws=1, seeds=5))
    assert "rests on 4 replicate(s)" in notices(SCALING_LAWS, one=scaling_settings(draws=1, seeds=4))["B1"]


def test_networks_are_no_replicates_of_kernels_without_seeds():
    """C2 and C3 compare kernels of infinite width and rivals: of one draw they have one number, whatever its seeds."""
    settings = ExperimentSettings(
        dataset={"source": "digits", "task": "binary"},
        grid={"depth": [1, 3], "width": [64], "init_scale": [2.0], "n_train": [64], "draws": 1, "seeds": 9},
        regression={"predictors": ["infinite_ntk", "nngp", "laplace"]},
    )
    said = notices(EQUIVALENCE, one=settings)
    assert "C1" not in said and "C5" not in said
    for claim in ("C2", "C3"):
        assert f"{claim} will not be judged: each number rests on 1 replicate(s), 5 are needed" in said[claim]


def test_more_cells_than_medians_can_reject_are_said_before_anything_runs():
    """A4 compares every settled ordered cell: with as many draws as are said the judge rejects it, not with fewer."""
    settings = ExperimentSettings(
        dataset={"source": "digits", "task": "binary", "n_validation": 8, "n_test": 12},
        network={"activation": "relu", "parameterization": "standard", "bias_variance": 0.0},
        grid={"depth": [31], "width": [32, 64], "init_scale": [0.5, 1.0, 2.0], "n_train": [64], "draws": 9},
        training={"optimizer": "sgd", "learning_rate": {"relative": 0.1}},
        dispersion={"depth": [20, 25, 30, 40], "width": [100]},
    )
    said = notices(FINITE_WIDTH, many=settings)["A4"]
    cells = 2 * 4 + 2 * 2 * 2
    assert (
        f"never rejected in many: Holm's correction for up to {cells} comparisons asks more of a median than 9" in said
    )
    (draws,) = map(int, re.findall(r"raise grid.draws to (\d+)", said))

    def word(n: int) -> str:
        moved = Comparison("drift", median_of(np.ones(n)), Region(upper=0.1))
        still = Comparison("drift", median_of(np.full(n, 0.01)), Region(upper=0.1))
        return decide([moved, *[still] * (cells - 1)], confidence=0.95, least_replicates=6).word

    assert (word(9), word(draws - 1), word(draws)) == ("inconclusive", "inconclusive", "not supported")
    assert "A4" not in notices(FINITE_WIDTH, many=settings.model_copy(update={"grid": more(settings, draws)}))


def more(settings: ExperimentSettings, draws: int):
    return settings.grid.model_copy(update={"draws": draws})


def test_the_fit_range_rule_counts():
    said = notices(SCALING_LAWS, x=scaling_settings(n_train_min=128))
    assert "3 n_train from scaling.n_train_min on" in said["B1"]
    assert "3 n_train from 128 on" in notices(
        SCALING_LAWS, x=scaling_settings(predictors=("ntk_init", "ntk_final", "ntk_pretrained_128"))
    )["B4"]  # fmt: skip


def test_predictors_sections_rates_and_axes_that_are_missing_are_named():
    said = notices(SCALING_LAWS, x=scaling_settings(predictors=("ntk_init",)))
    for claim, key in (("B1∞", "add infinite_ntk"), ("B4", "add ntk_pretrained_<m>"), ("B6", "add ntk_epochs")):
        assert key in said[claim]
    assert "no variant has another learning rate, batch size, optimizer" in said["B2"]
    assert "there is one width only" in said["B3"]
    base = synthetic_evidence(BROKEN, np.random.default_rng(0), dispersion=False, output_variance=False).settings
    rate = base.training.model_copy(
        update={"learning_rate": base.training.learning_rate.model_copy(update={"relative": 0.1})}
    )
    said = notices(FINITE_WIDTH, x=base.model_copy(update={"training": rate}))
    assert "add `dispersion`" in said["A1"] and "add `output_variance`" in said["A6"]
    assert "one learning rate cannot tell untrainable from ill chosen" in said["A5"]
    said = notices(EQUIVALENCE, x=base)
    assert "add `kernel_variants`" in said["C4"]


def test_what_one_experiment_judges_is_not_said_of_another():
    shallow = synthetic_evidence(BROKEN, np.random.default_rng(0), depth=(1, 2), width=(1024,)).settings
    deep = synthetic_evidence(BROKEN, np.random.default_rng(0)).settings
    assert "no deep networks" in notices(FINITE_WIDTH, shallow=shallow)["A3"]
    assert "A3" not in notices(FINITE_WIDTH, shallow=shallow, deep=deep)


@pytest.mark.parametrize(
    "change",
    [
        {"dispersion": False, "output_variance": False},
        {"init_scale": (1.0, 2.0)},
        {"depth": (1, 2), "width": (1024,)},
        {"depth": (15,)},
        {"network": {"bias_variance": 0.0, "parameterization": "ntk"}},
        {"dataset": {"source": "diabetes"}},
        {"training": {"optimizer": "adam", "learning_rate": {"absolute": 1e-3}}},
    ],
)
def test_the_judge_says_what_the_plan_said(change):
    evidence = synthetic_evidence(BROKEN, np.random.default_rng(1), **change)
    evidence = replace(evidence, name="planted")
    planned = claim_notices(study(planted=evidence.settings), FINITE_WIDTH)
    judged = {v.claim: v for v in judge_experiment(evidence, FINITE_WIDTH)}
    for line in planned:
        claim, _, reason = line.partition(" will not be judged: ")
        if reason:
            assert judged[claim].reason == reason.removesuffix(" (planted)")
            assert judged[claim].verdict in ("not run", "not applicable")
    for claim, settings in FINITE_WIDTH.claims.by_name().items():
        if not any(line.startswith(f"{claim} ") for line in planned):
            need_settings(claim_head(claim), evidence, settings)
    assert planned


def test_a_claim_that_lacks_something_is_not_measured():
    evidence = synthetic_evidence(BROKEN, np.random.default_rng(1), output_variance=False)
    with pytest.raises(NotJudgedError, match="add `output_variance`"):
        need_settings(claim_head("A6"), evidence, FINITE_WIDTH.claims.by_name()["A6"])
