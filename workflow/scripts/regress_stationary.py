"""Kernel regression with a stationary kernel of tuned length scale."""

from pathlib import Path

from ntk_atlas.config.jobs import kernel_memory
from ntk_atlas.cubes.predictions import stationary_predictions
from ntk_atlas.datasets.store import load_dataset
from ntk_atlas.job_log import job_log
from ntk_atlas.labelled import write_labelled
from ntk_atlas.memory import memory_limited
from ntk_atlas.numerics import precise_math
from ntk_atlas.stages.regress_stationary import regress_stationary
from ntk_atlas.study.prediction_specs import StationarySpec


def main(dataset_file: Path, output: Path, spec: StationarySpec) -> None:
    with precise_math(threads=1):
        arrays = regress_stationary(spec, load_dataset(dataset_file))
    write_labelled(stationary_predictions(spec, arrays), output)


if "snakemake" in globals():
    limit = kernel_memory(snakemake.resources.mem_mb)
    with job_log(snakemake.log[0], f"regress_stationary {dict(snakemake.wildcards)}"), memory_limited(limit):
        main(
            Path(snakemake.input.dataset),
            Path(snakemake.output.predictions),
            StationarySpec.model_validate_json(snakemake.params.spec),
        )
