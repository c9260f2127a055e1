"""Names of a room are imported when they are asked for, each from where its `__init__.pyi` says."""

import subprocess
import sys
from importlib import import_module

import pytest

ROOMS = """
cards config cubes datasets dispersion kernels regimes regression scaling_laws statistics study training
"""
ROOMS = ["ntk_atlas", *(f"ntk_atlas.{room}" for room in ROOMS.split())]


@pytest.mark.parametrize("room", ROOMS)
def test_every_name_is_there(room):
    module = import_module(room)
    assert module.__all__ and dir(module) == module.__all__
    assert all(getattr(module, name) is not None for name in module.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        module.no_such_name  # noqa: B018


def test_a_room_alone_imports_no_torch():
    code = f"import sys, {', '.join(ROOMS)}; print({{'torch', 'scipy', 'xarray'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "set()\n"
