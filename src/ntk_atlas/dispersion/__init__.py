"""Dispersion of the NTK over networks at initialization: samplers, theory and statistics."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
