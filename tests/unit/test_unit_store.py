"""The store keeps what is finished, and only that."""

import logging

import numpy as np
import pytest

from ntk_atlas.unit_store import UnitStore, unit_digest


def block(seeds):
    return {"a": np.array([[seed, 10 * seed] for seed in seeds]), "b": np.array(seeds, dtype=float)}


def test_seeds_come_back_in_the_order_asked_whatever_blocks_hold_them(tmp_path):
    store = UnitStore(tmp_path)
    store.save("u", "d", (0, 1), block((0, 1)))
    store.save("u", "d", (2,), block((2,)))
    loaded = store.load("u", "d", (2, 0), ("a", "b"))
    assert loaded["a"].tolist() == [[2, 20], [0, 0]]
    assert loaded["b"].tolist() == [2.0, 0.0]


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
    path = store.save("u", "d", (0,), {"a": np.zeros((1, 1000))})
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    assert store.missing("u", "d", (0,)) == (0,)


def test_a_half_written_temporary_file_is_not_a_unit(tmp_path):
    store = UnitStore(tmp_path)
    path = store.save("u", "d", (0,), block((0,)))
    path.rename(path.with_name(f".{path.name}.123.tmp"))
    assert store.missing("u", "d", (0,)) == (0,)


def test_asking_for_what_was_removed_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="delete the row's declared output and run again"):
        UnitStore(tmp_path).load("u", "d", (0,), ("a",))


def test_digests_do_not_depend_on_key_order_and_do_on_values():
    assert unit_digest({"a": 1, "b": 2}) == unit_digest({"b": 2, "a": 1})
    assert unit_digest({"a": 1, "b": 2}) != unit_digest({"a": 2, "b": 1})
    assert unit_digest("x", 1) != unit_digest("x", 2)
