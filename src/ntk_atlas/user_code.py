"""Functions of the user's own, named in the config as `my_file.py:function`."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def load_named(spec: str, what: str, error: type[ValueError]) -> object:
    """What a Python file defines under a name; relative paths start at the working directory.

    Args:
        spec: file and name, `my_file.py:name`.
        what: what the user calls it, for messages: "network factory".
        error: what to raise.

    Returns:
        The object.

    Raises:
        ValueError: of type `error`, if there is no such file or name, or the file cannot be imported.
    """
    file_name, _, name = spec.rpartition(":")
    path = Path(file_name)
    if not file_name or not path.is_file():
        example = f"my_{what.split()[-1]}.py:{name or 'name'}"
        raise error(f"{what} {spec!r}: no file {str(path.absolute())!r}; write `{example}`")
    module = _import_file(path, spec, what, error)
    if not hasattr(module, name):
        raise error(f"{what} {spec!r}: {file_name} has no function {name!r}")
    return getattr(module, name)


def _import_file(path: Path, spec: str, what: str, error: type[ValueError]) -> ModuleType:
    name = f"ntk_atlas_user_{path.stem}"
    module_spec = importlib.util.spec_from_file_location(name, path.absolute())
    if module_spec is None or module_spec.loader is None:
        raise error(f"{what} {spec!r}: {path} is not a Python file (*.py)")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # dataclasses and pickle look modules up there
    try:
        # Not by the loader, which takes compiled code of the same size and second for that of the file.
        exec(compile(path.read_bytes(), str(path.absolute()), "exec"), module.__dict__)
    except Exception as problem:
        raise error(f"{what} {spec!r}: {path} cannot be imported: {type(problem).__name__}: {problem}") from problem
    return module
