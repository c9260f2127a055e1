"""Joins theory, linearized and trained networks into the output variance of an experiment."""

from pathlib import Path

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.netcdf import write_netcdf
from ntk_atlas.cubes.output_variance import assemble_output_variance
from ntk_atlas.job_log import job_log
from ntk_atlas.provenance import provenance_attributes
from ntk_atlas.study.cells import Row
from ntk_atlas.study.made_with import load_prepared


def main(files: dict[str, list[Path]], output: Path, experiment: ExperimentSettings, repository: Path) -> None:
    _, data_digest = load_prepared(files["dataset"][0], experiment.dataset)
    result = assemble_output_variance(
        experiment,
        network_rows={Row.parse(file.stem): file for file in files["networks"]},
        linearized_rows={Row.parse(file.stem): file for file in files["linearized"]},
        theory={float(file.stem.removeprefix("init_scale-")): file for file in files["theory"]},
        provenance=provenance_attributes(repository) | {"data_digest": data_digest},
    )
    write_netcdf(result, output)


if "snakemake" in globals():
    with job_log(
        snakemake.log[0],
        f"assemble_output_variance {snakemake.wildcards.experiment}",
        snakemake.input,
        snakemake.output,
    ):
        named = {kind: snakemake.input.get(kind) for kind in ("dataset", "networks", "linearized", "theory")}
        main(
            {kind: [Path(f) for f in ([v] if isinstance(v, str) else v)] for kind, v in named.items()},
            Path(snakemake.output.variance),
            ExperimentSettings.model_validate_json(snakemake.params.spec),
            Path(snakemake.scriptdir),
        )
