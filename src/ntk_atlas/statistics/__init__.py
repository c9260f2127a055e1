"""Intervals and estimates: Student's t over draws, bootstrap-t over networks, order statistics, and their combinations.

The only room that computes an interval; laws, kernels, regimes and the judge of claims take theirs from it.
"""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
