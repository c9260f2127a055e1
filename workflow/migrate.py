"""`make migrate FROM=<folder>`: keep the finished units of an earlier version that this version computes the same.

The digest of a unit covers the code that computed it, so another version computes every unit anew. Give the folder of
the version that made the results (`git worktree add ../earlier <its commit>`): it says itself which units it would
find. One unit of each kind and experiment is then computed again by this version and compared bitwise. Where it is the
same, the units of that kind are filed under the digests that this version looks for; where it is not, they stay, and
the next run computes them anew.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from clean_orphans import RESULTS, check_idle
from folder_lock import FolderLockError, locked
from study_of_call import add_options, call_of, job_digest

from ntk_atlas.arrays import LabelledArrays, LostUnitError, UnitStore
from ntk_atlas.config.predictors import EPOCHS, PRETRAINED
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.jobs import JOBS, Slice
from ntk_atlas.jobs.parts.regression_digests import trained_predictors
from ntk_atlas.jobs.parts.run import load_prepared
from ntk_atlas.jobs.parts.slice import Unit
from ntk_atlas.numerics import memory_limited, precise_math
from ntk_atlas.study.problems import ConfigError
from ntk_atlas.study.results import needed_units

_EARLIER = """
import argparse, json, sys
from functools import partial
from pathlib import Path
sys.path[:0] = [sys.argv[1] + "/src", sys.argv[1] + "/workflow"]
del sys.argv[1]
import study_of_call
try:
    from ntk_atlas.study.results import needed_units
except ModuleNotFoundError:  # versions before it
    from ntk_atlas.study.needed_units import needed_units
if hasattr(study_of_call, "job_digest"):
    sources = study_of_call.job_digest
else:  # versions in which a job's code was several modules
    from ntk_atlas.study.needed_units import STAGES
    sources = {stage: partial(study_of_call.module_digest, module) for stage, module in STAGES.items()}
_, _, study = study_of_call.asked(argparse.ArgumentParser())
found = {}
for name, experiment in study.active().items():
    needed = needed_units(experiment, Path("results", name), sources)
    found[name] = [] if needed is None else [str(path) for path in needed.seeds]
