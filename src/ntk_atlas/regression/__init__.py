"""Kernel regression: nested sample counts, ridge paths, length scales and finite training times."""

from importlib import import_module

_HOMES = {
    "DuplicateSamplesError": "distinct",
    "FiniteTimeMean": "finite_time",
    "FiniteTimeVariance": "output_variance",
    "IterativeSolution": "iterative_solve",
    "KernelSolution": "dense_solve",
    "NestedRegression": "regress",
    "RivalRegression": "length_scale",
    "TiledKernel": "tiled_kernel",
    "TiledRegression": "tiled_regression",
    "UnstableTrainingError": "training_modes",
    "check_distinct": "distinct",
    "classification_error": "metrics",
    "conjugate_gradient": "iterative_solve",
    "finite_time_mean": "finite_time",
    "finite_time_variance": "output_variance",
    "mean_squared_error": "metrics",
    "mixed_outputs": "iterative_solve",
    "nystrom_preconditioner": "preconditioner",
    "pivoted_cholesky_preconditioner": "preconditioner",
    "posterior_variance": "posterior",
    "regress_around": "regress",
    "regress_nested": "regress",
    "regress_rival": "length_scale",
    "regress_tiled": "tiled_regression",
    "ridge_path": "leave_one_out",
    "safe_cholesky": "cholesky",
    "solve": "dense_solve",
    "sample_major": "arguments",
    "solve_nested": "nested",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
