"""Laplace kernel e^{−r}, r = ‖x − x'‖/ℓ (Rasmussen & Williams 2006, section 4.2.1: Matérn of ν = 1/2)."""

from ntk_atlas.kernels.rival_forms import StationaryKernel
from ntk_atlas.kernels.rivals import Look

laplace = StationaryKernel(lambda r: (-r).exp(), "Laplace", Look(4, "P", (0, (8, 1.6))))