print(json.dumps(found))
"""
"""What an earlier version runs of itself: the units that it would find, by experiment."""

Place = tuple[str, str, str]
"""Stage, row and name of a unit."""


def digests(units: Iterable[str | Path]) -> dict[Place, str]:
    """The digest of each unit, of paths `units/<stage>/<row>/<unit>/<digest>`."""
    return {(stage, row, unit): digest for _, stage, row, unit, digest in (Path(path).parts for path in units)}


def earlier_digests(folder: Path, arguments: list[str]) -> dict[str, dict[Place, str]]:
    """The digests that the version in a folder gives to the units of each experiment."""
    package = folder / "src" / "ntk_atlas"
    if not package.is_dir():
        sys.exit(f"{folder} holds no version of NTK Atlas (there is no {package})")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "src"), str(folder / "workflow")])}
    command = [sys.executable, "-c", _EARLIER, str(folder), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the version in {folder} cannot read this study:\n{done.stderr.strip() or done.stdout.strip()}")
    return {name: digests(units) for name, units in json.loads(done.stdout.splitlines()[-1]).items()}


def migrate(name: str, experiment: ExperimentSettings, earlier: dict[Place, str], memory: int) -> Iterator[str]:
    """Files the units of an experiment under this version's digests; yields a sentence for each kind of unit.

    Args:
        name: of the experiment.
        experiment: settings.
        earlier: the digest that the earlier version gives to each unit.
        memory: bytes that the kernels of a job may take.

    Yields:
        What became of a kind.
    """
    folder = RESULTS / name
    needed = needed_units(experiment, folder, job_digest)
    now, compared = {} if needed is None else digests(needed.seeds), {}
    kept = {place for place, digest in now.items() if earlier.get(place) == digest}
    for stage in sorted(
        {place[0] for place in now}, key=lambda each: each != "networks"
    ):  # the others are made of them
        moves = {
            place: (earlier[place], digest)
            for place, digest in now.items()
            if place[0] == stage and earlier.get(place, digest) != digest
            and store_of(folder, place).finished(place[2], earlier[place])
            and (training_of(place) is None or training_of(place) in kept)
        }  # fmt: skip
        samples = [place for place in moves if "draw" not in place[2] or place[2].endswith("draw-0")]
        if not samples:
            continue
        sample = min(samples, key=lambda place: size_of(folder, place, moves[place][0]))
        compared[stage] = moves, sample, differences(experiment, folder, sample, earlier, memory)
        kept |= moves.keys() if not compared[stage][2] else set()
    # All are compared first, for they are compared with the trainings that they are of.
    for stage, (moves, sample, different) in compared.items():
        if different:
            yield f"{name}, {stage}: this version gives other numbers ({different}); its units stay as they are"
            continue
        for place, (old, new) in moves.items():
            store_of(folder, place).refile(place[2], old, new)
        yield f"{name}, {stage}: {len(moves)} units are this version's too ({'/'.join(sample[1:])} is bitwise the same)"


def training_of(place: Place) -> Place | None:
    """The training that a unit is made of; None for trainings themselves, and units that need none."""
    stage, row, unit = place
    return ("networks", row, unit) if stage in ("linearized", "trained_ntk", "pretrained_ntk", "epoch_ntk") else None


def store_of(folder: Path, place: Place) -> UnitStore:
    """The store that a unit lies in."""
    return UnitStore(folder / "units" / place[0] / place[1])


def size_of(folder: Path, place: Place, digest: str) -> int:
    """Bytes of a unit's blocks: the smallest is the cheapest to compute again."""
    return sum(file.stat().st_size for file in store_of(folder, place).finished(place[2], digest).values())


def differences(
    experiment: ExperimentSettings, folder: Path, sample: Place, earlier: dict[Place, str], memory: int
) -> str:
    """What differs between a block of a finished unit and the same block computed by this version; empty if nothing.

    Args:
        experiment: settings.
        folder: of the experiment.
        sample: the unit.
        earlier: the digests of finished units.
        memory: bytes that kernels may take: block sizes follow from it, and last digits.

    Returns:
        The name of an array, or why nothing could be compared.
    """
    stage, row, unit = sample
    block = min(store_of(folder, sample).finished(unit, earlier[sample]))
    (job,) = (each for each in map(JOBS.head, JOBS.names()) if stage in each.stores)
    part = job.slice(experiment, row)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".migrate-") as kept:
        try:
            there = store_of(folder, sample).load(unit, earlier[sample], block)
            with precise_math(threads=job.threads(part)), memory_limited(memory):  # as jobs run
                if stage == "initial_kernels":
                    here = sampled_again(part, UnitStore(Path(kept, row)), unit, block)
                else:
                    here = computed_again(part, folder, Path(kept), sample, block, earlier)
        except LostUnitError:
            return "it, or a training that it is made of, is damaged or gone"
    if lacking := sorted(there.arrays.keys() ^ here.arrays.keys()):
        return f"{lacking[0]} is in one of them alone"
    for name, array in there.arrays.items():
        again = here.arrays[name]
        alike = (array.dims, array.values.dtype) == (again.dims, again.values.dtype)
        if not alike or not np.array_equal(array.values, again.values, equal_nan=array.values.dtype.kind == "f"):
            return name
    return ""


def sampled_again(part: Slice, store: UnitStore, unit: str, block: tuple[int, ...]) -> LabelledArrays:
    """The first chunks of untrained networks at the init scale of a unit."""
    from ntk_atlas.dispersion.networks import CHUNK
    from ntk_atlas.jobs.parts.finished import initial_kernel_digests, scale_name
    from ntk_atlas.jobs.sample_initial_kernels import sample_initial_kernels

    some = part.narrowed({"dispersion.n_networks": CHUNK * (max(block) + 1)})
    sample_initial_kernels(some, store, "again")
    (digest,) = (each for scale, each in initial_kernel_digests(some, "again").items() if scale_name(scale) == unit)
    return store.load(unit, digest, block)


