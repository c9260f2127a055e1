"""Matérn kernel of ν = 3/2: (1 + √3 r) e^{−√3 r}, r = ‖x − x'‖/ℓ (Rasmussen & Williams 2006, section 4.2.1)."""

import math

from ntk_atlas.kernels.rival_forms import StationaryKernel
from ntk_atlas.kernels.rivals import Look


def _value(r):
    s = math.sqrt(3.0) * r
    return (1.0 + s) * (-s).exp()


matern_3_2 = StationaryKernel(_value, "Matérn 3/2", Look(9, "<", (0, (4, 1, 1, 1, 1, 1))))
