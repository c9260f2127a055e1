"""Kernel regression with the NTKs of a row's networks at initialization."""

from pathlib import Path

from ntk_atlas.cubes.netcdf import write_netcdf
from ntk_atlas.cubes.predictions import initial_predictions
from ntk_atlas.datasets.store import dataset_digest, load_dataset
from ntk_atlas.job_log import job_log
from ntk_atlas.numerics import precise_math
from ntk_atlas.stages.regress_row import regress_initial
from ntk_atlas.study.prediction_specs import EmpiricalSpec
from ntk_atlas.unit_store import UnitStore


def main(dataset_file: Path, output: Path, spec: EmpiricalSpec, store: UnitStore, unit_source: str) -> None:
    dataset = load_dataset(dataset_file)
    with precise_math(threads=1):
        digests = regress_initial(spec, dataset, dataset_digest(dataset), store, unit_source)
    write_netcdf(initial_predictions(spec, store, digests), output)


if "snakemake" in globals():
    job = f"regress_initial_ntk {snakemake.wildcards.experiment} {snakemake.wildcards.row}"
    with job_log(snakemake.log[0], job):
        main(
            Path(snakemake.input.dataset),
            Path(snakemake.output.predictions),
            EmpiricalSpec.model_validate_json(snakemake.params.spec),
            UnitStore(Path(snakemake.params.units)),
            snakemake.params.unit_source,
        )
