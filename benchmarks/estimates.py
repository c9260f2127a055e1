"""Holds the plan's estimates of time to the CPU time that the jobs of a study took.

    python benchmarks/estimates.py ../somewhere config/config.yaml config/studies/equivalence.yaml

The first argument is the folder in which the study was run: Snakemake's records of its jobs lie in `results/*/costs`.
An experiment without a cube is left out. `benchmarks/estimates.yaml` is a study of three sizes of every kind of job:

    make run MINE=benchmarks/estimates.yaml
    python benchmarks/estimates.py . config/config.yaml benchmarks/estimates.yaml
"""

import csv
import sys
from collections import Counter
from pathlib import Path

from ntk_atlas.study.job_times import all_seconds, seconds_of_study
from ntk_atlas.study.load import read_study
from ntk_atlas.study.outputs import study_folder


def measured(folder: Path) -> tuple[Counter, Counter]:
    """CPU seconds and jobs by rule, of the records in a folder."""
    seconds, jobs = Counter(), Counter()
    for record in sorted(folder.glob("*/*.tsv")):
        with record.open() as lines:
            last = list(csv.DictReader(lines, delimiter="\t"))[-1]
        if last["cpu_time"] not in ("-", "NA"):
            seconds[record.parent.name] += float(last["cpu_time"])
            jobs[record.parent.name] += 1
    return seconds, jobs


def table(folder: Path, files: list[Path]) -> list[tuple[str, str, int, float, float]]:
    """Rule, experiment, jobs, seconds estimated and seconds taken."""
    study, found = read_study(files), {}
    claims, layers = study.claims is not None, any(len(each.grid.depth) > 1 for each in study.active().values())
    for name, experiment in study.active().items():
        if (folder / "results" / name / "cube.nc").is_file():
            estimated = all_seconds(experiment, study.jobs, claims=claims) or {}
            found[name] = folder / "results" / name, estimated
    found["all experiments"] = folder / study_folder(files), seconds_of_study(claims=claims, layers=layers)
    lines = []
    for name, (place, estimated) in found.items():
        seconds, jobs = measured(place / "costs")
        lines += [(rule, name, jobs[rule], estimated[rule], seconds[rule]) for rule in estimated if jobs[rule]]
    return sorted(lines)


def main() -> int:
    """Prints the table; returns 1 if an estimate is off by more than a factor of two."""
    lines = table(Path(sys.argv[1]), [Path(file) for file in sys.argv[2:]])
    print("| rule | experiment | jobs | estimated, CPU s | taken, CPU s | estimated/taken |")
    print("| --- | --- | --- | --- | --- | --- |")
    for rule, name, jobs, estimated, taken in lines:
        print(f"| {rule} | {name} | {jobs} | {estimated:.1f} | {taken:.1f} | {estimated / taken:.2f} |")
    return int(any(not 0.5 <= estimated / taken <= 2.0 for _, _, _, estimated, taken in lines))


if __name__ == "__main__":
    sys.exit(main())
