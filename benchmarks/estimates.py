"""Holds the plan's estimates of time to the CPU time that the jobs of a study took.

    python benchmarks/estimates.py ../somewhere config/config.yaml config/studies/equivalence.yaml

The first argument is the folder in which the study was run: records of its jobs lie in `results/*/costs`, and their
logs (`logs`) say how long they took. An experiment without a cube is left out. `benchmarks/estimates.yaml` is a study
of three sizes of every kind of job:

    make run MINE=benchmarks/estimates.yaml
    python benchmarks/estimates.py . config/config.yaml benchmarks/estimates.yaml
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ntk_atlas.job_log import cpu_seconds, log_of
from ntk_atlas.study.estimates import all_seconds, seconds_of_study
from ntk_atlas.study.load import read_study
from ntk_atlas.study.results import study_folder

Line = tuple[str, str, int, float, float]
"""Rule, experiment, jobs, seconds estimated and seconds taken."""


def measured(costs: Path, logs: Path) -> tuple[Counter, Counter]:
    """CPU seconds and jobs by rule, of the logs of the jobs that have a record in a folder."""
    seconds, jobs = Counter(), Counter()
    for record in sorted(costs.glob("*/*.tsv")):
        taken = cpu_seconds(log_of(record, logs))
        if taken is not None:
            seconds[record.parent.name] += taken
            jobs[record.parent.name] += 1
    return seconds, jobs


def table(folder: Path, files: Sequence[Path]) -> list[Line]:
    """Rule, experiment, jobs, seconds estimated and seconds taken."""
    study, found = read_study(files), {}
    claims = study.claims is not None
    layers = sum(
        len(each.grid.depth) > 1 and "infinite_ntk" in each.regression.predictors for each in study.active().values()
    )
    for name, experiment in study.active().items():
        if (folder / "results" / name / "cube.nc").is_file():
            estimated = all_seconds(experiment, study.jobs, claims=claims) or {}
            found[name] = Path(name), estimated
    tables = Path(study_folder(files)).relative_to("results")
    found["all experiments"] = tables, seconds_of_study(claims=claims, layers=layers)
    lines = []
    for name, (place, estimated) in found.items():
        costs = folder / "results" / place / "costs"
        seconds, jobs = measured(costs, folder / "logs" / place)
        whole = {rule for rule in estimated if jobs[rule] and jobs[rule] == len(list((costs / rule).glob("*.tsv")))}
        lines += [(rule, name, jobs[rule], estimated[rule], seconds[rule]) for rule in whole]
    return sorted(lines)


def spread(lines: Sequence[Line]) -> Iterator[str]:
    """A line a rule: how many comparisons, from which to which time, and the least and the largest estimated/taken."""
    yield "| rule | comparisons | jobs | taken, CPU s | estimated/taken |"
    yield "| --- | --- | --- | --- | --- |"
    for rule in sorted({line[0] for line in lines}):
        of_rule = [line for line in lines if line[0] == rule]
        taken, ratios = [line[4] for line in of_rule], [line[3] / line[4] for line in of_rule]
        yield (
            f"| {rule} | {len(of_rule)} | {sum(line[2] for line in of_rule)} | {min(taken):.1f} … {max(taken):.1f} | "
            f"{min(ratios):.2f} … {max(ratios):.2f} |"
        )


def main() -> int:
    """Prints the tables; returns 1 if an estimate is off by more than a factor of two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the study was run")
    parser.add_argument("configs", type=Path, nargs="+", help="its config files")
    parser.add_argument("--also", nargs="+", action="append", default=[], help="folder and configs of another study")
    asked = parser.parse_args()
    lines = table(asked.folder, asked.configs)
    for folder, *configs in asked.also:
        lines += table(Path(folder), list(map(Path, configs)))
    print("| rule | experiment | jobs | estimated, CPU s | taken, CPU s | estimated/taken |")
    print("| --- | --- | --- | --- | --- | --- |")
    for rule, name, jobs, estimated, taken in sorted(lines):
        print(f"| {rule} | {name} | {jobs} | {estimated:.1f} | {taken:.1f} | {estimated / taken:.2f} |")
    print("", *spread(lines), sep="\n")
    return int(any(not 0.5 <= estimated / taken <= 2.0 for _, _, _, estimated, taken in lines))


if __name__ == "__main__":
    sys.exit(main())
