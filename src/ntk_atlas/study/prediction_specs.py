"""What the kernel-regression jobs depend on; apart from `specs`, so that training does not depend on them."""

from typing import Literal

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.regression import PredictorCenter, SolveSettings, StationarySettings
from ntk_atlas.study.specs import DataSpec, NetworksSpec


class EmpiricalSpec(NetworksSpec):
    """Spec of `regress_initial_ntk` and `regress_trained_ntk`: one row's networks as kernels."""

    predictors: tuple[str, ...]
    predictor_center: PredictorCenter
    initial_output: Literal["keep", "subtract"] = "keep"
    """Matters to kernels around the network only, as does the next."""
    target_scale: Literal["unit", "initial_output"] = "unit"
    solve: SolveSettings


class InfiniteSpec(DataSpec):
    """Spec of `regress_infinite`: all depths (and widths, where the kernel depends on them) at one init_scale."""

    network: NetworkSettings
    predictors: tuple[str, ...]
    init_scale: float
    depth: tuple[int, ...]
    width: tuple[int, ...]
    solve: SolveSettings


class StationarySpec(DataSpec):
    """Spec of `regress_stationary`: one kernel with a length scale."""

    kernel: str
    solve: StationarySettings
