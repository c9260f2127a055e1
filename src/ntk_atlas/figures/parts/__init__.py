"""What several figures share, and the figures of verdicts, which have rules of their own."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
