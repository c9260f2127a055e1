"""The dictionary of every variable and coordinate of the NetCDF files that are results, a chapter per kind of file.

Files take their attributes from it and `docs/cube.md` is generated from it, so that documents, files and code cannot
differ. No chapter needs xarray: heavy jobs describe what they write by it too. A chapter belongs to the jobs that write
its files and to no other: a word changed about regimes assembles no cube again.
"""
