"""Every path of the empirical NTK against a loop of autograd.grad, on a catalogue of small networks."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_catalogue import CATALOGUE, Tokens, gradients, ntk_by_loop, reduced, samples
from torch import nn
from torch.func import functional_call, jacrev, vmap

from ntk_atlas.kernels import OUTPUT_REDUCTIONS, empirical_ntk, probe_network
from ntk_atlas.kernels.empirical.capture import capture_factors
from ntk_atlas.kernels.empirical.convolution_gradients import Windows, by_grouped_convolution, by_kernel_rows
from ntk_atlas.kernels.empirical.gram import add_gram, mirror_upper
from ntk_atlas.kernels.empirical.parts import Embedded
from ntk_atlas.kernels.empirical.structure import Item
from ntk_atlas.streams import torch_stream

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture(params=CATALOGUE, scope="module")
def case(request):
    entry = CATALOGUE[request.param]
    network = entry.build()
    x1, x2 = samples(entry, 5), samples(entry, 3, "x2")
    return entry, network, x1, x2, ntk_by_loop(network, x1), ntk_by_loop(network, x1, x2)


def test_each_parameter_goes_its_way(case):
    entry, network, x1, *_ = case
    structure = probe_network(network, x1)
    assert (len(structure.layers), sum(len(part.parameters) for part in structure.parts)) == entry.ways
    assert len(structure.others) == entry.others
    counted = sum(way.n_parameters for way in [*structure.layers, *structure.parts])
    counted += sum(p.numel() for p in structure.others.values())
    assert counted == sum(p.numel() for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize("output_reduction", OUTPUT_REDUCTIONS)
def test_kernel_agrees_with_a_loop_of_gradients(case, output_reduction):
    _, network, x1, x2, same, cross = case
    kernel = empirical_ntk(network, x1, output_reduction=output_reduction)
    torch.testing.assert_close(kernel, reduced(same, output_reduction), **CLOSE)
    assert torch.equal(kernel, kernel.transpose(0, 1).mT if output_reduction == "full" else kernel.mT)
    kernel = empirical_ntk(network, x1, x2, output_reduction=output_reduction)
    torch.testing.assert_close(kernel, reduced(cross, output_reduction), **CLOSE)


def test_kernel_agrees_with_vmap_of_jacrev(case):
    _, network, x1, _, same, _ = case
    without_a_rule = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.Conv3d, nn.RNNBase, Tokens)
    if any(isinstance(m, without_a_rule) or nn.utils.parametrize.is_parametrized(m) for m in network.modules()):
        pytest.skip("torch.vmap has no rule for some of its gradients: the loop above is its twin")
    trained = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}
    jacobian = vmap(jacrev(lambda p, x: functional_call(network, p, (x[None],))[0]), (None, 0))(trained, x1)
    full = sum(torch.einsum("icp,jdp->ijcd", j, j) for j in (j.flatten(2) for j in jacobian.values()))
    torch.testing.assert_close(full, same, **CLOSE)
    torch.testing.assert_close(empirical_ntk(network, x1, output_reduction="full"), full, **CLOSE)


def test_forms_of_a_part_give_the_same(case):
    _, network, x1, x2, *_ = case
    structure = probe_network(network, x1)
    for part in structure.parts:
        if not part.products:
            continue
        forms = ["gradients", "positions"] + ["channels"] * (not isinstance(part.products[0], Embedded))
        for reduction, kept in (("trace", 1), ("full", structure.n_outputs)):
            kernels = []
            for form, workspace in [(form, size) for form in forms for size in (2**8, 2**20)]:
                left, right = (
                    capture_factors(
                        network, structure, [Item(part, form)], x, output_reduction=reduction, samples_a_pass=2,
                        workspace=workspace,
                    )
                    for x in (x1, x2)
                )  # fmt: skip
                square, cross = (torch.zeros(1, kept, 5, kept, n, dtype=x1.dtype) for n in (5, 3))
                add_gram(square, left, left, upper=True)
                mirror_upper(square)
                add_gram(cross, left, right)
                kernels.append((square, cross))
            for square, cross in kernels[1:]:
                torch.testing.assert_close(square, kernels[0][0], **CLOSE)
                torch.testing.assert_close(cross, kernels[0][1], **CLOSE)


def test_every_tensor_is_made_on_the_device_of_the_inputs(case):
    _, network, x1, x2, *_ = case
    expected = empirical_ntk(network, x1, x2, output_reduction="trace")
    with torch.device("meta"):  # what is made without a device has no numbers
        found = empirical_ntk(network, x1, x2, output_reduction="trace")
    torch.testing.assert_close(found, expected, **CLOSE)


def test_trace_is_the_sum_of_squared_gradients(case):
    _, network, x1, *_ = case
    norms = (gradients(network, x1) ** 2).sum((1, 2))
    torch.testing.assert_close(empirical_ntk(network, x1, output_reduction="trace").diagonal(), norms, **CLOSE)


def test_single_precision_is_close(case):
    # Smooth activations agree to rounding; one flipped mask of a ReLU costs up to 1e-4 of the kernel.
    entry, _, x1, _, same, _ = case
    kernel = empirical_ntk(entry.build().float(), x1.float(), output_reduction="trace").double()
    expected = reduced(same, "trace")
    assert float((kernel - expected).norm() / expected.norm()) < 1e-5


@given(
    n=st.integers(1, 3), c=st.integers(1, 3), groups=st.integers(1, 3), per_group=st.tuples(*[st.integers(1, 3)] * 2),
    kernel=st.tuples(*[st.integers(1, 3)] * 2), stride=st.tuples(*[st.integers(1, 3)] * 2),
    padding=st.tuples(*[st.integers(0, 2)] * 4), dilation=st.tuples(*[st.integers(1, 2)] * 2),
)  # fmt: skip
@settings(max_examples=60, deadline=None, derandomize=True)
def test_forms_of_convolution_gradients_agree(n, c, groups, per_group, kernel, stride, padding, dilation):
    generator = torch_stream("convolution")
    c_in, c_out = groups * per_group[0], groups * per_group[1]
    x = torch.randn(n, c_in, 7, 6, generator=generator, dtype=torch.float64)
    weight = torch.randn(c_out, per_group[0], *kernel, generator=generator, dtype=torch.float64, requires_grad=True)

    def convolve(sample):
        padded = nn.functional.pad(sample, padding)
        return nn.functional.conv2d(padded, weight, None, stride, 0, dilation, groups)[0]

    signals = torch.randn(n, c, *convolve(x[:1]).shape, generator=generator, dtype=torch.float64)
    expected = torch.stack(
        [
            torch.stack(
                [torch.autograd.grad((convolve(x[i : i + 1]) * s).sum(), weight)[0].flatten() for s in signals[i]]
            )
            for i in range(n)
        ]
    )
    windows = Windows(kernel, stride, padding, dilation)
    torch.testing.assert_close(by_grouped_convolution(x, signals, windows, groups), expected, **CLOSE)
    torch.testing.assert_close(by_kernel_rows(x, signals, windows, groups), expected, **CLOSE)
    assert expected.shape == (n, c, math.prod(weight.shape))


_ACTIVATIONS = [nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.Identity]


@given(
    sizes=st.lists(st.integers(1, 6), min_size=2, max_size=5),
    choices=st.lists(st.tuples(st.sampled_from(_ACTIVATIONS), st.booleans(), st.booleans()), min_size=4, max_size=4),
    n=st.integers(1, 6),
    reduction=st.sampled_from(OUTPUT_REDUCTIONS),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_any_stack_of_layers(sizes, choices, n, reduction, seed):
    layers = []
    for (n_in, n_out), (activation, bias, norm) in zip(pairwise(sizes), choices, strict=False):
        layers += [nn.Linear(n_in, n_out, bias=bias), activation()] + [nn.LayerNorm(n_out)] * norm
    network, generator = nn.Sequential(*layers).double(), torch_stream("stack", seed)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
    x = torch.randn(n, sizes[0], generator=generator, dtype=torch.float64)
    kernel = empirical_ntk(network, x, output_reduction=reduction)
    torch.testing.assert_close(kernel, reduced(ntk_by_loop(network, x), reduction), rtol=1e-9, atol=1e-10)


@given(
    channels=st.lists(st.integers(1, 4), min_size=2, max_size=4), pools=st.lists(st.sampled_from([None, "avg", "max"]),
    min_size=3, max_size=3), size=st.integers(1, 3), n=st.integers(1, 4), c=st.integers(1, 3),
    reduction=st.sampled_from(OUTPUT_REDUCTIONS), seed=st.integers(0, 1000),
)  # fmt: skip
@settings(max_examples=30, deadline=None, derandomize=True)
def test_any_stack_of_convolutions(channels, pools, size, n, c, reduction, seed):
    layers = []
    for c_in, c_out, pool in zip(channels, channels[1:], pools, strict=False):
        layers += [nn.Conv2d(c_in, c_out, size, padding=1), nn.Tanh()]
        layers += {"avg": [nn.AvgPool2d(2)], "max": [nn.MaxPool2d(2)], None: []}[pool]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[len(layers) and -1], c))
    network, generator = network.double(), torch_stream("convolutions", seed)
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
    x = torch.randn(n, channels[0], 9, 8, generator=generator, dtype=torch.float64)
    kernel = empirical_ntk(network, x, output_reduction=reduction)
    torch.testing.assert_close(kernel, reduced(ntk_by_loop(network, x), reduction), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("n_outputs", [1, 3])
def test_large_images_in_single_precision(n_outputs):
    # On CPUs another form of the weight gradients than in double precision.
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.Tanh(), nn.Conv2d(16, 16, 3, padding=(1, 0)), nn.Tanh(),
        nn.Conv2d(16, 16, 3, padding="same", groups=2), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(16 * 12 * 11, n_outputs),
    )  # fmt: skip
    generator = torch_stream("large")
    with torch.no_grad():
        for p in network.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / p[0].numel() ** 0.5)
    x = torch.randn(4, 3, 24, 24, generator=generator)
    single = empirical_ntk(network, x, output_reduction="full").double()
    double = empirical_ntk(network.double(), x.double(), output_reduction="full")
    assert float((single - double).norm() / double.norm()) < 1e-5


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_wrong_rules_of_vmap_are_noticed(n):
    # The gradient of PReLU in a batch mixes up axes of equal length: wrong numbers without an error.
    network = nn.Sequential(nn.Linear(3, 4), nn.PReLU(init=0.3), nn.Linear(4, 2), nn.PReLU(init=0.1)).double()
    x = torch.randn(n, 3, generator=torch_stream("prelu"), dtype=torch.float64)
    full = ntk_by_loop(network, x)
    torch.testing.assert_close(empirical_ntk(network, x, output_reduction="full"), full, **CLOSE)
