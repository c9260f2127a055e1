"""Says of every cell which part of NTK theory describes its networks."""

from pathlib import Path

from ntk_atlas.cubes.files import experiment_settings, read_netcdf, write_netcdf
from ntk_atlas.job_log import job_log
from ntk_atlas.regimes.map_file import regime_map
from ntk_atlas.study.config_files import load_regime_thresholds


def main(cube: Path, thresholds: Path, regimes: Path) -> None:
    measured = read_netcdf(cube)
    found = regime_map(measured, experiment_settings(measured), load_regime_thresholds(thresholds))
    write_netcdf(found, regimes)


if "snakemake" in globals():
    with job_log(snakemake.log[0], f"map_regimes {snakemake.wildcards.experiment}", snakemake.input, snakemake.output):
        main(*(Path(snakemake.input[name]) for name in ("cube", "thresholds")), Path(snakemake.output[0]))
