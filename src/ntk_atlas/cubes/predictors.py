"""Errors by the name of the predictor, as figures and fits ask for them."""

import xarray as xr


def stand_ins_of(source: xr.Dataset) -> tuple[str, ...]:
    """Kernels of a cube, or of its laws, that are not of the networks' architecture and are called stand-ins."""
    return tuple(str(source.attrs.get("stand_ins", "")).split())


def predictor_values(
    cube: xr.Dataset, predictor: str, field: str = "test_mse", *, ridge: str = "tuned"
) -> xr.DataArray:
    """One field of one predictor, over the dimensions it depends on.

    Args:
        cube: a cube.
        predictor: a name on the cube's `predictor` coordinate.
        field: `test_mse`, `test_error`, or any other field of `docs/cube.md`.
        ridge: `tuned` or `zero`; the network has none.

    Returns:
        The values, without the `ridge` dimension.

    Raises:
        KeyError: if the cube has no such predictor or field; the message lists those it has.
    """
    name = f"{field}_{predictor}"
    if name not in cube.data_vars:
        known = ", ".join(str(value) for value in cube["predictor"].values)
        raise KeyError(f"the cube has no {name}; its predictors are {known}")
    values = cube[name]
    return values.sel(ridge=ridge) if "ridge" in values.dims else values
