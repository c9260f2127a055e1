"""Rational quadratic kernel 1/(1 + r²/2), r = ‖x − x'‖/ℓ (Rasmussen & Williams 2006, section 4.2.1, α = 1)."""

from ntk_atlas.kernels.rival_forms import StationaryKernel
from ntk_atlas.kernels.rivals import Look

rational_quadratic = StationaryKernel(
    lambda r: 1.0 / (1.0 + 0.5 * r**2), "rational quadratic", Look(8, "p", (0, (5, 1, 1, 1)))
)
