"""The reader of config files: a value is what it looks like, nothing stands twice, nothing is run."""

import json
import math
import os
from pathlib import Path

import pytest
import yaml

from ntk_atlas.study import ConfigError, load_study, parse_config, read_config, read_study

STUDY = """\
experiments:
  one:
    dataset: {source: digits}
    grid: {depth: [1], width: [8], init_scale: [2.0], n_train: [16, 32]}
    training: {max_epochs: 5}
"""


def message(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "my.yaml")
    return str(caught.value)


def study_message(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_study(parse_config(text, "my.yaml"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("8", 8), ("-3", -3), ("+4", 4), ("0", 0), ("8.0", 8.0), ("1e-3", 1e-3), ("1.0e-3", 1e-3), (".5", 0.5),
        ("2.", 2.0),
        ("1E5", 1e5), ("-1.5e+3", -1500.0), (".inf", math.inf), ("-.inf", -math.inf), ("true", True), ("False", False),
        ("null", None), ("~", None), ("010", "010"), ("1_000", "1_000"), ("0x10", "0x10"), ("0o10", "0o10"),
        ("0b1", "0b1"),
        ("1:30", "1:30"), ("yes", "yes"), ("on", "on"), ("No", "No"), ("2024-01-01", "2024-01-01"), ("'8'", "8"),
        ('"true"', "true"), ("1e", "1e"), ("1.2.3", "1.2.3"), ("=", "="), ("!!str 8", "8"), ("!!int 8", 8),
        ("a b", "a b"),
    ],
)  # fmt: skip
def test_a_word_is_what_it_looks_like(word, value):
    read = parse_config(f"a: {word}", "my.yaml").plain()["a"]
    assert (read, type(read)) == (value, type(value))


def test_a_number_that_is_none_is_read():
    assert math.isnan(parse_config("a: .NaN", "my.yaml").plain()["a"])


def test_shipped_configs_mean_the_same_to_other_readers():
    for file in (Path(__file__).parents[2] / "config").rglob("*.yaml"):
        assert json.dumps(read_config(file).plain()) == json.dumps(yaml.safe_load(file.read_text())), file


@pytest.mark.parametrize(
    ("key", "written", "expected"),
    [
        ("draws", "on", "draws: input should be a valid integer (it is 'on'): write a number"),
        ("draws", "true", "draws: input should be a valid integer (it is true): write a number"),
        ("draws", "'8'", "draws: input should be a valid integer (it is '8'): write 8 without quotes"),
        ("draws", "010", "draws: input should be a valid integer (it is '010'): write 10, without leading zeros"),
        ("draws", "0x10", "draws: input should be a valid integer (it is '0x10'): write 16"),
        ("draws", "0o17", "draws: input should be a valid integer (it is '0o17'): write 15"),
        ("draws", "1_000", "draws: input should be a valid integer (it is '1_000'): write 1000"),
        ("draws", "1:30", "draws: input should be a valid integer (it is '1:30'): some readers of YAML take it for a"),
        ("draws", "8.0", "draws: input should be a valid integer (it is 8.0): write 8"),
        ("draws", "8.5", "draws: input should be a valid integer (it is 8.5)"),
        ("draws", "2024-01-01", "draws: input should be a valid integer (it is '2024-01-01')"),
        ("draws", "[2]", "draws: input should be a valid integer (it is [2])"),
        ("draws", "", "draws: has no value: write one, or `null`"),
        ("draws", "null", "draws: input should be a valid integer (it is null)"),
        ("n_train", "[on, 8]", "n_train.0: input should be a valid integer (it is 'on'): write a number"),
        ("n_train", "[8, true]", "n_train.1: input should be a valid integer (it is true): write a number"),
        ("n_train", "[8, 1:30]", "n_train.1: input should be a valid integer (it is '1:30')"),
        ("n_train", "64", "n_train: input should be a list (it is 64): write a list, [64]"),
        ("n_train", "64, 128", "n_train: input should be a list (it is '64, 128'): write a list, [64, 128]"),
        ("depth", "'1-3'", "depth: input should be a list (it is '1-3'): write a list, [1, 2, 3]"),
        ("depth", "{a: 1}", "depth: input should be a list (it is {'a': 1})"),
        ("init_scale", "[.nan]", "init_scale.0: input should be a finite number (it is nan)"),
        ("init_scale", "[1e999]", "init_scale.0: input should be a finite number (it is inf)"),
        ("init_scale", "[yes]", "init_scale.0: input should be a valid number (it is 'yes'): write a number"),
        (
            "init_scale",
            "['1,5']",
            "init_scale.0: input should be a valid number (it is '1,5'): write 1.5, with a",
        ),
        ("width", "[-8]", "width.0: input should be greater than or equal to 1 (it is -8)"),
        ("width", "8", "width: input should be a list (it is 8): write a list, [8]"),
    ],
)  # fmt: skip
def test_nothing_is_silently_another_number(key, written, expected):
    axes = {"depth": "[1]", "width": "[8]", "init_scale": "[2.0]", "n_train": "[16]", key: written}
    lines = "\n".join(f"      {name}: {value}" for name, value in axes.items())
    text = study_message(f"experiments:\n  one:\n    grid:\n{lines}\n")
    place = 4 + list(axes).index(key)
    assert f"has 1 problem; nothing was run:\n  my.yaml, line {place}: experiments.one.grid.{expected}" in text


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("training: {learning_rate: 0.01}", "training.learning_rate: is a number, 0.01: write {absolute: 0.01}, or"),
        ("training: {learning_rate: {relative: '0.5'}}", "input should be a valid number (it is '0.5'): write 0.5"),
        ("training: {batch_size: true}", "input should be 'full' (it is true); or: input should be a valid integer"),
        ("training: 3", "training: input should be a section (it is 3), with keys such as batch_size"),
        ("training: [3]", "training: input should be a section (it is [3]), with keys such as batch_size"),
        ("dataset: diabetes", "dataset: input should be a section (it is 'diabetes'): write {source: diabetes}"),
        ("dataset: {n_test: 9}", "dataset: has no `source`: add one of california, cifar10, diabetes, digits,"),
        ("dataset: {source: digit}", "source is 'digit': it must be one of california, cifar10"),
        ("dataset: {source: digits, as_images: yes}", "input should be true or false (it is 'yes'): write true"),
        ("dataset: {source: digits, as_images: 0}", "as_images: input should be true or false (it is 0): write false"),
        ("dataset: {source: file, path: x.npz, y: 1}", "y: input should be text (it is 1): write '1'"),
        ("dataset: {source: file, path: true}", "path: input should be text (it is true): write 'true'"),
        ("network: {activation: rellu}", "there is no activation 'rellu'; did you mean `relu`? known here: erf,"),
        ("network: {bias_variance: yes}", "input should be a valid number (it is 'yes'): write a number"),
        ("regression: {predictors: [ntk]}", "there is no predictor 'ntk'; did you mean `ntk_init`? known"),
        ("regression: {predictors: [ntk_epoch_x]}", "ntk_epoch_<number>, ntk_epochs, ntk_pretrained_<number>"),
        ("show: [error_maps]", "show.0: there is no figure 'error_maps'; did you mean `error_map`?"),
        ("show: ['my.py:']", "show.0: write `my_file.py:figure` for one in a file (it is 'my.py:')"),
        ("dispersion: {depth: [0], width: [4]}", "dispersion.depth.0: input should be greater than or equal to 1"),
    ],
)  # fmt: skip
def test_each_message_says_what_to_write(written, expected):
    text = study_message(f"{STUDY.splitlines()[0]}\n  one:\n{STUDY.splitlines()[3]}\n    {written}\n")
    assert "has 1 problem; nothing was run:\n  my.yaml, line 4: experiments.one." in text
    assert expected in text


