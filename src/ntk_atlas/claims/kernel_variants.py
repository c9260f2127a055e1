"""Claim C4: the closed form of each variant of the NTK is the limit of the networks that it names."""

import numpy as np

from ntk_atlas.claims.decide import Comparison, NotJudgedError, Region
from ntk_atlas.claims.estimates import from_replicates, slope
from ntk_atlas.claims.evidence import Evidence, need_settings
from ntk_atlas.claims.measurement import Measurement
from ntk_atlas.config.claims.equivalence import VariantClaimSettings


def measure_variants(evidence: Evidence, thresholds: VariantClaimSettings) -> Measurement:
    """C4: distance of empirical from infinite kernels at the largest width, and its exponent in the width.

    A distance that falls faster than fluctuations do has terms of higher order at these widths, and no other limit.

    Raises:
        NotJudgedError: where there is nothing to compare.
    """
    need_settings("C4", evidence, thresholds)
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
