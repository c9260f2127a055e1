"""Scikit-learn's diabetes data (Efron et al. 2004), packed in the library: no download."""

import numpy as np

from ntk_atlas.config.dataset import DiabetesSettings
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.targets import standardized

N_SAMPLES = 442
INPUT_SHAPE = (10,)


def read_diabetes(settings: DiabetesSettings) -> Dataset:
    """The 442 patients with 10 raw features and disease progression after a year.

    The features are the raw ones: the library's scaled features carry statistics of all samples, test
    included. Readers share one signature; there is nothing to set here.

    Returns:
        All samples.
    """
    from sklearn.datasets import load_diabetes

    x, progression = load_diabetes(return_X_y=True, scaled=False)
    targets = standardized(progression, where="scikit-learn's diabetes")
    return Dataset(
        name="diabetes",
        x=np.asarray(x, dtype=np.float64),
        y=targets.y,
        labels=None,
        split=None,
        target_encoding=targets.encoding,
    )
