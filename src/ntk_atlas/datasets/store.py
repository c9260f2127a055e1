"""A prepared data set as one self-describing NetCDF file."""

import hashlib
import json
from pathlib import Path

import numpy as np

from ntk_atlas.arrays import LabelledArray, LabelledArrays, read_labelled, write_labelled
from ntk_atlas.datasets.dataset import DataError, Dataset

OWN_ATTRIBUTES = ("title", "name", "target_encoding", "class_names", "feature_names", "shares", "digest")
SPLIT_FLAGS = {"flag_values": np.array([0, 1, 2], np.int8), "flag_meanings": "training_pool validation test"}


def dataset_digest(dataset: Dataset) -> str:
    """SHA-256 of what the data are: inputs, targets, labels, splits and encoding, but neither names nor attributes.

    Args:
        dataset: the samples.

    Returns:
        64 hexadecimal digits, the same on every machine.
    """
    digest = hashlib.sha256(json.dumps([dataset.target_encoding, list(dataset.class_names)]).encode())
    for name, dtype in (("x", "<f8"), ("y", "<f8"), ("labels", "<i8"), ("split", "i1")):
        values = getattr(dataset, name)
        digest.update(json.dumps([name, None if values is None else list(values.shape)]).encode())
        if values is not None:
            if name == "x" and values.dtype in (np.uint8, np.float32):
                dtype = values.dtype.newbyteorder("<")
                digest.update(dtype.name.encode())
            digest.update(np.ascontiguousarray(values, dtype=dtype))
    if dataset.shares:
        digest.update(json.dumps(["shares", dataset.shares]).encode())
    return digest.hexdigest()


def save_dataset(dataset: Dataset, path: str | Path) -> None:
    """Writes a data set, whole or not at all: under a temporary name first, then renamed.

    Args:
        dataset: the samples.
        path: the NetCDF file; its folder is made where it is missing.
    """
    write_labelled(_to_labelled(dataset), path)


def load_dataset(path: str | Path) -> Dataset:
    """Reads a data set that `save_dataset` wrote, and checks its digest.

    Args:
        path: the NetCDF file.

    Returns:
        The data set, equal bit by bit to the saved one.

    Raises:
        DataError: when the file is missing, is not a prepared data set, or does not match its digest.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no prepared data set {path}: run the rule that prepares it")
    try:
        stored = read_labelled(path)
        dataset, digest = _from_labelled(stored), stored.attributes["digest"]
    except (OSError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a prepared data set ({error}): delete it and prepare the data again"
        ) from error
    if dataset_digest(dataset) != digest:
        raise DataError(
            f"{path} does not match the digest stored in it, so it was changed or damaged: delete it and "
            "prepare the data again"
        )
    return dataset


def _to_labelled(dataset: Dataset) -> LabelledArrays:
    features = ("feature",) if dataset.x.ndim == 2 else tuple(f"input_{i}" for i in range(dataset.x.ndim - 1))
    inputs = {"long_name": "inputs, not normalized", "units": "1"}
    arrays = {
        "x": LabelledArray(("sample", *features), dataset.x, inputs),
        "y": LabelledArray(("sample", "output"), dataset.y, {"long_name": "encoded targets", "units": "1"}),
    }
    if dataset.labels is not None:
        meaning = {"long_name": "class index, position in class_names", "units": "1"}
        arrays["labels"] = LabelledArray(("sample",), dataset.labels.astype(np.int64), meaning)
    if dataset.split is not None:
        meaning = {"long_name": "part of the split the sample belongs to", "units": "1", **SPLIT_FLAGS}
        arrays["split"] = LabelledArray(("sample",), dataset.split.astype(np.int8), meaning)
    attributes = {
        **dataset.attributes,
        "title": f"NTK Atlas data set: {dataset.name}",
        "name": dataset.name,
        "target_encoding": dataset.target_encoding,
        "class_names": json.dumps(list(dataset.class_names)),
        "feature_names": json.dumps(list(dataset.feature_names)),
        "shares": dataset.shares,
        "digest": dataset_digest(dataset),
    }
    return LabelledArrays(arrays, attributes)


def _from_labelled(stored: LabelledArrays) -> Dataset:
    return Dataset(
        name=stored.attributes["name"],
        x=stored["x"],
        y=stored["y"],
        labels=stored["labels"] if "labels" in stored.arrays else None,
        split=stored["split"] if "split" in stored.arrays else None,
        target_encoding=stored.attributes["target_encoding"],
        class_names=tuple(json.loads(stored.attributes["class_names"])),
        feature_names=tuple(json.loads(stored.attributes["feature_names"])),
        shares=int(stored.attributes["shares"]),
        attributes={name: _plain(value) for name, value in stored.attributes.items() if name not in OWN_ATTRIBUTES},
    )


def _plain(value: str | np.generic) -> str | int | float:
    return value.item() if isinstance(value, np.generic) else value
