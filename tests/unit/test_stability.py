"""Matrix-free largest eigenvalue against dense eigenvalues, and gradient descent at its stability limit."""

import logging

import pytest
import torch
from torch import nn

from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import empirical_ntk, largest_eigenvalue
from ntk_atlas.networks import StackedModules
from ntk_atlas.streams import torch_stream


def stack(members=3, *, depth=2, width=12, n_outputs=3, init_scale=2.0, dtype=torch.float64, **chosen):
    return build_networks(
        NetworkSettings(**chosen),
        depth=depth,
        width=width,
        init_scale=init_scale,
        input_shape=(6,),
        n_outputs=n_outputs,
        generators=[torch_stream("net", i) for i in range(members)],
        dtype=dtype,
    )


def normal(*shape, name="x"):
    return torch.randn(*shape, dtype=torch.float64, generator=torch_stream(name))


def dense_largest(network, x):
    full = empirical_ntk(network, x, output_reduction="full").double()
    return torch.linalg.eigvalsh(full.transpose(-3, -2).flatten(-4, -3).flatten(-2, -1))[..., -1]


@pytest.mark.parametrize("activation", ["relu", "erf", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("n", [1, 5, 40])
def test_agrees_with_dense_eigenvalues(activation, depth, n):
    for parameterization, trainable_biases in (("standard", True), ("ntk", False)):
        network = stack(
            depth=depth,
            activation=activation,
            parameterization=parameterization,
            bias_variance=0.1,
            trainable_biases=trainable_biases,
        )
        x = normal(n, 6)
        found = largest_eigenvalue(network, x, generator=torch_stream("start"))
        torch.testing.assert_close(found, dense_largest(network, x), rtol=1e-3, atol=0)


@pytest.mark.parametrize("start", range(5))
def test_flat_spectrum_is_still_accurate(start):
    """Nearly orthogonal inputs of a linear model: no dominant eigenvalue for Lanczos to find."""
    network = build_networks(
        NetworkSettings(trainable_biases=False),
        depth=0,
        width=1,
        init_scale=1.0,
        input_shape=(400,),
        n_outputs=2,
        generators=[torch_stream("net", 0)],
        dtype=torch.float64,
    )
    x = normal(100, 400)
    found = largest_eigenvalue(network, x, generator=torch_stream("start", start))
    torch.testing.assert_close(found, dense_largest(network, x), rtol=1e-3, atol=0)


def test_a_start_vector_that_misses_the_top_eigenvector_does_not_decide():
    """Close top eigenvalues of three outputs: single runs sometimes settle on the second, with a small residual."""
    network, x = stack(8, depth=1, activation="sigmoid"), normal(40, 6)
    exact = dense_largest(network, x)

    def errors(**choice):
        return torch.stack(
            [1 - largest_eigenvalue(network, x, generator=torch_stream("s", i), **choice) / exact for i in range(10)]
        )

    once, thrice = (errors(relative_tolerance=1e-2, runs=runs) for runs in (1, 3))
    assert float(once.max()) > 1e-2 and float(thrice.max()) < 0.5 * float(once.max())
    assert (thrice <= once + 1e-12).all() and (thrice > -1e-12).all()
    assert float(errors().max()) < 1e-4


def test_tight_tolerance_single_precision_and_passes(monkeypatch):
    network, x = stack(), normal(30, 6)
    exact = dense_largest(network, x)
    tight = largest_eigenvalue(network, x, generator=torch_stream("s"), relative_tolerance=1e-9)
    torch.testing.assert_close(tight, exact, rtol=1e-12, atol=0)
    monkeypatch.setattr("ntk_atlas.kernels.stability._SAMPLES_A_PASS", 7)
    passes = largest_eigenvalue(network, x, generator=torch_stream("s"), relative_tolerance=1e-9)
    torch.testing.assert_close(passes, exact, rtol=1e-12, atol=0)
    single = largest_eigenvalue(network.float(), x.float(), generator=torch_stream("s"))
    torch.testing.assert_close(single, exact, rtol=1e-4, atol=0)


def test_a_member_depends_neither_on_its_stack_nor_on_lost_members():
    network, x = stack(4), normal(20, 6)
    together = largest_eigenvalue(network, x, generator=torch_stream("s"))
    alone = largest_eigenvalue(network.select([2]), x, generator=torch_stream("s"))
    torch.testing.assert_close(alone[0], together[2], rtol=1e-10, atol=0)
    with torch.no_grad():
        network.layers[0].weight[1] = torch.nan
        for p in network.parameters():
            p[3] = 0.0
    lost = largest_eigenvalue(network, x, generator=torch_stream("s"))
    assert torch.isnan(lost[1])
    torch.testing.assert_close(lost[[0, 2]], together[[0, 2]], rtol=1e-10, atol=0)
    assert float(lost[3]) == pytest.approx(20.0)  # what is left is the output bias: ones


def test_per_member_inputs_and_inference_mode():
    network, x = stack(2), normal(2, 9, 6)
    with torch.inference_mode():
        found = largest_eigenvalue(network, x.clone(), generator=torch_stream("s"))
    expected = torch.stack([dense_largest(network.member(i), x[i]) for i in range(2)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


class NoForwardMode(torch.autograd.Function):
    """z², with a backward rule only."""

    @staticmethod
    def forward(z):
        return z**2

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        (z,) = ctx.saved_tensors
        return 2 * z * gradient


class Square(nn.Module):
    generate_vmap_rule = True

    def forward(self, z):
        return NoForwardMode.apply(z)


@pytest.mark.parametrize("phi", [nn.GELU(), Square()])
def test_stack_of_user_modules(phi):
    modules = [nn.Sequential(nn.Conv1d(2, 3, 3), phi, nn.Flatten(), nn.Linear(12, 2)).double() for _ in range(2)]
    for i, module in enumerate(modules):
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(normal(*p.shape, name=f"p{i}"))
    network, x = StackedModules(modules, (2, 6), 2), normal(8, 2, 6)
    found = largest_eigenvalue(network, x, generator=torch_stream("s"))
    torch.testing.assert_close(found, dense_largest(network, x), rtol=1e-4, atol=0)


def test_gradient_descent_is_stable_below_the_limit_and_diverges_above():
    """The linear model is exactly (I − ηΘ/n)^t: the limit is 2n/λ_max."""
    network, x, y = stack(1, depth=0, n_outputs=2), normal(7, 6), normal(7, 2, name="y")
    limit = 2 * 7 / float(largest_eigenvalue(network, x, generator=torch_stream("s"), relative_tolerance=1e-8))
    for factor, grows in ((0.98, False), (1.02, True)):
        model = network.select([0])
        losses = []
        for _ in range(400):
            loss = ((model(x)[0] - y) ** 2).sum() / (2 * 7)
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for p, g in zip(model.parameters(), gradients, strict=True):
                    p -= factor * limit * g
            losses.append(float(loss.detach()))
        assert (losses[-1] > losses[0]) == grows


def test_not_converged_is_a_warning(caplog):
    network, x = stack(1), normal(30, 6)
    with caplog.at_level(logging.WARNING):
        found = largest_eigenvalue(network, x, generator=torch_stream("s"), relative_tolerance=1e-14, max_products=3)
    assert "not converged after 3 products" in caplog.text
    assert float(found) <= float(dense_largest(network, x)) * (1 + 1e-12)


def test_bad_input():
    with pytest.raises(ValueError, match="x has a NaN"):
        largest_eigenvalue(stack(), normal(3, 6) * torch.nan, generator=torch_stream("s"))
    with pytest.raises(ValueError, match="the networks want"):
        largest_eigenvalue(stack(), normal(3, 5), generator=torch_stream("s"))
