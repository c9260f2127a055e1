"""Files of the user's own: which module is which, what an error says, and which files are watched."""

import os
import pickle
import sys
from pathlib import Path

import pytest

from ntk_atlas.config import NetworkSettings
from ntk_atlas.jobs.parts import code_file_digest
from ntk_atlas.study.consistency import user_code_problems
from ntk_atlas.user_code import followed, load_function, load_named


class UserError(ValueError):
    """What loading raises in these tests."""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes files of the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))

    def write(**files):
        for name, text in files.items():
            path = tmp_path / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return write


def package(folder, name):
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "__init__.py").write_text("")


def function(spec):
    return load_function(spec, "network factory", UserError, ("depth", "width"))


def call(spec):
    return function(spec)(depth=1, width=2)


USES = "from helpers import value\ndef build(depth, width): return value\n"


def test_files_of_one_name_are_two_modules_each_with_its_own_helpers(write):
    write(a__my_net=USES, a__helpers="value = 'a'", b__my_net=USES, b__helpers="value = 'b'")
    assert [call(f"{folder}/my_net.py:build") for folder in "abab"] == ["a", "b", "a", "b"]
    modules = {load_named(f"{folder}/my_net.py:build", "x", UserError).__module__ for folder in "ab"}
    assert len(modules) == 2


def test_imports_work_from_any_working_directory_and_inside_functions(write, monkeypatch):
    lazy = "def build(depth, width):\n    from lab.models import Net\n    return Net.size\n"
    folder = write(
        nets__my_net=lazy, nets__lab__models="from lab.base import Net\n", nets__lab__base="class Net: size = 3"
    )
    monkeypatch.chdir("/")
    assert call(f"{folder}/nets/my_net.py:build") == 3


def test_a_file_called_as_an_installed_package_hides_it_from_nobody(write):
    write(torch="import torch\ndef build(depth, width): return torch.zeros(width).shape[0]\n", random="value = 1")
    write(json="import json\nimport random\ndef build(depth, width): return json.dumps(random.Random(0).randint(3, 3))")
    assert call("torch.py:build") == 2
    assert call("json.py:build") == "3"
    assert list(followed(Path("torch.py"))) == ["torch"]
    assert sys.modules["torch"].__file__.endswith("torch/__init__.py")


def test_relative_imports_in_a_package_and_a_link_to_a_file(write):
    folder = write(lab__net="from .base import value\ndef build(depth, width): return value\n", lab__base="value = 7")
    package(folder, "lab")
    assert call("lab/net.py:build") == 7
    write(real__net=USES, real__helpers="value = 8")
    Path("linked.py").symlink_to("real/net.py")
    assert call("linked.py:build") == 8
    assert "helpers" in followed(Path("linked.py"))


def test_an_edit_of_an_imported_file_of_the_same_size_and_second_is_seen(write, monkeypatch):
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    folder, seen = write(my_net=USES), []
    for value in (1, 2):
        (folder / "helpers.py").write_text(f"value = {value}\n")
        os.utime(folder / "helpers.py", (1.7e9, 1.7e9))
        seen.append(call("my_net.py:build"))
    assert seen == [1, 2]


def test_a_file_runs_once_and_its_classes_can_be_pickled_by_name(write):
    write(my_net="class Net: pass\ndef build(depth, width): return Net()\n", other="x = 1")
    one = call("my_net.py:build")
    load_named("other.py:x", "x", UserError)
    assert type(call("my_net.py:build")) is type(one)
    assert type(pickle.loads(pickle.dumps(one))) is type(one)


def test_the_working_directory_stays_the_same(write):
    folder = write(my_net="import os\nos.chdir('/')\ndef build(depth, width): os.chdir('/usr')\n")
    call("my_net.py:build")
    assert Path.cwd() == folder


