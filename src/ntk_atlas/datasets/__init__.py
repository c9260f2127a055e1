"""Data sets: sources, encoded targets, seeded draws, normalization and storage."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
