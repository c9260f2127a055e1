"""Settings of kernel regression: which kernels, which ridge, which length scales."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, field_validator

from ntk_atlas.config.base import Settings

RidgeSelection = Literal["validation", "leave_one_out"]

Predictor = Annotated[
    str,
    Field(pattern=r"^(ntk_init|ntk_final|ntk_epoch_[1-9]\d*|infinite_ntk|nngp|laplace|matern_3_2|matern_5_2|rbf)$"),
]


class RegressionSettings(Settings):
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
    """Kernels that are regressed with: `ntk_init`, `ntk_final`, `ntk_epoch_<t>` (empirical NTK at a
    checkpoint), `infinite_ntk`, `nngp`, `laplace`, `matern_3_2`, `matern_5_2`, `rbf`."""
    ridge_grid: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0,
    )  # fmt: skip
    """Ridges tried, relative to the mean diagonal of the largest Gram matrix (diag_reg)."""
    select_ridge: RidgeSelection = "validation"
    """What chooses the `tuned` ridge (and the length scale); the `zero` ridge is always reported beside it."""
    length_scales: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (
        0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0,
    )  # fmt: skip
    """Length scales of laplace, matern and rbf, in median distances of the training inputs."""
    predictor_center: Literal["zero", "network"] = "zero"
    """Empirical kernels predict the targets around zero, or what the network at that checkpoint leaves over."""
    jitter: NonNegativeFloat = 1e-12
    """Smallest relative diagonal that the `zero` ridge falls back to when the Gram matrix is singular."""

    @field_validator("ridge_grid", "length_scales")
    @classmethod
    def _ascending(cls, values: tuple) -> tuple:
        return tuple(sorted(set(values)))

    @field_validator("predictors")
    @classmethod
    def _unique(cls, values: tuple) -> tuple:
        return tuple(dict.fromkeys(values))
