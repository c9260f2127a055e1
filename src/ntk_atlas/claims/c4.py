"""C4: distance of empirical from infinite kernels at the largest width, and its exponent in the width."""

from ntk_atlas.claims import Claim, Threshold
from ntk_atlas.study.claim_needs import KERNEL_VARIANTS

CLAIM = Claim(
    statement="The closed form of each variant of the NTK is the limit of its networks.",
    statistic=(
        "Relative Frobenius distance of the empirical NTK of untrained networks from the closed form of each variant, "
        "at the largest width, and its exponent in the width"
    ),
    compared=(
        (
            "distance of empirical kernels from each closed form at the largest width; its exponent in the width",
            "< 0.15; exponent < −0.5 + 0.15",
        ),
    ),
    source="abstract (derivation); the variants are our reading",
    thresholds={
        # Relative Frobenius distance of the empirical from the infinite kernel, at the largest width.
        "distance": Threshold(
            value=0.15,
            reason=(
                "A network of width 1,024 is off its limit by a few times 1/√1024 = 0.03, the more the deeper; a wrong "
                "constant or a missing bias term is off by a third and more."
            ),
        ),
        # Exponent of the distance in the width.
        "slope": Threshold(
            value=-0.5,
            reason="Entries of the kernel are averages over the width, whose fluctuations fall with its square root.",
        ),
        # How far the exponent may be from it.
        "slope_margin": Threshold(
            value=0.15,
            reason=(
                "At width 64 the next order is not small; a kernel with a wrong limit has slope 0. What falls faster "
                "than fluctuations has the limit too."
            ),
        ),
    },
    needs=(KERNEL_VARIANTS,),
    trained=False,
)

import numpy as np

from ntk_atlas.config.thresholds import ClaimSettings
from ntk_atlas.judging.decision import Comparison, Measurement, NotJudgedError, Region
from ntk_atlas.judging.evidence import Evidence
from ntk_atlas.statistics.estimates import from_replicates, slope


def measure(evidence: Evidence, thresholds: ClaimSettings) -> Measurement:
    """Distance of empirical from infinite kernels at the largest width, and its exponent in the width.

    A distance that falls faster than fluctuations do has terms of higher order at these widths, and no other limit.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    if evidence.kernel_variants is None:
        raise NotJudgedError("not run", "the file of `kernel_variants` is not there: run the study anew")
    distance = evidence.kernel_variants["variant_distance"]
    small = Region(upper=thresholds.distance.value)
    falls = Region(upper=thresholds.slope.value + thresholds.slope_margin.value)
    width = np.log(distance["width"].values.astype(float))
    comparisons = []
    for variant in distance["variant"].values:
        for depth in distance["depth"].values:
            for scale in distance["init_scale"].values:
                cell = distance.sel(variant=variant, depth=depth, init_scale=scale)
                place = f"{variant}, depth {depth}, σ_w² = {scale:g}"
                estimates = [from_replicates(cell.isel(width=i).values, logarithmic=True) for i in range(len(width))]
                label = f"distance of {place}"
                comparisons.append(Comparison(label, estimates[-1], small, trained=True, replicates="networks"))
                logarithms = [from_replicates(np.log(cell.isel(width=i).values)) for i in range(len(width))]
                comparisons.append(Comparison(f"exponent in the width of {place}", slope(logarithms, width), falls))
    return Measurement(comparisons, ["variant_distance"], f"widths {', '.join(map(str, distance['width'].values))}")
