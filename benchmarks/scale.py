"""Planning and assembling grids of a thousand and of ten thousand cells: seconds, memory, and how both grow.

python benchmarks/scale.py [--cells 1000 10000]

One row of networks is trained and regressed by the workflow itself; its files stand for those of all other rows, as an
assembly places files by their names. A row is a job of its own, the most jobs that a grid can have.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import netCDF4
import yaml
from machine import machine

from ntk_atlas.jobs import job_slice
from ntk_atlas.study.load import read_study

REPOSITORY = Path(__file__).resolve().parents[1]
BARS = {"dry run": (30.0, 1024), "assembly": (60.0, 2048)}
"""Seconds and MiB for ten thousand cells."""
SIZES = tuple(range(8, 88, 8))
INIT_SCALES = tuple(round(1.0 + 0.1 * step, 1) for step in range(10))
_ASSEMBLE = """
import sys
from pathlib import Path
sys.path.insert(0, "workflow/scripts")
import assemble_cube
from ntk_atlas.cubes.experiment_files import ExperimentFiles
from ntk_atlas.study.load import read_study
from ntk_atlas.jobs.parts.results import RESULTS
sweep = read_study([Path("config/config.yaml")]).active()["sweep"]
experiment = RESULTS["assemble_cube"].slice(sweep)
folder = Path("results/sweep")
files = ExperimentFiles.named({
    "networks": sorted(folder.glob("networks/*.nc")),
    "empirical": sorted(folder.glob("predictions/empirical/*.nc")),
    "rivals": sorted(folder.glob("predictions/rivals/*.nc")),
})
assemble_cube.main(folder / "dataset.nc", files, folder / "cube.nc", experiment, "", Path("."))
"""


@dataclass(frozen=True)
class Cost:
    """What a process took: `seconds` of wall clock, `cpu` seconds, `mib` at its peak."""

    seconds: float
    cpu: float
    mib: float


def measured(command: Sequence[str], folder: Path) -> tuple[Cost, str]:
    """Runs a command and returns its cost with what it printed.

    Raises:
        RuntimeError: if it fails; the message is what it printed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=printed, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        printed.seek(0)
        text = printed.read()
    if status:
        raise RuntimeError(f"`{' '.join(command)}` failed:\n{text}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), text


def study(n_widths: int) -> dict:
    """A config of 50 · `n_widths` rows and ten times as many cells."""
    return {
        "experiments": {
            "sweep": {
                "dataset": {"source": "digits", "task": "binary", "n_validation": 64, "n_test": 128},
                "grid": {
                    "depth": [1, 2, 3, 4, 5],
                    "width": [8 * (step + 1) for step in range(n_widths)],
                    "init_scale": list(INIT_SCALES),
                    "n_train": list(SIZES),
                    "draws": 2,
                    "seeds": 2,
                },
                "training": {
                    "learning_rate": {"relative": 0.5},
                    "max_epochs": 50,
                    "checkpoints": {"epochs": [0, 10, 50], "n_probe": 8},
                },
                "regression": {"predictors": ["ntk_init", "ntk_final", "laplace"]},
                "show": ["learning_curves", "kernel_drift"],
            }
        }
    }


def copy_workflow(folder: Path) -> None:
    """Copies the workflow without results."""
    for name in ("Snakefile", "workflow", "src", "profiles", "envs", "config"):
        source = REPOSITORY / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, folder / name)


def rows_of(n_widths: int) -> list[str]:
    """Names of all rows of a grid."""
    grid = study(n_widths)["experiments"]["sweep"]["grid"]
    return [
        f"depth-{depth}_width-{width}_init_scale-{scale}"
        for depth in grid["depth"]
        for width in grid["width"]
        for scale in grid["init_scale"]
    ]


def with_all_rows(folder: Path, n_widths: int) -> None:
    """Computes one row by the workflow; its files, with the settings of each other row, stand for those of that row."""
    results, snakemake = folder / "results" / "sweep", [sys.executable, "-m", "snakemake"]
    first, *others = rows_of(n_widths)
    targets = [f"networks/{first}.nc", f"predictions/empirical/{first}.nc", "predictions/rivals/laplace.nc"]
    wanted = [f"results/sweep/{target}" for target in targets]
    measured([*snakemake, "--cores", "2", "--quiet", "all", "--", *wanted], folder)
    experiment = read_study([folder / "config" / "config.yaml"]).experiments["sweep"]
    for kind, job in (("networks", "train_networks"), ("predictions/empirical", "regress_empirical")):
        for name in others:
            copy = results / kind / f"{name}.nc"
            shutil.copy(results / kind / f"{first}.nc", copy)
            with netCDF4.Dataset(copy, "a") as file:
                file.spec = job_slice(job, experiment, name).canonical_json()


def main() -> int:
    """Prints a line a measurement, and the growth from the smallest grid to the largest; 1 if a bar is not met."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[1000, 10_000], help="multiples of 500")
    counts = parser.parse_args().cells
    print(f"{machine()['cpu']}, {machine()['cores']} cores")
    costs: dict[str, list[Cost]] = {what: [] for what in BARS}
    for cells in counts:
        with tempfile.TemporaryDirectory(prefix="ntk-atlas-scale-") as place:
            folder, n_widths = Path(place), cells // 500
            copy_workflow(folder)
            (folder / "config" / "config.yaml").write_text(yaml.safe_dump(study(n_widths)))
            plan, text = measured([sys.executable, "-m", "snakemake", "-n", "--quiet", "rules"], folder)
            with_all_rows(folder, n_widths)
            assembly, _ = measured([sys.executable, "-c", _ASSEMBLE], folder)
            size = (folder / "results/sweep/cube.nc").stat().st_size / 2**20
            jobs = next(line.split()[-1] for line in text.splitlines() if line.startswith("total"))
        for what, cost in (("dry run", plan), ("assembly", assembly)):
            costs[what].append(cost)
            note = f"{jobs} jobs" if what == "dry run" else f"a cube of {size:.1f} MiB"
            print(
                f"{cells:6} cells, {what:8}: {cost.seconds:6.1f} s, {cost.cpu:6.1f} s CPU, {cost.mib:5.0f} MiB; {note}",
                flush=True,
            )
    for what, (first, *_, last) in ((what, made) for what, made in costs.items() if len(made) > 1):
        seconds, mib = BARS[what]
        print(
            f"{what}: {counts[-1] / counts[0]:.3g} times the cells take {last.cpu / first.cpu:.2f} times the CPU time; "
            f"bars for 10,000 cells: {seconds:.0f} s, {mib} MiB"
        )
    missed = [
        what for what, made in costs.items() if any(c.seconds > BARS[what][0] or c.mib > BARS[what][1] for c in made)
    ]
    print(f"above the bar: {', '.join(missed)}" if missed else "within the bars")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
