"""California housing (Pace & Barry, Stat. Probab. Lett. 33, 1997), from the parquet file that a package carries."""

import numpy as np

from ntk_atlas.config.dataset import CaliforniaSettings
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.errors import DataError
from ntk_atlas.datasets.image_files import find_files, read_official
from ntk_atlas.datasets.images import image_folder
from ntk_atlas.datasets.table_sets import TABLE_SETS
from ntk_atlas.datasets.targets import standardized


def read_california(settings: CaliforniaSettings) -> Dataset:
    """All blocks with their 8 features as they are; the target is the logarithm of the median value, standardized.

    The file is held to its checksum, then read by fastparquet, which is a tenth of pyarrow and imported nowhere else.

    Args:
        settings: where the file lies.

    Returns:
        All samples.

    Raises:
        DataError: when the file is missing or another one.
    """
    import fastparquet

    table_set = TABLE_SETS["california"]
    (path,) = find_files(image_folder(settings), table_set)
    read_official(path, table_set.files[0], table_set)
    table = fastparquet.ParquetFile(str(path)).to_pandas()
    value = table.pop(table_set.target).to_numpy(np.float64)
    x = table.to_numpy(np.float64)
    if x.shape != (table_set.n_samples, table_set.n_features):
        raise DataError(f"{path} has {x.shape} inputs, expected {(table_set.n_samples, table_set.n_features)}")
    targets = standardized(np.log(value), where=table_set.title)
    return Dataset(name="california", x=x, y=targets.y, labels=None, split=None, target_encoding=targets.encoding)
