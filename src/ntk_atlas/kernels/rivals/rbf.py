"""Gaussian kernel e^{−r²/2}, r = ‖x − x'‖/ℓ (Rasmussen & Williams 2006, section 4.2.1)."""

from ntk_atlas.kernels.rival_forms import StationaryKernel
from ntk_atlas.kernels.rivals import Look

rbf = StationaryKernel(lambda r: (-0.5 * r**2).exp(), "RBF", Look(7, "*", (0, (7, 2, 3, 2))))
