"""Presets: a part of the config laid over the rest by name."""

import pytest
import yaml

from ntk_atlas.study.load import load_study
from ntk_atlas.study.presets import merged
from ntk_atlas.study.problems import ConfigError

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
        load_study(yaml.safe_load(STUDY) | {"preset": "wrong"}, [file])


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            {"preset": "huge", "presets": {"quick": {}, "full": {}}},
            "preset: there is no 'huge'; known here: quick, full",
        ),
        ({"preset": "quick"}, "known here: none: name a study's file with --configfile"),
        ({"preset": "quick", "presets": {"quick": 3}}, "presets: must be a section of sections"),
    ],
)
def test_what_is_wrong_with_a_preset_is_said(config, expected):
    with pytest.raises(ConfigError) as caught:
        load_study(config)
    assert expected in str(caught.value)


def test_merging_touches_neither_side():
    below, above = {"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}, "d": 3}
    assert merged(below, above) == {"a": {"b": 1, "c": [2]}, "d": 3}
    assert (below, above) == ({"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}, "d": 3})
