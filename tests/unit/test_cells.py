"""Cells and their names turn into each other; blocks of seeds stay where they are."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_atlas.config import GridSettings
from ntk_atlas.jobs.parts import Row, canonical_text, seed_blocks, units
from ntk_atlas.jobs.parts.slice import rows

scales = st.floats(min_value=1e-6, max_value=1e6, allow_nan=False, allow_infinity=False)


@given(st.integers(0, 500), st.integers(1, 10**6), st.lists(scales, min_size=1, max_size=5).map(tuple))
@settings(derandomize=True, deadline=None)
def test_a_row_and_its_name_turn_into_each_other(depth, width, init_scales):
    row = Row(depth, width, init_scales)
    assert Row.parse(row.name) == row
    assert "/" not in row.name
    assert Row.parse(row.name).per_init_scale() == tuple(Row(depth, width, (scale,)) for scale in init_scales)


def test_names_of_rows():
    assert Row(2, 64, (1.0,)).name == "depth-2_width-64_init_scale-1.0"
    assert Row(2, 64, (1.0, 2.0, 3.0)).name == "depth-2_width-64_init_scale-1.0,2.0,3.0"


def test_equal_numbers_have_equal_names():
    assert {canonical_text(v) for v in (1.0, float("1.00"), float("1"))} == {"1.0"}
    assert canonical_text(64) == "64"


@pytest.mark.parametrize("name", ["depth-1", "depth-1_width-8_init_scale-", "depth-1_width-8_init_scale-1.0,"])
def test_a_foreign_name_is_refused(name):
    with pytest.raises(ValueError, match="is not the name of a row"):
        Row.parse(name)


def test_the_grid_is_the_product_of_its_axes_in_order():
    grid = GridSettings(depth=(3, 1), width=(8,), init_scale=(2, 1.0, "2.0"), n_train=(4,))
    assert [row.name for row in rows(grid)] == [
        "depth-1_width-8_init_scale-1.0",
        "depth-1_width-8_init_scale-2.0",
        "depth-3_width-8_init_scale-1.0",
        "depth-3_width-8_init_scale-2.0",
    ]


@given(st.lists(scales, min_size=1, max_size=12, unique=True), st.integers(1, 15))
@settings(derandomize=True, deadline=None)
def test_rows_cut_the_ascending_init_scales_in_groups(init_scales, length):
    grid = GridSettings(depth=(1, 2), width=(8,), init_scale=tuple(init_scales), n_train=(4,))
    grouped = rows(grid, length)
    assert [single for row in grouped for single in row.per_init_scale()] == list(rows(grid))
    of_one_depth = [len(row.init_scale) for row in grouped if row.depth == 1]
    assert set(of_one_depth[:-1]) <= {length}
    assert 1 <= of_one_depth[-1] <= length


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 9))
@settings(derandomize=True, deadline=None)
def test_blocks_cover_all_seeds_once_and_do_not_move_when_seeds_are_added(seeds, block, more):
    blocks = seed_blocks(seeds, block)
    assert [seed for part in blocks for seed in part] == list(range(seeds))
    for before, after in zip(blocks, seed_blocks(seeds + more, block), strict=False):
        assert after[: len(before)] == before


def test_units_are_small_first():
    assert [unit.name for unit in units((4, 8), 2)][:3] == ["n_train-4_draw-0", "n_train-4_draw-1", "n_train-8_draw-0"]
