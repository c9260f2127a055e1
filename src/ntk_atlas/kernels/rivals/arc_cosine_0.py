"""Arc-cosine kernel of order 0: (π − θ)/π, θ the angle of (x/ℓ, 1) and (x'/ℓ, 1) (Cho & Saul 2009, eq. 4)."""

import math

from ntk_atlas.kernels.rival_forms import InnerProductKernel
from ntk_atlas.kernels.rivals import Look


def _value(pairs):
    return (math.pi - pairs.cosines.arccos()) / math.pi


arc_cosine_0 = InnerProductKernel(_value, "arc-cosine 0", Look(3, "<", (0, (1, 2))))
