"""What a cube says of itself beside its numbers, in every figure: notices, and cells that are the same networks."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import xarray as xr

_notes: ContextVar[tuple[str, ...]] = ContextVar("notes of all figures", default=())
_NAMES = {"depth": "depths", "width": "widths", "init_scale": "init scales"}


def current_notes() -> tuple[str, ...]:
    """The notes that every figure gets now, after its own."""
    return _notes.get()


@contextmanager
def notices_of(datasets: Sequence[xr.Dataset]) -> Iterator[list[xr.Dataset]]:
    """Figures drawn inside the block say what the cubes that they are drawn from say of themselves.

    A cube says it in the attributes `notices`, one sentence per line, and `same_networks`, JSON: key of the grid →
    groups of values at which a network factory gives the same networks, because it ignores the key.

    Args:
        datasets: what a figure is drawn from.

    Yields:
        The datasets at one value of each group: equal lines would lie under each other.
    """
    said = [str(line) for each in datasets for line in str(each.attrs.get("notices", "")).splitlines() if line]
    same: dict[str, list[list[float]]] = {}
    for each in datasets:
        same |= json.loads(str(each.attrs.get("same_networks", "{}")))
    for key, groups in same.items():
        said += [
            f"The {_NAMES.get(key, key)} {', '.join(f'{value:g}' for value in group)} have the same networks: drawn is "
            f"{min(group):g}."
            for group in groups
        ]
    token = _notes.set(tuple(dict.fromkeys(said)))
    try:
        yield [_without_repetitions(each, same) for each in datasets]
    finally:
        _notes.reset(token)


def _without_repetitions(dataset: xr.Dataset, same: dict[str, list[list[float]]]) -> xr.Dataset:
    for key, groups in same.items():
        if key in dataset.dims:
            repeated = {value for group in groups for value in group if value != min(group)}
            kept = [i for i, value in enumerate(dataset[key].values.tolist()) if value not in repeated]
            dataset = dataset.isel({key: np.array(kept, dtype=int)})
    return dataset
