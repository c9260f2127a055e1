"""Scikit-learn's handwritten digits (Alpaydin and Kaynak 1998, UCI), packed in the library: no download."""

from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator

from ntk_atlas.datasets.dataset import Dataset, DatasetBase, DatasetSize, DatasetSource, check_positive_classes
from ntk_atlas.datasets.normalization import encode_targets

PositiveClasses = Annotated[tuple[int, ...], AfterValidator(lambda classes: tuple(sorted(set(classes))))]


class DigitsSettings(DatasetBase):
    """Scikit-learn's 1,797 handwritten digits, 8 × 8 pixels."""

    source: Literal["digits"] = "digits"
    """scikit-learn's digits."""
    as_images: bool = False
    """Samples as images (1, 8, 8), which convolutional networks need, instead of rows of 64 numbers; a fully connected
    network sees no difference."""
    task: Literal["classes", "binary"] = "classes"
    """`classes`: centred one-hot targets, one output a class; `binary`: one output, ±1."""
    positive_classes: PositiveClasses = (1, 3, 5, 7, 9)
    """Binary task: the classes with target +1."""


class Digits(DatasetSource):
    """The 1,797 digits, 8 × 8 pixels of 0..16 as rows of 64, or as images."""

    settings, title, is_known = DigitsSettings, "scikit-learn's digits", True

    def place(self, settings: DigitsSettings) -> str:
        """See `DatasetSource`."""
        return self.title

    def size(self, settings: DigitsSettings) -> DatasetSize:
        """See `DatasetSource`."""
        if settings.task == "binary":
            check_positive_classes(range(10), settings.positive_classes, where=self.title)
        return self.drawn(settings, 1797, _shape(settings), 1 if settings.task == "binary" else 10, settings.task)

    def read(self, settings: DigitsSettings) -> Dataset:
        """See `DatasetSource`."""
        from sklearn.datasets import load_digits

        x, classes = load_digits(return_X_y=True)
        targets = encode_targets(
            classes, task=settings.task, positive_classes=settings.positive_classes, where=self.title
        )
        return Dataset(
            name="digits",
            x=np.asarray(x, dtype=np.float64).reshape(-1, *_shape(settings)),
            y=targets.y,
            labels=targets.labels,
            split=None,
            target_encoding=targets.encoding,
            class_names=targets.class_names,
        )


def _shape(settings: DigitsSettings) -> tuple[int, ...]:
    return (1, 8, 8) if settings.as_images else (64,)


digits = Digits()
