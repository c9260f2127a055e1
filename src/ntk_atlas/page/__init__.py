"""The page of a study: one offline HTML file with its findings, maps, cells, claims and how they were made."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
