"""What a draw has to be so that there is something to learn, and what its user should know before it is used."""

import hashlib
from collections.abc import Iterator

import numpy as np

from ntk_atlas.datasets.dataset import DataError, Dataset, DatasetBase
from ntk_atlas.datasets.draws import Draw, make_draw
from ntk_atlas.datasets.normalization import BLOCK
from ntk_atlas.datasets.sources import source_of

SAMPLES_OF_A_NOTICE = 2000
"""How many samples of the pool are normalized to see which features are large."""
_SMALL = 10**7
"""Numbers of inputs up to which those of every draw are looked at, and not of the first draw alone."""
_MORE_THAN = {1: 1.0, 2: 0.9}
"""Share of the squared norm above which one of so few features that vary is said; of more features, a half."""


def check_draws(dataset: Dataset, settings: DatasetBase, *, draws: int = 1, dtype: str = "float64") -> None:
    """Refuses draws whose training pool is not finite or constant, or loses its values in the networks' precision.

    Args:
        dataset: all samples.
        settings: where they come from, how they are split and normalized.
        draws: how many draws are looked at, the first ones; the inputs of large data are, in the first one.
        dtype: what networks are trained in, `float32` or `float64`.

    Raises:
        DataError: naming the source, the draw, the feature and the sample.
    """
    for number in range(draws):
        draw = make_draw(dataset, settings, number)
        place = f"{source_of(settings).place(settings)}, draw {number}"
        _check_targets(draw, place)
        if number == 0 or dataset.x.size <= _SMALL:
            _check_inputs(draw, dataset, settings, dtype, place, count_rows=number == 0)


def notices(dataset: Dataset, settings: DatasetBase) -> list[str]:
    """What is no error and may still not be what was meant, as sentences.

    Args:
        dataset: all samples.
        settings: where they come from, how they are split and normalized.

    Returns:
        A sentence each: what was left out of a table, one feature that outweighs all others, integers that are about to
        be scaled as if they were measurements, samples that repeat, features that say nothing, rare classes.
    """
    source, draw = source_of(settings), make_draw(dataset, settings, 0)
    where = source.place(settings)
    pool = draw.indices.pool[:SAMPLES_OF_A_NOTICE]
    said = [*_large_feature(dataset, draw.normalizer(dataset.x[pool]), settings)]
    if not source.is_known:
        said += source.remarks(settings)
        said += _integers(dataset, settings)
        said += _repeated(dataset, draw)
        said += _features_that_say_nothing(dataset, draw, settings)
    said += _classes(dataset, draw)
    return [sentence if sentence.startswith(where) else f"{where}: {sentence}" for sentence in said]


def feature_name(dataset: Dataset, index: int) -> str:
    """Returns a feature as messages name it: by the name of its column, or by its index in a sample."""
    if dataset.feature_names:
        return f"column {dataset.feature_names[index]!r}"
    return f"feature {[int(i) for i in np.unravel_index(index, dataset.input_shape)]}"


def _check_targets(draw: Draw, place: str) -> None:
    parts = {"training": draw.y_pool, "validation": draw.y_validation, "test": draw.y_test}
    for part, y in parts.items():
        if not np.isfinite(y).all():
            raise DataError(
                f"{place}: the {part} targets (dataset.y) are not finite in units of the training pool's mean and "
                "deviation: rescale y"
            )
    if (draw.y_pool == draw.y_pool[0]).all():
        what = "are all of one class" if draw.labels_pool is not None else "are all equal"
        raise DataError(
            f"{place}: the targets (dataset.y) of its training pool, {len(draw.y_pool)} samples, {what}, there is "
            "nothing to learn: give more samples, or lower dataset.n_validation and dataset.n_test"
        )


