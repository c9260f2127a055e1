"""The widest networks at the largest training set, and their cells along depth and init scale."""

import xarray as xr

from ntk_atlas.claims.evidence import Evidence, cell_text, need
from ntk_atlas.claims.networks import at_largest_n


def widest(evidence: Evidence, *names: str) -> xr.Dataset:
    """The cube at the largest training set and width.

    Args:
        evidence: of the experiment.
        names: variables that it must have.

    Raises:
        NotJudgedError: `not run`, naming the first variable that is missing.
    """
    cube = at_largest_n(evidence.cube)
    need(cube, *names)
    return at_widest(cube)


def at_widest(dataset: xr.Dataset) -> xr.Dataset:
    """A dataset at its largest width."""
    return dataset.isel(width=int(dataset["width"].values.argmax()))


def places(values: xr.DataArray, dim: str = "depth") -> list[dict[str, int]]:
    """Places along `dim` and init_scale."""
    along, scales = (range(values.sizes.get(each, 0)) for each in (dim, "init_scale"))
    return [{dim: d, "init_scale": s} for s in scales for d in along]


def own(values: xr.DataArray, place: dict[str, int]) -> dict[str, int]:
    """The part of a place along dimensions that the values have."""
    return {dim: position for dim, position in place.items() if dim in values.dims}


def cell(values: xr.DataArray, place: dict[str, int]) -> str:
    """The cell at a place, in words."""
    return cell_text(values.coords.to_dataset(), place)
