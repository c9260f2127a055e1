"""A data set as a value: its section of the config, its sizes before anything is read, its samples, and their checks.

Each source is one file in `sources/`, or a file of the user's, `source: my_data.py:name`. Its section is a class of
settings below `DatasetBase`; the source is an instance of `DatasetSource`. A new source needs `settings`, `title`,
`size` and `read`; all else has a default. What comes from outside is checked; `where` says which array of which file
an error is about, and under which key.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
from pydantic import NonNegativeInt, PositiveInt

from ntk_atlas.config.base import Settings

TargetEncoding = Literal["centred_one_hot", "plus_minus_one", "standardized", "teacher_standardized"]

POOL, VALIDATION, TEST = 0, 1, 2
"""Values of a split array."""
_WHAT_INSTEAD = {
    "O": "which is never loaded (it may hold code): save numbers as np.asarray(array, dtype=float) and class names as "
    "np.asarray(names, dtype=str); ragged rows must first get one length",
    "c": "which is not numeric in one number: save real and imaginary parts as features of their own, e.g. "
    "np.concatenate([array.real, array.imag], axis=1)",
    "M": "which holds dates: save numbers, e.g. (array - array.min()) / np.timedelta64(1, 'D')",
    "m": "which holds time spans: save numbers, e.g. array / np.timedelta64(1, 's')",
    "V": "which holds records: save their fields as the columns of a plain array, e.g. "
    "numpy.lib.recfunctions.structured_to_unstructured(array)",
}
_TEXT = (
    "which is text: save numbers, e.g. of two names np.unique(names, return_inverse=True)[1], of several a column of 0 "
    "and 1 for each"
)
Normalization = Literal["none", "standardize", "unit_norm", "center_unit_norm"]


class DataError(ValueError):
    """Data that cannot be used; the message names the file or source, the config key and the fix."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """All samples of one source, before they are split and normalized.

    Attributes:
        name: the source (`digits`, `cifar10`, ...), or the stem of the user's file.
        x: inputs `(n_samples, *input_shape)`, not normalized: float64, or for images in full uint8 and, pooled,
            float32; draws are float64 whatever it is.
        y: encoded targets `(n_samples, n_outputs)`, float64.
        labels: class indices 0..K−1 `(n_samples,)`; None for regression. A binary task has the two classes 0
            (target −1) and 1 (target +1).
        split: `(n_samples,)` of 0 (training pool), 1 (validation), 2 (test); None when draws split. Without any 1,
            draws take the validation set from the pool and `n_test` samples from the test set.
        target_encoding: `centred_one_hot`, `plus_minus_one`, `standardized` (real targets, put in units of
            the training pool's mean and standard deviation by each draw) or `teacher_standardized` (in units
            of the noiseless teacher's exact mean and standard deviation; draws leave it alone).
        class_names: the classes in the order of `labels`, integers or text as in the source; empty for regression.
        attributes: what was done to the samples, for the attributes of the file (`side`, `pooling`).
        feature_names: of the inputs of a table, one a feature; empty where they have none.
        shares: number of shares into which the samples are cut for disjoint draws (`datasets.read`); 0 if every draw
            is a permutation of all samples.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray | None
    split: np.ndarray | None
    target_encoding: TargetEncoding
    class_names: tuple[int | str, ...] = ()
    attributes: Mapping[str, str | int] = field(default_factory=dict)
    feature_names: tuple[str, ...] = ()
    shares: int = 0

    @property
    def n_samples(self) -> int:
        """Number of samples."""
        return self.x.shape[0]

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.x.shape[1:]

    @property
    def n_outputs(self) -> int:
        """Number of target components."""
        return self.y.shape[1]


def check_numeric(dtype: np.dtype, *, where: str, text: bool = False) -> None:
    """Refuses objects, text, dates, records and complex numbers.

    Args:
        dtype: of an array.
        where: the array, for the message.
        text: whether text will do, as it does for class labels.

    Raises:
        DataError: when `dtype` is not boolean, integer or real; the message says what to save instead.
    """
    if dtype.kind in "biuf" or (text and dtype.kind in "SU"):
        return
    raise DataError(f"{where} has dtype {dtype}, {_WHAT_INSTEAD.get(dtype.kind, _TEXT)}")


def check_memory(n_bytes: int, *, where: str, free: bool = False) -> None:
    """Refuses what does not fit into memory, before it is read.

    Args:
        n_bytes: how much there would be.
        where: the array or file, for the message.
        free: whether to ask for memory that is free now, and not for what the machine has.

    Raises:
        DataError: with both sizes.
    """
    memory = psutil.virtual_memory()
    limit = memory.available if free else memory.total
    if n_bytes > limit:
        raise DataError(
            f"{where} would take {n_bytes / 2**30:,.1f} GiB, and this machine has {limit / 2**30:.1f} GiB"
            f"{' free' if free else ''}: save fewer samples or features, or is the file damaged?"
        )


def check_shape(shape: tuple[int, ...], *, where: str) -> None:
    """Refuses scalars and arrays without elements.

    Raises:
        DataError: when there is no sample axis or nothing on one of the axes.
    """
    if not shape:
        raise DataError(f"{where} is a single number: the first axis has to count the samples")
    if 0 in shape:
        raise DataError(f"{where} is empty, shape {shape}: write at least one sample with one feature")


def check_lengths(n_x: int, n_other: int, *, where_x: str, where_other: str) -> None:
    """Refuses arrays that do not have one row per sample.

    Raises:
        DataError: when the two lengths differ.
    """
    if n_x != n_other:
        raise DataError(
            f"{where_x} has {n_x} samples, but {where_other} has {n_other}: both need one row per sample "
            "(is the sample axis the first one?)"
        )


def check_finite(values: np.ndarray, *, where: str) -> None:
    """Refuses NaN and infinity, and of text what stands for no value.

    Raises:
        DataError: with how many values are not finite, and the index of the first.
    """
    if values.dtype.kind in "biuO":
        return
    if values.dtype.kind == "U":
        empty = np.flatnonzero(np.isin(np.char.lower(np.char.strip(values.reshape(-1))), ("", "nan", "<na>", "nat")))
        if empty.size:
            raise DataError(
                f"{where} has {empty.size} empty names ({str(values.reshape(-1)[empty[0]])!r}), the first at index "
                f"[{empty[0]}]: drop those samples, or name their class"
            )
        return
    bad = ~np.isfinite(values)
    count = int(np.count_nonzero(bad))
    if count:
        first = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), values.shape))
        raise DataError(
            f"{where} has {count} values that are not finite (NaN, infinity or, in NetCDF, missing), the first at "
            f"index {list(first)}: drop those samples or impute the values before writing the file"
        )


