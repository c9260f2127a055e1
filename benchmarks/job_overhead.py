"""What share of a sweep of small networks is the start of processes and their imports.

python benchmarks/job_overhead.py [--cells 1000] [--init-scales-per-job 10]

A cell is depth 3, width 64, one of ten n_train up to 512, 4 seeds, 200 full-batch steps, with the kernels before and
after training regressed. A start is what a job's process takes before its first line of work: interpreter, Snakemake's
preamble, the script's imports; each is measured alone, best of three, and counted once a job.
"""

import argparse
import csv
import sys
import tempfile
from collections import Counter
from pathlib import Path

import yaml
from machine import machine
from scale import copy_workflow, measured

BAR = 0.15
SIZES = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
_START = "from snakemake import script; import runpy, sys; runpy.run_path(sys.argv[1])"


def study(cells: int, init_scales_per_job: int) -> dict:
    """A config of `cells` cells, a multiple of ten."""
    n_scales = cells // len(SIZES)
    return {
        "experiments": {
            "sweep": {
                "dataset": {"source": "digits", "task": "binary", "n_validation": 64, "n_test": 256},
                "grid": {
                    "depth": [3],
                    "width": [64],
                    "init_scale": [round(1.0 + 2.0 * step / n_scales, 6) for step in range(n_scales)],
                    "n_train": list(SIZES),
                    "draws": 1,
                    "seeds": 4,
                },
                "training": {
                    "optimizer": "momentum",
                    "learning_rate": {"relative": 0.5},
                    "max_epochs": 200,
                    "seeds_per_unit": 4,
                    "checkpoints": {"epochs": [0, 50, 200], "n_probe": 32},
                },
                "regression": {"predictors": ["ntk_init", "ntk_final"]},
                "show": ["learning_curves", "kernel_drift"],
            }
        },
        "jobs": {"init_scales_per_job": init_scales_per_job},
    }


def seconds_of_jobs(folder: Path) -> dict[str, list[float]]:
    """Seconds of every job by its rule, as Snakemake measured them."""
    found: dict[str, list[float]] = {}
    for file in sorted(folder.glob("results/sweep/costs/*/*.tsv")):
        with file.open() as table:
            found.setdefault(file.parent.name, []).extend(
                float(line["s"]) for line in csv.DictReader(table, delimiter="\t")
            )
    return found


def main() -> int:
    """Runs the sweep on two cores and prints the share, by rule and in all; 1 if it is above the bar."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--init-scales-per-job", type=int, default=10)
    options = parser.parse_args()
    print(f"{machine()['cpu']}, {machine()['cores']} cores")
    with tempfile.TemporaryDirectory(prefix="ntk-atlas-overhead-") as place:
        folder = Path(place)
        copy_workflow(folder)
        config = study(options.cells, options.init_scales_per_job)
        (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
        run = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "all", "--", "results/sweep/cube.nc"]
        whole, _ = measured(run, folder)
        jobs = seconds_of_jobs(folder)
        starts = {}
        for rule in jobs:
            job = folder / "src" / "ntk_atlas" / "jobs" / f"{rule}.py"  # of a job, else a script
            started = job if job.is_file() else f"workflow/scripts/{rule}.py"
            command = [sys.executable, "-c", _START, str(started)]
            starts[rule] = min(measured(command, folder)[0].seconds for _ in range(3))
    spent, total = Counter(), Counter()
    for rule, seconds in jobs.items():
        spent[rule], total[rule] = len(seconds) * starts[rule], sum(seconds)
        print(f"{rule}: {len(seconds)} jobs, {total[rule]:.1f} s, a start takes {starts[rule]:.1f} s")
    share = spent.total() / total.total()
    print(
        f"{options.cells} cells in {whole.seconds:.0f} s: {spent.total():.0f} of {total.total():.0f} s of all jobs are "
        f"starts, {share:.1%} (bar {BAR:.0%})"
    )
    return 1 if share > BAR else 0


if __name__ == "__main__":
    sys.exit(main())
