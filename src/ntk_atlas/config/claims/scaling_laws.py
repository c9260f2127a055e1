"""Thresholds of the claims on scaling laws (B1–B7)."""

from ntk_atlas.config.claims.threshold import ClaimSettings, StudyThresholds, Threshold


class BetterExponentSettings(ClaimSettings):
    """B1, B1∞, B4: the network's error falls with a larger exponent than a kernel's."""

    exponent_difference: Threshold
    """Least exponent of the network minus that of the kernel."""
    least_sizes: Threshold
    """Fewest n_train of a law."""
    largest_floor: Threshold
    """Largest share of the error at the smallest n_train that either curve may keep however much data it gets."""
    most_above_target_per_size: Threshold
    """Largest share of the networks at any n_train that may end above `training.target_mse`."""


class RobustExponentSettings(BetterExponentSettings):
    """B2: so it does with other learning rates, batch sizes and optimizers."""

    most_above_target: Threshold
    """Largest share of a variant's networks that end above `training.target_mse`."""


class WidthSettings(ClaimSettings):
    """B3: the network's advantage depends on width relative to the training set."""

    growth: Threshold
    """Least factor by which the ratio of errors, kernel to network, grows from the smallest n_train to the largest."""
    shrinkage: Threshold
    """Least factor by which it shrinks from the narrowest to the widest network."""


class AfterKernelSettings(BetterExponentSettings):
    """B5: the kernel of the trained network improves with the data it was trained on, and does not explain it all."""

    improvement: Threshold
    """Largest ratio of errors at the largest n_train: kernel trained there to kernel trained on few samples."""


class EvolvingKernelSettings(ClaimSettings):
    """B6: the kernel keeps improving through most of training."""

    slope: Threshold
    """Largest slope of log error against log t over the last part of training; it is negative."""
    movement: Threshold
    """Least angle (radians) that the kernel turns by in the last part of training."""
    last_part: Threshold
    """Share of the epochs up to the fit after which the last part begins."""


class MatchingKernelSettings(ClaimSettings):
    """B7: the network's learning curve is that of regression with its own final kernel."""

    factor: Threshold
    """Ratio of errors, network to kernel, up to which they match, either way."""


class ScalingLawThresholds(StudyThresholds):
    """The claims on scaling laws."""

    b1: BetterExponentSettings | None = None
    """B1."""
    b1_infinite: BetterExponentSettings | None = None
    """B1∞."""
    b2: RobustExponentSettings | None = None
    """B2."""
    b3: WidthSettings | None = None
    """B3."""
    b4: BetterExponentSettings | None = None
    """B4."""
    b5: AfterKernelSettings | None = None
    """B5."""
    b6: EvolvingKernelSettings | None = None
    """B6."""
    b7: MatchingKernelSettings | None = None
    """B7."""
