"""The store keeps what is finished, and only that."""

import errno
import io
import logging
import os
import shutil
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from ntk_atlas.arrays import LabelledArrays, LostUnitError, UnitStore, finished_seeds, seeds_of, unit_digest, whole_file


def block(seeds):
    a = np.array([[seed, 10 * seed] for seed in seeds])
    return LabelledArrays.of({"a": (("seed", "time"), a), "b": (("seed",), np.array(seeds, dtype=float))}, time=(3, 7))


def test_seeds_come_back_in_the_order_asked_whatever_blocks_hold_them(tmp_path):
    store = UnitStore(tmp_path)
    store.save("u", "d", (0, 1), block((0, 1)))
    store.save("u", "d", (2,), block((2,)))
    loaded = store.load("u", "d", (2, 0), ("a", "b"))
    assert loaded["a"].tolist() == [[2, 20], [0, 0]]
    assert loaded["b"].tolist() == [2.0, 0.0]


def test_a_unit_is_filed_under_another_digest_whole_and_says_so_inside(tmp_path):
    store = UnitStore(tmp_path)
    store.save("u", "d", (0, 1), block((0, 1)))
    store.save("u", "d", (2,), block((2,)))
    store.refile("u", "d", "new")
    assert not store.finished("u", "d") and set(store.finished("u", "new")) == {(0, 1), (2,)}
    assert store.missing("u", "new", (0, 1, 2)) == ()
    assert store.load("u", "new", (2, 0), ("a",))["a"].tolist() == [[2, 20], [0, 0]]


def test_only_missing_seeds_are_missing(tmp_path):
    store = UnitStore(tmp_path)
    store.save("u", "d", (0, 1), block((0, 1)))
    assert store.missing("u", "d", (0, 1, 2, 3)) == (2, 3)
    assert store.missing("u", "other digest", (0, 1)) == (0, 1)
    assert store.missing("v", "d", (0, 1)) == (0, 1)


def test_a_damaged_file_is_named_removed_and_computed_again(tmp_path, caplog):
    store = UnitStore(tmp_path)
    path = store.save("u", "d", (0, 1), block((0, 1)))
    path.write_bytes(path.read_bytes()[:-40])
    with caplog.at_level(logging.WARNING):
        assert store.missing("u", "d", (0, 1)) == (0, 1)
    assert f"{path} is damaged" in caplog.text
    assert not path.exists()


def test_an_empty_file_is_not_a_unit(tmp_path):
    store = UnitStore(tmp_path)
    path = store.save("u", "d", (0,), block((0,)))
    path.write_bytes(b"")
    assert store.missing("u", "d", (0,)) == (0,)
    assert not path.exists()


def test_flipped_bytes_inside_a_file_are_noticed(tmp_path):
    store = UnitStore(tmp_path)
    path = store.save("u", "d", (0,), LabelledArrays.of({"a": (("seed", "x"), np.zeros((1, 1000)))}))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    assert store.missing("u", "d", (0,)) == (0,)


def test_any_flipped_bit_is_noticed_or_does_no_harm(tmp_path):
    store, wanted = UnitStore(tmp_path), block((0, 1))
    path = store.save("u", "d", (0, 1), wanted)
    content, removed = path.read_bytes(), 0
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        if store.missing("u", "d", (0, 1), ("a", "b")):
            assert not path.exists()
            removed += 1
        else:
            loaded = store.load("u", "d", (0, 1), ("a", "b"))
            assert all(np.array_equal(loaded[name], wanted[name]) for name in wanted.arrays)
    assert removed > len(content) / 2


@pytest.mark.parametrize("other", [("v", "d", (0, 1)), ("u", "e", (0, 1)), ("u", "d", (2, 3))])
def test_a_block_of_another_unit_is_named_and_computed_again(other, tmp_path, caplog):
    store = UnitStore(tmp_path / "networks" / "row")
    path = store.save("u", "d", (0, 1), block((0, 1)))
    shutil.copy2(store.save(*other, block(other[2])), path)
    assert store.missing("u", "d", (0, 1)) == (0, 1) and not path.exists()
    said = f"it is another unit: networks, row, {other[0]}, seeds {'-'.join(map(str, other[2]))}"
    assert f"{path} is damaged: it is removed and computed again ({said})" in caplog.text


