"""One gradient step changes the outputs by −(η/n) Θ (f − y), up to O(η²)."""

import pytest
import torch

from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import empirical_ntk
from ntk_atlas.streams import torch_stream


@pytest.mark.parametrize("activation", ["erf", "tanh", "gelu", "sigmoid"])
@pytest.mark.parametrize("parameterization", ["standard", "ntk"])
@pytest.mark.parametrize("trainable_biases", [True, False])
def test_change_of_the_outputs_is_the_kernels(activation, parameterization, trainable_biases):
    """Loss 1/(2n) Σ‖f − y‖² and the full kernel, on the training set and on new samples, gap ∝ η."""
    n, eta0 = 7, 1e-3
    network = build_networks(
        NetworkSettings(
            activation=activation,
            parameterization=parameterization,
            bias_variance=0.3,
            trainable_biases=trainable_biases,
            output_scale=1.3,
        ),
        depth=2,
        width=10,
        init_scale=1.5,
        input_shape=(4,),
        n_outputs=3,
        generators=[torch_stream("net", i) for i in range(3)],
        dtype=torch.float64,
    )
    x = torch.randn(n + 4, 4, dtype=torch.float64, generator=torch_stream("x"))
    y = torch.randn(n, 3, dtype=torch.float64, generator=torch_stream("y"))
    kernel = empirical_ntk(network, x, x[:n], output_reduction="full")
    f = network(x)
    loss = ((f[:, :n] - y) ** 2).sum() / (2 * n)
    trained = [p for p in network.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, trained)
    start = [p.detach().clone() for p in trained]
    predicted = -torch.einsum("sijcd,sjd->sic", kernel, f[:, :n] - y).detach() / n

    def gap(eta):
        with torch.no_grad():
            for p, p0, g in zip(trained, start, gradients, strict=True):
                p.copy_(p0 - eta * g)
            return float(((network(x) - f) / eta - predicted).norm() / predicted.norm())

    gaps = [gap(eta0 / 4**k) for k in range(3)]
    assert gaps[0] < 0.05
    for small, large in zip(gaps[1:], gaps[:-1], strict=True):
        assert small / large == pytest.approx(0.25, rel=0.05)


@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_linear_model_is_exact(activation):
    """At depth 0 the kernel is all there is: any step size."""
    n, eta = 5, 0.7
    network = build_networks(
        NetworkSettings(activation=activation),
        depth=0,
        width=1,
        init_scale=1.0,
        input_shape=(3,),
        n_outputs=2,
        generators=[torch_stream("net", 0)],
        dtype=torch.float64,
    )
    x = torch.randn(n, 3, dtype=torch.float64, generator=torch_stream("x"))
    y = torch.randn(n, 2, dtype=torch.float64, generator=torch_stream("y"))
    kernel = empirical_ntk(network, x)[0]
    f = network(x)
    gradients = torch.autograd.grad(((f - y) ** 2).sum() / (2 * n), list(network.parameters()))
    with torch.no_grad():
        for p, g in zip(network.parameters(), gradients, strict=True):
            p -= eta * g
    torch.testing.assert_close(network(x)[0], f[0] - eta / n * kernel @ (f[0] - y), rtol=1e-12, atol=1e-13)
