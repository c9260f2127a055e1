"""Typed, frozen settings: one file a section of the config, `study` joins them."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