def test_a_stage_that_reads_a_block_of_another_unit_ends_with_what_to_do(tmp_path):
    store = UnitStore(tmp_path)
    path = store.save("u", "d", (0, 1), block((0, 1)))
    shutil.copy2(store.save("v", "d", (0, 1), block((5, 6))), path)
    with pytest.raises(ValueError, match="it is another unit"):
        store.peek("u", "d", (0, 1), ("a",))
    for partial in (False, True):
        shutil.copy2(store.path("v", "d", (0, 1)), path)
        with pytest.raises(LostUnitError, match=r"another unit: .* v, seeds 0-1\), and was removed: run again"):
            store.load("u", "d", (0,), ("a",), partial=partial)
        assert not path.exists()


def without_owner(path):
    with np.load(path) as arrays:
        np.savez(path, **{name: arrays[name] for name in ("a", "b", "_dims")})


def without_dimensions(path):
    with np.load(path) as arrays:
        np.savez(path, **{name: arrays[name] for name in ("a", "b", "_unit")})


def with_objects(path):
    with np.load(path) as arrays:
        np.savez(path, **arrays, more=np.array([{}], dtype=object))


def longer_than_it_is(path):
    with np.load(path) as arrays:
        contents = {name: arrays[name] for name in arrays.files}
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with ZipFile(path, "w") as archive:
        for name, array in contents.items():
            whole = io.BytesIO()
            np.save(whole, array)
            archive.writestr(f"{name}.npy", whole.getvalue() if name != "b" else head.getvalue())


def no_array(path):
    with ZipFile(path, "a") as archive:
        archive.writestr("note.txt", "hello")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without_owner, "it does not say which unit it is"),
        (without_dimensions, "it does not say its dimensions: an older version wrote it"),
        (with_objects, "more.npy holds objects"),
        (longer_than_it_is, "b.npy is not as long as it says"),
        (no_array, "it cannot be read"),
        (lambda path: path.write_bytes(b""), "it cannot be read"),
    ],
)
def test_no_file_of_another_kind_is_a_block_for_ever(spoil, said, tmp_path, caplog):
    store = UnitStore(tmp_path)
    path = store.save("u", "d", (0, 1), block((0, 1)))
    spoil(path)
    with pytest.raises(LostUnitError, match="is damaged"):
        store.load("u", "d", (0, 1), ("a",))
    path = store.save("u", "d", (0, 1), block((0, 1)))
    spoil(path)
    assert store.missing("u", "d", (0, 1), ("a", "b")) == (0, 1) and not path.exists()
    assert said in caplog.text


@pytest.mark.parametrize(
    "problem",
    [OSError(errno.ESTALE, "stale"), OSError(errno.EMFILE, "many"), PermissionError(errno.EACCES, "no"), MemoryError()],
    ids=repr,
)
def test_what_cannot_be_read_now_is_not_removed(tmp_path, monkeypatch, problem):
    store = UnitStore(tmp_path)
    path = store.save("u", "d", (0,), block((0,)))

    def fails(*_, **__):
        raise problem

    with monkeypatch.context() as patch:
        patch.setattr(np, "load", fails)
        with pytest.raises(type(problem)):
            store.missing("u", "d", (0,))
    assert store.missing("u", "d", (0,)) == () and path.exists()


def test_a_half_written_temporary_file_is_not_a_unit(tmp_path):
    store = UnitStore(tmp_path)
    path = store.save("u", "d", (0,), block((0,)))
    path.rename(path.with_name(f".{path.name}.123.tmp"))
    assert store.missing("u", "d", (0,)) == (0,)


def leave(store, *blocks):
    """A state and a mark of each block, as a killed and then timed out training leaves them."""
    for seeds in blocks:
        store.mark_timed_out("u", "d", seeds)
        store.progress("u", "d", seeds).write_bytes(b"state")


