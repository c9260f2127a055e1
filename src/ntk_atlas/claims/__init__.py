"""Claims: a file each, from an experiment's labelled arrays to what is compared; `judging` makes verdicts of it."""

from ntk_atlas.config.thresholds import CLAIMS, Claim, ClaimError, ClaimSettings, Threshold

__all__ = ["CLAIMS", "Claim", "ClaimError", "ClaimSettings", "Threshold"]