@pytest.mark.parametrize("name", ["my exp", "../x", "é", "-a", "a.b", "<script>", "a\nb", "a" * 101, ""])
def test_a_name_that_is_no_folder_is_refused_with_the_rule(name):
    text = study_message(f"experiments:\n  {json.dumps(name)}:\n    grid: {{}}\n")
    assert "my.yaml, line 2: experiments." in text
    assert "cannot be a name: write letters, digits, _ and -, the first a letter or a digit, at most 100" in text


@pytest.mark.parametrize("name", ["snakemake_records", "figures", "claims", "Figures"])
def test_a_name_that_results_have_for_something_else_is_refused(name):
    text = study_message(STUDY.replace("  one:", f"  {name}:"))
    assert f"my.yaml, line 2: experiments.{name}: {name!r} is a name that `results/` has for something else" in text


def test_two_names_that_differ_in_case_alone_are_one_folder_on_some_disks():
    assert "one and ONE are one folder" in study_message(
        STUDY + STUDY.replace("experiments:\n", "").replace("one", "ONE")
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: 2\na: 3", ["my.yaml, line 3: a: stands here twice, first in line 1: remove one"]),
        ("a: {b: 1, b: 2}", ["line 1: a.b: stands here twice, both times in this line"]),
        ("a: {b: 1, 'b': 2}", ["line 1: a.b: stands here twice"]),
        ("a:\n  - b: 1\n    b: 2", ["line 3: a.0.b: stands here twice, first in line 2"]),
        ("a: 1\na: 2\na: 3\nb: {c: 1, c: 1}", ["has 3 problems", "line 3: a:", "line 4: b.c:"]),
        ("x: &x {b: 1, b: 2}\ny: *x", ["has 1 problem;", "line 1: x.b: stands here twice"]),
        ('{"a": 1, "a": 2}', ["line 1: a: stands here twice"]),
        ("x: &x {a: 1}\ny: {<<: *x, <<: *x}", ["`<<` stands here twice, first in line 2: write `<<: [*a, *b]`"]),
        ("on: 1", ["line 1: on: readers of YAML take the key `on` for true or false and not for text: write it in"]),
        ("a:\n  1: 2", ["line 2: a.1: readers of YAML take the key `1` for a number"]),
        ("1.5: 2", ["the key `1.5` for a number"]),
        ("null: 2", ["the key `null` for null"]),
        ("~: 2", ["the key `~` for null"]),
        ("yes: 2", ["the key `yes` for true or false"]),
        ("010: 2", ["the key `010` for a number"]),
        ("1:30: 2", ["the key `1:30` for a number"]),
        ("2024-01-01: 2", ["the key `2024-01-01` for a date"]),
        ("{? : 2}", ["line 1: a key is missing before `:`"]),
        ("? [a, b]\n: 2", ["line 1: a key is a list or a section: write a word"]),
        ("__use_yte__: true\na: ?1 + 1", ["line 1: `__use_yte__` makes a template of the file, which runs code"]),
        ("'__use_yte__': false", ["`__use_yte__` makes a template"]),
        ("<<: {__use_yte__: true}\na: 1", ["`__use_yte__` makes a template"]),
        ("a: !!python/object/apply:os.system [ls]", ["line 1: a: has the tag `!!python/object/apply:os.system`"]),
        ("a: !!python/name:os.system ''", ["line 1: a: has the tag"]),
        ("a: !mine {b: 1}", ["line 1: a: has the tag `!mine`, and nothing in a config is run or converted"]),
        ("a: !!set {b, c}", ["has the tag `!!set`"]),
        ("a: !!binary aGVsbG8=", ["has the tag `!!binary`"]),
        ("a: !!timestamp 2024-01-01", ["has the tag `!!timestamp`"]),
        ("a: !!int 010", ["'010' is not a number, as its tag has it"]),
        ("!!int a: 1", ["line 1: a: has the tag `!!int` before its key: remove it"]),
        ("!x a: 1", ["line 1: a: has the tag `!x` before its key: remove it"]),
        ("a:", ["line 1: a: has no value: write one, or `null`"]),
        ("a: [1, ,2]", ["line 1: is not YAML"]),
        ("a: 1\n---\nb: 2", ["line 2: a second document begins (`---`)"]),
        ("a:\n\tb: 1", ["line 2: has a tab where YAML wants spaces"]),
        ("a: 1\nb: \t- 2", ["line 2: has a tab where YAML wants spaces"]),
        ("a: *b", ["line 1: is not YAML: found undefined alias 'b'"]),
        ("a: &a {b: *a}", ["an alias contains itself: remove it"]),
        ("a: &a [*a]", ["an alias contains itself"]),
        ("a: {<<: 3}", ["line 1: a: `<<` takes an alias of another section"]),
        ("a: &a {<<: *a}", ["line 1: a: `<<` takes an alias of another section"]),
        ("a: 1\nb: \0", ["line 2: has the character U+0000"]),
        ("a: 'x", ["is not YAML: while scanning a quoted scalar"]),
        ('{"a": "\\ud800"}', ["has half a character"]),
        ("", ["my.yaml: is empty: write the sections of a config into it"]),
        ("# only words\n", ["my.yaml: is empty"]),
        ("null", ["my.yaml: is empty"]),
        ("- a\n- b", ["my.yaml, line 1: is a list: write sections, such as `experiments:`"]),
        ("just words", ["my.yaml, line 1: is a single value"]),
        ("3", ["is a single value"]),
        ("a: " + 5000 * "[", ["nested too deeply"]),
    ],
)  # fmt: skip
def test_what_readers_understand_differently_is_refused_with_its_line(text, expected):
    said = message(text)
    assert said.startswith("The config has ")
    for words in expected:
        assert words in said
    assert "Traceback" not in said


