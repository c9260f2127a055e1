"""Sizes that mean years or terabytes: bounds of single numbers, and questions about their products, before any work."""

import pytest
from study_changes import changed_config

from ntk_atlas.study import ConfigError, StartChecks, load_study

BASE = {
    "experiments": {
        "one": {
            "dataset": {"source": "digits"},
            "grid": {"depth": [1], "width": [8], "init_scale": [2.0], "n_train": [16]},
            "regression": {"predictors": ["ntk_init"]},
        }
    }
}


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("grid.width", [10**9], "grid.width.0: input should be less than or equal to 1,000,000 (it is 1000000000)"),
        ("grid.depth", [10**6], "grid.depth.0: input should be less than or equal to 10,000"),
        ("grid.draws", 10**9, "grid.draws: input should be less than or equal to 1,000,000"),
        ("grid.seeds", 10**9, "grid.seeds: input should be less than or equal to 1,000,000"),
        ("grid.n_train", [10**12], "grid.n_train.0: input should be less than or equal to 1,000,000,000"),
        ("grid.init_scale", [1e308], "grid.init_scale.0: input should be less than or equal to 1e+30 (it is 1e+308)"),
        ("grid.init_scale", [5e-324], "grid.init_scale.0: input should be greater than or equal to 1e-30"),
        ("grid.init_scale", [2.0000000000000004, 2.0], "2.0 and 2.0000000000000004 are one value but for rounding"),
        ("grid.width", list(range(1, 100_002)), "grid: 100,001 cells (depth × width × init_scale × n_train): give at"),
        ("training.max_epochs", 10**18, "training.max_epochs: input should be less than or equal to 1,000,000,000"),
        ("training.seed", 10**30, "training.seed: input should be less than or equal to 9,223,372,036,854,775,807"),
        ("training.threads", 10**6, "training.threads: input should be less than or equal to 1,024"),
        ("training.batch_size", 10**12, "training.batch_size: input should be less than or equal to 1,000,000,000"),
        ("training.learning_rate.relative", 1e-300, "learning_rate.relative: input should be greater than or equal to"),
        ("training.checkpoints.n_log", 10**9, "n_log: input should be less than or equal to 10,000"),
        ("training", {"max_epochs": 10**6, "checkpoints": {"epochs": "every"}}, "every makes up to 1,000,000 check"),
        ("training", {"min_steps": 10**6, "checkpoints": {"epochs": "every"}}, "every makes up to 1,000,000 check"),
        ("network.bias_variance", 1e300, "network.bias_variance: input should be less than or equal to 1e+10"),
        ("network.output_scale", 1e-300, "network.output_scale: input should be greater than or equal to 1e-10"),
        ("regression.ridge_grid", [1e-300], "ridge_grid.0: input should be greater than or equal to 1e-16"),
        ("regression.length_scales", [1e300], "length_scales.0: input should be less than or equal to 1e+10"),
        ("dispersion", {"depth": [5000], "width": [8]}, "depth.0: input should be less than or equal to 1,000 (it is"),
        ("dispersion", {"depth": [1000], "width": list(range(8, 40))}, "32,000 layers in all depths and widths"),
        ("jobs.memory_limit_mb", 10**9, "jobs.memory_limit_mb: input should be less than or equal to 16,777,216"),
    ],
)  # fmt: skip
def test_each_number_has_bounds(key, value, expected):
    text = message(key, value)
    assert "has 1 problem" in text
    assert expected in text


def message(key, value) -> str:
    with pytest.raises(ConfigError) as caught:
        load_study(changed_config(BASE, key, value))
    return str(caught.value)


GRID = BASE["experiments"]["one"]["grid"]
TEACHER = {"source": "teacher", "n_samples": 10**9, "dimension": 10**4}
ARMY = {"depth": [2], "width": [10**6], "n_networks": 10**6}
HUGE = [
    ("training.max_epochs", 10**9, "would train for about 58 days, 1,000,000,000 steps one after the other"),
    ("training.min_steps", 10**9, "would train for about 58 days, 1,000,000,000 steps one after the other"),
    (
        "grid",
        GRID | {"draws": 10**6, "depth": list(range(40))},
        "years of one core, for 160,000,000 networks (depth × width",
    ),
    ("grid", GRID | {"draws": 10**6, "width": [512, 1024]}, "would fill about 3.5 TiB of disk, for 8,000,000 networks"),
    ("grid", GRID | {"depth": list(range(5000))}, "its networks have 12,502,500 layers in all, of 5,000 depths"),
    ("grid", GRID | {"width": [10**5], "depth": [4]}, "memory in one job, for 4 networks of 30,007,800,010 parameters"),
    ("dataset", TEACHER, "about 74,506 GiB of memory in one job, for 1,000,000,000 samples of 10,000 numbers"),
    ("dispersion", ARMY, "1,000,000 untrained ones a cell of dispersion"),
]


@pytest.mark.parametrize(("key", "value", "expected"), HUGE)
def test_years_and_terabytes_are_questions(key, value, expected):
    text = message(key, value)
    assert "\n  experiments.one: " in text
    assert expected in text
    assert "lower them, or set jobs.allow_huge: true if it is meant" in text


def test_what_is_too_large_is_not_tried(tmp_path):
    (tmp_path / "net.py").write_text("raise RuntimeError('tried')\ndef build(): ...")
    network = {"factory": f"{tmp_path}/net.py:build"}
    config = changed_config(changed_config(BASE, "dataset", TEACHER), "network", network)
    start = StartChecks(memory=tmp_path / "start.json", source="", say=print)
    with pytest.raises(ConfigError) as caught:
        load_study(config, start)
    assert [line.split(": ")[0] for line in caught.value.lines if "GiB of memory" in line] == ["experiments.one"]
    assert "tried" not in str(caught.value)


@pytest.mark.parametrize(("key", "value", "_"), HUGE)
def test_what_is_meant_is_allowed(key, value, _):
    assert load_study(changed_config({**BASE, "jobs": {"allow_huge": True}}, key, value)).active()
