"""Figures: one a module, each a function from a cube to a matplotlib `Figure`."""

_HOMES = {
    "plot_error_map": "error_map",
    "plot_kernel_alignment": "kernel_alignment",
    "plot_kernel_drift": "kernel_drift",
    "plot_kernel_spectra": "kernel_spectra",
    "plot_learning_curves": "learning_curves",
    "plot_scaling_exponents": "scaling_exponents",
    "save_figure": "style",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
