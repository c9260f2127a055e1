"""Kernels: empirical and infinite-width NTK and NNGP, rivals, and what is measured on them."""

from importlib import import_module

_PUBLIC = {
    "KernelInputError": "errors",
    "KernelRecord": "empirical.record",
    "MemoryLimitError": "errors",
    "MixedSamplesError": "errors",
    "RandomNetworkError": "errors",
    "empirical_ntk": "empirical.ntk",
    "EmpiricalNTKOperator": "empirical.vector_products",
    "empirical_ntk_with_record": "empirical.ntk",
    "InfiniteKernels": "infinite.kernels",
    "UnsupportedActivationError": "infinite.elementwise",
    "ConvolutionalCost": "infinite.convolutional_cost",
    "estimate_convolutional_cost": "infinite.convolutional_cost",
    "infinite_convolutional_kernels": "infinite.convolutional",
    "infinite_kernels": "infinite.kernels",
    "infinite_nngp": "infinite.kernels",
    "infinite_ntk": "infinite.kernels",
    "output_variance": "infinite.kernels",
    "largest_eigenvalue": "stability",
    "distances": "pairwise_distances",
    "median_distance": "pairwise_distances",
    "rival": "rivals",
    "RIVALS": "rivals",
    "ClassBlockRatios": "measures",
    "class_block_ratios": "measures",
    "effective_rank": "measures",
    "kernel_distance": "measures",
    "kernel_velocity": "measures",
    "relative_drift": "measures",
    "spectrum": "measures",
    "target_alignment": "measures",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_PUBLIC])
