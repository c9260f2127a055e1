"""From a config to work: validated settings, cells of the grid, and what each job depends on."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
