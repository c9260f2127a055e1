"""The digest of a script sees edits that can change numbers, in all code the script runs, and no others."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ntk_atlas.provenance
from ntk_atlas.config import NetworkSettings
from ntk_atlas.jobs import JOBS, job_slice
from ntk_atlas.jobs.parts.slice import rows
from ntk_atlas.provenance import SourceMemory, source_digest, source_files
from ntk_atlas.registry import value_files
from ntk_atlas.study import load_study

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "src" / "ntk_atlas"
SCRIPTS = sorted([*(REPOSITORY / "workflow" / "scripts").glob("*.py"), *map(JOBS.module_file, JOBS.names())])
"""What rules run: scripts, and the files of jobs."""


@pytest.fixture
def copied(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "ntk_atlas", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "workflow" / "scripts", tmp_path / "scripts")
    return tmp_path


def digest(copied, script):
    return source_digest(file_of(copied, script), copied / "ntk_atlas")


def file_of(copied, script):
    """A script, or the file of a job."""
    (found,) = (
        file for file in (copied / "scripts" / script, copied / "ntk_atlas" / "jobs" / script) if file.is_file()
    )
    return found


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    stamp = file.stat().st_mtime_ns + 10**9
    os.utime(file, ns=(stamp, stamp))


LOADED = """
import gc, runpy, sys
runpy.run_path(sys.argv[1])
loaded = {m.__file__ for n, m in sys.modules.items() if n.split(".")[0] == "ntk_atlas"}
registry = sys.modules.get("ntk_atlas.registry")
rooms = [r for r in gc.get_objects() if registry is not None and isinstance(r, registry.Registry)]
values = {str(room.module_file(name)) for room in rooms for name in room.names()}
print("\\n".join(loaded - values))
"""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.stem)
def test_every_module_a_script_loads_is_in_its_digest(script):
    """Values aside, which a config's defaults load: they are in the digest of a job whose settings name them."""
    result = subprocess.run([sys.executable, "-c", LOADED, str(script)], capture_output=True, text=True, check=True)
    loaded = {Path(line) for line in result.stdout.split()}
    assert loaded
    assert loaded <= set(source_files(script, PACKAGE))


def test_an_edit_of_an_imported_module_changes_the_digest(copied):
    before = digest(copied, "train_networks.py")
    edit(copied / "ntk_atlas" / "streams.py", ">> 1", ">> 2")
    assert digest(copied, "train_networks.py") != before


def test_comments_docstrings_and_formatting_do_not_count(copied):
    before = digest(copied, "train_networks.py")
    file = copied / "ntk_atlas" / "streams.py"
    edit(file, '"""Explicit random', '"""Very explicit random')
    edit(file, "import hashlib", "# a remark\n\n\nimport hashlib")
    edit(file, '"""Returns the 63-bit', '"""Gives the 63-bit')
    assert digest(copied, "train_networks.py") == before


@pytest.mark.parametrize(
    ("module", "same", "other"),
    [
        ("figures/parts/look.py", "train_networks.py", "plot_figure.py"),
        ("scaling_laws/laws.py", "assemble_cube.py", "fit_scaling_laws.py"),
        ("kernels/pairwise_distances.py", "train_networks.py", "regress_rivals.py"),
        ("regression/nested.py", "train_networks.py", "regress_empirical.py"),
        ("training/ensemble_module.py", "regress_rivals.py", "train_networks.py"),
    ],
)
def test_an_edit_reaches_the_scripts_that_import_it_only(copied, module, same, other):
    before = digest(copied, same), digest(copied, other)
    edit(copied / "ntk_atlas" / module, "\nimport ", "\nEXTRA = 1\nimport ") if "\nimport " in (
        copied / "ntk_atlas" / module
    ).read_text() else edit(copied / "ntk_atlas" / module, "\nfrom ", "\nEXTRA = 1\nfrom ")
    assert digest(copied, same) == before[0]
    assert digest(copied, other) != before[1]


