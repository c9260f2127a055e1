"""The empirical NTK of any module: from the structure of its layers where that is known, else from Jacobians."""

from ntk_atlas.kernels.empirical.ntk import empirical_ntk, empirical_ntk_with_record
from ntk_atlas.kernels.empirical.record import KernelRecord
from ntk_atlas.kernels.empirical.vector_products import empirical_ntk_operator

__all__ = ["KernelRecord", "empirical_ntk", "empirical_ntk_operator", "empirical_ntk_with_record"]
