"""Settings of the scaling-law fits."""

from typing import Annotated, Literal

from pydantic import Field

from ntk_atlas.config.base import CountOrZero, Settings


class ScalingSettings(Settings):
    """Which learning curves are fitted, where, and how sure the intervals are."""

    metric: Literal["mse", "error"] = "mse"
    """Test error whose laws the figures show: mean squared error, or share of wrong classes. Both are fitted."""
    ridge: Literal["tuned", "zero"] = "tuned"
    """Which of the two ridges the kernels' learning curves have."""
    n_train_min: CountOrZero = 0
    """The fit range rule, stated beforehand: only n_train from here on are fitted."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Coverage that the intervals promise."""
    floor_exponent_max: Annotated[float, Field(gt=0.0, le=1000.0)] = 5.0
    """Largest exponent tried in the law with an irreducible error; an interval that reaches it is unbounded."""
    floor_width_max: Annotated[float, Field(gt=1.0, le=1e10)] = 10.0
    """High over low end of that exponent's interval beyond which the irreducible error is not identifiable."""
