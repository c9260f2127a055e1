"""Finished units of work on disk, so that nothing finished is ever computed again.

A unit lies at `<folder>/<unit>/<digest>/seeds-<first>-<last>.npz`. The digest names everything its numbers depend
on, so a unit found is a unit that is right; the file is written under a temporary name and renamed, so a unit
found is whole. The store lies beside the outputs that Snakemake declares, and deletes, around it. Beside a unit that
is not finished may lie `progress-seeds-….ckpt`, from which its work goes on, and `timed_out-seeds-…`, which says that
it was stopped. Both go when all of their seeds are finished, whatever blocks they were finished in.
"""

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ntk_atlas.file_errors import is_passing
from ntk_atlas.labelled import filled

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]

_SEEDS = r"seeds-(\d+(?:-\d+)*)"
_NAMES = re.compile(rf"{_SEEDS}\.npz|progress-{_SEEDS}\.ckpt|timed_out-{_SEEDS}")
"""Of a block, a state and a mark."""


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

    def progress(self, unit: str, digest: str, seeds: Sequence[int]) -> Path:
        """Where the state of a block under way lies; it is removed when the block is finished."""
        return self.path(unit, digest, seeds).with_name(f"progress-seeds-{'-'.join(map(str, seeds))}.ckpt")

    def finished(self, unit: str, digest: str) -> dict[tuple[int, ...], Path]:
        """The finished blocks of a unit: seeds → file."""
        return _blocks(self.folder / unit / digest)

    def done(self, unit: str, digest: str, seeds: Sequence[int]) -> tuple[int, ...]:
        """Those of `seeds` that a finished block has, by its name."""
        there = finished_seeds(self.folder / unit / digest)
        return tuple(seed for seed in seeds if seed in there)

    def missing(self, unit: str, digest: str, seeds: Sequence[int], names: Sequence[str] = ()) -> tuple[int, ...]:
        """Those of `seeds` that no finished block has; a damaged file is named and removed.

        Args:
            unit: name of the unit.
            digest: digest of what it depends on.
            seeds: the seeds wanted.
            names: arrays that a block must hold; one without them is not of this store.

        Returns:
            The seeds.

        Raises:
            OSError: if a block cannot be read for reasons that lie around it (rights, a file server): it stays.
        """
        done = set()
        for block, file in self.finished(unit, digest).items():
            try:
                with np.load(file, allow_pickle=False) as arrays:
                    intact = arrays.zip.testzip() is None and set(names) <= set(arrays.files)
            except Exception as error:  # whatever a flipped bit makes of an archive
                if is_passing(error):
                    raise
                intact = False
            if intact:
                done.update(block)
            else:
                log.warning("%s is damaged: it is removed and computed again", file)
                file.unlink()
        return tuple(seed for seed in seeds if seed not in done)

    def mark_timed_out(self, unit: str, digest: str, seeds: Sequence[int]) -> None:
        """Says that a block reached its time limit; the mark goes when it is finished."""
        mark = self._mark(unit, digest, seeds)
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()

    def timed_out(self, unit: str, digest: str) -> tuple[int, ...]:
        """Seeds of a unit that are not finished because they reached their time limit."""
        marks = (self.folder / unit / digest).glob("timed_out-seeds-*")
        stopped = {seed for mark in marks for seed in seeds_of(mark)}
        return tuple(sorted(stopped - set(self.done(unit, digest, sorted(stopped)))))

    def under_way(self, unit: str, digest: str) -> tuple[int, ...]:
        """Seeds of a unit whose training left a state from which it goes on."""
        states = (self.folder / unit / digest).glob("progress-seeds-*.ckpt")
        return tuple(sorted({seed for state in states for seed in seeds_of(state)}))

    def remove_overtaken(self, unit: str, digest: str) -> None:
        """Removes the states and marks of a unit of which every seed is finished.

        Their blocks need not be those that are finished now: another `seeds_per_unit` cuts the seeds into others.
        """
        folder = self.folder / unit / digest
        finished = finished_seeds(folder)
        for file in (*folder.glob("progress-seeds-*.ckpt"), *folder.glob("timed_out-seeds-*")):
            if seeds_of(file) and finished.issuperset(seeds_of(file)):
                file.unlink(missing_ok=True)

    def remove_temporaries(self) -> None:
        """Removes what processes left below the folder that were killed while they wrote.

        To be called by the one job that writes here, before it does: a row's units of a stage have no other, and the
        launcher ends what a killed run left at work. A process that is at work all the same (its Snakemake was killed
        and the folder unlocked by hand) at worst fails to rename its file.
        """
        for file in self.folder.rglob(".*.tmp"):
            file.unlink(missing_ok=True)

    def save(self, unit: str, digest: str, seeds: Sequence[int], arrays: Mapping[str, np.ndarray]) -> Path:
        """Writes a finished block; arrays have the seeds on their first axis where they depend on the seed."""
        path = self.path(unit, digest, seeds)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self.remove_overtaken(unit, digest)
        return path

    def load(
        self, unit: str, digest: str, seeds: Sequence[int], names: Sequence[str], *, partial: bool = False
    ) -> Arrays:
        """Arrays of the given seeds, in their order, joined from the blocks that hold them.

        Args:
            unit: name of the unit.
            digest: digest of what it depends on.
            seeds: the seeds wanted.
            names: arrays with the seeds on their first axis.
            partial: whether seeds may be missing: they are NaN, or −1 in integers.

        Returns:
            The arrays by name, `(len(seeds), ...)`; none if all seeds are missing.

        Raises:
            FileNotFoundError: if a seed is in no block, and may not be; the message says how to get it back.
        """
        place = {}
        for block, file in self.finished(unit, digest).items():
            place.update({seed: (file, index) for index, seed in enumerate(block)})
        absent = [seed for seed in seeds if seed not in place]
        if absent and not partial:
            raise FileNotFoundError(
                f"{self.folder / unit / digest} has no seed {', '.join(map(str, absent))}: it was removed after "
                "it had been computed; delete the row's declared output and run again"
            )
        pieces: dict[str, list[np.ndarray]] = {name: [] for name in names}
        opened: dict[Path, Arrays] = {}
        for seed in [seed for seed in seeds if seed in place]:
            file, index = place[seed]
            if file not in opened:
                with np.load(file, allow_pickle=False) as arrays:
                    opened[file] = {name: arrays[name] for name in names}
            for name in names:
                pieces[name].append(opened[file][name][index])
        if not opened:
            return {}
        if not absent:
            return {name: np.stack(values) for name, values in pieces.items()}
        there, joined = [index for index, seed in enumerate(seeds) if seed in place], {}
        for name, values in pieces.items():
            joined[name] = filled((len(seeds), *values[0].shape), values[0].dtype)
            joined[name][there] = values
        return joined

    def _mark(self, unit: str, digest: str, seeds: Sequence[int]) -> Path:
        return self.path(unit, digest, seeds).with_name(f"timed_out-seeds-{'-'.join(map(str, seeds))}")


def seeds_of(file: Path) -> tuple[int, ...]:
    """The seeds in the name of a block, a state or a mark; none in any other name."""
    match = _NAMES.fullmatch(file.name)
    return tuple(map(int, match[match.lastindex].split("-"))) if match else ()


def finished_seeds(folder: Path) -> set[int]:
    """The seeds of all finished blocks in the folder of a unit, by their names."""
    return {seed for block in _blocks(folder) for seed in block}


def _blocks(folder: Path) -> dict[tuple[int, ...], Path]:
    return {seeds: file for file in sorted(folder.glob("seeds-*.npz")) if (seeds := seeds_of(file))}
