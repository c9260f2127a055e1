"""Scaling laws of learning curves: exponents with intervals over draws, irreducible error, held-out check."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
