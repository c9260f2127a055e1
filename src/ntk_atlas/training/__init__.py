"""Training of stacked networks under Lightning, with the empirical NTK at scheduled epochs."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
