"""What the kernel-regression jobs depend on; apart from `specs`, so that training does not depend on them."""

from typing import Literal

from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.predictors import AROUND, EPOCHS, PRETRAINED
from ntk_atlas.config.regression import PredictorCenter, RivalSettings, SolveSettings
from ntk_atlas.study.specs import DataSpec, NetworksSpec


class EmpiricalSpec(NetworksSpec):
    """Spec of `regress_empirical`: one row's networks as kernels, before and after training."""

    predictors: tuple[str, ...]
    predictor_center: PredictorCenter
    initial_output: Literal["keep", "subtract"] = "keep"
    """Matters to kernels around the network only, as does the next."""
    target_scale: Literal["unit", "initial_output"] = "unit"
    epoch_sizes: tuple[int, ...] = ()
    """The n_train at which the kernels of all checkpoints are regressed with."""
    solve: SolveSettings

    @property
    def has_initial(self) -> bool:
        """Whether the kernel at initialization is asked for."""
        return "ntk_init" in self.predictors

    @property
    def has_epochs(self) -> bool:
        """Whether the kernels of all checkpoints are asked for."""
        return EPOCHS in self.predictors

    @property
    def pretrained_sizes(self) -> tuple[int, ...]:
        """The m of all kernels trained on m samples that are asked for, ascending."""
        return tuple(sorted(int(n.removeprefix(PRETRAINED)) for n in self.predictors if n.startswith(PRETRAINED)))

    @property
    def trained_predictors(self) -> tuple[str, ...]:
        """The kernels trained on the samples that they are regressed on, single checkpoints only."""
        others = ("ntk_init", EPOCHS)
        return tuple(name for name in self.predictors if name not in others and not name.startswith(PRETRAINED))

    def variants(self, predictor: str) -> dict[str, bool]:
        """Names under which a kernel predicts, each with whether it does so around the network.

        The initial kernel around f₀ is the one around zero where f₀ is subtracted from the network.
        """
        around_nothing = predictor == "ntk_init" and self.initial_output == "subtract"
        if self.predictor_center == "both" and not around_nothing:
            return {predictor: False, predictor + AROUND: True}
        return {predictor: self.predictor_center == "network" and not around_nothing}

    def cell_settings(self) -> dict:
        """See `NetworksSpec.cell_settings`; which other predictors there are changes no number."""
        settings = super().cell_settings()
        for name in ("predictors", "epoch_sizes"):
            del settings[name]
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
