"""Kernels: empirical and infinite-width NTK and NNGP, rivals, and what is measured on them."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