def test_states_and_marks_go_when_all_of_their_seeds_are_finished_in_any_blocks(tmp_path):
    store = UnitStore(tmp_path)
    leave(store, (0, 1, 2, 3), (0, 1), (2,), (4, 5))
    store.save("u", "d", (0, 1), block((0, 1)))
    assert store.under_way("u", "d") == (0, 1, 2, 3, 4, 5)
    assert not store.progress("u", "d", (0, 1)).exists()
    assert store.timed_out("u", "d") == (2, 3, 4, 5)
    store.save("u", "d", (2, 3), block((2, 3)))
    left = {file.name for file in (tmp_path / "u" / "d").iterdir()}
    assert left == {"seeds-0-1.npz", "seeds-2-3.npz", "progress-seeds-4-5.ckpt", "timed_out-seeds-4-5"}


def test_states_and_marks_of_other_units_and_digests_stay(tmp_path):
    store = UnitStore(tmp_path)
    leave(store, (0,))
    store.save("u", "other", (0,), block((0,)))
    store.save("v", "d", (0,), block((0,)))
    assert store.under_way("u", "d") == (0,)
    assert store.timed_out("u", "d") == (0,)


def test_only_temporaries_are_removed_as_temporaries(tmp_path):
    store = UnitStore(tmp_path / "row")
    leave(store, (2, 3))
    folder = store.save("u", "d", (0, 1), block((0, 1))).parent
    kept = set(folder.iterdir())
    assert len(kept) == 3
    beside = tmp_path / "another row" / ".seeds-0.npz.7.tmp"
    beside.parent.mkdir()
    for file in (folder / ".seeds-2-3.npz.123.tmp", folder / ".progress-seeds-2-3.ckpt.123.tmp", beside):
        file.write_bytes(b"half")
    store.remove_temporaries()
    assert set(folder.iterdir()) == kept
    assert beside.exists()
    UnitStore(tmp_path / "nothing yet").remove_temporaries()


@pytest.mark.parametrize("name", ["seeds-3-4.npz", "progress-seeds-3-4.ckpt", "timed_out-seeds-3-4"])
def test_names_of_blocks_states_and_marks_have_seeds(name):
    assert seeds_of(Path("folder", name)) == (3, 4)


@pytest.mark.parametrize(
    "name",
    ["seeds-3", "seeds-3.ckpt", "progress-seeds-3.npz", "timed_out-seeds-3.npz", ".seeds-3.npz.123.tmp", "seeds-.npz"],
)
def test_other_names_have_none(name, tmp_path):
    assert seeds_of(Path(name)) == ()
    (tmp_path / name).touch()
    assert finished_seeds(tmp_path) == set()


def test_asking_for_what_was_removed_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no seed 0: it was removed .* run again, which computes it"):
        UnitStore(tmp_path).load("u", "d", (0,), ("a",))


def test_digests_do_not_depend_on_key_order_and_do_on_values():
    assert unit_digest({"a": 1, "b": 2}) == unit_digest({"b": 2, "a": 1})
    assert unit_digest({"a": 1, "b": 2}) != unit_digest({"a": 2, "b": 1})
    assert unit_digest("x", 1) != unit_digest("x", 2)


def test_nothing_is_written_through_a_link_that_somebody_planted(tmp_path):
    target, path = tmp_path / "target", tmp_path / "folder" / "file.json"
    target.write_text("precious")
    path.parent.mkdir()
    planted = path.with_name(f".file.json.{os.getpid()}.tmp")
    planted.symlink_to(target)
    with whole_file(path) as temporary:
        temporary.write_text("new")
    assert (target.read_text(), path.read_text(), path.is_symlink()) == ("precious", "new", False)
    planted.symlink_to(target)
    with pytest.raises(RuntimeError, match="halfway"), whole_file(path) as temporary:
        temporary.write_text("newer")
        raise RuntimeError("halfway")
    assert (target.read_text(), path.read_text(), list(path.parent.iterdir())) == ("precious", "new", [path])
