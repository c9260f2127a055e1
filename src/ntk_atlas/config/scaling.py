"""Settings of the scaling-law fits."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from ntk_atlas.config.base import Settings


class ScalingSettings(Settings):
    """Which learning curves are fitted, where, and how sure the intervals are."""

    metric: Literal["mse", "error"] = "mse"
    """Test error whose law is fitted: mean squared error, or share of wrong classes."""
    ridge: Literal["tuned", "zero"] = "tuned"
    """Which of the two ridges the kernels' learning curves have."""
    n_train_min: NonNegativeInt = 0
    """The fit range rule, stated beforehand: only n_train from here on are fitted."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Coverage that the intervals promise."""
