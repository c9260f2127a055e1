"""The sources of data, one file each: the file's name is `dataset.source` in a config."""

from ntk_atlas.datasets.dataset import DataError, DatasetBase, DatasetSource
from ntk_atlas.registry import Registry

SOURCES = Registry("ntk_atlas.datasets.sources", DatasetSource, "data set", error=DataError)


def source_of(settings: DatasetBase) -> DatasetSource:
    """The source that settings name."""
    return SOURCES.get(settings.source)
