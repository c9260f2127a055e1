"""Kernel measures on kernels whose values are known, and on kernels that are not finite."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_atlas.kernels.measures import (
    class_block_ratios,
    effective_rank,
    kernel_distance,
    kernel_velocity,
    relative_drift,
    spectrum,
    target_alignment,
)
from ntk_atlas.streams import torch_stream


def kernels(*leading, n=6, rank=4, name="k"):
    factors = torch.randn(*leading, n, rank, dtype=torch.float64, generator=torch_stream(name))
    return factors @ factors.mT


@settings(max_examples=10, deadline=None, derandomize=True)
@given(scale=st.floats(0.01, 100.0))
def test_drift_and_distance_of_a_scaled_kernel(scale):
    k = kernels(2, 3)
    torch.testing.assert_close(relative_drift(scale * k, k), torch.full((2, 3), abs(scale - 1.0)).double())
    assert (kernel_distance(scale * k, k).abs() < 1e-15).all()


def test_distance_is_one_minus_the_cosine_also_for_close_kernels():
    a, b = kernels(4), kernels(4, name="other")
    cosine = (a * b).sum((1, 2)) / (a.norm(dim=(1, 2)) * b.norm(dim=(1, 2)))
    torch.testing.assert_close(kernel_distance(a, b), 1 - cosine, rtol=1e-12, atol=1e-14)
    orthogonal = torch.eye(2, dtype=torch.float64), torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double()
    assert float(kernel_distance(*orthogonal)) == pytest.approx(1.0, rel=1e-14)
    # S ≈ ε²/2 · ‖perpendicular part‖²: far below the rounding of 1 − cos.
    tiny = torch.tensor([[1.0, 1e-10], [1e-10, 0.0]]).double()
    assert float(kernel_distance(tiny, torch.tensor([[1.0, 0.0], [0.0, 0.0]]).double())) == pytest.approx(1e-20)


def test_velocity_is_distance_by_time():
    a, b = kernels(4), kernels(4, name="other")
    torch.testing.assert_close(kernel_velocity(a, b, 2.5), kernel_distance(a, b) / 2.5)
    with pytest.raises(ValueError, match="positive elapsed time"):
        kernel_velocity(a, b, 0.0)


def test_alignment():
    y = torch.randn(6, 3, dtype=torch.float64, generator=torch_stream("y"))
    k = kernels(2, 5)
    expected = sum(torch.einsum("i,abij,j->ab", c, k, c) for c in y.T) / (y**2).sum()
    expected = expected / torch.einsum("abii->ab", k)
    torch.testing.assert_close(target_alignment(k, y), expected, rtol=1e-12, atol=0)
    one = y[:, 0]
    assert float(target_alignment(torch.outer(one, one), one)) == pytest.approx(1.0, rel=1e-14)
    assert float(target_alignment(torch.eye(6).double(), y)) == pytest.approx(1 / 6, rel=1e-14)
    per_draw = torch.stack([y, 2 * y.roll(1, 0)])[:, None]
    both = target_alignment(k, per_draw)
    torch.testing.assert_close(both[0], target_alignment(k[0], y))
    torch.testing.assert_close(both[1], target_alignment(k[1], y.roll(1, 0)))


def test_spectrum_and_effective_rank():
    rotation = torch.linalg.qr(kernels(n=4, rank=4))[0]
    values = torch.tensor([4.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    k = rotation @ values.diag() @ rotation.T
    torch.testing.assert_close(spectrum(k), values, rtol=1e-12, atol=0)
    entropy = 0.5 * math.log(2) + 0.25 * math.log(4) + 2 * 0.125 * math.log(8)
    assert float(effective_rank(k)) == pytest.approx(math.exp(entropy), rel=1e-12)
    assert float(effective_rank(torch.eye(5).double())) == pytest.approx(5.0)
    assert float(effective_rank(torch.ones(5, 5).double())) == pytest.approx(1.0)
    assert torch.isnan(effective_rank(torch.zeros(3, 3)))


def test_block_ratios():
    labels = torch.tensor([0, 0, 1, 2])
    k = torch.tensor([[4.0, 2.0, 1.0, 0.0], [2.0, 4.0, 1.0, 0.0], [1.0, 1.0, 4.0, 1.0], [0.0, 0.0, 1.0, 4.0]])
    ratios = class_block_ratios(torch.stack([k, 2 * k]), labels)
    assert ratios.within.tolist() == pytest.approx([20 / 6 / 4] * 2)  # 4, 4, 4, 4, 2, 2 within
    assert ratios.between.tolist() == pytest.approx([6 / 10 / 4] * 2)
    assert torch.isnan(class_block_ratios(k, torch.zeros(4)).between)
    with pytest.raises(ValueError, match="give one a sample"):
        class_block_ratios(k, labels[:3])
    for targets in (None, torch.tensor([0.3, -1.2, 0.5, 2.0])):
        with pytest.raises(ValueError, match="regression data have none"):
            class_block_ratios(k, targets)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_kernel_that_is_not_finite_gives_nan_and_spares_the_others(bad):
    k = kernels(3)
    good = k.clone()
    k[1, 2, 3] = bad
    y, labels = torch.arange(6.0), torch.arange(6) % 2
    for measure in (
        lambda k: spectrum(k)[:, 0],
        effective_rank,
        lambda k: kernel_distance(k, good),
        lambda k: target_alignment(k, y),
        lambda k: relative_drift(k, good),
        lambda k: class_block_ratios(k, labels).between,
    ):
        value, expected = measure(k), measure(good)
        assert not torch.isfinite(value[1])
        torch.testing.assert_close(value[[0, 2]], expected[[0, 2]])
