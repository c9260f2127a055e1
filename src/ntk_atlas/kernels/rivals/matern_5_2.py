"""Matérn kernel of ν = 5/2: (1 + √5 r + 5r²/3) e^{−√5 r}, r = ‖x − x'‖/ℓ (Rasmussen & Williams 2006, section 4.2.1)."""

import math

from ntk_atlas.kernels.rival_forms import StationaryKernel
from ntk_atlas.kernels.rivals import Look


def _value(r):
    s = math.sqrt(5.0) * r
    return (1.0 + s + s**2 / 3.0) * (-s).exp()


matern_5_2 = StationaryKernel(_value, "Matérn 5/2", Look(5, "X", (0, (2, 2))))
