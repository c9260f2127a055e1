"""Polynomial kernel of degree 3: (1 + x·x'/ℓ²)³."""

from ntk_atlas.kernels.rival_forms import InnerProductKernel
from ntk_atlas.kernels.rivals import Look

polynomial = InnerProductKernel(lambda pairs: pairs.products**3, "polynomial", Look(4, "8", (0, (1, 1))))