def test_aliases_that_multiply_are_stopped():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "makes more than 20,000 values of the config" in message("\n".join(lines))


def test_merge_keys_lie_under_the_keys_beside_them():
    text = "x: &x {a: 1, b: 1}\ny: &y {b: 2, c: 2}\nz: {<<: [*x, *y], c: 3}\nw: {c: 4, <<: *y}"
    assert parse_config(text, "my.yaml").plain() == yaml.safe_load(text)


def test_one_document_may_begin_and_end_as_one():
    assert parse_config("%YAML 1.2\n---\na: 1\n...\n", "my.yaml").plain() == {"a": 1}


def test_json_is_read_with_tabs_escapes_and_lines():
    text = '{\n\t"experiments": {\n\t\t"one": {"grid": {"depth": [1e0, true], "x\\/y": "\\ud83d\\ude00"}}}\n}'
    tree = parse_config(text, "my.json")
    assert json.dumps(tree.plain()) == json.dumps(json.loads(text))
    assert tree.where(("experiments", "one", "grid")) == "my.json, line 3"


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ("a: 1\n# caf\xe9\n".encode("latin-1"), "my.yaml, line 2: the byte 0xe9 is not UTF-8: save the file as UTF-8"),
        ("a: 1".encode("utf-16"), "my.yaml: is not UTF-8 text (it looks like UTF-16)"),
        ("a: 1".encode("utf-16-le"), "my.yaml: is not UTF-8 text (it looks like UTF-16)"),
        (b"#" * (5 * 2**20), "my.yaml: has 5 MiB, too much for a config"),
    ],
)
def test_files_that_are_no_text_are_named(tmp_path, contents, expected):
    (tmp_path / "my.yaml").write_bytes(contents)
    with pytest.raises(ConfigError) as caught:
        read_study([tmp_path / "my.yaml"])
    assert expected in str(caught.value)


