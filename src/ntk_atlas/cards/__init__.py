"""Cards: in which regime one model is, why, and how wide it would have to be for NTK theory to hold."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
