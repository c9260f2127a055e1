"""Which study a call is about: config files from any folder, values, modules, and which process is at work where."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ntk_atlas.config import RESERVED_NAMES
from ntk_atlas.study import ConfigError

WORKFLOW = Path(__file__).parents[2] / "workflow"
GRID = "grid: {depth: [1], width: [8], init_scale: [2.0], n_train: [16]}, regression: {predictors: []}"
MINE = f"experiments:\n  mine: {{dataset: {{source: digits}}, {GRID}}}\n"
MORE = "presets: {more: {experiments: {more: {variant_of: mine}}}}\n"


@pytest.fixture
def calls(monkeypatch):
    monkeypatch.syspath_prepend(str(WORKFLOW))
    import study_of_call

    return study_of_call


@pytest.fixture
def call(calls, tmp_path, monkeypatch):
    """What options make of a call in a folder of its own, in which there is a file of the user's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    (tmp_path / "my.yaml").write_text(MINE)

    def parsed(*words: str):
        parser = argparse.ArgumentParser()
        calls.add_options(parser)
        given = parser.parse_args(words)
        made = calls.call_of(given)
        return made, given

    return parsed


def active(call) -> list[str]:
    return list(call.study().active())


def test_the_default_study_without_options(call, calls, tmp_path):
    made, given = call()
    assert (made.files, given.report, active(made)) == ((), "results/report.html", ["digits"])
    assert made.options[:4] == ["--snakefile", str(calls.REPOSITORY / "Snakefile"), "--directory", str(tmp_path)]


def test_only_the_experiments_of_a_file_of_ones_own_run(call, tmp_path):
    made, given = call("--mine", "my.yaml")
    assert (made.files, made.values) == ((str(tmp_path / "my.yaml"),), ("only=[mine]",))
    assert (given.report, active(made)) == ("results/my.html", ["mine"])


