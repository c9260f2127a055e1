"""Presets: a part of the config laid over the rest by name."""

import pytest
import yaml

from ntk_atlas.study import ConfigError, laid_over, load_study, read_study, read_tree, tree_of

STUDY = """\
preset: quick
experiments:
  a:
    dataset: {source: digits}
    grid: {depth: [1], width: [8], init_scale: [2.0], n_train: [16]}
presets:
  quick: {}
  full:
    experiments:
      a:
        grid: {width: [64, 128]}
  wrong:
    experiments:
      a:
        grid: {widht: [64]}
"""


def test_a_preset_replaces_the_values_it_names_and_no_others():
    config = yaml.safe_load(STUDY)
    quick = load_study(config).experiments["a"]
    full = load_study(config | {"preset": "full"}).experiments["a"]
    assert (quick.grid.width, full.grid.width) == ((8,), (64, 128))
    assert quick.model_copy(update={"grid": full.grid}) == full
    assert full.grid.depth == quick.grid.depth


def test_a_problem_in_a_preset_names_its_line(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(STUDY)
    with pytest.raises(ConfigError, match=r"study.yaml, line 15: experiments.a.grid.widht: unknown key"):
        read_study([file], {"preset": "wrong"})


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"preset": "huge", "presets": {"quick": {}, "full": {}}},
            "preset: there is no 'huge'; known here: quick, full",
        ),
        ({"preset": "quick"}, "known here: none: name a study's file with --configfile"),
        ({"preset": "quick", "presets": {"quick": 3}}, "presets: must be a section of sections"),
        ({"preset": ["a"], "presets": {"a": {}}}, "preset: is no text: write the name of one preset"),
        ({"preset": {"a": 1}, "presets": {"a": {}}}, "preset: is no text: write the name of one preset"),
        ({"preset": "ful", "presets": {"full": {}}}, "preset: there is no 'ful'; did you mean `full`?"),
        ({"preset": "a", "presets": ["a"]}, "presets: must be a section of sections"),
        ({"experiments": {"b": {"variant_of": ["a"]}}}, "b.variant_of: is no text: write the name of one experiment"),
        ({"experiments": {"b": {"variant_of": {"a": 1}}}}, "b.variant_of: is no text: write the name of one"),
    ],
)
def test_what_is_wrong_with_a_preset_is_said(config, expected):
    with pytest.raises(ConfigError) as caught:
        load_study(config)
    assert expected in str(caught.value)


