"""Linear kernel 1 + x·x'/ℓ²: ridge regression on the features and a constant."""

from ntk_atlas.kernels.rival_forms import InnerProductKernel
from ntk_atlas.kernels.rivals import Look

linear = InnerProductKernel(lambda pairs: pairs.products, "linear", Look(5, "x", (0, (9, 3))))
