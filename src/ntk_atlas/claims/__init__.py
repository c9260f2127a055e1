"""Claims: a file each, from an experiment's labelled arrays to what is compared; `judging` makes verdicts of it.

Thresholds that several claims have in common stand here, with their reasons.
"""

from ntk_atlas.config.thresholds import CLAIMS, Claim, ClaimError, ClaimSettings, Threshold

DEEP = Threshold(
    value=0.1,
    reason=(
        "Without biases R at λ = 0.1 is 1.45 in theory; below it a finite network is close to its limit, and not what "
        "a claim about deep networks means."
    ),
)
SETTLED = Threshold(
    value=0.1,
    reason=(
        "M (‖x‖²/n₀) L χ₁^L is what the weights still count in an ordered kernel beside the biases, up to (1 − χ₁)/χ₁. "
        "By the exact law of ReLU networks (widths 32 to 512, σ_w² of 0.5 to 1.8) Var log Θ is within 0.025 of its "
        "value at infinite depth once it is 0.1, and up to 0.2 above it at 1."
    ),
)
MOVES = Threshold(
    value=0.2,
    reason=(
        "A kernel whose norm changed by a fifth is another kernel than the one that theory regresses with; lazy "
        "networks of these widths move by less than a tenth."
    ),
)
STILL = Threshold(
    value=0.1,
    reason="Half of what counts as movement (0.2), so that a kernel cannot be called both moving and still.",
)
GROWS = Threshold(
    value=1.0,
    reason=(
        "Theory has log R grow by 2 to 5 a unit of λ outside the ordered phase (5 for exp(5λ)); 1 is well below all of "
        "these and well above the 0 of the ordered phase."
    ),
)
BETTER = Threshold(
    value=0.05,
    reason=(
        "An exponent larger by 0.05 takes 13 % off the error while the training set grows sixteenfold, which is what "
        "the studies' sizes span; less could not be told from how wide or how well trained a network is."
    ),
)
LAW = Threshold(
    value=4,
    reason=(
        "A power law that may end in a floor has three parameters; a fourth point is the least that can contradict it."
    ),
)
FLOOR = Threshold(
    value=0.9,
    reason=(
        "Of a curve that keeps more than nine tenths of its error at the smallest n whatever the data, no exponent "
        "could be told: its fall, a tenth at most, is what B3 takes for the least that shows. Such a curve is flat, "
        "exponent 0. Every smaller floor is allowed for, of each curve its own."
    ),
)
BUDGET = Threshold(
    value=0.1,
    reason=(
        "A network that ended above its target stands higher than its training set asks. One in ten, and twice the "
        "error of such a network, moves the mean log error by 0.07, half of what an exponent larger by 0.05 gains over "
        "sixteenfold data."
    ),
)
EXPONENTS = {
    # Least exponent of the network minus that of the kernel.
    "exponent_difference": BETTER,
    # Fewest n_train of a law.
    "least_sizes": LAW,
    # Largest share of the error at the smallest n_train that either curve may keep however much data it gets.
    "largest_floor": FLOOR,
    # Largest share of the networks at any n_train that may end above `training.target_mse`.
    "most_above_target_per_size": BUDGET,
}
"""Of every claim that compares the exponents of two learning curves."""
VISIBLE = Threshold(
    value=1.1,
    reason="A tenth of the error is the least that shows on the log axes of a learning curve.",
)
THIRD = Threshold(
    value=0.33,
    reason=(
        "Predictions that differ by a third of the kernel's own error could change its square by a tenth if they were "
        "not related to it, which is the factor."
    ),
)


__all__ = ["CLAIMS", "Claim", "ClaimError", "ClaimSettings", "Threshold"]
