"""Files that a config names: found in the working directory, or beside the config file that names them."""

from pathlib import Path

import numpy as np
import pytest

from ntk_atlas.study import ConfigError, read_study

CONFIG = """
experiments:
  mine:
    dataset: {source: file, path: data/mine.npz, task: regression, n_validation: 10, n_test: 10}
    grid: {depth: [1], width: [8], init_scale: [2.0], n_train: [16, 32]}
    network: {factory: "net.py:build"}
    training: {seed: 42, max_epochs: 3, checkpoints: {n_probe: 4}}
    regression: {predictors: [ntk_init, laplace, "code/kern.py:k"]}
claims: my_claims.yaml
"""


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A config beside its data and code."""
    folder = tmp_path / "theirs"
    (folder / "data").mkdir(parents=True)
    (folder / "code").mkdir()
    generator = np.random.default_rng(0)
    np.savez(folder / "data" / "mine.npz", X=generator.normal(size=(80, 3)), y=generator.normal(size=80))
    (folder / "net.py").write_text("def build(**keys): ...\n")
    (folder / "code" / "kern.py").write_text("def k(x1, x2): ...\n")
    (folder / "my.yaml").write_text(CONFIG)
    shipped = Path(__file__).parents[2] / "config" / "claims" / "scaling_laws.yaml"
    (folder / "my_claims.yaml").write_text(shipped.read_text())
    return folder


def named(study):
    mine = study.experiments["mine"]
    return mine.dataset.path, mine.network.factory, mine.regression.predictors[2], study.claims


def test_files_beside_a_config_are_found_from_anywhere(theirs, tmp_path, monkeypatch):
    (tmp_path / "clone").mkdir()
    monkeypatch.chdir(tmp_path / "clone")
    assert named(read_study([theirs / "my.yaml"])) == (
        "../theirs/data/mine.npz", "../theirs/net.py:build", "../theirs/code/kern.py:k", "../theirs/my_claims.yaml"
    )  # fmt: skip
    monkeypatch.chdir(theirs)
    assert named(read_study([Path("my.yaml")])) == ("data/mine.npz", "net.py:build", "code/kern.py:k", "my_claims.yaml")


def test_the_working_directory_serves_what_is_not_beside_the_config(theirs, tmp_path, monkeypatch):
    (theirs / "net.py").rename(tmp_path / "net.py")
    monkeypatch.chdir(tmp_path)
    assert named(read_study([theirs / "my.yaml"]))[1] == "net.py:build"


def test_a_name_that_stands_for_two_files_is_refused(theirs, tmp_path, monkeypatch):
    (tmp_path / "net.py").write_text("def build(**keys): ...\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=r"my.yaml, line 6: .*network.factory: net.py may be .* or .*: give its whole"
    ):
        read_study([theirs / "my.yaml"])
    (tmp_path / "net.py").unlink()
    (tmp_path / "net.py").symlink_to(theirs / "net.py")
    assert named(read_study([theirs / "my.yaml"]))[1] == "net.py:build", "one file under two names"


def test_a_file_that_is_nowhere_is_said_with_both_places(theirs, tmp_path, monkeypatch):
    (theirs / "net.py").unlink()
    (theirs / "data" / "mine.npz").unlink()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as raised:
        read_study([theirs / "my.yaml"])
    assert f"there is no file net.py (relative to {tmp_path} or beside the config)" in str(raised.value)
    assert "there is no file data/mine.npz (dataset.path, relative to the working directory or beside" in str(
        raised.value
    )


@pytest.mark.parametrize("key", ["path: 'a<b.npz'", 'path: "a\\tb.npz"'])
def test_names_that_could_act_in_a_report_are_refused(theirs, key, monkeypatch):
    monkeypatch.chdir(theirs)
    (theirs / "my.yaml").write_text(CONFIG.replace("path: data/mine.npz", key))
    with pytest.raises(ConfigError, match="has `<`, `>` or a control character: rename the file"):
        read_study([theirs / "my.yaml"])
