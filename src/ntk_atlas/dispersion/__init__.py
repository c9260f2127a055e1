"""Dispersion of the NTK over networks at initialization: samplers, theory and statistics."""
