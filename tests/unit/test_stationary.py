"""Stationary kernels against scikit-learn, and distances where digits get lost."""

import numpy as np
import pytest
import torch
from sklearn.gaussian_process.kernels import RBF, Matern

from ntk_atlas.kernels import distances, median_distance, rival
from ntk_atlas.streams import torch_stream


def normal(*shape, name="x"):
    return torch.randn(*shape, dtype=torch.float64, generator=torch_stream(name))


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("laplace", lambda scale: Matern(scale, nu=0.5)),
        ("matern_3_2", lambda scale: Matern(scale, nu=1.5)),
        ("matern_5_2", lambda scale: Matern(scale, nu=2.5)),
        ("rbf", RBF),
    ],
)
@pytest.mark.parametrize("length_scale", [0.3, 2.0])
def test_kernels_agree_with_scikit_learn(name, peer, length_scale):
    x1, x2 = normal(7, 3), normal(4, 3, name="x2")
    kernel = rival(name)(x1, x2, length_scale)
    expected = torch.as_tensor(peer(length_scale)(x1.numpy(), x2.numpy()))
    torch.testing.assert_close(kernel, expected, rtol=1e-10, atol=1e-14)


def test_distances_of_near_and_equal_samples_keep_their_digits():
    x = 1e3 + normal(30, 50)
    near = x.clone()
    near[0] += 1e-6
    near[1, 0] += 1e-9
    expected = (x[:, None] - near[None]).norm(dim=2)
    torch.testing.assert_close(distances(x, near), expected, rtol=1e-8, atol=1e-12)
    assert (distances(x, x.clone()).diagonal() == 0).all()
    square = distances(x)
    assert (square.diagonal() == 0).all() and torch.equal(square, square.T)


def test_distances_flatten_and_take_single_precision():
    x = normal(5, 2, 3).float()
    expected = torch.cdist(x.double().flatten(1), x.double().flatten(1))
    torch.testing.assert_close(distances(x), expected, rtol=1e-10, atol=1e-7)


def test_median_distance():
    x = torch.tensor([[0.0], [1.0], [3.0]])  # distances 1, 2, 3
    assert median_distance(x) == 2.0
    with pytest.raises(ValueError, match="at least two samples"):
        median_distance(x[:1])


@pytest.mark.parametrize("name", ["laplace", "matern_3_2", "matern_5_2", "rbf", "rational_quadratic"])
@pytest.mark.parametrize("far", [1e200, np.inf])
def test_samples_far_apart_have_nothing_in_common(name, far):
    assert float(rival(name).of_distance(np.array([[far]]), 1.0)) < 1e-100


@pytest.mark.parametrize("length_scale", ["1", None, [1.0]])
def test_a_length_scale_is_a_number(length_scale):
    for name in ("rbf", "linear"):
        with pytest.raises(ValueError, match=r"the length scale is .*: give one number"):
            rival(name).pairs(torch.ones(2, 2))(length_scale)


def test_bad_names_and_scales():
    with pytest.raises(ValueError, match=r"no rival kernel 'laplac'.*did you mean `laplace`"):
        rival("laplac")
    for name in ("rbf", "linear"):
        for scale in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="must be positive and finite"):
                rival(name).pairs(torch.zeros(2, 1))(scale)


@pytest.mark.parametrize(
    ("x1", "x2", "message"),
    [
        (torch.ones(3), None, r"x1 has shape \(3,\), expected \(n, \*shape\): one sample is x\[None\]"),
        (torch.full((3, 2), torch.nan), None, "x1 has entries that are NaN, infinite, or beyond 1e\\+100"),
        (torch.full((3, 2), 1e200, dtype=torch.float64), None, "x1 has entries .* beyond"),
        (torch.ones(3, 2), torch.ones(3, 4), "a sample of x1 has 2 numbers, of x2 4: they must match"),
        (torch.ones(3, 2), torch.ones(3, 2, dtype=torch.complex64), "x2 is complex"),
        ("text", None, "x1 is a str"),
    ],
)
def test_samples_without_distances_are_named(x1, x2, message):
    for call in (distances, rival("rbf").pairs, rival("linear").pairs):
        with pytest.raises(ValueError, match=message):
            call(x1, x2)


def test_arrays_have_distances():
    x = np.random.default_rng(0).normal(size=(6, 3))
    assert torch.equal(distances(x), distances(torch.from_numpy(x)))
    assert median_distance(x) == median_distance(torch.from_numpy(x))


def test_the_median_of_samples_that_are_mostly_equal_is_of_those_that_differ():
    x = torch.zeros(12, 2)
    assert median_distance(x) == 0.0
    x[3], x[7] = torch.tensor([3.0, 4.0]), torch.tensor([6.0, 8.0])
    assert median_distance(x) == 5.0
