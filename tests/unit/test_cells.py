"""Cells and their names turn into each other; blocks of seeds stay where they are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_atlas.config.grid import GridSettings
from ntk_atlas.study.cells import Row, canonical_text, rows, seed_blocks, units

scales = st.floats(min_value=1e-6, max_value=1e6, allow_nan=False, allow_infinity=False)


@given(st.integers(0, 500), st.integers(1, 10**6), scales)
@settings(derandomize=True, deadline=None)
def test_a_row_and_its_name_turn_into_each_other(depth, width, scale):
    row = Row(depth, width, scale)
    assert Row.parse(row.name) == row
    assert "/" not in row.name


def test_equal_numbers_have_equal_names():
    assert {canonical_text(v) for v in (1.0, float("1.00"), float("1"))} == {"1.0"}
    assert canonical_text(64) == "64"


def test_a_foreign_name_is_refused():
    with pytest.raises(ValueError, match="is not the name of a row"):
        Row.parse("depth-1")


def test_the_grid_is_the_product_of_its_axes_in_order():
    grid = GridSettings(depth=(3, 1), width=(8,), init_scale=(2, 1.0, "2.0"), n_train=(4,))
    assert [row.name for row in rows(grid)] == [
        "depth-1_width-8_init_scale-1.0",
        "depth-1_width-8_init_scale-2.0",
        "depth-3_width-8_init_scale-1.0",
        "depth-3_width-8_init_scale-2.0",
    ]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 9))
@settings(derandomize=True, deadline=None)
def test_blocks_cover_all_seeds_once_and_do_not_move_when_seeds_are_added(seeds, block, more):
    blocks = seed_blocks(seeds, block)
    assert [seed for part in blocks for seed in part] == list(range(seeds))
    for before, after in zip(blocks, seed_blocks(seeds + more, block), strict=False):
        assert after[: len(before)] == before


def test_units_are_small_first():
    assert [unit.name for unit in units((4, 8), 2)][:3] == ["n_train-4_draw-0", "n_train-4_draw-1", "n_train-8_draw-0"]
