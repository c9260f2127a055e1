"""What the kernel-regression jobs depend on; apart from `specs`, so that training does not depend on them."""

from typing import Literal

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.regression import PredictorCenter, RivalSettings, SolveSettings
from ntk_atlas.study.specs import DataSpec, NetworksSpec


class EmpiricalSpec(NetworksSpec):
    """Spec of `regress_empirical`: one row's networks as kernels, before and after training."""

    predictors: tuple[str, ...]
    predictor_center: PredictorCenter
    initial_output: Literal["keep", "subtract"] = "keep"
    """Matters to kernels around the network only, as does the next."""
    target_scale: Literal["unit", "initial_output"] = "unit"
    solve: SolveSettings

    @property
    def has_initial(self) -> bool:
        """Whether the kernel at initialization is asked for."""
        return "ntk_init" in self.predictors

    @property
    def trained_predictors(self) -> tuple[str, ...]:
        """The kernels after training that are asked for."""
        return tuple(name for name in self.predictors if name != "ntk_init")

    def cell_settings(self) -> dict:
        """See `NetworksSpec.cell_settings`; which other predictors there are changes no number."""
        settings = super().cell_settings()
        del settings["predictors"]
        return settings


class InfiniteSpec(DataSpec):
    """Spec of `regress_infinite`: all depths (and widths, where the kernel depends on them) at one init_scale."""

    network: NetworkSettings
    activation_digest: str = ""
    """Digest of the file of the user's activation; empty for built-in ones."""
    predictors: tuple[str, ...]
    init_scale: float
    depth: tuple[int, ...]
    width: tuple[int, ...]
    solve: SolveSettings


class RivalSpec(DataSpec):
    """Spec of `regress_rivals`: kernels with a length scale."""

    kernels: tuple[str, ...]
    solve: RivalSettings