def test_an_edit_of_an_activation_reaches_the_jobs_that_name_it_only(copied):
    """A new file in the room reaches none."""

    def digests():
        script, package = file_of(copied, "train_networks.py"), copied / "ntk_atlas"
        found = {}
        for name in ("relu", "leaky_relu", "erf"):
            files = value_files(NetworkSettings(activation=name))
            copies = [package / file.relative_to(PACKAGE) for file in files]
            found[name] = source_digest(script, package, values=copies)
        return found

    before, room = digests(), copied / "ntk_atlas" / "activations"
    (room / "sine.py").write_text("sine = 1\n")
    assert digests() == before
    edit(room / "erf.py", "class Erf(", "EXTRA = 1\n\n\nclass Erf(")
    assert {name for name, digest in digests().items() if digest != before[name]} == {"erf"}
    edit(room / "relu.py", "class Relu(", "EXTRA = 1\n\n\nclass Relu(")  # whose dual leaky ReLU has too
    assert all(digest != before[name] for name, digest in digests().items())


def test_an_edit_of_a_family_reaches_the_jobs_that_name_it_only(copied):
    """A new file in the room reaches none; code that one family alone runs is of its jobs alone."""
    package = copied / "ntk_atlas"
    networks = {
        "fully_connected": {},
        "convolutional": {"architecture": "convolutional"},
        "factory": {"factory": "n.py:b"},
    }
    memory = SourceMemory()

    def digests():
        found = {}
        for job in ("train_networks", "regress_empirical", "regress_rivals"):
            for name, settings in networks.items():
                files = [package / file.relative_to(PACKAGE) for file in value_files(NetworkSettings(**settings))]
                found[job, name] = source_digest(package / "jobs" / f"{job}.py", package, memory, files)
        return found

    def changed():
        now = digests()
        return {name for (_, name), digest in now.items() if digest != before[_, name]}

    before, room = digests(), package / "families"
    (room / "residual.py").write_text("residual = 1\n")
    assert digests() == before
    for name in networks:
        edit(room / f"{name}.py", "\nclass ", "\nEXTRA = 1\n\n\nclass ")
        assert changed() == {name}
        before = digests()
    for module in ("networks/convolutional.py", "kernels/infinite/convolutional.py"):
        edit(package / module, "\ndef ", "\nEXTRA = 1\n\n\ndef ")
    assert changed() == {"convolutional"}


def test_what_was_parsed_is_kept_by_content(copied, monkeypatch):
    script, package, path = file_of(copied, "train_networks.py"), copied / "ntk_atlas", copied / "kept" / "sources.json"
    memory = SourceMemory(path)
    first = source_digest(script, package, memory)
    memory.keep()
    parsed = []
    original = ntk_atlas.provenance._parse
    monkeypatch.setattr(ntk_atlas.provenance, "_parse", lambda *a: parsed.append(a) or original(*a))
    assert source_digest(script, package, SourceMemory(path)) == first
    assert not parsed
    file = package / "streams.py"
    stamp = file.stat().st_mtime_ns
    edit(file, ">> 1", ">> 2")
    os.utime(file, ns=(stamp, stamp))  # as old as before: contents count
    edited = source_digest(script, package, SourceMemory(path))
    assert len(parsed) == 1
    assert edited != first
    assert edited == source_digest(script, package)


def test_a_damaged_memory_counts_as_empty(copied):
    script, package, path = file_of(copied, "train_networks.py"), copied / "ntk_atlas", copied / "sources.json"
    for text in ("", "{", '{"a": 1}', "[]"):
        path.write_text(text)
        assert source_digest(script, package, SourceMemory(path)) == source_digest(script, package)


def test_a_reader_is_part_of_the_job_that_reads_and_of_no_other():
    grid = {"depth": (1,), "width": (8,), "init_scale": (2.0,), "n_train": (8,), "draws": 1, "seeds": 1}
    config = {"dataset": {"source": "teacher"}, "grid": grid, "regression": {"predictors": ("laplace", "rbf")}}
    experiment = load_study({"experiments": {"one": config}}).active()["one"]
    script, memory = JOBS.module_file("prepare_dataset"), SourceMemory()
    (reader,) = JOBS.head("prepare_dataset").code(job_slice("prepare_dataset", experiment))
    assert reader.name == "teacher.py" and reader in source_files(script, PACKAGE, memory, [reader])
    assert reader not in value_files(job_slice("train_networks", experiment, rows(experiment.grid)[0].name))
    rivals = [
        file.name
        for file in value_files(job_slice("regress_rivals", experiment, "rbf"))
        if file.parent.name == "rivals"
    ]
    assert rivals == ["rbf.py"]