def test_merging_touches_neither_side():
    below, above = {"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}, "d": 3}
    assert laid_over(tree_of(below), tree_of(above)).plain() == {"a": {"b": 1, "c": (2,)}, "d": 3}
    assert (below, above) == ({"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}, "d": 3})


BASE = """\
experiments:
  a:
    dataset: {source: digits, task: binary, n_test: 96}
    grid: {depth: [1], width: [8], init_scale: [2.0], n_train: [16]}
    network: {activation: erf, bias_variance: 0.1, output_scale: 2.0}
    training: {max_epochs: 7, stop_loss: 0.1, learning_rate: {relative: 0.9, of: infinite_ntk}}
    regression: {predictors: [ntk_init]}
"""


def over(tmp_path, *overlays: str, values=None):
    """Experiment a of the base file with overlays over it."""
    files = [tmp_path / f"file-{number}.yaml" for number in range(len(overlays) + 1)]
    for file, text in zip(files, (BASE, *overlays), strict=True):
        file.write_text(text)
    return read_study(files, values).active()["a"]


def message(tmp_path, *overlays: str, values=None) -> str:
    with pytest.raises(ConfigError) as caught:
        over(tmp_path, *overlays, values=values)
    return str(caught.value)


def test_null_takes_an_inherited_key_away(tmp_path):
    plain = over(tmp_path)
    changed = over(tmp_path, "experiments: {a: {training: {max_epochs: null, stop_loss: null}, network: null}}")
    assert (plain.training.max_epochs, plain.network.activation) == (7, "erf")
    defaults = type(changed.training)()
    assert (changed.training.max_epochs, changed.training.stop_loss) == (defaults.max_epochs, None)
    assert changed.training.learning_rate == plain.training.learning_rate
    assert changed.network == type(changed.network)()


def test_null_for_what_was_not_inherited_is_no_value(tmp_path):
    text = message(tmp_path, "experiments:\n  a:\n    scaling: {confidence: null}\n")
    assert "file-1.yaml, line 3: experiments.a.scaling.confidence: input should be a valid number (it is null)" in text
    assert "file-1.yaml, line 1: experiments.a.grid: is required" in message(tmp_path, "experiments: {a: {grid: null}}")


def test_another_source_inherits_nothing_of_the_data(tmp_path):
    for nulls in ("", ", task: null", ", task: null, n_test: null"):
        other = over(tmp_path, f"experiments: {{a: {{dataset: {{source: teacher, dimension: 5{nulls}}}}}}}").dataset
        assert other == type(other)(dimension=5)
    same = over(tmp_path, "experiments: {a: {dataset: {source: digits, n_validation: 64}}}").dataset
    assert (same.task, same.n_test, same.n_validation) == ("binary", 96, 64)
    back = over(
        tmp_path,
        "experiments: {a: {dataset: {source: diabetes}}}",
        "experiments: {a: {dataset: {source: digits}}}",
    ).dataset
    assert back.task == "classes"
    text = message(tmp_path, "experiments:\n  a:\n    dataset:\n      source: teacher\n      task: binary\n")
    assert "file-1.yaml, line 5: experiments.a.dataset.task: unknown key" in text


def test_a_factory_inherits_the_output_scale_alone(tmp_path):
    net = tmp_path / "net.py"
    net.write_text("def build(): ...")
    network = over(tmp_path, f"experiments: {{a: {{network: {{factory: '{net}:build'}}, training: {{learning_rate: "
                   "{absolute: 0.1}}}}").network  # fmt: skip
    assert network == type(network)(factory=f"{net}:build", output_scale=2.0)
    factory = f"experiments: {{a: {{network: {{factory: '{net}:build'}}}}}}"
    back = over(tmp_path, factory, "experiments: {a: {network: {factory: null, activation: tanh}}}").network
    assert back == type(network)(activation="tanh", output_scale=2.0)
    text = message(tmp_path, factory, "experiments:\n  a:\n    network: {activation: tanh}\n")
    assert "file-2.yaml, line 3: experiments.a.network: activation does not apply to a network of your own" in text


def test_a_learning_rate_of_the_other_kind_replaces_the_inherited_one(tmp_path):
    rate = over(tmp_path, "experiments: {a: {training: {optimizer: adam, learning_rate: {absolute: 0.1}}}}").training
    assert (rate.learning_rate.absolute, rate.learning_rate.relative, rate.learning_rate.of) == (0.1, None, "network")
    rate = over(tmp_path, "experiments: {a: {training: {learning_rate: {relative: 0.5}}}}").training.learning_rate
    assert (rate.relative, rate.of) == (0.5, "infinite_ntk")
    both = "experiments: {a: {training: {learning_rate: {relative: 0.5, absolute: 0.1}}}}"
    assert "give exactly one of" in message(tmp_path, both)


def test_another_architecture_leaves_the_blocks_of_the_convolutional_one(tmp_path):
    text = """\
experiments:
  a:
    dataset: {source: digits, as_images: true}
    network: {architecture: convolutional, convolutional: {blocks: 2}}
"""
    assert over(tmp_path, text).network.convolutional.blocks == 2
    assert (
        over(tmp_path, text, "experiments: {a: {network: {architecture: fully_connected}}}").network.activation == "erf"
    )


def test_presets_and_variants_follow_the_same_rules(tmp_path):
    study = """\
presets: {other: {experiments: {a: {dataset: {source: teacher}, training: {max_epochs: null}}}}}
experiments:
  b: {variant_of: a, dataset: {source: diabetes}, training: {stop_loss: null}}
"""
    one = over(tmp_path, study)
    assert (one.dataset.source, one.training.max_epochs) == ("digits", 7)
    one = over(tmp_path, study, values={"preset": "other"})
    assert one.dataset == type(one.dataset)() and one.training.max_epochs == 300
    files = [tmp_path / "file-0.yaml", tmp_path / "file-1.yaml"]
    variant = read_study(files).active()["b"]
    assert (variant.dataset.source, variant.training.stop_loss, variant.training.max_epochs) == ("diabetes", None, 7)
    # A null in a preset waits for what the preset lies over, also when another file changes the preset.
    kept = read_tree(files).plain()["presets"]["other"]["experiments"]["a"]["training"]
    assert kept == {"max_epochs": None}


def test_a_problem_of_an_inherited_value_names_the_overlay_too(tmp_path):
    text = message(tmp_path, "experiments:\n  a:\n    grid: {n_train: [9000]}\n")
    assert "file-1.yaml, line 3: experiments.a.grid.n_train: 9000 is larger than the training pool" in text
    text = message(tmp_path, "experiments:\n  a:\n    dataset: {n_validation: 1700}\n")
    place = (
        f"{tmp_path}/file-0.yaml, line 4 (with {tmp_path}/file-1.yaml, line 2 laid over it): experiments.a.grid.n_train"
    )
    assert place in text


def test_only_some_experiments_run(tmp_path):
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    files[0].write_text(BASE)
    files[1].write_text("experiments: {b: {variant_of: a}, c: {variant_of: a}}")
    assert list(read_study(files, {"only": ["b", "c"]}).active()) == ["b", "c"]
    with pytest.raises(ConfigError, match=r"--config only=...: only: there is no experiment 'bb'; did you mean `b`"):
        read_study(files, {"only": ["bb"]})
