"""Joins the verdicts of all experiments and judges the claims that need several of them."""

from collections.abc import Mapping
from pathlib import Path

from ntk_atlas.job_log import job_log
from ntk_atlas.judging.verdicts import join_verdicts, read_verdicts
from ntk_atlas.study.config_files import load_thresholds


def main(
    tables: list[Path],
    activations: Mapping[str, str],
    target_scales: Mapping[str, str],
    thresholds: Path,
    output: Path,
) -> None:
    verdicts = [read_verdicts(path) for path in tables]
    joined = join_verdicts(verdicts, activations, load_thresholds(thresholds), target_scales)
    joined.to_csv(output, index=False, float_format="%.6g")


if "snakemake" in globals():
    with job_log(snakemake.log[0], "join_claims", snakemake.input, snakemake.output):
        main(
            [Path(path) for path in snakemake.input.tables],
            snakemake.params.activations,
            snakemake.params.target_scales,
            Path(snakemake.input.thresholds),
            Path(snakemake.output.table),
        )
