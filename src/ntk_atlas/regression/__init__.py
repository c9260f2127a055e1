"""Kernel regression: nested sample counts, ridge paths, length scales and finite training times."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
