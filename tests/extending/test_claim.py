"""A claim is one file: the page's own is judged by the page's file of thresholds, and planned in the same words."""

import re

import numpy as np
import pandas as pd
import pytest
from recipes import run_study, write_recipe
from synthetic_claims import BROKEN, synthetic_evidence

from ntk_atlas.config import ExperimentSettings, StudySettings
from ntk_atlas.judging import judge_experiment
from ntk_atlas.study import ConfigError, claim_notices, load_thresholds

EXPERIMENT = {
    "dataset": {"source": "digits", "task": "binary", "n_validation": 16, "n_test": 32},
    "grid": {"depth": [1], "width": [4, 64], "init_scale": [2.0], "n_train": [16], "draws": 5, "seeds": 1},
    "training": {"max_epochs": 20, "checkpoints": {"epochs": [0, 20], "n_probe": 4}, "seed": 5},
    "regression": {"predictors": []},
    "show": [],
}


@pytest.fixture
def thresholds(tmp_path):
    write_recipe("my_claim.py", tmp_path)
    return write_recipe("my_claims.yaml", tmp_path)


def test_the_pages_claim_is_judged_beside_built_in_ones(thresholds):
    given = load_thresholds(thresholds)
    evidence = synthetic_evidence(BROKEN, np.random.default_rng(0))
    width = evidence.cube["width"] / evidence.cube["width"][0]
    for power, word in ((-1.0, "supported"), (0.0, "not supported")):
        evidence.cube["test_mse_network"] = (0.1 * width**power * (1 + 0 * evidence.cube["final_train_mse"])).transpose(
            *evidence.cube["final_train_mse"].dims
        )
        verdicts = {verdict.claim: verdict for verdict in judge_experiment(evidence, given)}
        assert list(verdicts) == ["A3", "wider_is_better"]
        assert verdicts["wider_is_better"].verdict == word
    assert verdicts["wider_is_better"].threshold == "< 0.9" and verdicts["A3"].threshold == "> 0.3"


def test_the_plan_says_what_the_pages_claim_lacks(thresholds):
    narrow = EXPERIMENT | {"grid": EXPERIMENT["grid"] | {"width": [4]}}
    study = StudySettings(experiments={"narrow": ExperimentSettings.model_validate(narrow)})
    said = claim_notices(study, load_thresholds(thresholds))
    lacking = "wider_is_better will not be judged: there is one width only: add some to grid.width (narrow)"
    assert lacking in said


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("my_claim.py:wider_is_better", "my_claim.py:wide", "the file defines no Claim of that name"),
        ("my_claim.py:wider_is_better", "your_claim.py:wide", "no file"),
        ("wider_is_better: {}", "wider_is_better: {rate: 1}", "unknown key; did you mean `ratio`"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(thresholds, old, new, told):
    thresholds.write_text(thresholds.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=told):
        load_thresholds(thresholds)


@pytest.mark.slow
def test_a_claim_is_one_file(thresholds, tmp_path):
    study = {"experiments": {"mine": EXPERIMENT}, "claims": "my_claims.yaml"}
    run_study(tmp_path, study, "results/mine/claims.csv")
    table = pd.read_csv(tmp_path / "results" / "mine" / "claims.csv").set_index("claim")
    assert table.loc["wider_is_better", "n"] == 5 and np.isfinite(table.loc["wider_is_better", "value"])
    assert table.loc["wider_is_better", "verdict"] in ("supported", "not supported", "inconclusive")
    file = tmp_path / "my_claim.py"
    file.write_text(file.read_text().replace("isel(width=-1)", "isel(width=1)"))
    said = run_study(tmp_path, study, "-n", "results/mine/claims.csv")
    assert set(re.findall(r"^(\w+) +(\d+)$", said, re.M)) == {("judge_claims", "1"), ("total", "1")}
