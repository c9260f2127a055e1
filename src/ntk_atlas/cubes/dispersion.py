"""Joins the dispersion of all depths and widths into `dispersion.nc`."""

from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from ntk_atlas.arrays import join, read_labelled
from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.cubes.dictionary.untrained import DISPERSION
from ntk_atlas.cubes.experiment_files import coordinates
from ntk_atlas.cubes.netcdf import described, to_xarray
from ntk_atlas.jobs import architecture_name, job_slice
from ntk_atlas.jobs.parts.made_with import check_made_with


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

    Raises:
        ValueError: if the experiment has no such section, or a file is of other settings.
    """
    settings = experiment.dispersion
    if settings is None or settings.n_inputs is None or settings.squared_norm is None:
        raise ValueError("the experiment has no section `dispersion` that says its inputs")
    grid = {"depth": settings.depth, "width": settings.width}
    cells = []
    for (cell_depth, cell_width), file in files.items():
        cell = read_labelled(file)
        part = job_slice("sample_initial_kernels", experiment, architecture_name(cell_depth, cell_width))
        check_made_with(file, cell.attributes, part)
        cells.append(cell.at(depth=cell_depth, width=cell_width))
    joined = to_xarray(join(cells, grid)).assign_coords(coordinates(experiment, DISPERSION.coordinates, **grid))
    n_all, n_scales = len(settings.depth) * len(settings.width), len(experiment.grid.init_scale)
    attributes = {
        "config": experiment.canonical_json(),
        "n_networks": settings.n_networks,
        "n_exact": settings.n_exact,
        "n_cells": n_all * n_scales,
        "n_missing": (n_all - len(cells)) * n_scales,
        "n_inputs": settings.n_inputs,
        "squared_norm": settings.squared_norm,
        "input_scale": settings.squared_norm / settings.n_inputs,
        "confidence": settings.confidence,
        "interval": "bootstrap-t over networks, of log R, of Var log Θ and of E[Θ]",
        "parameterization": experiment.network.parameterization,
        "kernel_precision": "weights float32, sums over units and layers float64",
        **provenance,
    }
    return described(joined, DISPERSION, attributes)
