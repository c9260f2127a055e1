"""Settings of the output variance: mean and variance of f_t(x) over initializations, predicted and measured."""

from typing import Annotated

from pydantic import Field

from ntk_atlas.config.base import Settings


class OutputVarianceSettings(Settings):
    """Variance of the outputs over seeds on the probe samples at every checkpoint: of trained networks, of the same
    networks linearized at their initialization, and of the theory at infinite width.
    """

    n_bootstrap: Annotated[int, Field(ge=100, le=1_000_000)] = 1000
    """Bootstrap resamples of the seeds."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Coverage that the intervals promise."""
