"""A study is one file: the page's own over the default config, with its variant, preset and folder of tables."""

from pathlib import Path

from recipes import REPOSITORY, write_recipe

from ntk_atlas.study import read_study, study_folder


def test_a_study_is_one_file(tmp_path):
    file = write_recipe("my_study.yaml", tmp_path)
    files = [REPOSITORY / "config" / "config.yaml", file]
    quick, full = (read_study(files, values) for values in ({}, {"preset": "full"}))
    assert list(quick.active()) == ["settling", "settling_with_bias"]
    plain, variant = quick.active().values()
    assert (plain.network.bias_variance, variant.network.bias_variance) == (0.0, 0.1)
    assert variant.grid == plain.grid and variant.variant_of == "settling"
    assert full.active()["settling_with_bias"].grid.width[-1] == 1024
    assert study_folder([Path("config/config.yaml"), file]) == "results/studies/my_study"
