"""For which networks NTK theory holds: distances to its predictors, regimes of cells, frontiers, sentences."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
