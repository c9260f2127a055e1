"""Official files of image data in a folder: found, and held to their official lengths and hashes."""

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

from ntk_atlas.datasets.cifar_pickles import pickled_batch_bytes
from ntk_atlas.datasets.errors import DataError
from ntk_atlas.datasets.image_sets import ImageSet, OfficialFile


def find_files(folder: Path, image_set: ImageSet) -> tuple[Path, ...]:
    """The official files in a folder, found by name; nothing is read.

    Args:
        folder: holds them itself, or in a folder that the official archive or torchvision makes; IDX files may be
            gzipped, CIFAR-10 batches binary or pickled.
        image_set: which files.

    Returns:
        A path for each of `image_set.files`, in their order.

    Raises:
        DataError: when the folder or some of the files are missing, or a file has a wrong length.
    """
    if folder.is_file():
        raise DataError(f"{folder}, set by dataset.path, is a file: name the folder that holds the official files")
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}, {_how_to_get(image_set)}")
    found = [_find(folder, image_set, file) for file in image_set.files]
    missing = [file.name for file, path in zip(image_set.files, found, strict=True) if path is None]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)} of {image_set.title}, {_how_to_get(image_set)}")
    for path, file in zip(found, image_set.files, strict=True):
        if path.name.endswith("ubyte") or path.suffix == ".bin":
            _check_length(path.stat().st_size, file, path, image_set)
    return tuple(found)


def read_official(path: Path, file: OfficialFile, image_set: ImageSet) -> bytes:
    """The bytes of an official file, decompressed and checked.

    Args:
        path: the file on disk, as `find_files` found it.
        file: the official file it should be.
        image_set: the data set, for error messages.

    Returns:
        Its bytes; a pickled CIFAR-10 batch as the bytes of the binary batch.

    Raises:
        DataError: when it is truncated, damaged, or another file.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read ({error}): it is damaged or half copied; fetch it again") from error
    if file.name.endswith(".bin") and path.suffix != ".bin":
        content = pickled_batch_bytes(content, path)
    _check_length(len(content), file, path, image_set)
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise DataError(
            f"{path} does not hold the official {file.name} of {image_set.title} (its SHA-256 differs): it is damaged "
            "or another file; fetch it again, or use dataset.source: file for data of your own"
        )
    return content


def _check_length(n_bytes: int, file: OfficialFile, path: Path, image_set: ImageSet) -> None:
    if n_bytes != file.n_bytes:
        what = "it is truncated" if n_bytes < file.n_bytes else "it is another file"
        raise DataError(
            f"{path} has {n_bytes} bytes where the official {file.name} of {image_set.title} has {file.n_bytes}: "
            f"{what}; fetch it again"
        )


def _find(folder: Path, image_set: ImageSet, file: OfficialFile) -> Path | None:
    places = [folder, *(folder / name for name in image_set.folders)]
    return next((path for place in places for name in _names(file) if (path := place / name).is_file()), None)


def _names(file: OfficialFile) -> Iterator[str]:
    yield file.name
    if file.name.endswith(".bin"):
        yield file.name.removesuffix(".bin")  # the "python version" of CIFAR-10
        return
    dotted = file.name.replace("-idx", ".idx")  # as some mirrors of MNIST name them
    yield from (f"{file.name}.gz", dotted, f"{dotted}.gz")


def _how_to_get(image_set: ImageSet) -> str:
    first = image_set.files[0].name
    kind = " (IDX, gzipped or not)" if first.endswith("ubyte") else ""
    kind = " (binary or python batches)" if first.endswith(".bin") else kind
    return (
        f"set by dataset.path (relative to the working directory): put the official files of {image_set.title} there"
        f"{kind}, correct the path, or remove dataset.path to have them fetched"
    )
