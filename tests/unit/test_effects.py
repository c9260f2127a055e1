"""The table of `config/README.md`: every key of the schema is in a row, and each row is what the jobs' specs say."""

import copy

import pytest
from config_keys import all_keys, keys_of, sources
from job_specs import rules_that_change

from ntk_atlas.config.study import StudySettings
from ntk_atlas.study.effects import EFFECTS, MADE_OF, effect_of, rules_after

PREDICTORS = ["ntk_init", "ntk_final", "ntk_epochs", "infinite_ntk", "laplace", "rbf"]
WIDE = {"depth": [1, 2], "width": [4, 8]}
BASE = {
    "experiments": {
        "one": {
            "dataset": {"source": "digits", "task": "binary"},
            "grid": {**WIDE, "init_scale": [1.0, 2.0], "n_train": [8, 16, 32], "draws": 2, "seeds": 8},
            "network": {"activation": "relu", "bias_variance": 0.1},
            "training": {"checkpoints": {"epochs": "log", "n_log": 4}},
            "regression": {"predictors": PREDICTORS, "keep_predictions": True},
            "dispersion": {"depth": [2], "width": [4]},
            "output_variance": {},
            "kernel_variants": {"depth": [1], "width": [4, 8]},
            "show": ["error_map"],
        },
    },
    "claims": "thresholds.yaml",
}
"""A study that has a job of every rule."""
OTHERS = {
    "experiments": {"one": BASE["experiments"]["one"], "two": BASE["experiments"]["one"]},
    "claims": "others.yaml",
    "preset": "small",
    "presets": {"small": {}},
    "variant_of": "two",
    "max_failed_share": 0.5,
    "show": ["error_map", "kernel_drift"],
    "grid.depth": [1, 2, 3],
    "grid.width": [4, 8, 16],
    "grid.init_scale": [1.0, 2.0, 3.0],
    "grid.n_train": [8, 16, 24, 32],
    "network.factory": "net.py:build",
    "network.architecture": "convolutional",
    "network.activation": "tanh",
    "network.parameterization": "ntk",
    "network.convolutional.readout": "flatten",
    "network.convolutional.channels": [2],
    "training.loss": "cross_entropy",
    "training.optimizer": "sgd",
    "training.learning_rate.relative": [0.2, 0.4],
    "training.learning_rate.of": "infinite_ntk",
    "training.schedule": "cosine",
    "training.batch_size": 4,
    "training.initial_output": "subtract",
    "training.target_scale": "initial_output",
    "training.selection": "best_validation",
    "training.dtype": "float64",
    "training.checkpoints.epochs": "every",
    "training.checkpoints.weights": "scheduled",
    "regression.select_ridge": "leave_one_out",
    "regression.predictors": [*PREDICTORS, "matern_3_2", "linearized", "ntk_pretrained_8", "nngp"],
    "regression.predictor_center": "both",
    "regression.epoch_n_train": "all",
    "regression.kernel_dtype": "float32",
    "scaling.metric": "error",
    "scaling.ridge": "zero",
    "dispersion.correlations": [1.0, 0.3],
    "figures.palette": "viridis",
    "figures.context": "paper",
}
"""Another value of the keys whose values are no plain numbers."""


def another(key, value):
    """Another value of a key: from the list above, or a number beside the present one."""
    if key in OTHERS:
        return OTHERS[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 2
    if isinstance(value, float):
        return value * 0.9 if value else 0.5
    if isinstance(value, list | tuple):
        return [*value, 3 * max(value)]
    return 50  # None by default


def changed(base, key, value):
    """A study in which one key has another value; the key's experiment is `one`."""
    config = copy.deepcopy(base)
    root = key.split(".")[0] in StudySettings.model_fields
    section = config if root else config["experiments"]["one"]
    *path, last = key.split(".")
    for part in path:
        section = section.setdefault(part, {})
    section[last] = value
    if key == "network.factory":
        config["experiments"]["one"]["network"] = {"factory": value}
    if key == "training.learning_rate.absolute":
        section.pop("relative", None)
    elif path[-1:] == ["learning_rate"]:
        section.setdefault("relative", 0.5)
    if path[-1:] == ["convolutional"]:
        config["experiments"]["one"]["network"]["architecture"] = "convolutional"
    return StudySettings.model_validate(config)


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


KEYS = [key for key in all_keys() if not key.startswith("dataset.")]


@pytest.mark.parametrize("key", all_keys())
def test_every_key_is_in_one_row(key):
    effect = effect_of(key)
    assert effect is not None, f"{key} is in no row of study/effects.py: say what runs again when it changes"
    assert sum(key in other.keys for other in EFFECTS) <= 1


@pytest.mark.parametrize("key", KEYS)
def test_a_row_is_what_the_specs_say(key):
    base = copy.deepcopy(BASE)
    if "convolutional." in key:
        base["experiments"]["one"]["network"]["architecture"] = "convolutional"
    before = StudySettings.model_validate(base)
    after = changed(base, key, another(key, value_of(before, key)))
    assert value_of(after, key) != value_of(before, key)
    assert rules_after(rules_that_change(before, after)) == rules_after(effect_of(key).rules)


@pytest.mark.parametrize("source", sources())
def test_all_keys_of_all_data_read_the_data_again(source):
    needed = {"file": {"path": "mine.npz"}, "teacher": {"teacher": "parity"}}
    dataset = {"source": source, **needed.get(source, {})}
    base = copy.deepcopy(BASE)
    base["experiments"]["one"]["dataset"] = dataset
    before = StudySettings.model_validate(base)
    texts = {"normalization": "none", "task": "regression", "path": "net.py", "teacher": "rough", "inputs": "signs"}
    for key in keys_of(sources()[source]):
        old = getattr(before.experiments["one"].dataset, key)
        new = {"n_validation": 40, "side": 8}.get(key) or texts.get(key) or ("z" if isinstance(old, str) else None)
        new = "binary" if key == "task" and source != "file" else new
        new = "standardize" if key == "normalization" and old == "none" else new
        new = [0, 1, 2] if key == "positive_classes" else new or another(key, old)
        if key in ("source", "split") or (source, key) == ("teacher", "noise"):  # a parity has none
            continue
        after = changed(base, f"dataset.{key}", new)
        assert getattr(after.experiments["one"].dataset, key) != old
        found = rules_after(rules_that_change(before, after))
        assert found == rules_after(effect_of(f"dataset.{key}").rules), key


def test_rows_name_rules_and_keys_that_exist():
    for effect in EFFECTS:
        assert set(effect.rules) <= set(MADE_OF)
        for key in effect.keys:
            section = key.removesuffix("*")
            assert key in all_keys() or any(k.startswith(section) for k in all_keys() if key.endswith(".*")), key


def test_parts_come_before_what_is_made_of_them():
    order = list(MADE_OF)
    assert all(order.index(part) < order.index(rule) for rule, parts in MADE_OF.items() for part in parts)
