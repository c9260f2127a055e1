"""Kernel regression with the NTKs of a row's trained networks, on the samples each was trained on."""

from pathlib import Path

from ntk_atlas.cubes.netcdf import read_netcdf, write_netcdf
from ntk_atlas.cubes.network_row import training_digests
from ntk_atlas.cubes.predictions import trained_predictions
from ntk_atlas.datasets.store import dataset_digest, load_dataset
from ntk_atlas.job_log import job_log
from ntk_atlas.numerics import precise_math
from ntk_atlas.stages.regress_row import regress_trained
from ntk_atlas.study.prediction_specs import EmpiricalSpec
from ntk_atlas.unit_store import UnitStore


def main(
    dataset_file: Path,
    networks: Path,
    output: Path,
    spec: EmpiricalSpec,
    store: UnitStore,
    weights: UnitStore,
    unit_source: str,
) -> None:
    dataset = load_dataset(dataset_file)
    row = read_netcdf(networks, drop=("probe_kernels", "test_predictions"))
    with precise_math(threads=1):
        digests = regress_trained(
            spec, dataset, dataset_digest(dataset), store, unit_source,
            training_store=weights, training_digests=training_digests(row),
        )  # fmt: skip
    write_netcdf(trained_predictions(spec, store, digests), output)


if "snakemake" in globals():
    job = f"regress_trained_ntk {snakemake.wildcards.experiment} {snakemake.wildcards.row}"
    with job_log(snakemake.log[0], job):
        main(
            Path(snakemake.input.dataset),
            Path(snakemake.input.networks),
            Path(snakemake.output.predictions),
            EmpiricalSpec.model_validate_json(snakemake.params.spec),
            UnitStore(Path(snakemake.params.units)),
            UnitStore(Path(snakemake.params.weights)),
            snakemake.params.unit_source,
        )
