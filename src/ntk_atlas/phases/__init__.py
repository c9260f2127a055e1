"""Phases of initialization: fixed point of the variance, gradient growth, critical line and depth scales."""

from ntk_atlas.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