def check_split_sizes(n_samples: int, *, n_validation: int, n_test: int, where: str) -> None:
    """Refuses validation and test sets that leave no training sample.

    Raises:
        DataError: when `n_samples < n_validation + n_test + 1`.
    """
    if n_samples < n_validation + n_test + 1:
        raise DataError(
            f"{where} has {n_samples} samples, too few for {n_validation} validation samples, {n_test} test "
            "samples and at least 1 training sample: lower dataset.n_validation or dataset.n_test"
        )


def check_held_out_sizes(n_official: int, n_held_out: int, *, n_validation: int, n_test: int, where: str) -> None:
    """Refuses more validation or test samples than official training and test sets that are kept apart can give.

    Raises:
        DataError: when `n_official < n_validation + 1` or `n_held_out < n_test`.
    """
    if n_official < n_validation + 1:
        raise DataError(
            f"{where} has {n_official} training samples, too few for {n_validation} validation samples and at least 1 "
            "training sample: lower dataset.n_validation"
        )
    if n_held_out < n_test:
        raise DataError(f"{where} has {n_held_out} test samples, fewer than {n_test}: lower dataset.n_test")


def check_split_values(split: np.ndarray, *, where: str) -> None:
    """Refuses a split array with other values than 0, 1 and 2, or without one of them.

    Raises:
        DataError: naming the values found, or the part that is missing.
    """
    found = np.unique(split)
    if not np.isin(found, (POOL, VALIDATION, TEST)).all():
        raise DataError(
            f"{where} holds the values {found[:8].tolist()}: use only 0 (training pool), 1 (validation) and 2 (test)"
        )
    for value, part in ((POOL, "training pool"), (VALIDATION, "validation"), (TEST, "test")):
        if value not in found:
            raise DataError(
                f"{where} marks no sample as {part} (value {value}): mark some, or leave dataset.split out "
                "and let draws split the data"
            )


def check_label_shape(shape: tuple[int, ...], *, where: str) -> None:
    """Refuses class labels of more than one number a sample.

    Raises:
        DataError: when the shape is neither `(n,)` nor `(n, 1)`.
    """
    if len(shape) > 1 and shape[1:] != (1,):
        raise DataError(
            f"{where} has shape {shape}, but class labels are one number a sample: save y.argmax(axis=1) of "
            "one-hot rows, or set dataset.task: regression"
        )


def check_several_classes(classes: Sequence[int | str], n_samples: int, *, where: str) -> None:
    """Refuses labels that are all the same, or all different.

    Raises:
        DataError: when there are fewer than two classes, or as many as there are samples.
    """
    if len(classes) < 2:
        raise DataError(
            f"{where} holds one class only ({list(classes)}): classification needs at least two; is "
            "dataset.y the right array, or is the task a regression?"
        )
    if len(classes) == n_samples > 2:
        raise DataError(
            f"{where} holds {len(classes)} classes, one for each sample ({list(classes[:4])}, …): is dataset.y the "
            "right array, or is the task a regression (dataset.task)?"
        )


def check_positive_classes(classes: Sequence[int | str], positive: Sequence[int | str], *, where: str) -> None:
    """Refuses positive classes that leave one side of a binary task empty, or that are no classes.

    Raises:
        DataError: when `positive` selects no class or every class, or names one that is not there.
    """
    there = f"whose classes are {list(classes[:20])}{'' if len(classes) <= 20 else ', …'}"
    selected = [name in positive for name in classes]
    if any(selected) == all(selected):
        which = "every" if all(selected) else "no"
        raise DataError(
            f"dataset.positive_classes = {list(positive)} selects {which} class of {where}, {there}: name some of "
            "them, but not all"
        )
    unknown = [name for name in positive if name not in classes]
    if unknown:
        raise DataError(f"dataset.positive_classes names {unknown}, no class of {where}, {there}: correct or remove it")


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
