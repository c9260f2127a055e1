"""Judges the claims on one experiment: its labelled arrays against the thresholds, one verdict a claim."""

from pathlib import Path

from ntk_atlas.job_log import job_log
from ntk_atlas.jobs import Slice
from ntk_atlas.jobs.parts.results import RESULTS
from ntk_atlas.judging.evidence import read_evidence
from ntk_atlas.judging.verdicts import judge_experiment, verdict_table
from ntk_atlas.study.config_files import load_thresholds


def main(
    name: str,
    files: dict[str, Path],
    variants: dict[str, Path],
    thresholds: Path,
    table: Path,
    settings: Slice,
) -> None:
    evidence = read_evidence(name, settings=settings, variants=variants, **files)
    verdicts = judge_experiment(evidence, load_thresholds(thresholds))
    verdict_table(verdicts).to_csv(table, index=False, float_format="%.6g")


if "snakemake" in globals():
    with job_log(snakemake.log[0], f"judge_claims {snakemake.wildcards.experiment}", snakemake.input, snakemake.output):
        names = ("cube", "dispersion", "output_variance", "functions", "kernel_variants")
        variants = snakemake.input.get("variants", [])
        main(
            snakemake.wildcards.experiment,
            {name: Path(snakemake.input[name]) for name in names if name in snakemake.input.keys()},
            {Path(file).parent.name: Path(file) for file in ([variants] if isinstance(variants, str) else variants)},
            Path(snakemake.input.thresholds),
            Path(snakemake.output.table),
            RESULTS[snakemake.rule].parse(snakemake.params.spec),
        )
