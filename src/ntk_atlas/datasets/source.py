"""A data set as a value: its section of the config, its sizes before anything is read, its samples.

Each source is one file in `sources/`, or a file of the user's, `source: my_data.py:name`. Its section is a class of
settings below `DatasetBase`; the source is an instance of `DatasetSource`. A new source needs `settings`, `title`,
`size` and `read`; all else has a default.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, PositiveInt

from ntk_atlas.config.base import Settings
from ntk_atlas.datasets.checks import check_split_sizes
from ntk_atlas.datasets.dataset import Dataset

Normalization = Literal["none", "standardize", "unit_norm", "center_unit_norm"]


class DatasetBase(Settings):
    """What every source of data has."""

    source: str
    """Where the data come from."""
    normalization: Normalization = "center_unit_norm"
    """How inputs are scaled: `none`; `standardize` (each feature to mean 0, variance 1 over the training
    pool; one that is constant there to 0); `unit_norm` (each sample to ‖x‖² = number of features);
    `center_unit_norm` (the training pool's mean subtracted, then `unit_norm`)."""
    n_validation: PositiveInt = 256
    """Validation samples: they choose ridges, length scales and checkpoints, and are never reported."""
    n_test: PositiveInt = 512
    """Test samples: every reported error is measured on them."""
    draw_samples: Literal["auto", "disjoint", "overlapping"] = "auto"
    """Which samples the draws of an experiment have. `disjoint`: no sample is in two draws, be it in training,
    validation or test, so that draws are independent data and intervals hold for new data; of data with a split of
    their own the training samples alone, for validation and test are the same in every draw. `overlapping`: each draw
    is a permutation of all samples. `auto`: disjoint where there are enough samples for all draws, else
    overlapping."""
    seed: NonNegativeInt = 0
    """Seed of the permutations that define the draws."""


@dataclass(frozen=True)
class DatasetSize:
    """Sizes of a data set.

    Attributes:
        n_samples: all samples.
        n_pool: samples of the training pool, the largest possible n_train.
        input_shape: shape of one sample.
        n_outputs: target components; None when only reading the labels would tell.
        task: `classes`, `binary` or `regression`.
        n_test: samples of the test set.
        split: `drawn` from all samples; `official` training and test sets, from which draws take; `fixed` by the user.
    """

    n_samples: int
    n_pool: int
    input_shape: tuple[int, ...]
    n_outputs: int | None
    task: str
    n_test: int
    split: Literal["drawn", "official", "fixed"] = "drawn"


class DatasetSource(ABC):
    """A source of data.

    Attributes:
        settings: the class of its section in a config.
        title: its name in messages.
        is_known: whether its samples are known to be sound; those of other sources are looked at before any work:
            finite, not constant, in the range of the networks' precision.
        samples_key: the key that says how many samples are made, for data that are made; empty for all others.
    """

    settings: type[DatasetBase]
    title: str
    is_known: bool = False
    samples_key: str = ""

    @abstractmethod
    def size(self, settings: DatasetBase) -> DatasetSize:
        """The sizes of the data, from constants, settings or headers of files: no inputs are read.

        Raises:
            DataError: for what can be seen to be wrong without reading the data.
        """

    @abstractmethod
    def read(self, settings: DatasetBase) -> Dataset:
        """All samples, with encoded targets.

        Raises:
            DataError: for data that cannot be used; the message says what is wrong, where, and what to do.
        """

    def drawn(
        self, settings: DatasetBase, n_samples: int, input_shape: tuple[int, ...], n_outputs: int | None, task: str
    ) -> DatasetSize:
        """The sizes of samples of which each draw takes its training, validation and test sets.

        Raises:
            DataError: when validation and test leave no training sample.
        """
        n_validation, n_test = settings.n_validation, settings.n_test
        check_split_sizes(n_samples, n_validation=n_validation, n_test=n_test, where=self.place(settings))
        return DatasetSize(n_samples, n_samples - n_validation - n_test, input_shape, n_outputs, task, n_test)

    def place(self, settings: DatasetBase) -> str:
        """The source as error messages name it."""
        return f"{self.title} (dataset.source: {settings.source})"

    def sample_place(self, settings: DatasetBase, index: int) -> str:
        """A sample, by its index, as error messages name it."""
        return f"sample {index} (counted from 0)"

    def own_files(self, settings: DatasetBase) -> tuple[Path, ...]:
        """Files of the user's that are read: another content is other data."""
        return ()

    def input_files(self, settings: DatasetBase) -> tuple[Path, ...]:
        """All files that are read, those to be fetched among them."""
        return self.own_files(settings)

    def is_fetched(self, settings: DatasetBase) -> bool:
        """Whether the data are fetched when a run starts, so that they may not be there before."""
        return False

    def remarks(self, settings: DatasetBase) -> tuple[str, ...]:
        """What the user should know of how the data were read, as sentences."""
        return ()
