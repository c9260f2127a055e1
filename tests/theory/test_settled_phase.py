"""When an ordered phase has settled: the rule of the claims beside the exact law and beside sampled networks."""

import numpy as np
import pytest
import xarray as xr
from synthetic_claims import SEED

from ntk_atlas.config import NetworkSettings
from ntk_atlas.dispersion import InitialKernelLaw, exact_moments, initial_kernels
from ntk_atlas.judging import settled_depths
from ntk_atlas.streams import numpy_stream

NETWORK = NetworkSettings(activation="relu", parameterization="standard", bias_variance=0.0)
MOST, HUMP = 0.1, 0.025
"""The rule's threshold, and what its reason says is left of the hump."""


def dataset(width: int, init_scale: float, input_scale: float = 1.0, deepest: int = 400) -> xr.Dataset:
    coords = {"depth": np.arange(1, deepest), "width": [width], "init_scale": [init_scale]}
    found = xr.Dataset(coords=coords).assign_coords(chi_1=("init_scale", [init_scale / 2.0]))
    return found.assign_attrs(input_scale=input_scale)


def exact_variance(width: int, init_scale: float, depth: int, squared_norm: float = 64.0) -> float:
    law = InitialKernelLaw(NETWORK, depth, width, 64, squared_norm)
    return float(exact_moments(law, [init_scale], 20_000, numpy_stream("settled", depth, width)).log_variance[0, 0])


@pytest.mark.parametrize(("width", "init_scale"), [(32, 0.5), (32, 1.0), (64, 1.5), (100, 1.5), (512, 1.0)])
def test_little_of_the_hump_is_left_where_a_phase_has_settled(width, init_scale):
    found = dataset(width, init_scale)
    first = int(found["depth"].values[settled_depths(found, 0, 0, MOST)[0]])
    settled = exact_variance(width, init_scale, 2 * first)
    assert exact_variance(width, init_scale, first) < settled + HUMP
    assert exact_variance(width, init_scale, first // 2) > settled + HUMP, "before, there is a hump"


def test_the_norm_of_the_inputs_counts():
    """σ_w² = 1.5, M = 100, L = 28: eight depth scales ξ₁, settled at ‖x‖² = n₀/100 and not at ‖x‖² = n₀."""
    depth = 27
    assert depth in dataset(100, 1.5, 0.01)["depth"].values[settled_depths(dataset(100, 1.5, 0.01), 0, 0, MOST)]
    assert depth not in dataset(100, 1.5)["depth"].values[settled_depths(dataset(100, 1.5), 0, 0, MOST)]
    small, large = exact_variance(100, 1.5, depth, 0.64), exact_variance(100, 1.5, depth)
    assert small < 0.08 and large > 0.11


def test_sampled_networks_have_settled_where_the_rule_says():
    width, depth = 64, 13
    assert depth in dataset(width, 1.0)["depth"].values[settled_depths(dataset(width, 1.0), 0, 0, MOST)]
    law = InitialKernelLaw(NETWORK, depth, width, 64, 64.0)
    kernels = initial_kernels(law, [1.0], seed=SEED, chunks=[0, 1])[0, ..., 0, 0].ravel()
    assert np.log(kernels).var(ddof=1) == pytest.approx(exact_variance(width, 1.0, depth), rel=0.25)
    assert np.log(kernels).var(ddof=1) < 0.05


def test_chaos_and_criticality_never_settle():
    for init_scale in (2.0, 3.0):
        assert len(settled_depths(dataset(64, init_scale), 0, 0, MOST)) == 0
