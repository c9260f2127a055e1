"""Thresholds of the claims on equivalence: is a trained network its kernel regression?"""

from ntk_atlas.config.claims.threshold import ClaimSettings, StudyThresholds, Threshold


class LayerAddingSettings(ClaimSettings):
    """C1: adding a layer does not change the errors of network and NTK alike."""

    margin: Threshold
    """Largest difference of the two changes that counts as none, in units of the kernel's error before."""


class UntrainedKernelSettings(ClaimSettings):
    """C2: a kernel that ignores training gives errors not above those of the NTK."""

    factor: Threshold
    """Error of the NNGP over that of the NTK up to which it is not inferior; either way, up to which they are close."""


class RivalClaimSettings(ClaimSettings):
    """C3: kernels that know nothing of networks rival the NTK."""

    factor: Threshold
    """Error of the rival over that of the NTK up to which it is not inferior."""


class VariantClaimSettings(ClaimSettings):
    """C4: the closed form of each variant of the NTK is the limit of its networks."""

    distance: Threshold
    """Relative Frobenius distance of the empirical from the infinite kernel, at the largest width."""
    slope: Threshold
    """Exponent of the distance in the width."""
    slope_margin: Threshold
    """How far the exponent may be from it."""


class InequivalenceSettings(ClaimSettings):
    """C5: trained networks of the largest width are not their kernel regression."""

    factor: Threshold
    """Ratio of test errors, either way, up to which they are the same."""
    distance: Threshold
    """Root mean square difference of predictions, over the kernel's own error, up to which they are the same."""


class WidthLimitSettings(ClaimSettings):
    """C5∞: the distance of trained networks from their kernel regression does not vanish as the width grows."""

    distance: Threshold
    """Root mean square difference of predictions, over the kernel's own error, up to which they are the same; the
    extrapolated square is held against its square."""
    rate: Threshold
    """Exponent of the distance in the width that theory has."""
    rate_margin: Threshold
    """How much flatter the distance may fall where the extrapolation is to count against the claim."""
    least_widths: Threshold
    """Widths that an extrapolation takes."""
    most_above_target: Threshold
    """Largest share of a cell's networks that end above `training.target_mse`."""


class EquivalenceThresholds(StudyThresholds):
    """Claims C1 to C5 (Liu, Tai, Crandall & Huang 2025)."""

    c1: LayerAddingSettings | None = None
    """C1."""
    c2: UntrainedKernelSettings | None = None
    """C2."""
    c3: RivalClaimSettings | None = None
    """C3."""
    c4: VariantClaimSettings | None = None
    """C4."""
    c5: InequivalenceSettings | None = None
    """C5."""
    c5_infinite: WidthLimitSettings | None = None
    """C5∞."""
