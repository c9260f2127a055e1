"""Figures: a file each, from an experiment's NetCDF files to a matplotlib `Figure`."""

from ntk_atlas.config.figures import FIGURES, AtlasFigure, FigureError, FigureSettings, Shown

__all__ = ["FIGURES", "AtlasFigure", "FigureError", "FigureSettings", "Shown"]
