"""The one way in which labelled arrays become larger ones: seeds → unit → init scale → row → cube."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ntk_atlas.arrays.labelled import LabelledArray, LabelledArrays

Grid = Mapping[str, Sequence[object] | np.ndarray | None]
"""Labels of each dimension, in the order in which joined arrays have their dimensions; None for whatever labels the
pieces have, ascending."""

_Places = Mapping[str, Mapping[object, int]]
"""Position of each label, by dimension."""


def join(pieces: Iterable[LabelledArrays], grid: Grid) -> LabelledArrays:
    """Puts the arrays of pieces where their labels say.

    Args:
        pieces: each with coordinates on the dimensions along which pieces differ. Where two pieces have a place in
            common, the later one counts. A piece need not have every array.
        grid: the labels to join on; dimensions that no piece has do no harm. A dimension outside the grid must have
            the same labels, or size, in all pieces.

    Returns:
        Each array that any piece has, over its dimensions: those of the grid first, in the grid's order, then the
        others as the array has them. What no piece has is NaN, −1 in integers, empty in text.

    Raises:
        ValueError: if a label is not on the grid, or pieces differ in a dimension outside the grid.
    """
    pieces = list(pieces)
    labels = _labels(pieces, grid)
    by_name: dict[str, list[LabelledArrays]] = {}
    for piece in pieces:
        for name in piece.variables:
            by_name.setdefault(name, []).append(piece)
    places = {dim: {_key(label): i for i, label in enumerate(of_dim)} for dim, of_dim in labels.items()}
    coordinates = {dim: LabelledArray((dim,), of_dim) for dim, of_dim in labels.items()}
    return LabelledArrays(
        coordinates | {name: _joined(name, having, grid, labels, places) for name, having in by_name.items()}
    )


def filled(shape: Sequence[int], dtype: np.dtype | str) -> np.ndarray:
    """An array of what stands for "not there": NaN for floats, −1 for integers, nothing for text."""
    kind = np.dtype(dtype).kind
    return np.full(shape, np.nan if kind == "f" else "" if kind in "OU" else -1, dtype=dtype)


def _labels(pieces: Sequence[LabelledArrays], grid: Grid) -> dict[str, np.ndarray]:
    """The labels of each dimension of the joined arrays that has any.

    Raises:
        ValueError: if pieces differ in a dimension outside the grid.
    """
    found: dict[str, list[np.ndarray]] = {}
    for piece in pieces:
        for name in piece.coordinates:
            found.setdefault(name, []).append(piece[name])
    labels = {}
    for dim in (*(dim for dim in grid if dim in found), *(dim for dim in found if dim not in grid)):
        first, wanted = found[dim][0], grid.get(dim)
        if wanted is not None:
            labels[dim] = np.array(wanted, dtype=object if first.dtype.kind == "O" else None)
        elif dim in grid:
            labels[dim] = np.unique(np.concatenate(found[dim]))
        elif any(not np.array_equal(first, other) for other in found[dim]):
            raise ValueError(f"what is joined differs in {dim}: {first.tolist()} is not what all have")
        else:
            labels[dim] = first
    return labels


def _joined(
    name: str, pieces: Sequence[LabelledArrays], grid: Grid, labels: Mapping[str, np.ndarray], places: _Places
) -> LabelledArray:
    first = pieces[0].arrays[name]
    dims = (*(dim for dim in grid if dim in first.dims), *(dim for dim in first.dims if dim not in grid))
    sizes = dict(zip(first.dims, first.values.shape, strict=True))
    shape = tuple(len(labels[dim]) if dim in labels else sizes[dim] for dim in dims)
    placed = []
    for piece in pieces:
        array = piece.arrays[name]
        if set(array.dims) != set(dims):
            raise ValueError(f"{name} has the dimensions {array.dims} here and {first.dims} there")
        values = array.values.transpose([array.dims.index(dim) for dim in dims])
        where = [_where(dim, piece, labels, places) for dim in dims]
        if len(pieces) == 1 and values.shape == shape and all(at == slice(None) for at in where):
            return LabelledArray(dims, values, array.attributes)  # probe kernels may be large: no copy
        placed.append((values, where))
    whole = filled(shape, placed[0][0].dtype)
    for values, where in placed:
        place: tuple[slice | list[int] | np.ndarray, ...] = tuple(where)
        if sum(isinstance(at, list) for at in where) > 1:
            place = np.ix_(*[np.arange(n)[at] for n, at in zip(shape, where, strict=True)])
        if whole[place].shape != values.shape:
            raise ValueError(f"{name} is {values.shape} where {whole[place].shape} is its place")
        whole[place] = values
    return LabelledArray(dims, whole, first.attributes)


def _where(dim: str, piece: LabelledArrays, labels: Mapping[str, np.ndarray], places: _Places) -> slice | list[int]:
    """Where the labels of a piece lie: a slice where they follow each other.

    Raises:
        ValueError: if a label is not there.
    """
    if dim not in labels or dim not in piece.arrays or np.array_equal(piece[dim], labels[dim]):
        return slice(None)
    try:
        at = [places[dim][_key(label)] for label in piece[dim]]
    except KeyError as error:
        raise ValueError(f"{dim} {error.args[0]} is not on the grid: {list(places[dim])}") from None
    first = at[0] if at else 0
    return slice(first, first + len(at)) if at == list(range(first, first + len(at))) else at


def _key(label: object) -> object:
    """A label as it is looked up: NumPy's numbers are Python's."""
    return label.item() if isinstance(label, np.generic) else label
