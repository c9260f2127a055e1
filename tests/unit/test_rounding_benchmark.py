"""The benchmarks of rounding and of estimates: what they run, and what they compare."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from ntk_atlas.job_log import log_of
from ntk_atlas.judging import judge_experiment, verdict_table
from ntk_atlas.study import load_thresholds, read_study
from tests.synthetic_claims import BROKEN, HOLDS, synthetic_evidence

ROOT = Path(__file__).parents[2]


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module
    for name in ("rounding", "estimates"):
        sys.modules.pop(name, None)


def test_one_experiment_runs_with_its_variants_and_nothing_else(load):
    study = [ROOT / "config" / "config.yaml", ROOT / "config" / "studies" / "scaling_laws.yaml"]
    experiments = read_study(study, {"preset": "full"}).active()
    over = load("rounding").overlay(experiments, "cifar10_gap", {"threads": 2})["experiments"]
    kept = {name for name, of in over.items() if of is not None}
    assert kept == {"cifar10_gap"} | {name for name, of in experiments.items() if of.variant_of == "cifar10_gap"}
    assert set(over) == set(experiments) and over["cifar10_gap"] == {"training": {"threads": 2}}


def test_words_that_rounding_changed_are_found(load):
    thresholds = load_thresholds(ROOT / "config" / "claims" / "finite_width.yaml")
    tables = [
        verdict_table(judge_experiment(synthetic_evidence(world, np.random.default_rng(5)), thresholds))
        for world in (BROKEN, HOLDS)
    ]
    compare = load("rounding").compare
    assert compare(tables[0], tables[0])["same"].all()
    lines = compare(*tables).set_index("claim")
    assert not lines.loc["A3", "same"] and lines.loc["A3", ["verdict", "verdict_other"]].tolist() == [
        "supported", "not supported",
    ]  # fmt: skip


def test_cpu_seconds_of_jobs_are_added_up_by_rule(load, tmp_path):
    costs, logs = tmp_path / "costs", tmp_path / "logs"
    for rule, jobs in {
        "train_networks": {"a": 10.0, "b": 2.5},
        "assemble_cube": {"all": 1.5},
        "map_regimes": {},
    }.items():
        (costs / rule).mkdir(parents=True)
        for name, seconds in jobs.items():
            record = costs / rule / f"{name}.tsv"
            record.write_text("s\tcpu_time\n1.0\t0.1\n")
            log = log_of(record, logs)
            log.parent.mkdir(parents=True, exist_ok=True)
            log.write_text(f"10:00:00 INFO root: {rule} one: done, {seconds:.2f} s of CPU time\n")
    (costs / "map_regimes" / "all.tsv").write_text("s\tcpu_time\n1.0\t0.1\n")  # killed: its log has no end
    (logs / "map_regimes.log").write_text("10:00:00 INFO root: map_regimes one: started\n")
    seconds, jobs = load("estimates").measured(costs, logs)
    assert dict(seconds) == {"train_networks": 12.5, "assemble_cube": 1.5}
    assert dict(jobs) == {"train_networks": 2, "assemble_cube": 1}


def test_the_study_of_estimates_has_every_kind_of_job(load):
    from ntk_atlas.study import all_seconds, seconds_of_study
    from ntk_atlas.study.estimates import START

    study = read_study([ROOT / "config" / "config.yaml", ROOT / "benchmarks" / "estimates.yaml"])
    counts = [set(all_seconds(experiment, study.jobs, claims=True)) for experiment in study.active().values()]
    for rule in START.keys() - seconds_of_study(claims=True, layers=2).keys():
        assert sum(rule in found for found in counts) >= 3, rule
