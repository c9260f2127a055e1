"""Finite-time means against explicit iterations, and their limits."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch

from ntk_atlas.regression import UnstableTrainingError, finite_time_mean
from ntk_atlas.streams import torch_stream

N, N_TEST, N_OUTPUTS = 14, 6, 2
DYNAMICS = ("gradient_flow", "gradient_descent", "heavy_ball")


@pytest.fixture(scope="module")
def linear_model():
    """Features, targets and f₀ of a model that is linear in its parameters; two outputs share the features."""
    generator = torch_stream("finite time")
    features = torch.randn(N + N_TEST, 30, generator=generator, dtype=torch.float64)
    theta = torch.randn(30, N_OUTPUTS, generator=generator, dtype=torch.float64)
    y = torch.randn(N, N_OUTPUTS, generator=generator, dtype=torch.float64)
    return features, theta, y


def kernels(features):
    return features[:N] @ features[:N].T, features[N:] @ features[:N].T


def stable_rate(features, share=0.5):
    return share * 2 * N / float(torch.linalg.eigvalsh(kernels(features)[0])[-1])


def train(features, theta, y, *, learning_rate, momentum, n_steps):
    """Slow twin: gradient descent on the parameters, loss 1/(2n) Σ‖f − y‖²."""
    before = theta
    for _ in range(n_steps):
        gradient = features[:N].T @ (features[:N] @ theta - y) / N
        theta, before = theta - learning_rate * gradient + momentum * (theta - before), theta
    return features @ theta


@pytest.mark.parametrize(("dynamics", "momentum"), [("gradient_descent", 0.0), ("heavy_ball", 0.9)])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_training_a_linear_model_gives_the_same_outputs(linear_model, dynamics, momentum, share):
    features, theta, y = linear_model
    rate, times, f0 = stable_rate(features, share), [0, 1, 2, 7, 300], features @ theta
    gram, rows = kernels(features)
    mean = finite_time_mean(
        gram, rows, y, times=times, learning_rate=rate, dynamics=dynamics, momentum=0.9,
        f0_train=f0[:N], f0_test=f0[N:],
    )  # fmt: skip
    for position, n_steps in enumerate(times):
        outputs = train(features, theta, y, learning_rate=rate, momentum=momentum, n_steps=n_steps)
        torch.testing.assert_close(mean.train[position], outputs[:N], rtol=0, atol=1e-10)
        torch.testing.assert_close(mean.test[position], outputs[N:], rtol=0, atol=1e-10)


def test_torch_sgd_with_momentum_is_the_heavy_ball(linear_model):
    features, theta, y = linear_model
    rate, gram, rows = stable_rate(features), *kernels(features)
    parameter = torch.nn.Parameter(theta.clone())
    optimizer = torch.optim.SGD([parameter], lr=rate, momentum=0.8)
    for _ in range(25):
        optimizer.zero_grad()
        (((features[:N] @ parameter - y) ** 2).sum() / (2 * N)).backward()
        optimizer.step()
    f0 = features @ theta
    mean = finite_time_mean(
        gram, rows, y, times=[25], learning_rate=rate, dynamics="heavy_ball", momentum=0.8,
        f0_train=f0[:N], f0_test=f0[N:],
    )  # fmt: skip
    torch.testing.assert_close(mean.test[0], (features @ parameter.detach())[N:], rtol=0, atol=1e-10)


def test_gradient_flow_is_the_matrix_exponential(linear_model):
    features, _, y = linear_model
    gram, rows = kernels(features)
    mean = finite_time_mean(gram, rows, y, times=[3.5], learning_rate=0.2)
    decayed = np.eye(N) - scipy.linalg.expm(-0.2 * 3.5 / N * gram.numpy())
    expected = rows.numpy() @ np.linalg.solve(gram.numpy(), decayed @ y.numpy())
    np.testing.assert_allclose(mean.test[0].numpy(), expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(mean.train[0].numpy(), decayed @ y.numpy(), rtol=0, atol=1e-10)


def test_small_steps_of_gradient_descent_approach_the_flow_to_first_order(linear_model):
    features, _, y = linear_model
    gram, rows = kernels(features)
    flow = finite_time_mean(gram, rows, y, times=[1.0], learning_rate=1.0).test[0]
    gaps = [
        (
            finite_time_mean(gram, rows, y, times=[steps], learning_rate=1.0 / steps, dynamics="gradient_descent").test[
                0
            ]
            - flow
        ).norm()
        for steps in (200, 400)
    ]
    assert gaps[0] / gaps[1] == pytest.approx(2.0, rel=0.05)


def test_heavy_ball_without_momentum_is_gradient_descent(linear_model):
    features, _, y = linear_model
    arguments = {"times": [0, 1, 9, 100, math.inf], "learning_rate": stable_rate(features, 0.9)}
    ball = finite_time_mean(*kernels(features), y, dynamics="heavy_ball", momentum=0.0, **arguments)
    descent = finite_time_mean(*kernels(features), y, dynamics="gradient_descent", **arguments)
    torch.testing.assert_close(ball.test, descent.test, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_limits_start_at_f0_and_end_at_kernel_regression_around_f0(linear_model, dynamics):
    features, theta, y = linear_model
    f0, (gram, rows) = features @ theta, kernels(features)
    mean = finite_time_mean(
        gram, rows, y, times=[0, math.inf], learning_rate=stable_rate(features), dynamics=dynamics,
        f0_train=f0[:N], f0_test=f0[N:],
    )  # fmt: skip
    assert torch.equal(mean.test[0], f0[N:])
    assert torch.equal(mean.train[0], f0[:N])
    expected = f0[N:].numpy() + rows.numpy() @ np.linalg.solve(gram.numpy(), (y - f0[:N]).numpy())
    np.testing.assert_allclose(mean.test[1].numpy(), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(mean.train[1], y, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_modes_that_the_kernel_does_not_have_are_never_learned(dynamics):
    features = torch.randn(N + N_TEST, 4, generator=torch_stream("low rank"), dtype=torch.float64)
    y = torch.randn(N, 1, generator=torch_stream("low rank y"), dtype=torch.float64)
    mean = finite_time_mean(
        *kernels(features), y, times=[math.inf], learning_rate=stable_rate(features), dynamics=dynamics
    )
    weights = np.linalg.lstsq(features[:N].numpy(), y.numpy(), rcond=None)[0]
    np.testing.assert_allclose(mean.test[0].numpy(), features[N:].numpy() @ weights, rtol=0, atol=1e-10)
    np.testing.assert_allclose(mean.train[0].numpy(), features[:N].numpy() @ weights, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("dynamics", "limit"), [("gradient_descent", 1.0), ("heavy_ball", 1.9)])
def test_beyond_the_stability_limit_the_end_is_undefined(linear_model, dynamics, limit):
    features, _, y = linear_model

    def ends_well(share):
        mean = finite_time_mean(
            *kernels(features), y, times=[math.inf], learning_rate=stable_rate(features, share), dynamics=dynamics
        )
        return bool(mean.test.isfinite().all())

    assert ends_well(0.99 * limit)
    assert not ends_well(1.01 * limit)


def test_the_full_kernel_mixes_outputs():
    generator = torch_stream("full kernel")
    jacobian = torch.randn(N + N_TEST, N_OUTPUTS, 60, generator=generator, dtype=torch.float64)
    y = torch.randn(N, N_OUTPUTS, generator=generator, dtype=torch.float64)
    full = torch.einsum("icp,jdp->ijcd", jacobian, jacobian[:N])
    mean = finite_time_mean(full[:N], full[N:], y, times=[40], learning_rate=0.02, dynamics="gradient_descent")
    theta = torch.zeros(60, dtype=torch.float64)
    for _ in range(40):
        misfit = jacobian[:N] @ theta - y
        theta = theta - 0.02 / N * torch.einsum("icp,ic->p", jacobian[:N], misfit)
    torch.testing.assert_close(mean.test[0], jacobian[N:] @ theta, rtol=0, atol=1e-10)
    torch.testing.assert_close(mean.train[0], jacobian[:N] @ theta, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dynamics", DYNAMICS)
def test_times_beyond_any_training_are_the_limit(linear_model, dynamics):
    features, _, y = linear_model
    rate = stable_rate(features, 0.3)
    times = [10**30, 3 * 10**9 + 1, math.inf]
    mean = finite_time_mean(*kernels(features), y, times=times, learning_rate=rate, dynamics=dynamics)
    torch.testing.assert_close(mean.test, mean.test[2:].expand(3, -1, -1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 2, 7, 300])
def test_powers_of_a_step_are_its_repetition(linear_model, steps, monkeypatch):
    features, _, y = linear_model
    choice = {"times": [steps], "learning_rate": stable_rate(features, 0.95), "dynamics": "heavy_ball"}
    expected = finite_time_mean(*kernels(features), y, **choice).test
    monkeypatch.setattr("ntk_atlas.regression.finite_time._MOST_STEPS", 0)
    torch.testing.assert_close(finite_time_mean(*kernels(features), y, **choice).test, expected, rtol=0, atol=1e-10)


def test_a_block_diagonal_full_kernel_equals_the_kernel_of_each_output(linear_model):
    features, _, y = linear_model
    shared = kernels(features)
    full = [torch.einsum("ij,cd->ijcd", k, torch.eye(N_OUTPUTS, dtype=k.dtype)) for k in shared]
    arguments = {"times": [5, 50], "learning_rate": 0.1, "dynamics": "heavy_ball"}
    expected = finite_time_mean(*shared, y, **arguments)
    torch.testing.assert_close(finite_time_mean(*full, y, **arguments).test, expected.test, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [-1.0]}, r"times is \[-1.0\], expected numbers of steps ≥ 0"),
        ({"times": [math.nan]}, "expected numbers of steps"),
        ({"times": [0.5], "dynamics": "heavy_ball"}, "expected whole numbers of steps for heavy_ball"),
        ({"dynamics": "newton"}, "dynamics is 'newton', expected 'gradient_flow'"),
        ({"f0_test": torch.zeros(2, 2)}, r"f0_test has shape \(2, 2\), expected \(n_test = 3, n_outputs = 1\)"),
        ({"y_train": torch.zeros(3, 1)}, r"y_train has shape \(3, 1\), expected \(n = 4, n_outputs\)"),
        ({"y_train": torch.tensor([[0.0]] * 3 + [[torch.nan]])}, "y_train.* has 1 entries that are NaN"),
        ({"times": []}, "times is empty"),
        ({"learning_rate": -0.1}, "learning_rate is -0.1, expected a finite number > 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan, expected a finite number > 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0, expected"),
        ({"momentum": 1.0, "dynamics": "heavy_ball"}, "momentum is 1.0, expected a number from 0 to below 1"),
        ({"learning_rate": "0.1"}, "learning_rate is '0.1': give one number"),
        ({"learning_rate": [0.1]}, r"learning_rate is \[0.1\]: give one number"),
        ({"momentum": None, "dynamics": "heavy_ball"}, "momentum is None: give one number"),
        ({"f0_test": torch.zeros(3, 1)}, "f0_train is None: a network that starts at f₀ has it on both sets"),
        ({"f0_train": torch.zeros(4, 1)}, "f0_test is None"),
        ({"ntk_train_train": -torch.eye(4)}, "ntk_train_train is not positive semi-definite: its eigenvalues run"),
        ({"ntk_train_train": torch.full((4, 4), math.inf)}, "ntk_train_train has entries that are NaN or infinite"),
        ({"ntk_test_train": torch.zeros(3, 5)}, r"ntk_test_train has shape \(3, 5\), expected \(n_test = 3, n = 4\)"),
    ],
)  # fmt: skip
def test_bad_input_is_named(change, message):
    arguments = {
        "ntk_train_train": torch.eye(4), "ntk_test_train": torch.zeros(3, 4), "y_train": torch.zeros(4, 1),
        "times": [1.0], "learning_rate": 0.1,
    } | change  # fmt: skip
    with pytest.raises(ValueError, match=message):
        finite_time_mean(**arguments)


@pytest.mark.parametrize(("dynamics", "limit"), [("gradient_descent", 1.0), ("heavy_ball", 1.9)])
def test_a_rate_above_the_limit_is_right_while_it_is_a_number_and_an_error_when_it_overflows(
    linear_model, dynamics, limit, caplog
):
    features, theta, y = linear_model
    f0, rate = features @ theta, stable_rate(features, 1.2 * limit)
    arguments = {"learning_rate": rate, "dynamics": dynamics, "f0_train": f0[:N], "f0_test": f0[N:]}
    mean = finite_time_mean(*kernels(features), y, times=[20], **arguments)
    momentum = 0.9 if dynamics == "heavy_ball" else 0.0
    expected = train(features, theta, y, learning_rate=rate, momentum=momentum, n_steps=20)
    torch.testing.assert_close(mean.test[0], expected[N:], rtol=1e-8, atol=1e-10)
    assert f"above the stability limit {rate / 1.2:.6g}" in caplog.text
    message = (
        r"learning_rate is .*, above the stability limit .* has come to after 5000 steps overflows; lower the rate"
    )
    with pytest.raises(UnstableTrainingError, match=message):
        finite_time_mean(*kernels(features), y, times=[20, 5_000], **arguments)
    lost = finite_time_mean(*kernels(features), y, times=[20, 5_000], allow_divergence=True, **arguments)
    assert torch.equal(lost.test[0], mean.test[0])
    assert not lost.test[1].isfinite().any()


def low_rank(n_features: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Kernels of a linear model with fewer parameters than samples; targets and their least-squares fit."""
    features = torch.randn(N + N_TEST, n_features, generator=torch_stream("few features"), dtype=torch.float64)
    y = torch.randn(N, 1, generator=torch_stream("targets of few features"), dtype=torch.float64)
    fit = features @ torch.as_tensor(np.linalg.lstsq(features[:N].numpy(), y.numpy(), rcond=None)[0])
    return *kernels(features), y, fit


