"""Finished units of work on disk, so that nothing finished is ever computed again.

A unit lies at `<folder>/<unit>/<digest>/seeds-<first>-<last>.npz`. The digest names everything its numbers depend
on, so a unit found is a unit that is right; the file is written under a temporary name and renamed, so a unit
found is whole. The store lies beside the outputs that Snakemake declares, and deletes, around it.
"""

import hashlib
import json
import logging
import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]


def unit_digest(*parts: object) -> str:
    """16 hexadecimal digits that change when any of the parts (JSON values) does."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class UnitStore:
    """The finished units below one folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, unit: str, digest: str, seeds: Sequence[int]) -> Path:
        """Where a block of seeds of a unit lies."""
        return self.folder / unit / digest / f"seeds-{'-'.join(map(str, seeds))}.npz"

    def finished(self, unit: str, digest: str) -> dict[tuple[int, ...], Path]:
        """The finished blocks of a unit: seeds → file."""
        files = sorted((self.folder / unit / digest).glob("seeds-*.npz"))
        return {tuple(map(int, file.stem.split("-")[1:])): file for file in files}

    def missing(self, unit: str, digest: str, seeds: Sequence[int]) -> tuple[int, ...]:
        """Those of `seeds` that no readable finished block has; a damaged file is named and removed."""
        done = set()
        for block, file in self.finished(unit, digest).items():
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    intact = arrays.zip.testzip() is None
            except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile):
                intact = False
            if intact:
                done.update(block)
            else:
                log.warning("%s is damaged: it is removed and computed again", file)
                file.unlink()
        return tuple(seed for seed in seeds if seed not in done)

    def save(self, unit: str, digest: str, seeds: Sequence[int], arrays: Mapping[str, np.ndarray]) -> Path:
        """Writes a finished block; arrays have the seeds on their first axis where they depend on the seed."""
        path = self.path(unit, digest, seeds)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        return path

    def load(self, unit: str, digest: str, seeds: Sequence[int], names: Sequence[str]) -> Arrays:
        """Arrays of the given seeds, in their order, joined from the blocks that hold them.

        Args:
            unit: name of the unit.
            digest: digest of what it depends on.
            seeds: the seeds wanted.
            names: arrays with the seeds on their first axis.

        Returns:
            The arrays by name, `(len(seeds), ...)`.

        Raises:
            FileNotFoundError: if a seed is in no block; the message says how to get it back.
        """
        place = {}
        for block, file in self.finished(unit, digest).items():
            place.update({seed: (file, index) for index, seed in enumerate(block)})
        absent = [seed for seed in seeds if seed not in place]
        if absent:
            raise FileNotFoundError(
                f"{self.folder / unit / digest} has no seed {', '.join(map(str, absent))}: it was removed after "
                "it had been computed; delete the row's declared output and run again"
            )
        pieces: dict[str, list[np.ndarray]] = {name: [] for name in names}
        opened: dict[Path, Arrays] = {}
        for seed in seeds:
            file, index = place[seed]
            if file not in opened:
                with np.load(file, allow_pickle=False) as arrays:
                    opened[file] = {name: arrays[name] for name in names}
            for name in names:
                pieces[name].append(opened[file][name][index])
        return {name: np.stack(values) for name, values in pieces.items()}
