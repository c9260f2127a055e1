"""The config's contract: every problem named with file, line, key and fix, all at once, before any work."""

import copy
from pathlib import Path

import pytest

from ntk_atlas.config import NetworkSettings, section_of
from ntk_atlas.study import ConfigError, load_study, read_study, read_tree

FileSettings = section_of("file")

REPOSITORY = Path(__file__).parents[2]
BASE = {
    "experiments": {
        "small": {
            "dataset": {"source": "digits"},
            "grid": {"depth": [1], "width": [8], "init_scale": [2.0], "n_train": [16]},
        }
    }
}


def changed(path: str, value) -> dict:
    config = copy.deepcopy(BASE)
    section = config["experiments"]["small"]
    *parents, last = path.split(".")
    for part in parents:
        section = section.setdefault(part, {})
    section[last] = value
    return config


def message(config: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        load_study(config)
    return str(caught.value)


def message_of(*files: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_study(files)
    return str(caught.value)


THRESHOLDS = {*(REPOSITORY / "config" / "claims").glob("*.yaml"), REPOSITORY / "config" / "regimes.yaml"}
SHIPPED = sorted({*(REPOSITORY / "config").rglob("*.yaml")} - THRESHOLDS)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda f: f.stem)
def test_shipped_configs_are_valid(file, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    files = [REPOSITORY / "config" / "config.yaml", file]
    for preset in read_tree(files).plain().get("presets", [None]):
        assert read_study(files, {"preset": preset}).active()


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("training.max_epoch", 3, "training.max_epoch: unknown key; did you mean `max_epochs`?"),
        ("dataset.n_tset", 3, "dataset.n_tset: unknown key; did you mean `n_test`?"),
        ("grid.widht", [3], "grid.widht: unknown key; did you mean `width`?"),
        ("training.max_epochs", "many", "training.max_epochs: input should be a valid integer"),
        ("grid.depth", [], "grid.depth: is empty: give at least one value"),
        ("grid.depth", [-1], "grid.depth.0: input should be greater than or equal to 0"),
        ("grid.n_train", [16, 4096], "grid.n_train: 4096 is larger than the training pool"),
        ("dataset.source", "mnits", "dataset: source is 'mnits': it must be one of"),
        ("network.activation", "swish", "network.activation: there is no activation 'swish'; known here: erf, gelu"),
        ("training.learning_rate", {}, "give exactly one of `relative` and `absolute`"),
        ("training.optimizer", "adam", "give learning_rate.absolute"),
        ("training.checkpoints.epochs", [0, 400], "beyond the end of training"),
        ("training.loss", "cross_entropy", "set predictors to [] or training.loss to mse"),
        ("regression.predictors", ["ntk_epoch_250"], "ntk_epoch_250 is not among the checkpointed epochs"),
        ("regression.predictors", ["ntk_epoch_999"], "checkpoint epoch beyond training"),
        ("grid.n_train", [1], "need distances between samples"),
        (
            "regression.predictors",
            ["laplac"],
            "no predictor 'laplac'; did you mean `laplace`?",
        ),
        ("network", {"factory": "nowhere.py:build"}, "there is no file nowhere.py"),
        (
            "network",
            {"factory": "net.py:build", "activation": "tanh"},
            "activation does not apply to a network of your own: remove it",
        ),
        ("network", {"factory": "net.py"}, "has no function"),
        ("dataset", {"source": "file", "path": "nowhere.npz"}, "nowhere.npz"),
        (
            "dataset",
            {"n_test": 100},
            "has no `source`: add one of california, cifar10, diabetes, digits, fashion_mnist, file, mnist",
        ),
        ("training.checkpoints.n_probe", 33, "33 probe samples of the training set, but the smallest n_train is 16"),
        ("training.checkpoints", {"n_probe": 600, "probe": "test"}, "600 probe samples, but only 512 test samples"),
        ("dataset.normalization", "whiten", "dataset.normalization: input should be 'none'"),
        (
            "dataset",
            {"source": "teacher", "teacher": "smooth", "dimension": 1, "normalization": "unit_norm"},
            "unit_norm leaves nothing of a single feature but its sign: use standardize or none",
        ),
    ],
)
def test_each_problem_is_one_clear_sentence(path, value, expected):
    text = message(changed(path, value))
    assert expected in text
    assert "nothing was run" in text