@pytest.mark.parametrize("n_features", [1, 4, N - 1])
@pytest.mark.parametrize("dynamics", ["gradient_flow", "gradient_descent"])
@pytest.mark.parametrize("time", [1e7, 1e12, math.inf])
@pytest.mark.parametrize("cast", ["no", "told", "untold"])
def test_rounding_of_the_kernels_own_precision_is_no_mode(n_features, dynamics, time, cast):
    gram, rows, y, fit = low_rank(n_features)
    gram, rows = gram.float(), rows.float()
    if cast != "no":
        gram, rows = gram.double(), rows.double()
    if cast == "untold" and n_features == N - 1:
        return  # One eigenvalue of rounding may be positive: nothing in the kernel tells it from a mode.
    rate = float(N / torch.linalg.eigvalsh(gram.double())[-1])
    kernel_dtype = torch.float32 if cast == "told" else None
    mean = finite_time_mean(
        gram, rows, y, times=[time], learning_rate=rate, dynamics=dynamics, kernel_dtype=kernel_dtype
    )
    np.testing.assert_allclose(mean.train[0], fit[:N], rtol=0, atol=2e-4)
    np.testing.assert_allclose(mean.test[0], fit[N:], rtol=0, atol=2e-4)


def test_a_late_time_is_the_limit_for_a_kernel_of_low_rank():
    gram, rows, y, fit = low_rank(4)
    mean = finite_time_mean(gram, rows, y, times=[1e15, 1e18, math.inf], learning_rate=1.0)
    for test in mean.test:
        torch.testing.assert_close(test, fit[N:], rtol=0, atol=1e-10)
