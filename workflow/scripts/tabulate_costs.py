"""Adds up wall seconds and memory of all jobs up to the cubes, by experiment and rule.

Drawing, judging and tables are done beside this job: which of their records are there yet is left to chance.
"""

from pathlib import Path

import pandas as pd

from ntk_atlas.job_log import cpu_seconds, job_log, log_of
from ntk_atlas.jobs.parts.results import rules_before


def main(folders: dict[str, Path], logs: Path, output: Path) -> None:
    rows, counted = [], rules_before("tabulate_costs")
    for experiment, folder in folders.items():
        for rule in sorted({file.parent for file in folder.glob("*/*.tsv") if file.parent.name in counted}):
            files = sorted(rule.glob("*.tsv"))
            jobs = pd.concat([pd.read_csv(file, sep="\t", na_values="-").tail(1) for file in files])
            taken = [cpu_seconds(log_of(file, logs / experiment)) for file in files]
            rows.append(
                {
                    "experiment": experiment,
                    "rule": rule.name,
                    "jobs": len(jobs),
                    "wall seconds, sum": round(jobs["s"].sum(), 1),
                    "CPU seconds, sum": None if None in taken else round(sum(taken), 1),
                    "wall seconds, longest": round(jobs["s"].max(), 1),
                    "peak memory of a job, MiB": round(jobs["max_rss"].max(), 0),
                }
            )
    pd.DataFrame(rows).to_csv(output, index=False)


if "snakemake" in globals():
    with job_log(snakemake.log[0], "tabulate_costs", snakemake.input, snakemake.output):
        names = snakemake.params.experiments
        main(
            {name: Path("results") / name / "costs" for name in names},
            Path("logs"),
            Path(snakemake.output.table),
        )
