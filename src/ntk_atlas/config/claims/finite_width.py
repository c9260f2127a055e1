"""Thresholds of the claims on finite width (A1–A7, A'1–A'4)."""

from ntk_atlas.config.claims.threshold import ClaimSettings, StudyThresholds, Threshold


class RegimeSettings(ClaimSettings):
    """A1: dispersion and drift differ between phases, and between depths."""

    log_variance_difference: Threshold
    """Least difference of Var log Θ, chaotic − ordered and deep − shallow."""
    drift_factor: Threshold
    """Least ratio of drifts, either way."""
    drift_floor: Threshold
    """Drift that counts as none: smaller ones are raised to it before ratios are taken."""
    least_lambda: Threshold
    """λ from which a network counts as deep."""
    unsettled: Threshold
    """M (‖x‖²/n₀) L χ₁^L, up to which the ordered phase has settled."""


class RandomKernelSettings(ClaimSettings):
    """A2: the kernel of deep chaotic networks is random at initialization."""

    log_variance: Threshold
    """Least Var log Θ."""
    growth: Threshold
    """Least slope of Var log Θ in λ."""
    least_lambda: Threshold
    """λ from which a network counts as deep."""


class MovingKernelSettings(ClaimSettings):
    """A3: the kernel of deep chaotic networks changes in training."""

    drift: Threshold
    """Least relative drift."""
    least_lambda: Threshold
    """λ from which a network counts as deep."""


class OrderedRegimeSettings(ClaimSettings):
    """A4: ordered networks are in the NTK regime."""

    log_variance: Threshold
    """Largest Var log Θ."""
    drift: Threshold
    """Largest relative drift."""
    unsettled: Threshold
    """M (‖x‖²/n₀) L χ₁^L, up to which the ordered phase has settled."""


class UntrainableSettings(ClaimSettings):
    """A5: ordered networks become untrainable with depth."""

    untrained: Threshold
    """Final training MSE, over that of predicting zero, above which a network is untrained."""
    trained: Threshold
    """And below which it is trained."""
    unsettled: Threshold
    """M (‖x‖²/n₀) L χ₁^L, up to which an ordered network is deep enough to be untrainable."""
    most_diverged: Threshold
    """Largest share of diverged networks in a cell that is judged."""


class OutputVarianceClaimSettings(ClaimSettings):
    """A6: NTK theory predicts the variance of outputs, within limits."""

    factor: Threshold
    """Ratio of variances, either way, up to which theory holds."""
    least_networks: Threshold
    """Fewest networks a cell."""


class BothActivationsSettings(ClaimSettings):
    """A7: claims A2–A4 hold for ReLU and for sigmoid networks; judged over all experiments."""


class ExactDispersionSettings(ClaimSettings):
    """A'1: the dispersion of the kernel follows the exact law in all phases."""

    network_factor: Threshold
    """Ratio of Var log Θ of networks and of the exact law, either way."""
    theory_factor: Threshold
    """Ratio of R of the exact law and of the finite sums, either way."""
    largest_lambda: Threshold
    """λ up to which the sums are judged."""


class GrowthSettings(ClaimSettings):
    """A'2: variability grows exponentially with depth, except in the ordered phase."""

    growth: Threshold
    """Least slope of Var log Θ in λ, critical and chaotic."""
    ordered_growth: Threshold
    """Largest slope of Var log Θ in λ, ordered, either way."""
    unsettled: Threshold
    """M (‖x‖²/n₀) L χ₁^L, up to which the ordered phase has settled."""


class ConstantKernelSettings(ClaimSettings):
    """A'3: only in the ordered phase may the kernel stay constant in training."""

    drift: Threshold
    """Least relative drift, critical and chaotic."""
    ordered_drift: Threshold
    """Largest relative drift, ordered."""
    least_lambda: Threshold
    """λ from which a network counts as deep."""
    unsettled: Threshold
    """M (‖x‖²/n₀) L χ₁^L, up to which the ordered phase has settled."""


class BlockStructureSettings(ClaimSettings):
    """A'4: the kernel's block structure changes in training."""

    change: Threshold
    """Least change of (within − between), in units of the mean diagonal."""
    least_lambda: Threshold
    """λ from which a network counts as deep."""


class FiniteWidthThresholds(StudyThresholds):
    """The claims on finite width."""

    a1: RegimeSettings | None = None
    """A1."""
    a2: RandomKernelSettings | None = None
    """A2."""
    a3: MovingKernelSettings | None = None
    """A3."""
    a4: OrderedRegimeSettings | None = None
    """A4."""
    a5: UntrainableSettings | None = None
    """A5."""
    a6: OutputVarianceClaimSettings | None = None
    """A6."""
    a7: BothActivationsSettings | None = None
    """A7."""
    a_prime_1: ExactDispersionSettings | None = None
    """A'1."""
    a_prime_2: GrowthSettings | None = None
    """A'2."""
    a_prime_3: ConstantKernelSettings | None = None
    """A'3."""
    a_prime_4: BlockStructureSettings | None = None
    """A'4."""
