"""Streams depend on nothing but their names, and the global streams are lent to a user's code and given back."""

import random

import numpy as np
import pytest
import torch

from ntk_atlas.streams import global_streams, numpy_stream, torch_stream


def drawn() -> tuple[float, ...]:
    """The next number of each global stream."""
    return torch.rand(()).item(), np.random.rand(), random.random()  # noqa: NPY002 (the global stream itself)


def test_a_stream_is_its_name():
    first = torch.rand(3, generator=torch_stream("weights", 1)), numpy_stream("weights", 1).random(3)
    torch.rand(5, generator=torch_stream("weights", 2))
    drawn()
    again = torch.rand(3, generator=torch_stream("weights", 1)), numpy_stream("weights", 1).random(3)
    assert torch.equal(first[0], again[0]) and (first[1] == again[1]).all()
    assert not torch.equal(first[0], torch.rand(3, generator=torch_stream("weights", 2)))


def test_global_streams_start_from_the_seed_and_go_on_after_it():
    with global_streams(7):
        drawn()
        expected = drawn()
    drawn()
    with global_streams(7):
        first, second = drawn(), drawn()
    assert second == expected and first != second
    with global_streams(8):
        assert drawn() != first


@pytest.mark.parametrize("seed", [0, 2**63 - 1])
def test_what_is_drawn_in_the_block_changes_nothing_after_it(seed):
    with global_streams(3):
        expected = [drawn(), drawn()]
    with global_streams(3):
        before = drawn()
        with pytest.raises(ZeroDivisionError), global_streams(seed):
            drawn()
            raise ZeroDivisionError
        assert [before, drawn()] == expected
