"""Joins what every predictor of an experiment says on the test samples."""

from pathlib import Path

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.functions import assemble_functions
from ntk_atlas.cubes.netcdf import write_netcdf
from ntk_atlas.datasets.draws import make_draw
from ntk_atlas.datasets.store import dataset_digest, load_dataset
from ntk_atlas.job_log import job_log
from ntk_atlas.provenance import provenance_attributes
from ntk_atlas.study.cells import Row


def main(files: dict[str, list[Path]], output: Path, experiment: ExperimentSettings, repository: Path) -> None:
    dataset = load_dataset(files["dataset"][0])
    functions = assemble_functions(
        experiment,
        network_rows={Row.parse(file.stem): file for file in files["networks"]},
        linearized_rows={Row.parse(file.stem): file for file in files["linearized"]},
        empirical_predictions={Row.parse(file.stem): file for file in files["empirical"]},
        infinite_predictions={float(file.stem.removeprefix("init_scale-")): file for file in files["infinite"]},
        rival_predictions=files["rivals"],
        draws=[make_draw(dataset, experiment.dataset, number) for number in range(experiment.grid.draws)],
        provenance=provenance_attributes(repository) | {"data_digest": dataset_digest(dataset)},
    )
    write_netcdf(functions, output)


if "snakemake" in globals():
    with job_log(snakemake.log[0], f"assemble_functions {snakemake.wildcards.experiment}"):
        kinds = ("dataset", "networks", "linearized", "empirical", "infinite", "rivals")
        named = {kind: snakemake.input.get(kind, []) for kind in kinds}
        main(
            {kind: [Path(f) for f in ([v] if isinstance(v, str) else v)] for kind, v in named.items()},
            Path(snakemake.output.functions),
            ExperimentSettings.model_validate_json(snakemake.params.spec),
            Path(snakemake.scriptdir),
        )