def _check_inputs(
    draw: Draw, dataset: Dataset, settings: DatasetBase, dtype: str, place: str, *, count_rows: bool
) -> None:
    lowest = highest = cast_lowest = cast_highest = None
    rows, cast_rows = set(), set()
    for part, indices in (("pool", draw.indices.pool), ("", draw.indices.validation), ("", draw.indices.test)):
        for start in range(0, len(indices), BLOCK):
            block = indices[start : start + BLOCK]
            with np.errstate(over="ignore", invalid="ignore"):  # what comes out not finite is refused below
                x = draw.normalizer(dataset.x[block]).reshape(len(block), -1)
                cast = x.astype(dtype)
            _check_finite(x, cast, block, dataset, settings, dtype, place)
            if part != "pool":
                continue
            lowest, highest = _range(x, lowest, highest)
            cast_lowest, cast_highest = _range(cast, cast_lowest, cast_highest)
            if count_rows and dtype != "float64":
                rows |= {_digest(row) for row in x}
                cast_rows |= {_digest(row) for row in cast}
    if (lowest == highest).all():
        zero = ", all zero" if not lowest.any() and not highest.any() else ""
        raise DataError(
            f"{place}: all samples of its training pool are equal under dataset.normalization: {settings.normalization}"
            f"{zero}: there is nothing to learn from; are the inputs (dataset.x) the right ones?"
        )
    lost = np.flatnonzero((cast_lowest == cast_highest) & (lowest != highest))
    if lost.size or 2 * len(cast_rows) < len(rows):
        what = f"{feature_name(dataset, int(lost[0]))} becomes constant" if lost.size else "most samples become equal"
        raise DataError(
            f"{place}: {what} in {dtype}, in which networks are trained: set dataset.normalization: standardize, "
            "subtract an offset from the inputs, or set training.dtype: float64"
        )


def _check_finite(
    x: np.ndarray,
    cast: np.ndarray,
    indices: np.ndarray,
    dataset: Dataset,
    settings: DatasetBase,
    dtype: str,
    place: str,
) -> None:
    for values, reason in (
        (x, "is not finite"),
        (cast, f"is beyond the range of {dtype}, in which networks are trained,"),
    ):
        bad = ~np.isfinite(values)
        if bad.any():
            row, feature = np.unravel_index(int(np.argmax(bad)), bad.shape)
            sample = int(indices[row])
            raise DataError(
                f"{place}: {feature_name(dataset, int(feature))} of "
                f"{source_of(settings).sample_place(settings, sample)} {reason} under "
                f"dataset.normalization: {settings.normalization} "
                f"(it is {dataset.x[sample].reshape(-1)[feature]:g} in the file): rescale that feature, or set "
                "dataset.normalization: standardize"
            )


