"""`make clean-orphans`: lists results that no config needs, asks, and removes them.

Needed is what `config/config.yaml`, every study in `config/studies` at any of its presets, and the configs named in the
call are made of. Whatever else lies in `results/` is an orphan: other experiments, other grid values, finished units of
other settings, data or code.
"""

import argparse
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml
from folder_lock import FolderLockError, locked
from orphans import live_snakemake, orphaned_workers
from planned_jobs import planned_jobs
from slurm_queue import queued_jobs
from study_of_call import DEFAULT, Call, call_of, module_digest

from ntk_atlas.result_digests import FOLDER, forget_digest
from ntk_atlas.study.needed_units import STAGES, needed_units
from ntk_atlas.study.problems import ConfigError

RESULTS = Path("results")
RECORDS = "snakemake_records"
"""Folder in which Snakemake remembers what results were made with."""


def calls(given: Call) -> Iterator[Call]:
    """Every config that may need results: the default one, the studies, the call's own files one by one and together.

    Each at all of its presets, and as it stands.
    """
    yield given
    studies = sorted(map(str, Path("config/studies").glob("*.yaml")))
    for file in (DEFAULT, *studies, *given.files):
        yield from _at_all_presets(Call(given.folder, tuple(dict.fromkeys((DEFAULT, file)))))
    yield from _at_all_presets(Call(given.folder, tuple(dict.fromkeys((DEFAULT, *given.files)))))


def _at_all_presets(call: Call) -> Iterator[Call]:
    yield call
    presets = (name for file in call.files for name in _contents(file).get("presets") or {})
    yield from (Call(call.folder, call.files, (f"preset={name}",)) for name in dict.fromkeys(presets))


def _contents(file: str) -> dict:
    """A config file as it is written; without it nobody knows what it needs, and nothing may be removed."""
    try:
        contents = yaml.safe_load(Path(file).read_text())
    except (OSError, yaml.YAMLError) as error:
        sys.exit(f"nothing was removed: {file} cannot be read: {error}")
    return contents if isinstance(contents, dict) else {}


def needed_files(call: Call, sources: dict[str, str]) -> Iterator[Path]:
    """The files of a study: outputs and costs of all its jobs, and its units."""
    for job in planned_jobs("--forceall", *call.options):
        yield from map(Path, [*job["output"], *([job["benchmark"]] if job["benchmark"] else [])])
    for name, experiment in call.study().active().items():
        folder = RESULTS / name
        needed, units = needed_units(experiment, folder, sources), (folder / "units").rglob("*")
        yield from (file for file in units if needed is None or needed.is_needed(file.relative_to(folder)))


def _experiments(contents: dict) -> Iterator[str]:
    """Names of all experiments in a config file, those of its presets included."""
    presets = contents.get("presets")
    for part in (contents, *(presets.values() if isinstance(presets, dict) else ())):
        experiments = part.get("experiments") if isinstance(part, dict) else None
        yield from experiments if isinstance(experiments, dict) else ()


def orphans(given: Call) -> list[Path]:
    """Files below `results/` that no config needs; reports, which lie in it directly, are left alone."""
    sources = {stage: module_digest(module) for stage, module in STAGES.items()}
    found = {
        file
        for file in RESULTS.glob("*/**/*")
        if file.is_file() and file.parts[1] != RECORDS and file.parent.name != FOLDER
    }
    for call in dict.fromkeys(calls(given)):
        there = {file.parts[1] for file in found}
        try:
            if there & call.study().active().keys():
                found.difference_update(needed_files(call, sources))
        except ConfigError as error:
            named = {name for file in call.files[1:] or call.files for name in _experiments(_contents(file))}
            print(f"{' '.join(call.files)} is not valid here, so all results of its experiments stay: {error}")
            found = {file for file in found if file.parts[1] not in named}
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--yes", action="store_true", help="do not ask")
    given, call = call_of(parser)
    try:
        with locked(call.folder):
            clean(call, ask=not given.yes)
    except FolderLockError as error:
        sys.exit(str(error))


def clean(call: Call, *, ask: bool) -> None:
    """Lists orphans, asks, removes them."""
    check_idle(call.folder)
    files = orphans(call)
    groups, sizes = Counter(), Counter()
    for file in files:
        place = Path(*file.parts[: min(5, len(file.parts) - 1)])
        groups[place] += 1
        sizes[place] += file.stat().st_size
    if not files:
        print("no orphans: all results are needed by a config")
        return
    for place, number in sorted(groups.items()):
        print(f"{place}: {number} files, {sizes[place] / 2**20:.1f} MiB")
    print(f"in all {len(files)} files, {sum(sizes.values()) / 2**20:.1f} MiB, which no config needs")
    if ask and not _confirmed():
        print("nothing was removed")
        return
    check_idle(call.folder)  # the question may have stood for hours
    for file in files:
        file.unlink()
        forget_digest(file)
    for folder in sorted((f for f in RESULTS.rglob("*") if f.is_dir()), reverse=True):
        if not any(folder.iterdir()):
            shutil.rmtree(folder)
    print("removed")


def check_idle(folder: Path) -> None:
    """Ends this process if a run is at work in the folder: it may be writing what looks like an orphan."""
    if running := live_snakemake(folder) or live_snakemake(folder, of_jobs=True):
        sys.exit(f"snakemake (process {running[0].pid}) is at work here: wait for it, or end it")
    if workers := orphaned_workers(folder):
        sys.exit(f"a worker of a killed run (process {workers[0].pid}) is at work here: `make unlock` ends it")
    if jobs := queued_jobs(folder):
        sys.exit(f"{len(jobs)} job(s) of this folder are in the queue ({', '.join(jobs[:5])}): wait for them")


def _confirmed() -> bool:
    if not sys.stdin.isatty():
        print("not asked, for this is no terminal: `--yes` removes them")
        return False
    return input("remove them? [y/N] ").strip().lower() in ("y", "yes")


if __name__ == "__main__":
    main()
