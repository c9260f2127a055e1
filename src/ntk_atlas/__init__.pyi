from ntk_atlas.cubes.reading import open_cube as open_cube
