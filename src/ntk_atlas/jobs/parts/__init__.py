"""What the jobs share: the slice of a config that a job reads, cells and rows, data and networks, files of rows."""

from ntk_atlas import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
