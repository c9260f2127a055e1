"""Kernel regression with rivals of the NTK, of tuned length scale."""

from pathlib import Path

from ntk_atlas.arrays import write_labelled
from ntk_atlas.job_log import job_log
from ntk_atlas.memory import memory_limited
from ntk_atlas.numerics import precise_math
from ntk_atlas.stages.regress_rivals import regress_rivals
from ntk_atlas.study.made_with import load_prepared
from ntk_atlas.study.prediction_specs import RivalSpec


def main(dataset_file: Path, output: Path, spec: RivalSpec) -> None:
    dataset, data_digest = load_prepared(dataset_file, spec.dataset)
    with precise_math(threads=1):
        arrays = regress_rivals(spec, dataset)
    write_labelled(arrays.with_attributes(data_digest=data_digest), output)


if "snakemake" in globals():
    limit = snakemake.resources.kernels_mb * 2**20
    with (
        job_log(snakemake.log[0], f"regress_rivals {dict(snakemake.wildcards)}", snakemake.input, snakemake.output),
        memory_limited(limit),
    ):
        main(
            Path(snakemake.input.dataset),
            Path(snakemake.output.predictions),
            RivalSpec.model_validate_json(snakemake.params.spec),
        )
