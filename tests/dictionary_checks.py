"""Whether a file is what the dictionary says of its kind."""

import numpy as np
import xarray as xr

from ntk_atlas.cubes import SCHEMA_VERSION, File

TYPES = {"text": ("O", "U", "T"), "float32 or float64": ("float32", "float64")}


def departures(dataset: xr.Dataset, file: File, *, besides: tuple[str, ...] = ()) -> list[str]:
    """What of a file is not as the dictionary says, in words; nothing for a file that is right.

    Args:
        dataset: its contents.
        file: its kind.
        besides: coordinates that the file may have although the dictionary has none of that name.
    """
    found = [] if dataset.attrs["title"] == file.title else [f"title: {dataset.attrs['title']}"]
    if dataset.attrs["schema_version"] != SCHEMA_VERSION:
        found.append("schema_version")
    for name, values in dataset.variables.items():
        row = file.find(str(name))
        if row is None:
            found += [] if name in besides else [f"{name} is not in the dictionary"]
            continue
        variable, star = row
        named = tuple(dim for dim in variable.dims if dim not in ("…", "ridge"))  # linearized networks have no ridge
        if not (set(named) <= set(values.dims) if "…" in variable.dims else values.dims == variable.dims):
            found.append(f"{name} is over {values.dims}")
        kinds = TYPES.get(variable.dtype, (variable.dtype,))
        if str(values.dtype) not in kinds and values.dtype.kind not in kinds:
            found.append(f"{name} is {values.dtype}, not {variable.dtype}")
        if values.dtype.kind in "fi":
            there = values.values[np.isfinite(values.values) & ((values.values != -1) | (values.dtype.kind == "f"))]
            low = -np.inf if variable.valid_min is None else variable.valid_min
            high = np.inf if variable.valid_max is None else variable.valid_max
            found += [f"{name} is out of range: {value:g}" for value in there[(there < low) | (there > high)][:1]]
        for key, value in variable.attributes(star).items():
            if not (values.attrs.get(key) == value if key != "flag_values" else (values.attrs[key] == value).all()):
                found.append(f"{name} has the attribute {key}: {values.attrs.get(key)}")
    return found
