"""What each job depends on, as frozen settings with one canonical JSON text.

A job's spec holds every setting it reads and no other: two configs that give a job the same spec give it the same
result, and a change elsewhere in the config does not touch it.
"""

from typing import Literal, Self

from ntk_atlas.arrays import unit_digest
from ntk_atlas.config.base import Settings
from ntk_atlas.config.dataset import DatasetSettings
from ntk_atlas.config.network import NetworkSettings
from ntk_atlas.config.training import TrainingSettings
from ntk_atlas.study.cells import Row, Unit, units


class PrepareSpec(Settings):
    """Spec of `prepare_dataset`."""

    dataset: DatasetSettings
    file_digest: str = ""
    """Digest of the user's data file, which may be replaced by one with an older time stamp."""
    shares: int = 0
    """Number of shares into which the samples are cut for disjoint draws; 0 for permutations."""


class DataSpec(Settings):
    """What every job on a grid depends on: the data, and how much of them."""

    dataset: DatasetSettings
    n_train: tuple[int, ...]
    draws: int


class NetworksSpec(DataSpec):
    """One row of networks at initialization: a job's, or its part at one init scale."""

    network: NetworkSettings
    factory_digest: str
    """Digest of the user's files, a factory, or an activation and a parameterization; empty for built-in networks."""
    network_seed: int
    dtype: Literal["float32", "float64"]
    depth: int
    width: int
    init_scale: tuple[float, ...]
    seeds: int
    seeds_per_unit: int

    @property
    def row(self) -> Row:
        """The row of the grid."""
        return Row(self.depth, self.width, self.init_scale)

    @property
    def only_init_scale(self) -> float:
        """The init scale of a spec that has one.

        Raises:
            ValueError: if it has several.
        """
        if len(self.init_scale) != 1:
            raise ValueError(f"{self.row.name} has {len(self.init_scale)} init scales: take a spec of `per_init_scale`")
        return self.init_scale[0]

    def per_init_scale(self) -> dict[float, Self]:
        """The same spec at each init scale alone: what networks are built, trained and filed by."""
        return {scale: self.model_copy(update={"init_scale": (scale,)}) for scale in self.init_scale}

    def cell_settings(self) -> dict:
        """The settings that the numbers of a single unit depend on, as JSON values; for one init scale.

        The lists of units (n_train, draws, seeds) and their grouping are left out: a unit is the same whatever
        others there are.
        """
        grouping = {"n_train", "draws", "seeds", "seeds_per_unit"}
        return self.model_dump(mode="json", exclude=grouping) | {"init_scale": self.only_init_scale}


class TrainSpec(NetworksSpec):
    """Spec of `train_networks`: one row with all its units."""

    training: TrainingSettings
    optimizer_digest: str = ""
    """Digest of the file of the user's optimizer; empty for built-in ones."""

    @property
    def n_probe(self) -> int:
        """Probe samples of each part of the data."""
        return self.training.checkpoints.probe_count(self.n_train)

    def cell_settings(self) -> dict:
        """See `NetworksSpec.cell_settings`."""
        settings = super().cell_settings()
        for judged_later in ("seeds_per_unit", "target_mse", "max_seconds"):
            del settings["training"][judged_later]
        settings["training"]["checkpoints"]["n_probe"] = self.n_probe
        return settings

    def unit_digests(self, dataset_digest: str, source: str) -> dict[Unit, str]:
        """The digest of each training of the row, over everything that its numbers depend on; for one init scale.

        Args:
            dataset_digest: digest of the data's contents.
            source: digest of the code that trains.

        Returns:
            A digest a unit.
        """
        settings = self.cell_settings()
        return {
            unit: unit_digest("train", settings, unit.n_train, unit.draw, dataset_digest, source)
            for unit in units(self.n_train, self.draws)
        }
