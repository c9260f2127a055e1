"""Runs an experiment of a study again with other rounding, and holds the verdicts against those of the plain run.

    python benchmarks/rounding.py finite_width relu_trainability --folder ../rounding

Each run computes the experiment anew, in a folder of its own, and takes as long. A second call goes on where the first
ended. `--plain` names the folder of a study that has run, in place of the plain run, and `--ways` some of the ways.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

from ntk_atlas.config.study import ExperimentSettings
from ntk_atlas.judging import JUDGED, read_verdicts
from ntk_atlas.study.load import read_study

HERE = Path(__file__).resolve().parents[1]
WAYS = {
    "plain": ({}, {}),
    "two threads per training": ({"threads": 2}, {}),
    "other instructions": (
        {},
        {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OPENBLAS_CORETYPE": "Prescott"},
    ),
    "seeds one by one": ({"seeds_per_unit": 1}, {}),
}
"""What changes: settings of the training, and the environment."""


def overlay(experiments: dict[str, ExperimentSettings], name: str, training: dict) -> dict:
    """A config over the study's: one experiment alone, its training changed; its variants stay with it, changed too."""
    kept = {other for other, of in experiments.items() if name in (other, of.variant_of)}
    return {"experiments": {other: {"training": training} if other in kept else None for other in experiments}}


def compare(plain: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Claims that both tables judge: words, values and nearness side by side.

    Args:
        plain: `claims.csv` of an experiment.
        other: the same with other rounding.

    Returns:
        A line a claim; `same` says whether the words agree, which they must unless one of them is open and near.
    """
    pair = plain.merge(other, on="claim", suffixes=("", "_other"))
    pair = pair[pair["verdict"].isin(JUDGED) | pair["verdict_other"].isin(JUDGED)]
    pair["same"] = pair["verdict"] == pair["verdict_other"]
    columns = ["claim", "verdict", "verdict_other", "value", "value_other", "nearness", "nearness_other", "same"]
    return pair[columns].reset_index(drop=True)


def run(study: Path, name: str, way: str, folder: Path, cores: int) -> pd.DataFrame:
    """Runs the experiment in one way; returns its verdicts."""
    training, environment = WAYS[way]
    folder = (folder / way.replace(" ", "-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    default = HERE / "config" / "config.yaml"
    over = folder / "over.json"
    over.write_text(json.dumps(overlay(read_study([default, study]).active(), name, training)))
    command = [sys.executable, "-m", "snakemake", f"results/{name}/claims.csv", "-s", HERE / "Snakefile"]
    command += ["--cores", cores, "--configfile", default, study, over, "--quiet", "all"]
    path = os.pathsep.join([str(HERE / "src"), os.environ.get("PYTHONPATH", "")])
    subprocess.run(list(map(str, command)), cwd=folder, env=os.environ | environment | {"PYTHONPATH": path}, check=True)
    return read_verdicts(folder / "results" / name / "claims.csv")


def main() -> int:
    """Prints a table a way; returns 1 if a word that is not open became another one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", help="name of a file of config/studies, or the path of a config")
    parser.add_argument("experiment")
    parser.add_argument("--folder", type=Path, required=True, help="where the runs lie")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--plain", type=Path, help="folder in which the study was run as it is")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS)[1:], default=list(WAYS)[1:])
    asked = parser.parse_args()
    named = HERE / "config" / "studies" / f"{asked.study}.yaml"
    study = named if named.is_file() else Path(asked.study).absolute()
    if asked.plain is None:
        plain = run(study, asked.experiment, "plain", asked.folder, asked.cores)
    else:
        plain = read_verdicts(asked.plain / "results" / asked.experiment / "claims.csv")
    changed = 0
    for way in asked.ways:
        lines = compare(plain, run(study, asked.experiment, way, asked.folder, asked.cores))
        print(f"\n{way}:\n{lines.to_string(index=False)}")
        changed += int((~lines["same"]).sum())
    print(f"\n{changed} words changed")
    return int(changed > 0)


if __name__ == "__main__":
    sys.exit(main())