def test_what_a_file_of_ones_own_does_not_say_is_that_of_the_default_config(call, tmp_path):
    (tmp_path / "my.yaml").write_text("experiments: {digits: {training: {max_epochs: 3}}}")
    study = call("--mine", "my.yaml")[0].study()
    assert list(study.active()) == ["digits"]
    assert (study.active()["digits"].training.max_epochs, study.active()["digits"].grid.draws) == (3, 4)
    (tmp_path / "my.yaml").write_text("figures: {dpi: 90}")
    made, _ = call("--mine", "my.yaml")
    assert (made.values, active(made)) == ((), ["digits"])


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        (MINE + "  digits: null\n", (), ["mine"]),
        (MINE + "only: [mine, digits]\n", (), ["digits", "mine"]),
        (MINE, ("--config", "only=[digits]"), ["digits"]),
        (MINE + MORE, (), ["mine"]),
        (MINE + MORE, ("--config", "preset=more"), ["mine", "more"]),
        (MINE + MORE + "preset: more\n", (), ["mine", "more"]),
        ("experiments: {other: {variant_of: digits}}", (), ["other"]),
    ],
)  # fmt: skip
def test_which_experiments_run(call, tmp_path, text, values, expected):
    (tmp_path / "my.yaml").write_text(text)
    assert active(call("--mine", "my.yaml", *values)[0]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "experiments: {mine: null}\n",
        "experiments: {digits: null}\n",
        MINE + "presets: {none: {experiments: {mine: null}}}\npreset: none\n",
    ],
)
def test_a_file_whose_experiments_are_all_null_does_not_run_the_default_one(call, tmp_path, text):
    (tmp_path / "my.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"my.yaml: its experiments are all null, so nothing of yours would run"):
        call("--mine", "my.yaml")


def test_a_bad_name_is_one_problem(call, tmp_path):
    for name in ("a b", "[a", "figures", "é"):
        (tmp_path / "my.yaml").write_text(MINE.replace("mine:", f"'{name}':"))
        with pytest.raises(ConfigError, match=r"has 1 problem.*\n  my.yaml, line 2: experiments\.") as error:
            call("--mine", "my.yaml")[0].study()
        assert "only" not in str(error.value)
    (tmp_path / "my.yaml").write_text(MINE + "only: [mien]\n")
    with pytest.raises(ConfigError, match=r"has 1 problem.*\n.*only: there is no experiment 'mien'; did you mean"):
        call("--mine", "my.yaml")[0].study()


def test_a_report_of_what_is_not_there_is_one_sentence(tmp_path):
    (tmp_path / "my.yaml").write_text(MINE)
    command = [
        sys.executable,
        str(WORKFLOW / "run.py"),
        "--report-only",
        "-d",
        ".",
        "--mine",
        str(tmp_path / "my.yaml"),
    ]
    asked = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert asked.returncode == 1
    # Before it, a machine with a Slurm that is down says that its queue does not answer.
    assert re.fullmatch(
        r"== the report was not written: \d+ results are not there yet, for example results/mine/cube.nc: "
        r"`make run` makes them, and writes it",
        asked.stderr.splitlines()[-1],
    )
    assert "Traceback" not in asked.stderr


def test_files_are_found_from_where_make_was_called(call, tmp_path, monkeypatch):
    """`make -C repository` changes the working directory and leaves that of the caller in PWD."""
    repository = tmp_path / "repository"
    repository.mkdir()
    monkeypatch.chdir(repository)
    for name in ("my.yaml", str(tmp_path / "my.yaml"), "../my.yaml"):
        made, _ = call("--mine", name)
        assert [Path(file).resolve() for file in made.files] == [tmp_path / "my.yaml"]
        assert made.folder == repository
    (repository / "my.yaml").write_text(MINE)
    with pytest.raises(ConfigError, match=r"my.yaml may be .*repository/my.yaml or .*my.yaml: give its whole path"):
        call("--mine", "my.yaml")
    assert active(call("--mine", str(repository / "my.yaml"))[0]) == ["mine"]


def test_several_files_and_names_with_spaces(call, tmp_path):
    (tmp_path / "two words.yaml").write_text(MINE.replace("mine", "spaced"))
    assert active(call("--mine", "two words.yaml")[0]) == ["spaced"]
    (tmp_path / "over.yaml").write_text("experiments: {mine: {grid: {width: [4]}}}")
    made, given = call("--mine", "my.yaml over.yaml")
    assert (made.study().active()["mine"].grid.width, given.report) == ((4,), "results/over.html")
    with pytest.raises(ConfigError, match=r"none.yaml: there is no config of this name"):
        call("--mine", "my.yaml none.yaml")


def test_another_folder_has_its_own_default_config_or_that_of_the_repository(call, tmp_path):
    other = tmp_path / "other"
    (other / "config").mkdir(parents=True)
    made, _ = call("--directory", "other", "--configfile", "my.yaml")
    assert (made.folder, active(made)) == (other, ["digits", "mine"])
    (other / "config" / "config.yaml").write_text(MINE.replace("mine", "own"))
    assert active(made) == ["mine", "own"]
    with pytest.raises(ConfigError, match="there is no folder nowhere"):
        call("--directory", "nowhere")


def test_problems_name_files_as_short_as_can_be(call, tmp_path):
    (tmp_path / "my.yaml").write_text("experiments: {mine: {}}")
    with pytest.raises(ConfigError, match=r"\n  my.yaml, line 1: experiments.mine.grid: is required"):
        call("--mine", "my.yaml")[0].study()
    with pytest.raises(ConfigError, match=r"--config preset: write key=value, such as preset=full"):
        call("--config", "preset")[0].study()


def test_the_config_of_a_module_is_read_again_as_it_is_written(calls, tmp_path):
    file = tmp_path / "whole.yaml"
    file.write_text("ntk:\n  a: 010\n  b: 1e-3\nother: 1\n")
    part = calls.as_written({"a": 8, "b": "1e-3"}, [file], {})
    assert part.plain() == {"a": "010", "b": 1e-3}
    assert part.where(("a",)) == f"{file}, line 2"
    changed = {"a": 9, "b": "1e-3"}  # by the other workflow's own code
    assert calls.as_written(changed, [file], {}) is changed
    file.write_text("a: 1\na: 2")
    with pytest.raises(ConfigError, match="a: stands here twice"):
        calls.as_written({"a": 2}, [file], {})


@pytest.mark.parametrize("script", ["run", "status"])
def test_every_command_says_what_is_wrong_from_any_folder(script, tmp_path):
    (tmp_path / "my.yaml").write_bytes("# caf\xe9\n__use_yte__: true\n".encode("latin-1"))
    command = [sys.executable, str(WORKFLOW / f"{script}.py"), "--mine", "my.yaml"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert "my.yaml, line 1: the byte 0xe9 is not UTF-8: save the file as UTF-8" in run.stderr
    assert "Traceback" not in run.stderr


def test_make_hands_the_file_on():
    for target, script in (("run", "run.py"), ("status", "status.py"), ("why", "why.py"), ("report", "run.py"),
                           ("clean-orphans", "clean_orphans.py")):  # fmt: skip
        command = ["make", "-n", "-C", str(WORKFLOW.parent), target, "MINE=my.yaml", "PRESET=full"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
        (line,) = [line for line in said.splitlines() if f"workflow/{script}" in line]
        assert '--mine "my.yaml" --config preset=full' in line


def test_a_snakemake_works_where_it_will_go(monkeypatch, tmp_path):
    """It is started in one folder and goes to its `--directory` some time later."""
    monkeypatch.syspath_prepend(str(WORKFLOW))
    from orphans import _folders_of

    here, there = tmp_path / "clone", tmp_path / "clone" / "there"
    there.mkdir(parents=True)
    snakemake = [sys.executable, "-m", "snakemake"]
    assert _folders_of(snakemake, here) == {here}
    assert _folders_of([*snakemake, "--directory", str(there)], here) == {there}
    assert _folders_of([*snakemake, "--directory", "there"], here) == {there}
    assert _folders_of([*snakemake, "--directory=there"], here) == {there}
    assert there in _folders_of([*snakemake, "-d", "there"], there)
    assert _folders_of([*snakemake, "-d", ".."], there) == {here, there}
    assert _folders_of([sys.executable, "other.py", "-d", "there"], here) == {here}


def test_names_that_results_have_are_reserved():
    """Whatever the workflow writes below `results/` that is of no single experiment."""
    import re

    rules = [*(WORKFLOW / "rules").glob("*.smk"), WORKFLOW.parent / "Snakefile"]
    found = {name for file in rules for name in re.findall(r'"results/([\w.-]+)[/"]', file.read_text())}
    assert {name for name in found if "." not in name} <= set(RESERVED_NAMES)
    assert "snakemake_records" in found
