from ntk_atlas.cubes.opening import open_cube as open_cube
