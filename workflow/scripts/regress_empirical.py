"""Kernel regression with the empirical NTKs of a row's networks, before and after training."""

from pathlib import Path

from ntk_atlas.config.jobs import kernel_memory
from ntk_atlas.cubes.empirical_predictions import empirical_predictions
from ntk_atlas.cubes.network_row import training_digests
from ntk_atlas.datasets.store import dataset_digest, load_dataset
from ntk_atlas.job_log import job_log
from ntk_atlas.labelled import read_labelled, write_labelled
from ntk_atlas.memory import memory_limited
from ntk_atlas.numerics import precise_math
from ntk_atlas.stages.regress_row import RowStores, regress_row
from ntk_atlas.study.prediction_specs import EmpiricalSpec


def main(dataset: Path, networks: Path, output: Path, spec: EmpiricalSpec, stores: RowStores, source: str) -> None:
    data = load_dataset(dataset)
    trained = training_digests(read_labelled(networks, ("n_train", "draw", "unit_digest")))
    with precise_math(threads=1):
        digests = regress_row(spec, data, dataset_digest(data), stores, source, trained)
    write_labelled(empirical_predictions(spec, stores, digests), output)


if "snakemake" in globals():
    limit = kernel_memory(snakemake.resources.mem_mb)
    row = snakemake.wildcards.row
    with job_log(snakemake.log[0], f"regress_empirical {snakemake.wildcards.experiment} {row}"), memory_limited(limit):
        main(
            Path(snakemake.input.dataset),
            Path(snakemake.input.networks),
            Path(snakemake.output.predictions),
            EmpiricalSpec.model_validate_json(snakemake.params.spec),
            RowStores.of_row(Path(snakemake.params.units), row),
            snakemake.params.unit_source,
        )
