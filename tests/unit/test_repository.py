"""What holds of the repository as a whole: generated documents, pins, and the direction of imports."""

import ast
from pathlib import Path

import pytest
import yaml

from ntk_atlas.study.documents import generated_documents

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "src" / "ntk_atlas"
LAYERS = (
    ("status", "numerics", "memory", "user_imports", "user_code", "registry"),
    ("config",),
    ("streams", "activations", "phases", "labelled", "file_errors", "whole_files", "tensors", "folds"),
    ("datasets", "networks"),
    ("kernels",),
    ("regression", "training", "scaling_laws", "dispersion"),
    ("provenance", "source_digest", "unit_store", "result_digests", "job_log"),
    ("study",),
    ("stages",),
    ("cubes",),
    ("claims",),
    ("plotting",),
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def layer(part: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if part in names)


@pytest.mark.parametrize("file", generated_documents(REPOSITORY), ids=lambda f: f.name)
def test_generated_documents_are_current(file):
    expected = generated_documents(REPOSITORY)[file]
    assert file.read_text() == expected, "run: python -m ntk_atlas.study.documents"


def test_the_environment_file_pins_what_the_lock_pins():
    environment = yaml.safe_load((REPOSITORY / "envs" / "environment.yaml").read_text())
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    pip = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    lock = [line for line in (REPOSITORY / "requirements.lock").read_text().splitlines() if line and line[0] != "#"]
    assert pip == [*lock, "-e .."]
    assert "torch==2.13.0" in lock
    assert not [line for line in lock if line.startswith(("nvidia", "cuda", "triton"))]


def test_every_rule_names_its_environment_log_source_and_resources():
    for file in (REPOSITORY / "workflow" / "rules").glob("*.smk"):
        rules = file.read_text().split("\nrule ")[1:]
        for rule in rules:
            for directive in ("conda:", "log:", "source=", "message:", "mem_mb=growing(", "runtime=growing("):
                assert directive in rule, f"{file.name}: {rule.split(':')[0]} has no {directive}"


@pytest.mark.parametrize("file", MODULES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_point_one_way(file):
    part = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    names = imported(file)
    assert not any(name.split(".")[0] in ("snakemake", "lightning") for name in names)
    if part == "__init__" or file.name == "documents.py":
        return
    below = {name.split(".")[1] for name in names if name.startswith("ntk_atlas.")} - {part}
    too_high = [name for name in below if layer(name) > layer(part)]
    assert not too_high, f"{part} imports {too_high}, which stand above it"


@pytest.mark.parametrize("file", MODULES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_xarray_and_lightning_stay_where_they_belong(file):
    part = file.relative_to(PACKAGE).parts[0]
    names = {name.split(".")[0] for name in imported(file)}
    if "pytorch_lightning" in names:
        assert part == "training"
    if "xarray" in names:
        assert part in ("cubes", "claims", "plotting") or file.name in ("store.py", "user_file.py")


@pytest.mark.parametrize("file", MODULES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_no_global_random_state_and_no_print(file):
    tree = ast.parse(file.read_text())
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    if file.name == "streams.py":  # seeds the global streams around a user's code, which may draw from them
        assert {"torch.random.fork_rng", "np.random.set_state", "random.setstate"} <= calls
        calls -= {"torch.manual_seed", "np.random.seed"}
    assert not calls & {"torch.manual_seed", "np.random.seed", "np.random.rand", "np.random.randn", "print"}
