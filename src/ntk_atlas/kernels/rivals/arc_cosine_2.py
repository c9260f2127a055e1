"""Arc-cosine kernel of order 2: (‖·‖‖·‖')² J/π, J = 3 sin θ cos θ + (π − θ)(1 + 2 cos² θ), θ as in order 1.

Cho & Saul 2009, eq. 6; up to a factor the NNGP of one layer of (max(u, 0))².
"""

import math

from ntk_atlas.kernels.rival_forms import InnerProductKernel
from ntk_atlas.kernels.rivals import Look


def _value(pairs):
    cosine = pairs.cosines
    rest, sine = math.pi - cosine.arccos(), (1.0 - cosine**2).sqrt()
    return pairs.norms**2 * (3.0 * sine * cosine + rest * (1.0 + 2.0 * cosine**2)) / math.pi


arc_cosine_2 = InnerProductKernel(_value, "arc-cosine 2", Look(3, "H", (0, (4, 2))))
