"""`make clean-orphans`: lists results that no config needs, asks, and removes them.

Needed is what `config/config.yaml`, every study in `config/studies` at any of its presets, and the configs named in the
call are made of. Whatever else lies in `results/` is an orphan: other experiments, other grid values, finished units of
other settings, data or code.
"""

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from folder_lock import FolderLockError, locked
from orphans import live_snakemake, orphaned_workers
from planned_jobs import planned_jobs
from slurm_queue import queued_jobs
from study_of_call import REPOSITORY, Call, add_options, call_of, config_files, default_config, job_digest

from ntk_atlas.job_log import FOLDER, forget_digest
from ntk_atlas.study.config_files import read_config
from ntk_atlas.study.problems import ConfigError, Node
from ntk_atlas.study.results import Sources, needed_units, study_folder

RESULTS = Path("results")
RECORDS = "snakemake_records"
"""Folder in which Snakemake remembers what results were made with."""


def calls(given: Call) -> Iterator[Call]:
    """Every config that may need results: the default one, the studies, the call's own files one by one and together.

    Each at all of its presets, and as it stands.
    """
    yield given
    yield from _at_all_presets(Call(given.folder))
    studies = [file for folder in (given.folder, REPOSITORY) for file in folder.glob("config/studies/*.yaml")]
    for file in (*sorted({str(file.resolve()) for file in studies}), *given.files):
        yield from _at_all_presets(Call(given.folder, (file,)))
    yield from _at_all_presets(Call(given.folder, given.files))


def _at_all_presets(call: Call) -> Iterator[Call]:
    yield call
    presets = (name for file in call.files for name in _section(_contents(file), "presets"))
    yield from (Call(call.folder, call.files, (f"preset={name}",)) for name in dict.fromkeys(presets))


def _contents(file: str | Path) -> Node:
    """A config file as it is written; without it nobody knows what it needs, and nothing may be removed."""
    try:
        path, here = Path(file), Path.cwd()
        return read_config(path.relative_to(here) if path.is_relative_to(here) else path)
    except ConfigError as error:
        sys.exit(f"nothing was removed: {' '.join(error.lines)}")


def _section(tree: Node, name: str) -> dict[str, Node]:
    section = tree.get(name)
    return section.value if section is not None and section.is_section else {}


def needed_files(call: Call, sources: Sources) -> Iterator[Path]:
    """The files of a study: outputs and costs of all its jobs, and its units."""
    for job in planned_jobs("--forceall", *call.options):
        yield from map(Path, [*job["output"], *([job["benchmark"]] if job["benchmark"] else [])])
    for name, experiment in call.study().active().items():
        folder = RESULTS / name
        needed, units = needed_units(experiment, folder, sources), (folder / "units").rglob("*")
        yield from (file for file in units if needed is None or needed.is_needed(file.relative_to(folder)))


def _experiments(contents: Node) -> Iterator[str]:
    """Names of all experiments in a config file, those of its presets included."""
    for part in (contents, *_section(contents, "presets").values()):
        yield from _section(part, "experiments")


def orphans(given: Call) -> list[Path]:
    """Files below `results/` that no config needs; reports, which lie in it directly, are left alone.

    The tables of a study are needed as long as results of its experiments are there.
    """
    found = {
        file
        for file in (*RESULTS.glob("*/**/*"), *RESULTS.glob("*.csv"))
        if file.is_file() and file.parts[1] != RECORDS and file.parent.name != FOLDER
    }
    for call in dict.fromkeys(calls(given)):
        there = {file.parts[1] for file in found}
        try:
            if there & call.study().active().keys():
                found.difference_update(needed_files(call, job_digest))
        except ConfigError as error:
            files = call.files or (default_config(call.folder),)
            named = {name for file in files for name in _experiments(_contents(file))}
            shown = " ".join(map(str, config_files(call.folder, call.files)[1:])) or "the default config"
            print(f"{shown} is not valid here, so all results of its experiments stay: {error}")
            own = study_folder(call.files)
            found = {file for file in found if file.parts[1] not in named and not file.is_relative_to(own)}
    return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_options(parser)
    given = parser.parse_args()
    try:
        call = call_of(given)
        os.chdir(call.folder)
        with locked(call.folder):
            clean(call, ask=not given.yes)
    except (FolderLockError, ConfigError) as error:
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
