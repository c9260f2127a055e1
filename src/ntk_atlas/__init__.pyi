from ntk_atlas.cubes.files import open_cube as open_cube
