"""What `make run` removes before it starts: half written files, and results that are not what their jobs wrote."""

import errno
import hashlib
import importlib
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import ntk_atlas.job_log
from ntk_atlas.arrays import LabelledArray, LabelledArrays, UnitStore, read_labelled, write_labelled
from ntk_atlas.cubes import write_netcdf
from ntk_atlas.job_log import job_log, note_digest


@pytest.fixture
def damaged(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "workflow"))
    return importlib.import_module("damaged")


def test_what_was_half_written_when_a_run_was_killed_is_removed(damaged, tmp_path):
    left = [
        "one/.cube.nc.77.tmp",
        "one/figures/.phase.svg.5.tmp",
        "units/a/.seeds-0-1.npz.123.tmp",
    ]
    kept = ["one/cube.nc", ".snakemake_timestamp", "one/.hidden", "one/a.1.tmp", ".old.tmp", "one/.notes.7.tmp.bak"]
    for name in (*left, *kept):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    assert damaged.remove_half_written(tmp_path) == sorted(tmp_path / name for name in left)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path / name for name in kept}
    assert damaged.remove_half_written(tmp_path / "nowhere") == []


def test_a_truncated_result_without_a_note_names_itself_where_it_is_read(damaged, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ntk_atlas.job_log, "is_own", lambda file: False)  # this file is no user's
    path = tmp_path / "one.nc"
    write_labelled(LabelledArrays({"x": LabelledArray(("n",), np.arange(1000.0))}), path)
    path.write_bytes(path.read_bytes()[:-100])
    assert damaged.remove_damaged(tmp_path) == [] and path.is_file()
    for read in (read_labelled, xr.open_dataset):
        with pytest.raises(SystemExit), job_log(tmp_path / "job.log", "join one"):
            read(path)
        said = capsys.readouterr().err
        assert f"join one failed: {path} is damaged and cannot be read (NetCDF: HDF error): delete it and run" in said


def test_what_cannot_be_read_now_is_neither_removed_nor_called_damaged(damaged, tmp_path, monkeypatch):
    path = tmp_path / "one.csv"
    path.write_text("a\n1\n")
    note_digest(path)

    def fails(*_, **__):
        raise OSError(errno.EIO, "the disk does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(hashlib, "file_digest", fails)
        with pytest.raises(OSError, match="does not answer"):
            damaged.remove_damaged(tmp_path)
    assert damaged.remove_damaged(tmp_path) == [] and path.is_file()


def test_results_that_are_not_what_their_jobs_wrote_are_removed_whatever_they_look_like(damaged, tmp_path, caplog):
    results = tmp_path / "results" / "one"
    contents = {"table.csv": "a,b\n1,2\n", "figure.svg": "<svg><text>12</text></svg>", "other.csv": "a\n1\n"}
    for name, text in contents.items():
        path = results / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with job_log(tmp_path / "job.log", "write one", makes=[path]):
            path.write_text(text)
    assert damaged.remove_damaged(results.parent) == []
    for name, flipped in (("table.csv", "a,b\n1,3\n"), ("figure.svg", "<svg><text>13</text></svg>")):
        stamp = (results / name).stat()
        (results / name).write_text(flipped)
        os.utime(results / name, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with caplog.at_level(logging.WARNING):
        assert damaged.remove_damaged(results.parent) == [results / "figure.svg", results / "table.csv"]
    assert (
        f"{results / 'table.csv'} is damaged (not what its job wrote): removed, it is made again if anything needs it"
        in caplog.text
    )
    assert sorted(str(f.relative_to(results)) for f in results.rglob("*.csv")) == [".digests/other.csv", "other.csv"]


def test_links_that_lead_nowhere_are_removed_and_folders_in_the_place_of_results_are_named(damaged, tmp_path, caplog):
    cube = tmp_path / "cube.nc"
    cube.write_text("x")
    note_digest(cube)
    cube.unlink()
    assert damaged.remove_damaged(tmp_path) == []
    cube.symlink_to(tmp_path / "nowhere" / "cube.nc")
    with caplog.at_level(logging.WARNING):
        assert damaged.remove_damaged(tmp_path) == [cube]
    assert "cube.nc is damaged (a link that leads nowhere): removed" in caplog.text
    assert not cube.is_symlink()
    cube.write_text("x")
    note_digest(cube)
    cube.unlink()
    cube.mkdir()
    with pytest.raises(IsADirectoryError, match=r"it is a folder where a result was: move it away.*cube\.nc"):
        damaged.remove_damaged(tmp_path)


def test_nothing_is_written_through_a_link_in_the_place_of_a_temporary_file(tmp_path):
    target, arrays = tmp_path / "precious", {"x": np.arange(3.0)}
    target.write_text("not ours")
    store = UnitStore(tmp_path / "units")
    writers = {
        tmp_path / "a.nc": lambda path: write_labelled(LabelledArrays({"x": LabelledArray(("n",), arrays["x"])}), path),
        tmp_path / "b.nc": lambda path: write_netcdf(xr.Dataset({"x": ("n", arrays["x"])}), path),
        store.path("u", "d", (0, 1, 2)): lambda _: store.save(
            "u", "d", (0, 1, 2), LabelledArrays.of({"x": (("seed",), arrays["x"])}, seed=[0, 1, 2])
        ),
        tmp_path / ".digests" / "a.nc": lambda _: note_digest(tmp_path / "a.nc"),
    }
    for path, write in writers.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        link = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        link.symlink_to(target)
        write(path)
        assert path.is_file() and not path.is_symlink() and not link.is_symlink()
    assert target.read_text() == "not ours"
