"""The claims of Seleznova & Kutyniok (2021, A1–A6; 2022, A'1–A'4) that single experiments can support."""

from ntk_atlas.claims.dispersion import measure_exact_dispersion, measure_growth, measure_random_kernel
from ntk_atlas.claims.measurement import Claim
from ntk_atlas.claims.movement import (
    measure_block_structure,
    measure_constant_kernel,
    measure_moving_kernel,
    measure_ordered_regime,
    measure_regime,
)
from ntk_atlas.claims.output_variance import measure_output_variance
from ntk_atlas.claims.trainability import measure_untrainable

FINITE_WIDTH = (
    Claim(
        "A1",
        "Whether a network is in the NTK regime depends on the phase of its initialization and on its depth.",
        measure_regime,
        "abstract",
    ),
    Claim(
        "A2",
        "Deep networks whose gradients explode have a random kernel at initialization, the more so the deeper.",
        measure_random_kernel,
        "abstract; Var log Θ instead of R is our reading",
    ),
    Claim(
        "A3",
        "The kernel of the median one of the same networks changes much in training.",
        measure_moving_kernel,
        "abstract; the median network is our reading",
    ),
    Claim(
        "A4",
        "Networks whose gradients vanish are in the NTK regime: their kernel is not random, and the median network's "
        "does not move.",
        measure_ordered_regime,
        "abstract; the median network is our reading",
    ),
    Claim(
        "A5",
        "But the median one of them becomes untrainable as they get deeper.",
        measure_untrainable,
        "abstract; the depth scale and the median network are our reading",
    ),
    Claim(
        "A6",
        "NTK theory predicts the variance of outputs over initializations for shallow wide networks in all phases, and "
        "fails for deep narrow ones in at least one, the more so the larger L/M.",
        measure_output_variance,
        "abstract; where the theory fails is our reading",
    ),
    Claim(
        "A'1",
        "The randomness of the kernel at initialization follows the exact law of finite networks in all phases.",
        measure_exact_dispersion,
        "abstract",
    ),
    Claim(
        "A'2",
        "Variability of the kernel grows exponentially with depth at criticality and in chaos, not in the ordered "
        "phase.",
        measure_growth,
        "abstract",
    ),
    Claim(
        "A'3",
        "Only in the ordered phase may the kernel of the median deep network stay constant.",
        measure_constant_kernel,
        "abstract; the median network is our reading",
    ),
    Claim(
        "A'4",
        "The block structure of the kernel matrix changes in training, in the median network.",
        measure_block_structure,
        "abstract and released code; the median network is our reading",
    ),
)
