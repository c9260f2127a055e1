"""Products with a kernel that is never formed, against the kernel."""

import pytest
import torch
from kernel_catalogue import CATALOGUE, samples
from torch import nn

from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import OUTPUT_REDUCTIONS, EmpiricalNTKOperator, KernelInputError, MemoryLimitError, empirical_ntk
from ntk_atlas.streams import torch_stream

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def vector(*shape):
    return torch.randn(*shape, generator=torch_stream("v"), dtype=torch.float64)


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("output_reduction", OUTPUT_REDUCTIONS)
def test_products_are_those_of_the_kernel(name, output_reduction):
    entry = CATALOGUE[name]
    network, x1, x2 = entry.build(), samples(entry, 4), samples(entry, 3, "x2")
    for other in (None, x2):
        kernel = empirical_ntk(network, x1, other, output_reduction=output_reduction)
        operator = EmpiricalNTKOperator(network, x1, other, output_reduction=output_reduction)
        v = vector(kernel.shape[1], kernel.shape[-1] if output_reduction == "full" else 2)
        expected = torch.einsum("ijcd,jd->ic", kernel, v) if output_reduction == "full" else kernel @ v
        torch.testing.assert_close(operator(v), expected, **CLOSE)
        if other is None:
            diagonal = torch.einsum("iicc->ic", kernel) if output_reduction == "full" else kernel.diagonal()
            torch.testing.assert_close(operator.diagonal(), diagonal, **CLOSE)


def test_passes_do_not_change_the_product(monkeypatch):
    entry = CATALOGUE["convolution"]
    network, x, v = entry.build(), samples(entry, 7), vector(7, 1)
    expected = EmpiricalNTKOperator(network, x)(v)
    diagonal = EmpiricalNTKOperator(network, x).diagonal()
    monkeypatch.setattr("ntk_atlas.kernels.empirical.memory_plan._LARGEST_PASS", 2)
    monkeypatch.setattr("ntk_atlas.kernels.empirical.vector_products._DIAGONAL_BLOCK", 3)
    torch.testing.assert_close(EmpiricalNTKOperator(network, x).diagonal(), diagonal, **CLOSE)
    torch.testing.assert_close(EmpiricalNTKOperator(network, x)(v), expected, **CLOSE)


def test_member_of_a_stack_and_gradients_left_alone():
    stack = build_networks(
        NetworkSettings(parameterization="ntk", activation="tanh", bias_variance=0.1),
        depth=2, width=5, init_scale=1.5, input_shape=(4,), n_outputs=2,
        generators=[torch_stream("w", i) for i in range(2)], dtype=torch.float64,
    )  # fmt: skip
    x = vector(6, 4)
    with torch.no_grad():
        product = EmpiricalNTKOperator(stack.member(1), x)(vector(6, 3))
    torch.testing.assert_close(product, empirical_ntk(stack, x)[1] @ vector(6, 3), **CLOSE)
    assert all(p.grad is None for p in stack.parameters())


def test_bad_input_gives_one_clear_message():
    network, x = nn.Linear(4, 2).double(), vector(5, 4)
    with pytest.raises(KernelInputError, match=r"the vector has shape \(5, 3\), the kernel takes \(5, 2\)"):
        EmpiricalNTKOperator(network, x, output_reduction="full")(vector(5, 3))
    with pytest.raises(KernelInputError, match=r"takes \(5, k\)"):
        EmpiricalNTKOperator(network, x)(vector(4, 1))
    with pytest.raises(MemoryLimitError, match="a product with the kernel takes at least"):
        EmpiricalNTKOperator(network, x, memory_limit=10)
    with pytest.raises(KernelInputError, match="x1 has a NaN"):
        EmpiricalNTKOperator(network, x * torch.nan)
