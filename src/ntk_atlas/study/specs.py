"""What each job depends on, as frozen settings with one canonical JSON text.

A job's spec holds every setting it reads and no other: two configs that give a job the same spec give it the same
result, and a change elsewhere in the config does not touch it.
"""

from typing import Literal

from ntk_atlas.config.base import Settings
from ntk_atlas.config.dataset import DatasetSettings
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.regression import RegressionSettings
from ntk_atlas.config.training import TrainingSettings

NetworkKernel = Literal["initial", "trained"]


class PrepareSpec(Settings):
    """Spec of `prepare_dataset`."""

    dataset: DatasetSettings


class TrainSpec(Settings):
    """Spec of `train_networks`: one row with all its units."""

    dataset: DatasetSettings
    network: NetworkSettings
    training: TrainingSettings
    factory_digest: str
    depth: int
    width: int
    init_scale: float
    n_train: tuple[int, ...]
    draws: int
    seeds: int


class EmpiricalSpec(Settings):
    """Spec of `regress_empirical`: one row's networks as kernels, before or after training."""

    networks: TrainSpec
    regression: RegressionSettings


class InfiniteSpec(Settings):
    """Spec of `regress_infinite`: all depths (and widths, where the kernel depends on them) at one init_scale."""

    dataset: DatasetSettings
    network: NetworkSettings
    regression: RegressionSettings
    init_scale: float
    depth: tuple[int, ...]
    width: tuple[int, ...]
    n_train: tuple[int, ...]
    draws: int


class StationarySpec(Settings):
    """Spec of `regress_stationary`: one stationary kernel."""

    dataset: DatasetSettings
    regression: RegressionSettings
    kernel: str
    n_train: tuple[int, ...]
    draws: int
