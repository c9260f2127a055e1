"""Reasons for a job, in words: which key of the config, which module."""

import json

import pytest

from ntk_atlas.jobs.parts import param_changes
from ntk_atlas.provenance import SourceMemory, changed_files, source_digest


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "ntk_atlas"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "one.py").write_text("from ntk_atlas.two import x\n")
    (folder / "two.py").write_text("x = 1\n")
    (tmp_path / "script.py").write_text("import ntk_atlas.one\n")
    return folder


def digest_kept(package):
    memory = SourceMemory(package.parent / "kept" / "sources.json")
    digest = source_digest(package.parent / "script.py", package, memory)
    memory.keep()
    return digest


def changes(before, now, rule="train_networks"):
    return param_changes(rule, [json.dumps(before)], [json.dumps(now)], SourceMemory())


def test_a_digest_of_an_earlier_run_still_knows_its_files(package):
    before = digest_kept(package)
    (package / "two.py").write_text("x = 2\n")
    now = digest_kept(package)
    memory = SourceMemory(package.parent / "kept" / "sources.json")
    assert changed_files([before], [now], memory) == ("two.py",)
    assert param_changes("train_networks", [before], [now], memory) == ["code: two.py"]
    assert changed_files(["0" * 16], [now], memory) == ()
    assert param_changes("train_networks", ["0" * 16], [now], memory)[0].startswith("code (")


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"training": {"max_epochs": 4}}, {"training": {"max_epochs": 5}}, "training.max_epochs: 4 → 5"),
        ({"grid": {"n_train": [8, 16]}}, {"grid": {"n_train": [8, 16, 24]}}, "grid.n_train: 24 added"),
        ({"grid": {"n_train": [8, 16]}}, {"grid": {"n_train": [8]}}, "grid.n_train: 16 removed"),
        ({"figures": {"dpi": 50}}, {"figures": {"dpi": 60}}, "figures.dpi: 50 → 60"),
        ({"found": {"files": "a"}}, {"found": {"files": "b"}}, "the file of dataset.path has other contents"),
        ({"found": {"shares": 4}}, {"found": {"shares": 0}}, "disjoint draws, in shares of the data: 4 → 0"),
        (
            {"contents": {"network.activation": "a"}},
            {"contents": {"network.activation": "b"}},
            "the file of network.activation, or one that it imports, has other contents",
        ),
    ],
)
def test_a_change_is_named_by_its_key_in_the_config(before, now, said):
    assert changes(before, now) == [said]


def test_two_changes_are_two_sentences_and_swapped_values_are_seen():
    before = {"dataset": {"n_validation": 32, "n_test": 48}}
    assert changes(before, {"dataset": {"n_validation": 48, "n_test": 32}}) == [
        "dataset.n_test: 48 → 32", "dataset.n_validation: 32 → 48",
    ]  # fmt: skip


def test_thresholds_and_other_parameters_are_named():
    memory = SourceMemory()
    assert param_changes("assemble_cube", ["0" * 16], ["1" * 16], memory) == ["the thresholds of the claims"]
    assert param_changes("tabulate_costs", [["one"]], [["one", "two"]], memory) == ["one → one, two"]
