"""Code of `docs/extending.md`: each recipe's block is a whole file, which a test writes beside a study and runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[2]


def recipe(file: str) -> str:
    """The block of the page that is the whole file of this name, as its first line says: `# my_phi.py`."""
    page = (REPOSITORY / "docs" / "extending.md").read_text()
    found = [block for block in re.findall(r"```\w+\n(.*?)```", page, re.S) if block.startswith(f"# {file}\n")]
    assert len(found) == 1, f"{len(found)} blocks of docs/extending.md begin with `# {file}`"
    return found[0]


def write_recipe(file: str, folder: Path) -> Path:
    """Writes the file of a recipe into a folder."""
    (folder / file).write_text(recipe(file))
    return folder / file


def run_study(
    folder: Path, config: dict | None, *targets: str, check: bool = True, repository: Path = REPOSITORY
) -> str:
    """Runs a study in a folder of its own, up to these results, and returns what was said.

    Args:
        folder: of the study.
        config: its config; None for the default one.
        targets: results that are made, and options of Snakemake.
        check: whether the run must succeed.
        repository: the workflow that runs it.
    """
    if config is not None:
        (folder / "config").mkdir(exist_ok=True)
        (folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "snakemake", "-s", str(repository / "Snakefile"), "--cores", "2", *targets]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    said = run.stdout + run.stderr
    assert not check or run.returncode == 0, said
    return said
