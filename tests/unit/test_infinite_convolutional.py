"""Infinite-width convolutional kernels against neural-tangents, a dense recursion, and wide networks."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ntk_atlas.activations import dual_at
from ntk_atlas.config import NetworkSettings
from ntk_atlas.kernels import (
    ConvolutionalRecursion,
    KernelInputError,
    MemoryLimitError,
    dual_of,
    estimate_convolutional_cost,
    infinite_convolutional_kernels,
    infinite_kernels,
    plan_convolutional_tiles,
)
from ntk_atlas.kernels.infinite import convolutional
from ntk_atlas.kernels.infinite.convolutional import ConvolutionalTiles, PreparedImages
from ntk_atlas.networks import ConvolutionalArchitecture
from ntk_atlas.streams import torch_stream

REFERENCE = np.load(Path(__file__).parents[1] / "data" / "neural_tangents_reference.npz")
META = json.loads(str(REFERENCE["meta"]))
NTK = NetworkSettings(parameterization="ntk", bias_variance=0.1)
MYRTLE = ConvolutionalArchitecture(((2, True), (1, True), (1, False)), readout="global_average")


def images(n, shape=(2, 5, 4), name="x"):
    return torch.randn(n, *shape, dtype=torch.float64, generator=torch_stream(name))


@pytest.mark.parametrize("index", range(len(META["convolutional"])))
@pytest.mark.parametrize("against", ["same", "cross"])
def test_neural_tangents_agrees(index, against):
    case = META["convolutional"][index]
    x1, x2 = (torch.as_tensor(REFERENCE[f"images{i}"]) for i in (1, 2))
    chosen = {key: case[key] for key in ("activation", "parameterization", "bias_variance")}
    kernels = infinite_convolutional_kernels(
        x1,
        None if against == "same" else x2,
        architecture=ConvolutionalArchitecture(
            tuple(map(tuple, case["blocks"])), kernel_size=case["kernel_size"], readout=case["readout"]
        ),
        settings=NetworkSettings(**chosen, trainable_biases=case["bias_variance"] > 0),
        init_scale=case["init_scale"],
        width=META["width"],
    )
    for kind, found in (("nngp", kernels.nngp[0]), ("ntk", kernels.ntk[0])):
        expected = torch.as_tensor(REFERENCE[f"convolutional_{kind}_{against}"][index])
        # The reference's arccos loses half the digits where a pixel meets itself.
        kinked = "relu" in case["activation"] and kind == "ntk"
        torch.testing.assert_close(found, expected, rtol=1e-7 if kinked else 1e-10, atol=1e-12)
    assert (kernels.error_bound == 0).all()


def dense_recursion(x1, x2, architecture, chosen, init_scale, width):
    """All pairs of pixels in one matrix a pair of images; convolutions and pools as matrices on both sides."""
    (channels, h, w), sigma_w2, sigma_b2 = x1.shape[1:], init_scale, chosen.bias_variance
    standard = chosen.parameterization == "standard"
    bias = chosen.trainable_biases * (1.0 if standard else sigma_b2)
    x = torch.cat([x1, x2])
    pixels = x.flatten(2)
    moment = torch.einsum("icp,jcq->ijpq", pixels, pixels) / channels
    inner = torch.zeros_like(moment)
    dual, k = partial(dual_at, dual_of(chosen.activation)), architecture.kernel_size
    fan_in = float(k * k * channels)
    for n_convolutions, pool in architecture.blocks:
        eye = torch.eye(h * w, dtype=x.dtype).view(h * w, 1, h, w)
        patches = F.unfold(eye, k, padding=k // 2).view(h * w, k * k, h * w)  # pixel in, position in the kernel, out

        def average(m, patches=patches):
            return torch.einsum("pos,qot,ijpq->ijst", patches, patches, m) / k**2

        for _ in range(n_convolutions):
            ntk = average((fan_in if standard else sigma_w2) * moment + sigma_w2 * inner) + bias
            nngp = sigma_w2 * average(moment) + sigma_b2
            variance = torch.einsum("iipp->ip", nngp)
            moment, slope = dual(variance[:, None, :, None], variance[None, :, None, :], nngp)
            inner, fan_in = slope * ntk, float(k * k * width)
        if pool:
            pooled = F.avg_pool2d(torch.eye(h * w, dtype=x.dtype).view(h * w, 1, h, w), 2).view(h * w, -1)
            moment, inner = (torch.einsum("ps,qt,ijpq->ijst", pooled, pooled, m) for m in (moment, inner))
            h, w = h // 2, w // 2
    if architecture.readout == "flatten":
        moment, inner = (torch.einsum("ijpp->ij", m) / (h * w) for m in (moment, inner))
        fan_in = width * h * w
    else:
        moment, inner = (m.mean((2, 3)) for m in (moment, inner))
        fan_in = width
    nngp = sigma_w2 * moment + sigma_b2
    ntk = (fan_in if standard else sigma_w2) * moment + sigma_w2 * inner + bias
    n1, scale = len(x1), chosen.output_scale**2
    return scale * nngp[:n1, n1:], scale * ntk[:n1, n1:]


ARCHITECTURES = st.builds(
    ConvolutionalArchitecture,
    st.lists(st.tuples(st.integers(1, 2), st.booleans()), min_size=1, max_size=3)
    .filter(lambda blocks: sum(pool for _, pool in blocks) <= 2)
    .map(tuple),
    kernel_size=st.sampled_from([1, 3, 5]),
    readout=st.sampled_from(["flatten", "global_average"]),
)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    architecture=ARCHITECTURES,
    height=st.integers(4, 6),
    image_width=st.integers(4, 5),
    activation=st.sampled_from(["relu", "erf", "gelu", "leaky_relu"]),
    parameterization=st.sampled_from(["standard", "ntk"]),
    bias_variance=st.sampled_from([0.0, 0.3]),
    trainable_biases=st.booleans(),
)
def test_dense_recursion_agrees(
    architecture, height, image_width, activation, parameterization, bias_variance, trainable_biases
):
    chosen = NetworkSettings(
        activation=activation,
        parameterization=parameterization,
        bias_variance=bias_variance,
        trainable_biases=trainable_biases,
        output_scale=1.5,
    )
    x1, x2 = images(3, (2, height, image_width)), images(2, (2, height, image_width), "x2")
    choice = {"architecture": architecture, "settings": chosen, "init_scale": 1.7, "width": 8}
    cross, same = (infinite_convolutional_kernels(x1, other, **choice) for other in (x2, None))
    for other, found in ((x2, cross), (x1, same)):
        nngp, ntk = dense_recursion(x1, other, architecture, chosen, 1.7, 8)
        torch.testing.assert_close(found.nngp[0], nngp, rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(found.ntk[0], ntk, rtol=1e-7 if "relu" in activation else 1e-10, atol=1e-13)
    for kernel in (same.nngp[0], same.ntk[0]):
        assert torch.equal(kernel, kernel.T)
        assert torch.linalg.eigvalsh(kernel)[0] > -1e-10 * kernel.trace()


def test_one_pixel_is_the_fully_connected_network():
    """A 1 x 1 image under any padding: kernels of size 3 see one pixel of nine."""
    x = images(6, (5, 1, 1))
    choice = {"settings": NetworkSettings(parameterization="ntk", trainable_biases=False), "init_scale": 2.0}
    connected = infinite_kernels(x, depths=[3], **choice)
    for kernel_size, factor in ((1, 1.0), (3, 9.0**-3)):
        architecture = ConvolutionalArchitecture(((3, False),), kernel_size=kernel_size)
        found = infinite_convolutional_kernels(x, architecture=architecture, **choice)
        torch.testing.assert_close(found.nngp, factor * connected.nngp, rtol=1e-12, atol=0)
        torch.testing.assert_close(found.ntk, factor * connected.ntk, rtol=1e-12, atol=0)


def finite_kernels(x, architecture, width, sigma_w2, sigma_b2, generator):
    """Empirical NTK of one finite network in the NTK parameterization, by autograd, and its outputs."""
    parameters, k = [], architecture.kernel_size

    def normal(*shape):
        parameters.append(torch.randn(*shape, dtype=x.dtype, generator=generator, requires_grad=True))
        return parameters[-1]

    z = x
    for n_convolutions, pool in architecture.blocks:
        for _ in range(n_convolutions):
            weight, bias = normal(width, z.shape[1], k, k), normal(width)
            factor = math.sqrt(sigma_w2 / (k * k * z.shape[1]))
            z = F.relu(F.conv2d(z, factor * weight, math.sqrt(sigma_b2) * bias, padding=k // 2))
        z = F.avg_pool2d(z, 2) if pool else z
    z = z.flatten(1) if architecture.readout == "flatten" else z.mean((2, 3))
    out = z @ normal(z.shape[1]) * math.sqrt(sigma_w2 / z.shape[1]) + math.sqrt(sigma_b2) * normal(1)
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(out[i], parameters, retain_graph=True)])
        for i in range(len(x))
    ]
    jacobian = torch.stack(rows)
    # Biases carry σ_b in the forward pass, so their part is σ_b² by itself.
    return jacobian @ jacobian.T


@pytest.mark.parametrize("readout", ["flatten", "global_average"])
def test_wide_networks_approach_it(readout):
    architecture = ConvolutionalArchitecture(((1, True), (2, False)), readout=readout)
    x = images(4, (3, 6, 6))
    limit = infinite_convolutional_kernels(x, architecture=architecture, settings=NTK, init_scale=2.0).ntk[0]
    errors = []
    for width, draws in ((16, 12), (256, 12)):
        drawn = [
            finite_kernels(x, architecture, width, 2.0, 0.1, torch_stream("net", str(width), str(draw)))
            for draw in range(draws)
        ]
        errors.append(float(torch.linalg.norm(torch.stack(drawn).mean(0) - limit) / torch.linalg.norm(limit)))
    assert errors[1] < 0.03
    assert errors[1] < errors[0] / 2


def test_tiles_order_and_precision_do_not_change_the_kernels(monkeypatch):
    x, x2 = images(7), images(3, name="x2")
    choice = {"architecture": MYRTLE, "settings": NTK, "init_scale": 2.0}
    whole, cross = (infinite_convolutional_kernels(x, other, **choice) for other in (None, x2))
    order = torch.tensor([4, 0, 6, 1, 2, 5, 3])
    permuted = infinite_convolutional_kernels(x[order], **choice)
    torch.testing.assert_close(permuted.ntk[0], whole.ntk[0][order][:, order], rtol=1e-12, atol=0)
    single = infinite_convolutional_kernels(x, dtype=torch.float32, **choice)
    assert single.ntk.dtype == torch.float32
    torch.testing.assert_close(single.ntk.double(), whole.ntk, rtol=1e-4, atol=0)
    monkeypatch.setattr(convolutional, "_MOST_COLUMNS", 2)
    tiled, tiled_cross = (infinite_convolutional_kernels(x, other, **choice) for other in (None, x2))
    for a, b in ((whole, tiled), (cross, tiled_cross)):
        torch.testing.assert_close(a.nngp, b.nngp, rtol=1e-12, atol=0)
        torch.testing.assert_close(a.ntk, b.ntk, rtol=1e-12, atol=0)


def prepared(x1, x2=None, *, architecture=MYRTLE, memory_limit=None):
    """The tiles, the images, and results in which nothing is written yet."""
    dual = dual_of("relu")
    recursion = ConvolutionalRecursion(architecture, NTK, 2.0, None, tuple(x1.shape[1:]))
    choice = {"dtype": x1.dtype, "device": x1.device, "memory_limit": memory_limit}
    tiles = plan_convolutional_tiles(recursion, dual, len(x1), None if x2 is None else len(x2), **choice)
    nothing = torch.full((2, len(x1), len(x1 if x2 is None else x2)), math.nan, dtype=x1.dtype)
    return tiles, PreparedImages.of(recursion, dual, x1, x2, chunk=8), nothing


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n1=st.integers(1, 40), n2=st.none() | st.integers(1, 20), pairs=st.integers(1, 3000), most_columns=st.sampled_from(
        [1, 4, 16, 64]), threads=st.integers(1, 2), slack=st.sampled_from([1.0, 1.3, 100.0]),
)  # fmt: skip
def test_tiles_of_any_size_write_every_entry(n1, n2, pairs, most_columns, threads, slack):
    # Six pixels: a tile's number of pairs is no multiple of them.
    x1, x2 = images(n1, (1, 3, 2)), None if n2 is None else images(n2, (1, 3, 2), name="x2")
    architecture, former = ConvolutionalArchitecture(((1, False),)), torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(convolutional, "_PAIRS_OF_A_TILE", pairs)
        patch.setattr(convolutional, "_MOST_COLUMNS", most_columns)
        try:
            torch.set_num_threads(threads)
            ample = prepared(x1, x2, architecture=architecture)[0].n_bytes
            tiles, prepared_images, found = prepared(x1, x2, architecture=architecture, memory_limit=int(slack * ample))
            tiles.fill(found, prepared_images)
            single = ConvolutionalTiles(1, 1, 1, 0, 0)
            single.fill(expected := torch.full_like(found, math.nan), prepared_images)
        finally:
            torch.set_num_threads(former)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert torch.isfinite(found).all()
    assert n2 is not None or torch.equal(found, found.mT)


@pytest.mark.parametrize(("side", "n"), [(14, 33), (14, 40), (7, 70), (10, 40)])
def test_images_whose_pixels_are_no_power_of_two(side, n):
    tiles, prepared_images, found = prepared(images(n, (1, side, side)), architecture=ConvolutionalArchitecture(
        ((1, False),), readout="flatten"))  # fmt: skip
    tiles.fill(found, prepared_images)
    assert torch.isfinite(found).all()
    assert torch.equal(found, found.mT)
    assert (torch.linalg.eigvalsh(found) > 0).all()


def test_rows_that_do_not_divide_the_columns_are_refused():
    with pytest.raises(ValueError, match="tiles of 10 rows do not divide 64 columns"):
        ConvolutionalTiles(10, 64, 1, 0, 0)


def test_images_of_zeros_and_equal_images():
    x = images(3)
    x[1], x[2, :, :3] = x[0], 0.0
    choice = {"architecture": MYRTLE, "init_scale": 2.0}
    kernels = infinite_convolutional_kernels(x, settings=NetworkSettings(parameterization="ntk"), **choice)
    for kernel in (kernels.nngp[0], kernels.ntk[0]):
        assert float(kernel[0, 1]) == pytest.approx(float(kernel[0, 0]), rel=1e-12)
        assert torch.isfinite(kernel).all()
    empty = infinite_convolutional_kernels(torch.zeros_like(x), settings=NTK, **choice)
    assert torch.isfinite(empty.ntk).all()


def test_activations_by_quadrature_state_their_error():
    x = images(3, (1, 4, 4))
    architecture = ConvolutionalArchitecture(((1, True), (1, False)), readout="global_average")
    choice = {"architecture": architecture, "settings": NTK, "init_scale": 1.5}
    exact = infinite_convolutional_kernels(x, activation="erf", **choice)
    series = infinite_convolutional_kernels(x, activation=lambda u: torch.erf(u), **choice)
    assert 0 < series.error_bound.max() < 1e-7
    for kind, (a, b) in enumerate(((exact.nngp, series.nngp), (exact.ntk, series.ntk))):
        assert (a - b).abs().max() <= series.error_bound[kind, 0] + 1e-13


def test_flattening_needs_few_pairs_of_pixels():
    def pairs(architecture):
        cost = estimate_convolutional_cost(4, image_shape=(3, 32, 32), architecture=architecture, settings=NTK)
        return cost.pixel_pairs

    blocks = ((2, True), (1, True), (1, False))
    assert pairs(ConvolutionalArchitecture(((4, False),))) == 4 * 32 * 32
    assert pairs(ConvolutionalArchitecture(blocks, readout="global_average")) == 2 * 32**4 + 16**4 + 8**4
    # |Δ| ≤ 3, 1, 0 in the three stages.
    along = [sum(n - abs(d) for d in range(-m, m + 1)) for n, m in ((32, 3), (16, 1), (8, 0))]
    assert pairs(ConvolutionalArchitecture(blocks)) == 2 * along[0] ** 2 + along[1] ** 2 + along[2] ** 2


def test_cost_is_told_and_kept(caplog):
    x = images(5, (1, 8, 8))
    choice = {"architecture": MYRTLE, "settings": NTK}
    cost = estimate_convolutional_cost(5, image_shape=(1, 8, 8), **choice)
    assert cost.seconds > 0 and cost.result_bytes == 2 * 25 * 8 < cost.n_bytes
    twice = estimate_convolutional_cost(5, 10, image_shape=(1, 8, 8), **choice)
    assert twice.image_pairs == 50 and twice.result_bytes == 2 * 50 * 8
    with caplog.at_level("INFO", logger="ntk_atlas.kernels.infinite.convolutional"):
        infinite_convolutional_kernels(x, init_scale=2.0, **choice)
    assert "5 x 5 images: about" in caplog.text and "pairs of pixels" in caplog.text
    small = infinite_convolutional_kernels(x, init_scale=2.0, memory_limit=cost.result_bytes + 1_200_000, **choice)
    torch.testing.assert_close(small.ntk, infinite_convolutional_kernels(x, init_scale=2.0, **choice).ntk)
    with pytest.raises(MemoryLimitError, match=r"5 x 5 images .*memory_limit is 1 MB: raise it"):
        infinite_convolutional_kernels(x, init_scale=2.0, memory_limit=1_000_000, **choice)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x1": torch.ones(2, 3)}, r"images are \(n, channels, height, width\)"),
        ({"x1": torch.ones(0, 1, 4, 4)}, "x1 is empty"),
        ({"x1": torch.full((2, 1, 4, 4), torch.nan)}, "x1 has a NaN"),
        ({"x2": torch.ones(2, 1, 4, 5)}, r"images of x1 are \(1, 4, 4\)"),
        ({"init_scale": 0.0}, "positive and finite"),
        ({"settings": NetworkSettings()}, "give `width`"),
        ({"dtype": torch.float16}, "torch.float64 or torch.float32"),
        ({"architecture": ConvolutionalArchitecture(((1, True),) * 3)}, "pooled away"),
    ],
)
def test_bad_input_gives_one_clear_message(change, message):
    choice = {"x1": torch.ones(2, 1, 4, 4), "architecture": MYRTLE, "settings": NTK, "init_scale": 2.0} | change
    with pytest.raises(KernelInputError, match=message):
        infinite_convolutional_kernels(choice.pop("x1"), choice.pop("x2", None), **choice)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": ()}, "at least one"),
        ({"blocks": ((0, True),)}, "convolutions ≥ 1"),
        ({"kernel_size": 2}, "odd and positive"),
        ({"readout": "mean"}, "flatten, global_average"),
    ],
)
def test_bad_architectures_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ConvolutionalArchitecture(**({"blocks": ((1, True),)} | change))
