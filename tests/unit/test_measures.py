"""Kernel measures on kernels whose values are known, and on kernels that are not finite."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ntk_atlas.kernels import (
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


def random_symmetric(n=5):
    return kernels(n=n, name="checked")


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (lambda k: relative_drift(k, k[:1]), r"k_t has shape \(5, 5\), k_0 \(1, 5\): kernels are compared on the same"),
        (lambda k: relative_drift(k, k[0, 0]), "k_0 has shape .*: kernels are"),
        (lambda k: kernel_distance(k, k[:, :1]), r"k1 has shape \(5, 5\), k2 \(5, 1\)"),
        (lambda k: kernel_distance(k.expand(2, 5, 5), k.expand(3, 5, 5)), "their leading axes do not match"),
        (lambda k: kernel_velocity(k, k[:3, :3], 1.0), "their last two axes must be equal"),
        (lambda k: kernel_velocity(k, k, math.inf), "positive elapsed time"),
        (lambda k: kernel_velocity(k, k, math.nan), "positive elapsed time"),
        (lambda k: kernel_velocity(k, k, "1"), "the elapsed time is '1': give one number"),
        (lambda k: target_alignment(k, torch.ones(4)), r"y has shape \(4,\), the kernel \(5, 5\)"),
        (lambda k: target_alignment(k, torch.ones(1, 5)), r"y has shape \(1, 5\)"),
        (lambda k: target_alignment(k, torch.tensor(1.0)), r"y has shape \(\)"),
        (lambda k: target_alignment(k, torch.arange(5)), "y is torch.int64: classes have no order"),
        (lambda k: target_alignment(k, k[0] > 0), "y is torch.bool: classes"),
        (lambda k: target_alignment(k, k[0] / 0), "y has NaN or infinite entries"),
        (lambda k: target_alignment(k[:3], torch.ones(5)), r"k has shape \(3, 5\): a kernel of one set of samples"),
        (lambda k: target_alignment(k.expand(2, 5, 5), torch.ones(3, 5, 1)), "their leading axes do not match"),
        (lambda k: spectrum(k[:3]), r"k has shape \(3, 5\)"),
        (lambda k: spectrum(k.triu()), "k is not symmetric"),
        (lambda k: effective_rank(k.tril()), "k is not symmetric"),
        (lambda k: effective_rank(-k), "below 0: it is no kernel"),
        (lambda k: spectrum(k[:0, :0]), "of at least one sample"),
        (lambda k: spectrum(k + 0j), "k is complex"),
        (lambda k: class_block_ratios(k.triu(), torch.arange(5)), "k is not symmetric"),
        (lambda k: class_block_ratios(k, torch.ones(5, 1)), "give one a sample"),
        (lambda k: class_block_ratios(k, ["cat"] * 5), "labels has dtype <U3: give numbers"),
    ],
)
def test_what_is_no_kernel_or_does_not_belong_to_it_is_named(measure, message):
    with pytest.raises(ValueError, match=message):
        measure(random_symmetric())


def test_arrays_integers_half_precision_and_one_sample():
    k = random_symmetric()
    half, y = k.half(), torch.arange(5.0)
    torch.testing.assert_close(spectrum(half), spectrum(half.float()))
    torch.testing.assert_close(relative_drift(half, k.bfloat16()), relative_drift(half.float(), k.bfloat16().float()))
    torch.testing.assert_close(target_alignment(k.numpy(), y.tolist()), target_alignment(k, y))
    whole = torch.tensor([[2, 1], [1, 2]])
    torch.testing.assert_close(spectrum(whole), torch.tensor([3.0, 1.0]).double())
    torch.testing.assert_close(target_alignment(whole, torch.ones(2)), torch.tensor(0.75).double())
    one = torch.tensor([[4.0]])
    assert float(target_alignment(one, torch.tensor([3.0]))) == float(effective_rank(one)) == 1.0
    assert torch.isnan(target_alignment(torch.zeros(3, 3), torch.ones(3)))
    assert torch.isnan(kernel_distance(torch.zeros(3, 3), torch.ones(3, 3)))


@pytest.mark.parametrize("size", [1e25, 1e-30])
def test_squares_that_overflow_do_not_reach_drift_and_distance(size):
    k, other = random_symmetric().float(), kernels(n=5, name="other").float()
    torch.testing.assert_close(relative_drift(size * k, size * other), relative_drift(k, other))
    torch.testing.assert_close(kernel_distance(size * k, other), kernel_distance(k, other))
