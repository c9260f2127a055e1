"""Settings of kernel regression: which kernels, which ridge, which length scales."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator

from ntk_atlas.config.base import Settings
from ntk_atlas.config.predictors import PREDICTOR_PATTERN

PredictorCenter = Literal["zero", "network"]

Predictor = Annotated[str, Field(pattern=PREDICTOR_PATTERN)]


class SolveSettings(Settings):
    """How one kernel is regressed with."""

    ridge_grid: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0,
    )  # fmt: skip
    """Ridges tried, relative to the mean diagonal of the largest Gram matrix (diag_reg)."""
    select_ridge: Literal["validation", "leave_one_out", "marginal_likelihood"] = "validation"
    """What chooses the `tuned` ridge (and the length scale), never test data: the validation error, the leave-one-out
    error, or the marginal likelihood of a Gaussian process; the `zero` ridge is always reported beside it."""
    jitter: NonNegativeFloat = 1e-12
    """Smallest relative diagonal added where a Gram matrix is singular (0 stands for the smallest sensible, 1e-12)."""

    @field_validator("ridge_grid", "length_scales", check_fields=False)
    @classmethod
    def _ascending(cls, values: tuple) -> tuple:
        return tuple(sorted(set(values)))


class RivalSettings(SolveSettings):
    """How a kernel with a length scale is regressed with."""

    length_scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0,
    )  # fmt: skip
    """Length scales of the rivals, in median distances of the training inputs."""


class RegressionSettings(RivalSettings):
    """How the kernels predict, and which do."""

    predictors: tuple[Predictor, ...] = (
        "ntk_init",
        "ntk_final",
        "infinite_ntk",
        "nngp",
        "laplace",
        "matern_5_2",
        "rbf",
    )
    """What predicts beside the networks: `linearized` (the same networks, linear in their weights, trained alike);
    kernels that are regressed with: `ntk_init`, `ntk_final`, `ntk_epoch_<t>` (empirical NTK at a checkpoint),
    `infinite_ntk`, `nngp`; the variants of the NTK `ntk_with_bias`, `ntk_without_bias`, `standard_…`, `c1_…`,
    `last_layer_…` (docs/conventions.md); rivals `laplace`, `matern_3_2`, `matern_5_2`, `rbf`, `rational_quadratic`,
    `arc_cosine_0`, `arc_cosine_1`, `arc_cosine_2`, `polynomial` (of degree 3), `linear`."""
    predictor_center: PredictorCenter = "zero"
    """Empirical kernels predict the targets around zero, or what the network at that checkpoint leaves over."""

    @field_validator("predictors")
    @classmethod
    def _unique(cls, values: tuple) -> tuple:
        return tuple(dict.fromkeys(values))

    def solve(self) -> SolveSettings:
        """The part that every kernel has."""
        return SolveSettings(**{name: getattr(self, name) for name in SolveSettings.model_fields})

    def rivals(self) -> RivalSettings:
        """The part that kernels with a length scale have."""
        return RivalSettings(**{name: getattr(self, name) for name in RivalSettings.model_fields})
