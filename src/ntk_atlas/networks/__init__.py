"""Networks: many members of one architecture, stacked so that they train in batched matrix products."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
