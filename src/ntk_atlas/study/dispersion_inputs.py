"""The inputs of untrained networks: what the config leaves out is looked up in the data, when a run is planned.

Jobs get the numbers and do not depend on the code that reads data.
"""

import math

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.datasets.read import inspect_dataset
from ntk_atlas.study.dispersion_spec import DispersionSpec, sampled_spec


def dispersion_inputs(experiment: ExperimentSettings) -> tuple[int, float]:
    """n₀ and ‖x‖² of the inputs of untrained networks: as set, else those that networks are trained on.

    Normalized inputs have ‖x‖² = n₀, each of them or (`standardize`) in the mean over the training pool.
    """
    settings = experiment.dispersion
    n_inputs = settings.n_inputs or math.prod(inspect_dataset(experiment.dataset).input_shape)
    return n_inputs, float(n_inputs) if settings.squared_norm is None else settings.squared_norm


def dispersion_spec(experiment: ExperimentSettings, depth: int, width: int) -> DispersionSpec:
    """Spec of `sample_initial_kernels` of an experiment that has a section `dispersion`."""
    return sampled_spec(_with_inputs(experiment), depth, width)


def dispersion_assembly_spec(experiment: ExperimentSettings) -> ExperimentSettings:
    """Spec of `assemble_dispersion`: the settings without what other files are made of, with the inputs."""
    read = ("dataset", "grid", "network", "dispersion")
    return _with_inputs(ExperimentSettings(**{name: getattr(experiment, name) for name in read}))


def _with_inputs(experiment: ExperimentSettings) -> ExperimentSettings:
    if experiment.dispersion is None:
        return experiment
    n_inputs, squared_norm = dispersion_inputs(experiment)
    known = experiment.dispersion.model_copy(update={"n_inputs": n_inputs, "squared_norm": squared_norm})
    return experiment.model_copy(update={"dispersion": known})
