"""Tasks beside each other see what their caller sees, and give what tasks in turn give."""

import threading
from contextvars import ContextVar

import pytest
import torch

from ntk_atlas.config import NetworkSettings
from ntk_atlas.kernels import infinite_ntk
from ntk_atlas.numerics import in_turn_or_at_once
from ntk_atlas.streams import torch_stream

SETTING = ContextVar("setting", default="default")


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_tasks_see_the_context_and_the_modes_of_their_caller(workers, mode):
    def task(i):
        return i, SETTING.get(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_num_threads()

    token, threads = SETTING.set("of the caller"), torch.get_num_threads()
    try:
        with mode():
            seen = in_turn_or_at_once(task, range(5), workers=workers)
            modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    finally:
        SETTING.reset(token)
    assert seen == [(i, "of the caller", *modes, threads if workers == 1 else 1) for i in range(5)]
    assert torch.get_num_threads() == threads


def test_what_a_task_sets_in_its_context_stays_there():
    def task(_):
        seen = SETTING.get()
        SETTING.set("of the task")
        return seen

    assert in_turn_or_at_once(task, range(9), workers=3) == ["default"] * 9
    assert SETTING.get() == "default"


def test_tasks_run_at_the_same_time():
    meeting = threading.Barrier(3, timeout=60)
    assert sorted(in_turn_or_at_once(lambda _: meeting.wait(), range(3), workers=3)) == [0, 1, 2]


@pytest.mark.parametrize("workers", [1, 2])
def test_arguments_of_unequal_lengths_and_errors_of_tasks_are_errors(workers):
    with pytest.raises(ValueError, match="shorter"):
        in_turn_or_at_once(lambda a, b: None, [1, 2], [1], workers=workers)
    threads = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        in_turn_or_at_once(lambda a: 1 / a, [1, 0, 2], workers=workers)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_infinite_kernels_in_inference_mode(activation):
    x, threads = torch.randn(30, 3, generator=torch_stream("x"), dtype=torch.float64), torch.get_num_threads()
    choice = {"depth": 2, "settings": NetworkSettings(activation=activation, parameterization="ntk")}
    expected = infinite_ntk(x, init_scale=2.0, **choice)
    torch.set_num_threads(2)
    try:
        with torch.inference_mode():
            torch.testing.assert_close(infinite_ntk(x.clone(), init_scale=2.0, **choice), expected, rtol=1e-12, atol=0)
    finally:
        torch.set_num_threads(threads)