def _range(x: np.ndarray, lowest: np.ndarray | None, highest: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    low, high = x.min(axis=0), x.max(axis=0)
    return (low, high) if lowest is None else (np.minimum(low, lowest), np.maximum(high, highest))


def _large_feature(dataset: Dataset, x: np.ndarray, settings: DatasetBase) -> Iterator[str]:
    x = x.reshape(len(x), -1)
    largest = np.abs(x).max()
    if not np.isfinite(largest) or largest == 0.0:
        return
    squares = ((x / largest) ** 2).sum(axis=0)
    feature = int(np.argmax(squares))
    share = squares[feature] / squares.sum()
    if share > _MORE_THAN.get(np.count_nonzero(squares), 0.5):
        yield (
            f"{feature_name(dataset, feature)} has {100 * share:.3g} % of the squared norm of the inputs under "
            f"dataset.normalization: {settings.normalization}, more than all others together; `standardize` gives each "
            "feature the same share"
        )


def _integers(dataset: Dataset, settings: DatasetBase) -> Iterator[str]:
    """Tokens have a meaning of their own each: scaled, they are measurements to an embedding that expects indices."""
    x = dataset.x
    if settings.normalization == "none" or x.ndim != 2 or x.shape[1] < 2 or not (x == np.rint(x)).all():
        return
    tops = x.max(axis=0)
    if x.min() < 0 or tops.max() < 3 or tops.min() < 0.5 * tops.max():
        return
    yield (
        f"its inputs are all integers from {x.min():g} to {x.max():g}, and dataset.normalization: "
        f"{settings.normalization} scales them: if they are tokens or categories, set dataset.normalization: none, "
        "and let the network look them up (nn.Embedding) or write them one-hot; counts and pixels may be scaled"
    )


def _repeated(dataset: Dataset, draw: Draw) -> Iterator[str]:
    digests = [_digest(row) for row in dataset.x]
    n_repeated = len(digests) - len(set(digests))
    if not n_repeated:
        return
    pool = {digests[i] for i in draw.indices.pool}
    both = sum(digests[i] in pool for i in draw.indices.test)
    targets: dict[bytes, set[bytes]] = {}
    for digest, y in zip(digests, dataset.y, strict=True):
        targets.setdefault(digest, set()).add(y.tobytes())
    differ = sum(len(found) > 1 for found in targets.values())
    yield (
        f"{n_repeated} of {len(digests)} samples repeat another one, {both} of {len(draw.indices.test)} test samples "
        f"of draw 0 are in its training pool too, and {differ} repeated samples have different targets; equal samples "
        "make kernel matrices singular and test errors too small"
    )


def _features_that_say_nothing(dataset: Dataset, draw: Draw, settings: DatasetBase) -> Iterator[str]:
    x = dataset.x.reshape(dataset.n_samples, -1)
    pool = x[draw.indices.pool]
    constant = np.flatnonzero(pool.max(axis=0) == pool.min(axis=0))
    if constant.size and dataset.x.ndim == 2:
        shown = ", ".join(feature_name(dataset, int(i)) for i in constant[:5]) + (", …" if constant.size > 5 else "")
        yield (
            f"{shown} {'is' if constant.size == 1 else 'are'} constant over the training pool: nothing is learned "
            "from it"
        )
    zero = int((~x.any(axis=1)).sum())
    if zero and settings.normalization == "unit_norm":
        yield f"{zero} of {len(x)} samples are all zero and stay zero under dataset.normalization: unit_norm"
    for i in _copies_of_the_target(dataset, x)[:3]:
        yield f"{feature_name(dataset, int(i))} says what the target is, one value for each: if it is a copy, remove it"
    if dataset.feature_names and len(x) > 2:
        steps = np.diff(x, axis=0)
        counting = np.flatnonzero((steps == 1.0).all(axis=0))
        for i in counting[:3]:
            yield f"{feature_name(dataset, int(i))} numbers the lines one by one: if it is no input, remove it"


def _copies_of_the_target(dataset: Dataset, x: np.ndarray) -> np.ndarray:
    """Features that are the target itself: a line of it, or one value for each class."""
    if dataset.n_samples < 4 or (dataset.labels is None and dataset.n_outputs > 1):
        return np.array([], int)
    if dataset.labels is None:
        y = dataset.y[:, 0]
        lowest, highest = int(np.argmin(y)), int(np.argmax(y))
        with np.errstate(all="ignore"):
            slopes = (x[highest] - x[lowest]) / (y[highest] - y[lowest])
            away = np.abs(x - x[lowest] - (y[:, None] - y[lowest]) * slopes)
            return np.flatnonzero((slopes != 0.0) & (away <= 1e-9 * np.abs(x[highest] - x[lowest])).all(axis=0))
    _, first = np.unique(dataset.labels, return_index=True)
    distinct = np.array([len(np.unique(x[first, i])) == len(first) for i in range(x.shape[1])])
    return np.flatnonzero(distinct & (x == x[first][dataset.labels]).all(axis=0))


def _classes(dataset: Dataset, draw: Draw) -> Iterator[str]:
    if dataset.labels is None:
        return
    counts = np.bincount(dataset.labels, minlength=len(dataset.class_names))
    top = int(np.argmax(counts))
    if counts[top] > 0.9 * len(dataset.labels):
        yield (
            f"{100 * counts[top] / len(dataset.labels):.3g} % of all samples are of class "
            f"{dataset.class_names[top]!r}: always answering it errs on "
            f"{100 * (1 - counts[top] / len(dataset.labels)):.2g} %"
        )
    alike: dict[str, list[str]] = {}
    for name in dataset.class_names:
        alike.setdefault(str(name).strip().casefold(), []).append(repr(name))
    for names in alike.values():
        if len(names) > 1:
            yield (
                f"classes {', '.join(names)} differ only in capitals, blanks or type: if they are one class, write "
                "one name"
            )
    absent = np.setdiff1d(dataset.labels, draw.labels_pool)
    if absent.size:
        names = ", ".join(repr(dataset.class_names[i]) for i in absent[:8]) + (", …" if absent.size > 8 else "")
        yield f"the training pool of draw 0 has no sample of class {names}"


def _digest(row: np.ndarray) -> bytes:
    return hashlib.blake2b(row.tobytes(), digest_size=16).digest()
