"""Shared by the claims: evidence and estimates, the decision, the judge of an experiment and of a study."""
