"""Joins rows and predictions into the cube of an experiment."""

from pathlib import Path

import numpy as np

from ntk_atlas.cubes.assemble import assemble_cube, notice_attributes
from ntk_atlas.cubes.experiment_files import ExperimentFiles
from ntk_atlas.cubes.files import write_netcdf
from ntk_atlas.datasets.draws import kernel_probes, make_draw, shared_samples
from ntk_atlas.job_log import job_log
from ntk_atlas.jobs import Slice
from ntk_atlas.jobs.parts.results import RESULTS
from ntk_atlas.jobs.parts.run import load_prepared
from ntk_atlas.provenance import provenance_attributes


def main(
    data: Path, files: ExperimentFiles, output: Path, experiment: Slice, thresholds: str, repository: Path
) -> None:
    dataset, data_digest = load_prepared(data, experiment.dataset)
    draws = [make_draw(dataset, experiment.dataset, number) for number in range(experiment.grid.draws)]
    checkpoints = experiment.training.checkpoints
    n_probe = checkpoints.probe_count(experiment.grid.n_train)
    probes = [kernel_probes(draw, checkpoints.probed_parts, n_probe) for draw in draws]
    notices = notice_attributes(experiment, draws[0])
    notices["notices"] = "\n".join(filter(None, [dataset.attributes.get("notices"), notices["notices"]]))
    cube = assemble_cube(
        experiment,
        files,
        targets=np.stack([probe.y for probe in probes]),
        labels=None if probes[0].labels is None else np.stack([probe.labels for probe in probes]),
        zero_train_mse=[[np.mean(draw.y_pool[:n] ** 2) for draw in draws] for n in experiment.grid.n_train],
        shared=shared_samples(
            dataset, experiment.dataset, draws=experiment.grid.draws, n_train=experiment.grid.n_train
        ),
        test_folds=np.stack([draw.test_folds for draw in draws]),
        provenance=provenance_attributes(repository)
        | {"input_scale": np.mean([draw.input_scale(max(experiment.grid.n_train)) for draw in draws])}
        | {"data_digest": data_digest, "claim_thresholds_digest": thresholds}
        | notices,
    )
    write_netcdf(cube, output)


if "snakemake" in globals():
    with job_log(
        snakemake.log[0], f"assemble_cube {snakemake.wildcards.experiment}", snakemake.input, snakemake.output
    ):
        main(
            Path(snakemake.input.dataset),
            ExperimentFiles.named(dict(snakemake.input.items())),
            Path(snakemake.output.cube),
            RESULTS[snakemake.rule].parse(snakemake.params.spec),
            snakemake.params.thresholds,
            Path(snakemake.scriptdir),
        )
