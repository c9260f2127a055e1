"""Each variant of the NTK is the limit of the empirical NTK of the networks that it names."""

import pytest
import torch

from ntk_atlas.config import NetworkSettings
from ntk_atlas.families import build_networks
from ntk_atlas.kernels import (
    VARIANTS,
    depends_on_the_width,
    empirical_ntk,
    variant_family,
    variant_network,
)
from ntk_atlas.streams import torch_stream

SIGMA_W2 = 1.6
OWN = NetworkSettings(parameterization="ntk", bias_variance=0.2)
INPUTS = torch.randn(5, 4, dtype=torch.float64, generator=torch_stream("variants"))


def limit(name, depth, width):
    settings, init_scale, kernel = variant_network(name, OWN, SIGMA_W2)
    choice = {"settings": settings, "init_scale": init_scale, "width": width}
    kernels = settings.family.infinite_kernels(INPUTS, depths=[depth], **choice)
    return getattr(kernels, kernel)[0]


def networks(name, depth, width, seeds):
    settings, init_scale, _ = variant_network(name, OWN, SIGMA_W2)
    stack = build_networks(
        settings,
        depth=depth,
        width=width,
        init_scale=init_scale,
        input_shape=(4,),
        n_outputs=1,
        generators=[torch_stream("variants", name, depth, width, seed) for seed in range(seeds)],
        dtype=torch.float64,
    )
    if variant_family(name) == "last_layer":
        # Layers from input to output; what is not trained is not in the empirical NTK.
        for parameter in [p for layer in list(stack.layers)[:-1] for p in layer.parameters()]:
            parameter.requires_grad_(False)
    return stack


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("depth", [1, 3])
def test_wide_networks_have_the_kernel_of_the_variant(name, depth):
    distances = []
    for width, seeds in ((32, 24), (512, 6)):
        expected = limit(name, depth, width)
        measured = empirical_ntk(networks(name, depth, width, seeds), INPUTS)
        distances.append(float(((measured - expected).norm(dim=(1, 2)) / expected.norm()).square().mean().sqrt()))
    # Each network is off by O(1/√width): a quarter from 32 to 512.
    assert distances[1] < 0.2 and distances[1] < 0.45 * distances[0]


def test_without_biases_c_equal_1_is_the_ntk_up_to_a_factor_and_biases_tell_them_apart():
    for depth in (1, 4):
        ntk, c1 = limit("ntk_without_bias", depth, None), limit("c1_without_bias", depth, None)
        torch.testing.assert_close(c1 * SIGMA_W2 ** (depth + 1), ntk, rtol=1e-12, atol=0)
        ratio = limit("ntk_with_bias", depth, None) / limit("c1_with_bias", depth, None)
        assert ratio.max() > 1.02 * ratio.min()


def test_the_experiments_own_kernels_are_no_variants():
    assert variant_network("infinite_ntk", OWN, 2.0) == (OWN, 2.0, "ntk")
    assert variant_network("nngp", OWN, 2.0) == (OWN, 2.0, "nngp")
    torch.testing.assert_close(
        limit("ntk_with_bias", 2, None),
        OWN.family.infinite_kernels(INPUTS, depths=[2], settings=OWN, init_scale=SIGMA_W2).ntk[0],
    )
    widths = {name for name in (*VARIANTS, "infinite_ntk") if depends_on_the_width(name, OWN)}
    assert widths == {"standard_with_bias", "standard_without_bias"}
