"""Draws the verdicts of one experiment, as SVG and PNG."""

from pathlib import Path

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.figures.parts.claims import plot_claims
from ntk_atlas.figures.parts.style import save_figure
from ntk_atlas.job_log import job_log
from ntk_atlas.judging.join import read_verdicts

if "snakemake" in globals():
    with job_log(snakemake.log[0], f"plot_claims {snakemake.wildcards.experiment}", snakemake.input, snakemake.output):
        style = FigureSettings.model_validate_json(snakemake.params.spec)
        figure = plot_claims(read_verdicts(Path(snakemake.input.table)), style)
        save_figure(figure, Path(snakemake.output.svg), Path(snakemake.output.png), style.dpi)
