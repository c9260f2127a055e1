"""Training of stacked networks under Lightning, with the empirical NTK at scheduled epochs."""
