"""The table of `config/README.md`: every key of the schema is in a row, and each row is what the jobs' specs say."""

import copy
import re
import runpy
from pathlib import Path

import pandas as pd
import pytest
from config_keys import keys_of, sources
from job_specs import rules_that_change
from study_changes import BASE, OF_OWN_NETWORKS, another, changed_config

from ntk_atlas.config import StudySettings
from ntk_atlas.job_log import log_of
from ntk_atlas.jobs.parts import all_jobs, rules_after, rules_before, rules_of
from ntk_atlas.study import all_keys, direct_rules, effects_markdown


def changed(base, key, value):
    return StudySettings.model_validate(changed_config(base, key, value))


def value_of(study, key):
    settings = study if key.split(".")[0] in StudySettings.model_fields else study.experiments["one"]
    for part in key.split("."):
        settings = getattr(settings, part)
    return settings


@pytest.fixture(autouse=True)
def files_of_the_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("net.py", "mine.npz"):
        (tmp_path / name).write_text("")


def expected(key):
    return direct_rules(key) if key == "experiments" else rules_of(key)


KEYS = [key for key in all_keys() if not key.startswith("dataset.")]


NOTHING_RUNS = {
    "jobs.memory_limit_mb", "jobs.save_training_seconds", "jobs.allow_huge", "only", "preset", "presets", "experiments",
}  # fmt: skip
"""Keys that no job depends on; an experiment is new work, and a preset is what it lays over other keys."""


def test_every_key_is_declared_by_a_job():
    undeclared = {key for key in all_keys() if not rules_of(key)}
    assert undeclared == NOTHING_RUNS


def test_declared_paths_and_noted_keys_are_keys_of_the_config():
    for name, job in all_jobs().items():
        for path in (*job.reads, *job.looked_up, *job.per.cut_by):
            assert any(key == path or key.startswith(f"{path}.") for key in all_keys()), (name, path)
    for keys in re.findall(r"`([^`]+)`", effects_markdown().split("| --- | --- | --- |")[1]):
        section = keys.removesuffix("*")
        known = {*all_keys(), *all_jobs(), "seed", "dtype", "max_seconds", "solver: auto"}
        assert keys in known or any(key.startswith(section) for key in all_keys()), keys


def test_each_key_is_in_one_row_or_its_section_is():
    rows = effects_markdown().splitlines()[2:]
    for key in all_keys():
        section = key.rpartition(".")[0]
        named = [row for row in rows if f"`{key}`" in row.split("|")[1]]
        of_section = [row for row in rows if f"`{section}.*`" in row.split("|")[1]]
        of_section += [row for row in rows if f"`{section.rpartition('.')[0]}.*`" in row.split("|")[1]]
        assert len(named) == 1 or (not named and len(of_section) == 1), key


@pytest.mark.parametrize("key", KEYS)
def test_a_row_is_what_the_specs_say(key):
    base = copy.deepcopy(BASE)
    if "convolutional." in key:
        base["experiments"]["one"]["network"]["architecture"] = "convolutional"
    if key in OF_OWN_NETWORKS[1:]:
        base["experiments"]["one"]["network"] = {"factory": "net.py:build"}
    before = StudySettings.model_validate(base)
    after = changed(base, key, another(key, value_of(before, key)))
    assert value_of(after, key) != value_of(before, key)
    assert rules_after(rules_that_change(before, after)) == rules_after(expected(key))


@pytest.mark.parametrize("source", sources())
def test_all_keys_of_all_data_read_the_data_again(source):
    needed = {"file": {"path": "mine.npz"}, "teacher": {"teacher": "parity"}}
    dataset = {"source": source, **needed.get(source, {})}
    base = copy.deepcopy(BASE)
    base["experiments"]["one"]["dataset"] = dataset
    before = StudySettings.model_validate(base)
    texts = {"normalization": "none", "task": "regression", "path": "net.py", "teacher": "rough", "inputs": "signs"}
    texts["draw_samples"] = "overlapping"
    for key in keys_of(sources()[source]):
        old = getattr(before.experiments["one"].dataset, key)
        new = {"n_validation": 40, "side": 8}.get(key) or texts.get(key) or ("z" if isinstance(old, str) else None)
        new = "binary" if key == "task" and source != "file" else new
        new = "standardize" if key == "normalization" and old == "none" else new
        new = [0, 1, 2] if key == "positive_classes" else new or another(key, old)
        if key in ("source", "split") or (source, key) == ("teacher", "noise"):  # a parity has none
            continue
        # There are no such files, whose features the inputs of untrained networks would have.
        base["experiments"]["one"]["dispersion"]["n_inputs"] = 8 if key == "path" or source == "file" else None
        before = StudySettings.model_validate(base)
        after = changed(base, f"dataset.{key}", new)
        assert getattr(after.experiments["one"].dataset, key) != old
        found = rules_after(rules_that_change(before, after))
        assert found == rules_after(rules_of(f"dataset.{key}")), key


@pytest.mark.parametrize(
    ("key", "kept", "lost"),
    [("draws", [2, 4, 8], [1, 9, 20]), ("n_train", [[8, 16], [8, 64]], [[8, 65], [8, 1024]])],
)
def test_the_data_are_prepared_again_where_draws_get_other_samples(key, kept, lost):
    """Eight shares of 224 samples, 160 of them for validation and test."""
    before = StudySettings.model_validate(BASE)
    for value in [*kept, *lost]:
        found = rules_that_change(before, changed(BASE, f"grid.{key}", value))
        assert ("prepare_dataset" in found) == (value in lost), value


def test_parts_come_before_what_is_made_of_them():
    order = list(all_jobs())
    assert all(order.index(part) < order.index(rule) for rule, job in all_jobs().items() for part in job.made_of)


def test_the_table_of_costs_counts_what_it_waits_for(tmp_path):
    """Records of drawing and judging may be there or not when it is made; CPU times are those of the logs."""
    assert "plot_figure" not in rules_before("tabulate_costs") >= {"train_networks", "prepare_dataset", "map_regimes"}
    jobs = {"train_networks/a", "train_networks/b", "assemble_cube/all", "plot_figure/dispersion", "judge_claims/all"}
    for job in jobs:
        record = tmp_path / "costs" / f"{job}.tsv"
        log = log_of(record, tmp_path / "logs" / "one")
        for file in (record, log):
            file.parent.mkdir(parents=True, exist_ok=True)
        record.write_text("s\tcpu_time\tmax_rss\n2.0\t0.1\t100\n")
        log.write_text(f"10:00:00 INFO root: {job}: done, 1.50 s of CPU time\n")
    script = Path(__file__).parents[2] / "workflow" / "scripts" / "tabulate_costs.py"
    runpy.run_path(str(script))["main"]({"one": tmp_path / "costs"}, tmp_path / "logs", tmp_path / "cost.csv")
    found = pd.read_csv(tmp_path / "cost.csv")
    assert found[["rule", "jobs", "CPU seconds, sum"]].values.tolist() == [
        ["assemble_cube", 1, 1.5],
        ["train_networks", 2, 3.0],
    ]
