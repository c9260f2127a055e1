"""Networks: many members of one architecture, stacked so that they train in batched matrix products."""

from ntk_atlas.lazy_names import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
