"""Joins the dispersion of all depths and widths into `dispersion.nc`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

from ntk_atlas.arrays import join, read_labelled
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.dispersion_schema import (
    ARCHITECTURE,
    DISPERSION_COORDINATES,
    DISPERSION_ESTIMATES,
    DISPERSION_THEORY,
)
from ntk_atlas.cubes.netcdf import to_xarray
from ntk_atlas.phases.phase import phase_of
from ntk_atlas.study.dispersion_spec import sampled_spec
from ntk_atlas.study.made_with import check_made_with


def assemble_dispersion(
    experiment: ExperimentSettings, files: Mapping[tuple[int, int], Path], provenance: Mapping[str, str]
) -> xr.Dataset:
    """The dispersion of an experiment.

    Args:
        experiment: its settings; they are stored as JSON text.
        files: file of each (depth, width).
        provenance: attributes that say where the numbers come from.

    Returns:
        Estimates and theory over (depth, width, init_scale, parameters, correlation); what is missing is NaN or −1.
    """
    settings, scales = experiment.dispersion, experiment.grid.init_scale
    inputs = settings.n_inputs, settings.squared_norm
    depth, width = np.array(settings.depth), np.array(settings.width)
    phases = [phase_of(experiment.network, scale) for scale in scales]
    dataset = xr.Dataset(
        coords={
            "depth": depth,
            "width": width,
            "init_scale": np.array(scales),
            "lambda": (ARCHITECTURE, (depth[:, None] + 1) / width[None, :]),
            "sigma_w": ("init_scale", np.sqrt(scales)),
            "chi_1": ("init_scale", [phase.chi_1 for phase in phases]),
            "xi_1": ("init_scale", [phase.xi_1 for phase in phases]),
            "phase": ("init_scale", [phase.name for phase in phases]),
        }
    )
    cells = []
    for (cell_depth, cell_width), file in files.items():
        cell = read_labelled(file)
        spec = sampled_spec(experiment, cell_depth, cell_width)
        check_made_with(file, cell.attributes, "sample_initial_kernels", spec)
        cells.append(cell.at(depth=cell_depth, width=cell_width))
    joined = to_xarray(join(cells, {"depth": settings.depth, "width": settings.width}))
    dataset = joined.assign_coords(dataset.coords)
    for variable in (*DISPERSION_COORDINATES, *DISPERSION_ESTIMATES, *DISPERSION_THEORY):
        dataset[variable.name].attrs = variable.attributes()
    dataset.attrs = {
        "title": "NTK Atlas: dispersion of the kernel at initialization",
        "Conventions": "CF-1.11",
        "config": experiment.canonical_json(),
        "n_networks": settings.n_networks,
        "n_exact": settings.n_exact,
        "n_cells": len(depth) * len(width) * len(scales),
        "n_missing": (len(depth) * len(width) - len(cells)) * len(scales),
        "n_inputs": inputs[0],
        "squared_norm": inputs[1],
        "input_scale": inputs[1] / inputs[0],
        "confidence": settings.confidence,
        "interval": "bootstrap-t over networks, of log R, of Var log Θ and of E[Θ]",
        "parameterization": experiment.network.parameterization,
        "kernel_precision": "weights float32, sums over units and layers float64",
        **provenance,
    }
    return dataset