def test_regression_data_refuse_what_needs_classes():
    config = changed("dataset", {"source": "diabetes"})
    config["experiments"]["small"]["scaling"] = {"metric": "error"}
    assert "these data are a regression task" in message(config)


def test_all_problems_come_at_once_with_file_and_line(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(
        "experiments:\n  small:\n    grid:\n      depth: [1]\n      width: []\n      init_scale: [2.0]\n"
        "      n_train: [16]\n    training:\n      max_epoch: 3\n"
    )
    text = message_of(file)
    assert "2 problems" in text
    assert f"{file}, line 5: experiments.small.grid.width" in text
    assert f"{file}, line 9: experiments.small.training.max_epoch" in text


def test_a_key_is_attributed_to_the_overlay_that_set_it(tmp_path):
    base, overlay = tmp_path / "base.yaml", tmp_path / "overlay.yaml"
    base.write_text("experiments:\n  small:\n    training: {max_epochs: 5}\n")
    overlay.write_text("experiments:\n  small:\n    training: {max_epochs: none}\n")
    text = message_of(base, overlay)
    assert f"{overlay}, line 3: experiments.small.training.max_epochs" in text


def test_missing_sections_and_no_experiments_are_named():
    assert "experiments: is required" in message({})
    assert "switched off" in message({"experiments": {"small": None}})
    config = copy.deepcopy(BASE)
    del config["experiments"]["small"]["grid"]["width"]
    assert "grid.width: is required: add it" in message(config)


def test_canonical_values_do_not_depend_on_how_they_are_written():
    written = [[1, 2], [1.0, 2.0], [2, 1.0, 1]]
    texts = {load_study(changed("grid.init_scale", scales)).canonical_json() for scales in written}
    assert len(texts) == 1


def test_text_of_a_users_cannot_end_the_script_of_a_report():
    hostile = "</script><script>alert(5)</script><!-- & -->"
    spec = FileSettings(path="x.npz", y=hostile).canonical_json()
    assert not set("<>&") & set(spec)
    assert FileSettings.model_validate_json(spec).y == hostile


@pytest.mark.parametrize("key", ["dataset.path", "network.factory", "network.activation"])
@pytest.mark.parametrize("text", ["<script>.py:f", "a\nb.py:f", "x>y.py:f"])
def test_names_of_files_that_could_act_in_a_report_are_refused(key, text):
    assert f"{key}: {text!r} has `<`, `>` or a control character: rename the file" in message(changed(key, text))


def test_settings_are_frozen():
    study = load_study(BASE)
    with pytest.raises(ValueError, match="frozen"):
        study.active()["small"].training.max_epochs = 3


def test_cross_entropy_refuses_what_is_about_squared_error():
    config = changed("training", {"loss": "cross_entropy", "stop_loss": 0.1, "selection": "best_validation"})
    config["experiments"]["small"]["regression"] = {"predictors": []}
    text = message(config)
    for key in ("scaling.metric", "training.stop_loss", "training.selection"):
        assert key in text


@pytest.mark.parametrize(
    ("source", "expected"),
    [("def other(): ...", "has no function build"), ("def build(:", "line 1: invalid syntax")],
)
def test_a_factory_without_its_function_is_refused_before_any_work(tmp_path, source, expected):
    (tmp_path / "net.py").write_text(source)
    config = changed("network", {"factory": f"{tmp_path}/net.py:build"})
    config["experiments"]["small"]["regression"] = {"predictors": ["ntk_init"]}
    assert expected in message(config)


def test_lists_without_an_order_have_one_canonical_order():
    def canonical(path, value):
        return load_study(changed(path, value)).canonical_json()

    assert canonical("training.checkpoints", {"epochs": [10, 5]}) == canonical(
        "training.checkpoints", {"epochs": [0, 5, 10]}
    )
    binary = {"source": "digits", "task": "binary"}
    assert canonical("dataset", binary | {"positive_classes": [3, 1]}) == canonical(
        "dataset", binary | {"positive_classes": [1, 3]}
    )


def test_a_study_survives_its_own_json():
    """Specs travel to jobs as JSON with every default written out."""
    for network in ({"factory": "net.py:build"}, {"activation": "erf", "parameterization": "ntk"}):
        settings = NetworkSettings(**network)
        assert NetworkSettings.model_validate_json(settings.canonical_json()) == settings
