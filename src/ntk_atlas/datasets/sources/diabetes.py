"""Scikit-learn's diabetes data (Efron et al. 2004), packed in the library: no download."""

from typing import Literal

import numpy as np
from pydantic import PositiveInt

from ntk_atlas.datasets.dataset import Dataset, DatasetBase, DatasetSize, DatasetSource, Normalization
from ntk_atlas.datasets.normalization import standardized


class DiabetesSettings(DatasetBase):
    """Scikit-learn's diabetes data: 442 patients, 10 features, a standardized real target."""

    source: Literal["diabetes"] = "diabetes"
    """scikit-learn's diabetes."""
    normalization: Normalization = "standardize"
    """See the other sources; tables are standardized by default."""
    n_validation: PositiveInt = 64
    """Validation samples."""
    n_test: PositiveInt = 122
    """Test samples."""


class Diabetes(DatasetSource):
    """The 442 patients with 10 raw features and disease progression after a year.

    The features are the raw ones: the library's scaled features carry statistics of all samples, test included.
    """

    settings, title, is_known = DiabetesSettings, "scikit-learn's diabetes", True

    def place(self, settings: DiabetesSettings) -> str:
        """See `DatasetSource`."""
        return self.title

    def size(self, settings: DiabetesSettings) -> DatasetSize:
        """See `DatasetSource`."""
        return self.drawn(settings, 442, (10,), 1, "regression")

    def read(self, settings: DiabetesSettings) -> Dataset:
        """See `DatasetSource`."""
        from sklearn.datasets import load_diabetes

        x, progression = load_diabetes(return_X_y=True, scaled=False)
        targets = standardized(progression, where=self.title)
        return Dataset(
            name="diabetes",
            x=np.asarray(x, dtype=np.float64),
            y=targets.y,
            labels=None,
            split=None,
            target_encoding=targets.encoding,
        )


diabetes = Diabetes()
