"""Draws the verdicts of one experiment, as SVG and PNG."""

from pathlib import Path

from ntk_atlas.figures.parts.look import save_figure
from ntk_atlas.figures.parts.verdicts import plot_claims
from ntk_atlas.job_log import job_log
from ntk_atlas.jobs.parts.results import RESULTS
from ntk_atlas.judging.verdicts import read_verdicts

if "snakemake" in globals():
    with job_log(snakemake.log[0], f"plot_claims {snakemake.wildcards.experiment}", snakemake.input, snakemake.output):
        style = RESULTS[snakemake.rule].parse(snakemake.params.spec).figures
        figure = plot_claims(read_verdicts(Path(snakemake.input.table)), style)
        save_figure(figure, Path(snakemake.output.svg), Path(snakemake.output.png), style.dpi)