def test_a_mark_of_the_byte_order_and_other_line_ends_are_no_matter(tmp_path):
    plain, marked = tmp_path / "plain.yaml", tmp_path / "marked.yaml"
    plain.write_text(STUDY)
    marked.write_bytes(STUDY.replace("\n", "\r\n").encode("utf-8-sig"))
    assert read_study([plain]) == read_study([marked])


def test_every_file_that_cannot_be_read_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "bad.yaml").write_text("a: 1\na: 2")
    with pytest.raises(ConfigError) as caught:
        read_study([tmp_path / f"{name}.yaml" for name in ("pipe", "folder", "none", "bad")])
    text = str(caught.value)
    assert "has 4 problems" in text
    assert "pipe.yaml: is no file that can be read twice" in text
    assert "folder.yaml: is a folder: name a file" in text
    assert "none.yaml: there is no config of this name (relative to " in text
    assert "bad.yaml, line 2: a: stands here twice" in text


def test_keys_of_a_config_made_in_python_are_text():
    with pytest.raises(ConfigError, match="experiments: the key True is no text: write it in quotes"):
        load_study({"experiments": {True: {}}})


def test_values_of_the_command_line_are_read_as_they_look(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(STUDY + "presets: {'1': {experiments: {one: {training: {max_epochs: 9}}}}}\n")
    values = {"preset": 1, "jobs": {"memory_limit_mb": "100"}}
    study = read_study([file], values)
    assert (study.jobs.memory_limit_mb, study.active()["one"].training.max_epochs) == (100, 9)
    with pytest.raises(ConfigError, match=r"--config jobs=...: jobs.memory_limit_mb: input should be a valid integer"):
        read_study([file], {"jobs": {"memory_limit_mb": "1:30"}})
