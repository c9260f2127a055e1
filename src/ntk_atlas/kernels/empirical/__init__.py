"""The empirical NTK of any module: from the structure of its layers where that is known, else from Jacobians."""
