"""Mean and variance of outputs over initializations at infinite width, all depths of the grid."""

from pathlib import Path

from ntk_atlas.arrays import write_labelled
from ntk_atlas.job_log import job_log
from ntk_atlas.memory import memory_limited
from ntk_atlas.numerics import precise_math
from ntk_atlas.stages.predict_output_variance import predict_output_variance
from ntk_atlas.study.made_with import load_prepared
from ntk_atlas.study.output_variance_specs import VarianceTheorySpec


def main(dataset_file: Path, output: Path, spec: VarianceTheorySpec) -> None:
    dataset, data_digest = load_prepared(dataset_file, spec.dataset)
    with precise_math(threads=1):
        arrays = predict_output_variance(spec, dataset)
    write_labelled(arrays.with_attributes(data_digest=data_digest), output)


if "snakemake" in globals():
    limit = snakemake.resources.kernels_mb * 2**20
    with (
        job_log(
            snakemake.log[0], f"predict_output_variance {dict(snakemake.wildcards)}", snakemake.input, snakemake.output
        ),
        memory_limited(limit),
    ):
        main(
            Path(snakemake.input.dataset),
            Path(snakemake.output.theory),
            VarianceTheorySpec.model_validate_json(snakemake.params.spec),
        )
