"""From a config to work: validated settings, cells of the grid, and what each job depends on."""

from ntk_atlas.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
