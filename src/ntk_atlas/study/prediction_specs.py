"""What the kernel-regression jobs depend on; apart from `specs`, so that training does not depend on them."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from ntk_atlas.arrays import unit_digest
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.predictors import AROUND, EPOCHS, PRETRAINED
from ntk_atlas.config.regression import PredictorCenter, RivalSettings, SolveSettings
from ntk_atlas.kernels.rivals import RIVALS
from ntk_atlas.registry import Named
from ntk_atlas.study.cells import Unit, units
from ntk_atlas.study.specs import DataSpec, NetworksSpec


@dataclass(frozen=True)
class RowDigests:
    """Digests of a row's regressions; kinds of kernels that are not asked for have none.

    Attributes:
        initial: with the initial kernels, by draw.
        trained: with kernels trained on the same samples, by unit.
        pretrained: with kernels trained on m samples, by unit (m, draw).
        epochs: with the kernels of all checkpoints, by unit.
    """

    initial: dict[int, str] = field(default_factory=dict)
    trained: dict[Unit, str] = field(default_factory=dict)
    pretrained: dict[Unit, str] = field(default_factory=dict)
    epochs: dict[Unit, str] = field(default_factory=dict)


class EmpiricalSpec(NetworksSpec):
    """Spec of `regress_empirical`: one row's networks as kernels, before and after training."""

    predictors: tuple[str, ...]
    predictor_center: PredictorCenter
    initial_output: Literal["keep", "subtract"] = "keep"
    """Matters to kernels around the network only, as does the next."""
    target_scale: Literal["unit", "initial_output"] = "unit"
    epoch_sizes: tuple[int, ...] = ()
    """The n_train at which the kernels of all checkpoints are regressed with."""
    kernel_dtype: Literal["float64", "float32"] = "float64"
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

    def regressed_sizes(self, pretrained: Unit) -> tuple[int, ...]:
        """The n_train on which kernels trained on the m samples of `pretrained` are regressed: every n ≥ m."""
        return tuple(n for n in self.n_train if n >= pretrained.n_train)

    def unit_digests(self, dataset_digest: str, source: str, trained: dict[Unit, str]) -> RowDigests:
        """The digests of all regressions of the row, at one init scale.

        Args:
            dataset_digest: digest of the data's contents.
            source: digest of the code that regresses.
            trained: digest of each unit's training.

        Returns:
            Digests over everything that the numbers of each depend on.
        """
        settings, cells = self.cell_settings(), units(self.n_train, self.draws)

        def digest(kind: str, *parts: object) -> str:
            return unit_digest(kind, settings, *parts, dataset_digest, source)

        initial, pretrained = range(self.draws * self.has_initial), units(self.pretrained_sizes, self.draws)
        epochs = units(self.epoch_sizes, self.draws) if self.has_epochs else ()
        names = self.trained_predictors
        return RowDigests(
            initial={draw: digest("initial", self.n_train, draw) for draw in initial},
            trained={unit: digest("trained", names, trained[unit]) for unit in cells if names},
            pretrained={unit: digest("pretrained", self.regressed_sizes(unit), trained[unit]) for unit in pretrained},
            epochs={unit: digest("epochs", trained[unit]) for unit in epochs},
        )


class InfiniteSpec(DataSpec):
    """Spec of `regress_infinite`: all depths (and widths, where the kernel depends on them) at one init_scale."""

    network: NetworkSettings
    activation_digest: str = ""
    """Digest of the files of the user's activation and parameterization; empty for built-in ones."""
    predictors: tuple[str, ...]
    init_scale: float
    depth: tuple[int, ...]
    width: tuple[int, ...]
    solve: SolveSettings


class RivalSpec(DataSpec):
    """Spec of `regress_rivals`: kernels with a length scale."""

    kernels: tuple[Annotated[str, Named(RIVALS, checked=False)], ...]
    user_kernels: dict[str, str] = Field(default_factory=dict)
    """`my_kernel.py:k` of each of the kernels that is the user's, by name."""
    kernel_digests: dict[str, str] = Field(default_factory=dict)
    """Digests of their files, by name."""
    solve: RivalSettings
