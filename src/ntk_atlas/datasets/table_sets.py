"""Tables that are fetched: what is known of them without opening them."""

from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass

from ntk_atlas.datasets.image_sets import IMAGE_SETS, ImageSet, OfficialFile


@dataclass(frozen=True)
class TableSet:
    """What is known of a table without opening it.

    Attributes:
        title: its name in messages.
        n_samples: lines.
        n_features: columns of inputs.
        target: name of the column that is predicted; all others are inputs.
        files: the one file, as its package has it.
    """

    title: str
    n_samples: int
    n_features: int
    target: str
    files: tuple[OfficialFile, ...]

    @property
    def folders(self) -> tuple[str, ...]:
        """Other places in a folder of the user's; there are none."""
        return ()


TABLE_SETS = {
    "california": TableSet(
        "California housing",
        20_640,
        8,
        "MedHouseVal",
        (
            OfficialFile(
                "california_housing.parquet.brotli",
                668_615,
                "5755ed8e5e21b13e715e79b9278bb3329fcb8f6a46fa0fff914915fe4ccf73bf",
            ),
        ),
    )
}
"""By the name that `dataset.source` gives them."""
FETCHED_SETS: Mapping[str, ImageSet | TableSet] = ChainMap(IMAGE_SETS, TABLE_SETS)
"""Everything that is fetched, or read from a folder of official files."""