FAILURES = {
    "def build(depth): pass": r" got an unexpected keyword argument 'width' \(my_net.py, line 1\): "
    r"define `def build\(\*, depth, width\)`",
    "def build(depth, width, extra): pass": r"missing a required argument: 'extra' \(my_net.py, line 1\): define",
    "import helpers\ndef build(**a):\n    return helpers.f()": r"failed: ValueError: boom \(helpers.py, line 2\)",
    "import sys\ndef build(**a):\n    sys.exit(0)": r"ends the process by SystemExit \(my_net.py, line 3\)",
    "raise SystemExit": r"cannot be imported: it ends the process by SystemExit \(my_net.py, line 1\)",
    "def build(**a):\n    return build(**a)": r"RecursionError: .* \(my_net.py, line 2\)",
    "async def build(**a): pass": r"is an async function \(my_net.py, line 1\): define `def build",
    "def build(**a):\n    yield 1": r"is a generator function \(my_net.py, line 1\): `return`",
    "build = 3": r" is int: it must be `def build",
    "def build(**a):\n    raise ValueError": r"failed: ValueError \(my_net.py, line 2\)",
    "def build(**a):\n    import torch\n    torch.zeros(2) @ torch.zeros(3)": r"RuntimeError: .* \(my_net.py, line 3\)",
    "from .helpers import f": r"it lies in no package .*; write `from helpers import …`",
    "import absent_lab.models": r"No module named 'absent_lab' .*line 1\): install absent_lab, or put absent_lab.py",
    "import broken": r"SyntaxError: .* \(broken.py, line 2\)",
    "x = 1": r"my_net.py has no function 'build'",
}


@pytest.mark.parametrize(("text", "message"), FAILURES.items())
def test_what_a_users_code_raises_is_a_sentence(write, text, message):
    write(my_net=text, helpers="def f():\n    raise ValueError('boom')", broken="x = 1\ndef f(:\n")
    with pytest.raises(UserError, match=rf"^network factory 'my_net.py:build'.*{message}"):
        call("my_net.py:build")


LAB = {
    "my_net": "from lab.models import Net\nimport importlib\ndef build():\n    import late\n"
    "    importlib.import_module('named')\n",
    "lab__models": "from . import extra\nfrom .deep.er import x\nfrom lab import models\n",
    "lab__extra": "import numpy, json\n",
    "lab__deep__er": "x = 1",
    "late": "import my_net, round_trip\n",
    "round_trip": "import late\n",
    "named": "value = 1",
    "idle": "value = 1",
}


def test_all_files_that_a_file_imports_are_watched_and_no_other(write):
    folder = write(**LAB)
    package(folder, "lab")
    watched = {
        file.relative_to(folder).as_posix() if file.is_absolute() else str(file)
        for file in followed(Path("my_net.py")).values()
    }
    expected = {f"{name.replace('__', '/')}.py" for name in LAB if name != "idle"} | {"lab/__init__.py"}
    assert watched == expected
    before = code_file_digest(Path("my_net.py"))
    for name in sorted(expected - {"lab/__init__.py"}):
        text = (folder / name).read_text()
        (folder / name).write_text(f"# a comment\n{text}\n")
        assert code_file_digest(Path("my_net.py")) == before
        (folder / name).write_text(f"{text}\nchanged = 1\n")
        assert code_file_digest(Path("my_net.py")) != before, name
        (folder / name).write_text(text)
    (folder / "idle.py").write_text("value = 2")
    (folder / "late.py").unlink()
    assert code_file_digest(Path("my_net.py")) != before


def test_an_editable_install_is_watched_and_an_installed_package_is_not(write, monkeypatch):
    folder = write(my_net="import my_lab, installed, torch\n", src__my_lab="import part", src__part="x = 1")
    (folder / "site-packages").mkdir()
    (folder / "site-packages" / "installed.py").write_text("import my_lab")
    for place in ("src", "site-packages"):
        monkeypatch.syspath_prepend(folder / place)
    assert sorted(followed(Path("my_net.py"))) == ["my_lab", "my_net", "part"]


def test_a_file_in_latin_1_and_one_that_is_no_python(write):
    folder = write()
    (folder / "my_net.py").write_bytes(
        "# -*- coding: latin-1 -*-\nname = 'é'\nimport bad\ndef build(): pass\n".encode("latin-1")
    )
    (folder / "bad.py").write_bytes(b"x = '\xe9'\n")
    digests = {code_file_digest(folder / "my_net.py")}
    assert not list(user_code_problems(NetworkSettings(factory="my_net.py:build")))
    (folder / "bad.py").write_bytes(b"x = '\xe8'\n")
    digests.add(code_file_digest(folder / "my_net.py"))
    assert len(digests) == 2
    ((_, message),) = user_code_problems(NetworkSettings(factory="bad.py:build"))
    assert message.startswith("bad.py, line 1:")


@pytest.mark.parametrize(
    "text",
    ["if True:\n    def build(): pass", "try:\n    from a import build\nexcept ImportError:\n    build = None",
     "build: object = print", "first, build = 1, print", "from a import *", "from a import other as build"],
)  # fmt: skip
def test_a_function_defined_in_other_ways_is_found_without_running_the_file(write, text):
    write(my_net=text)
    assert not list(user_code_problems(NetworkSettings(factory="my_net.py:build")))
