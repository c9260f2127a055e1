"""Which files below `units` settings still need."""

from pathlib import Path

import pytest

from ntk_atlas.study import NeededUnits

UNIT = Path("units", "networks", "row", "unit", "digest")


@pytest.fixture
def needed(tmp_path):
    """Seeds 0 to 3 of a unit are wanted, 0 and 1 are finished."""
    (tmp_path / UNIT).mkdir(parents=True)
    (tmp_path / UNIT / "seeds-0-1.npz").touch()
    return NeededUnits(tmp_path, {UNIT: 4})


@pytest.mark.parametrize("name", ["seeds-0-1.npz", "seeds-2-3.npz", "seeds-3-4.npz"])
def test_blocks_with_a_wanted_seed_are_needed(needed, name):
    assert needed.is_needed(UNIT / name)


@pytest.mark.parametrize("seeds", ["2", "2-3", "0-1-2-3", "3-4"])
def test_states_and_marks_with_a_wanted_seed_that_is_not_finished_are_needed(needed, seeds):
    assert needed.is_needed(UNIT / f"progress-seeds-{seeds}.ckpt")
    assert needed.is_needed(UNIT / f"timed_out-seeds-{seeds}")


@pytest.mark.parametrize("seeds", ["0", "0-1", "4-5", "0-4"])
def test_those_whose_wanted_seeds_are_finished_are_not(needed, seeds):
    assert not needed.is_needed(UNIT / f"progress-seeds-{seeds}.ckpt")
    assert not needed.is_needed(UNIT / f"timed_out-seeds-{seeds}")


@pytest.mark.parametrize(
    "name", ["seeds-4-5.npz", ".seeds-2-3.npz.123.tmp", ".progress-seeds-2-3.ckpt.123.tmp", "notes"]
)
def test_other_seeds_and_other_names_are_not_needed(needed, name):
    assert not needed.is_needed(UNIT / name)


def test_nothing_of_another_digest_is_needed(needed):
    for name in ("seeds-0-1.npz", "progress-seeds-2-3.ckpt", "timed_out-seeds-2-3"):
        assert not needed.is_needed(UNIT.with_name("other") / name)
