"""A copy of the repository with a finished micro study, which tests change and plan or run again."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from workflow_micro import MICRO

REPOSITORY = Path(__file__).parents[2]
NEEDED = ("Snakefile", "workflow", "src", "profiles", "envs", "config")


@dataclass
class Project:
    """A folder with a copy of the workflow and its results."""

    folder: Path

    @property
    def config(self) -> dict:
        return yaml.safe_load((self.folder / "config" / "config.yaml").read_text())

    @config.setter
    def config(self, config: dict) -> None:
        (self.folder / "config" / "config.yaml").write_text(yaml.safe_dump(config))

    def snakemake(self, *arguments: str, check: bool = True, environment: Mapping[str, str] | None = None) -> str:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **(environment or {})}
        result = subprocess.run(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        text = result.stdout + result.stderr
        assert not check or result.returncode == 0, text
        return text

    def ask(self, script: str, *options: str) -> str:
        """What a script beside the workflow, such as `status`, prints."""
        command = [sys.executable, f"workflow/{script}.py", *options]
        run = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def launch(self, *, stdout: int = subprocess.PIPE) -> subprocess.Popen:
        """Starts `make run` on two cores, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "workflow/run.py", "--cores", "2"],
            cwd=self.folder, stdout=stdout, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip

    def plan(self, environment: Mapping[str, str] | None = None, targets: Iterable[str] = ()) -> Counter:
        """Jobs per rule that would run now, for the whole study or for these files."""
        text = self.snakemake("-n", "--quiet", "rules", "--", *targets, environment=environment)
        return Counter({rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", text, re.M) if rule != "total"})

    def units(self, stage: str = "networks") -> dict[str, int]:
        """Finished units of a stage: path → time of writing."""
        files = sorted(self.folder.glob(f"results/*/units/{stage}/**/seeds-*.npz"))
        return {str(file.relative_to(self.folder)): file.stat().st_mtime_ns for file in files}

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new, 1))


def copy_repository(folder: Path) -> Project:
    """The workflow without results, with the micro study as its config."""
    folder.mkdir(parents=True)
    for name in NEEDED:
        source = REPOSITORY / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy2(source, folder / name)
    project = Project(folder)
    project.config = MICRO
    return project


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory) -> Project:
    project = copy_repository(tmp_path_factory.mktemp("finished") / "project")
    project.snakemake("--cores", "2", "--quiet", "all")
    return project


@pytest.fixture
def finished(finished_once, tmp_path) -> Project:
    """A copy of the finished project, time stamps kept, that a test may change."""
    shutil.copytree(finished_once.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


@pytest.fixture
def fresh(tmp_path) -> Project:
    """The workflow with no results."""
    return copy_repository(tmp_path / "project")