def computed_again(
    part: Slice, folder: Path, kept: Path, sample: Place, block: tuple[int, ...], earlier: dict[Place, str]
) -> LabelledArrays:
    """A block of a unit of networks, or of what is made of them: of the first draw, with the trainings that there are.

    Args:
        part: the slice of the job.
        folder: of the experiment.
        kept: where units computed here lie.
        sample: the unit.
        block: its seeds.
        earlier: the digests of finished units.

    Returns:
        Its arrays.
    """
    from ntk_atlas.jobs import linearize_networks, regress_empirical, train_networks

    stage, row, unit = sample
    dataset, data = load_prepared(folder / "dataset.nc", part.dataset)
    sizes = part.grid.n_train if unit.startswith("draw-") else (int(unit.split("_")[1].removeprefix("train-")),)
    seeds = {"grid.draws": 1, "grid.seeds": max(block) + 1}
    some = part.narrowed({**seeds, "grid.n_train": sizes})
    trained = {Unit(n, 0): earlier.get(("networks", row, Unit(n, 0).name), "") for n in part.grid.n_train}
    networks, store = store_of(folder, ("networks", row, "")), UnitStore(kept / stage / row)
    if stage == "networks":
        found = train_networks.train_row(some, dataset, data, store, "again")
        return store.load(unit, found[Unit(*sizes, 0)], block)
    if stage == "linearized":
        found = linearize_networks.linearize_row(some, dataset, networks, store, "again", trained)
        return store.load(unit, found[Unit(*sizes, 0)], block)
    predictors = {
        "initial_ntk": ("ntk_init",),
        "trained_ntk": trained_predictors(part),
        "epoch_ntk": (EPOCHS,),
        "pretrained_ntk": (f"{PRETRAINED}{sizes[0]}",),
    }[stage]
    wanted = {"regression.predictors": predictors, "regression.epoch_n_train": "all"}
    whole = part.grid.n_train if stage == "pretrained_ntk" else sizes
    some = part.narrowed({**seeds, "grid.n_train": whole, **wanted})
    stores = replace(regress_empirical.RowStores.of_row(kept, row), networks=networks)
    digests_here = regress_empirical.regress_row(some, dataset, data, stores, "again", trained)
    kind = {"initial_ntk": "initial", "trained_ntk": "trained", "epoch_ntk": "epochs", "pretrained_ntk": "pretrained"}[
        stage
    ]
    key = 0 if kind == "initial" else Unit(sizes[0], 0)
    return getattr(stores, kind).load(unit, getattr(digests_here, kind)[key], block)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--from", dest="earlier", type=Path, required=True, help="folder of the earlier version")
    add_options(parser)
    given = parser.parse_args()
    arguments = list(_without_earlier(sys.argv[1:]))
    try:
        call = call_of(given)
        study, earlier = call.study(), earlier_digests(given.earlier.absolute(), arguments)
        os.chdir(call.folder)
        with locked(call.folder):
            check_idle(call.folder)
            said = [
                line
                for name, experiment in study.active().items()
                for line in migrate(name, experiment, earlier.get(name, {}), study.jobs.kernels_mb * 2**20)
            ]
    except (FolderLockError, ConfigError) as error:
        sys.exit(str(error))
    print("\n".join(said) if said else "no finished unit of that version lacks its name in this one: nothing to do")


def _without_earlier(arguments: list[str]) -> Iterator[str]:
    """The options that the earlier version is asked with: all but where it lies."""
    skip = False
    for argument in arguments:
        if not skip and argument != "--from" and not argument.startswith("--from="):
            yield argument
        skip = argument == "--from"


if __name__ == "__main__":
    main()
