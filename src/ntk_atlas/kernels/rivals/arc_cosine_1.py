"""Arc-cosine kernel of order 1: ‖·‖‖·‖'(sin θ + (π − θ) cos θ)/π, θ the angle of (x/ℓ, 1) and (x'/ℓ, 1).

Cho & Saul 2009, eq. 5; up to a factor the NNGP of one ReLU layer.
"""

import math

from ntk_atlas.kernels.rival_forms import InnerProductKernel
from ntk_atlas.kernels.rivals import Look


def _value(pairs):
    cosine = pairs.cosines
    rest, sine = math.pi - cosine.arccos(), (1.0 - cosine**2).sqrt()
    return pairs.norms * (sine + rest * cosine) / math.pi


arc_cosine_1 = InnerProductKernel(_value, "arc-cosine 1", Look(3, ">", (0, (2, 1, 1, 1))))
