"""The claims of Vyas, Bansal & Nakkiran (2022) on scaling laws (B1–B7) that single experiments can support."""

from ntk_atlas.claims.measurement import Claim
from ntk_atlas.claims.scaling_exponents import (
    measure_better_exponent,
    measure_better_than_infinite,
    measure_pretrained,
    measure_robustness,
)
from ntk_atlas.claims.scaling_kernels import (
    measure_after_kernel,
    measure_evolving_kernel,
    measure_matching_kernel,
    measure_width,
)

SCALING_LAWS = (
    Claim(
        "B1",
        "The error of networks falls with more data with a larger exponent than that of their NTK at initialization.",
        measure_better_exponent,
        "abstract",
    ),
    Claim("B1∞", "So it does compared with the infinite-width NTK.", measure_better_than_infinite, "abstract"),
    Claim(
        "B2", "So it does with other learning rates, batch sizes and optimizers.", measure_robustness, "introduction"
    ),
    Claim(
        "B3",
        "The advantage over the initial kernel grows with the training set at a fixed width, and shrinks with width at "
        "a fixed training set.",
        measure_width,
        "introduction (the width matters); growth and fall are our reading",
    ),
    Claim(
        "B4",
        "A kernel trained on a constant number of samples does not catch up with the network's exponent.",
        measure_pretrained,
        "abstract",
    ),
    Claim(
        "B5",
        "The kernel after training improves with the data it was trained on, but does not explain the network's "
        "exponent.",
        measure_after_kernel,
        "third-party summary",
    ),
    Claim(
        "B6",
        "The kernel keeps evolving and improving through most of training.",
        measure_evolving_kernel,
        "abstract (keeps evolving); that its error keeps falling is from a third-party summary",
    ),
    Claim(
        "B7",
        "The network's learning curve is that of regression with its own final kernel.",
        measure_matching_kernel,
        "a citing paper (Atanasov et al. 2022)",
    ),
)
