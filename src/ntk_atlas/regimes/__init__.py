"""For which networks NTK theory holds: distances to its predictors, regimes of cells, frontiers, sentences."""
