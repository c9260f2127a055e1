"""NetCDF files that are results: the dictionary of their variables, how they are joined, how a cube is read."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
