"""Scaling laws of learning curves: exponents with intervals over draws, irreducible error, held-out check."""

_HOMES = {
    "ExponentDifference": "comparison",
    "ScalingFit": "fit",
    "compare_exponents": "comparison",
    "fit_floor_law": "floor_law",
    "fit_power_law": "power_law",
    "fit_scaling_law": "fit",
    "t_interval": "intervals",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
