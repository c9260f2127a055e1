"""Scikit-learn's handwritten digits (Alpaydin and Kaynak 1998, UCI), packed in the library: no download."""

import numpy as np

from ntk_atlas.config.dataset import DigitsSettings
from ntk_atlas.datasets.dataset import Dataset
from ntk_atlas.datasets.targets import encode_targets

N_SAMPLES = 1797
N_CLASSES = 10


def digits_shape(settings: DigitsSettings) -> tuple[int, ...]:
    """Shape of one sample."""
    return (1, 8, 8) if settings.as_images else (64,)


def read_digits(settings: DigitsSettings) -> Dataset:
    """The 1,797 digits, 8 × 8 pixels of 0..16 as rows of 64, or as images.

    Args:
        settings: the task, for a binary one the positive classes, and the shape of a sample.

    Returns:
        All samples.

    Raises:
        DataError: when `positive_classes` are none or all of the ten.
    """
    from sklearn.datasets import load_digits

    x, classes = load_digits(return_X_y=True)
    targets = encode_targets(
        classes, task=settings.task, positive_classes=settings.positive_classes, where="scikit-learn's digits"
    )
    return Dataset(
        name="digits",
        x=np.asarray(x, dtype=np.float64).reshape(-1, *digits_shape(settings)),
        y=targets.y,
        labels=targets.labels,
        split=None,
        target_encoding=targets.encoding,
        class_names=targets.class_names,
    )
