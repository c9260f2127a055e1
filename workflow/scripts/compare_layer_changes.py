"""What adding a layer does to networks and kernels in all experiments: a table, and a figure with the margin of C1."""

from pathlib import Path

from ntk_atlas.config.figures import FigureSettings
from ntk_atlas.cubes.files import read_netcdf
from ntk_atlas.figures.parts.look import save_figure
from ntk_atlas.figures.parts.verdicts import plot_layer_changes
from ntk_atlas.job_log import job_log
from ntk_atlas.judging.equivalence import layer_change_table
from ntk_atlas.study.config_files import load_thresholds


def main(cubes: dict[str, Path], thresholds: Path, table: Path, svg: Path, png: Path, style: FigureSettings) -> None:
    given = load_thresholds(thresholds)
    steps = layer_change_table({name: read_netcdf(file) for name, file in cubes.items()}, confidence=given.confidence)
    steps.to_csv(table, index=False, float_format="%.6g")
    figure = plot_layer_changes(
        steps, style, margin=given.claims.by_name()["C1"].margin.value, confidence=given.confidence
    )
    save_figure(figure, svg, png, style.dpi)


if "snakemake" in globals():
    with job_log(snakemake.log[0], "compare_layer_changes", snakemake.input, snakemake.output):
        main(
            dict(zip(snakemake.params.experiments, map(Path, snakemake.input.cubes), strict=True)),
            Path(snakemake.input.thresholds),
            Path(snakemake.output.table),
            Path(snakemake.output.svg),
            Path(snakemake.output.png),
            FigureSettings.model_validate_json(snakemake.params.spec),
        )
