"""A room of values: found by file name, imported when asked for, checked by name, and part of the digest of a job."""

import subprocess
import sys
from typing import Annotated

import pytest
from pydantic import BaseModel, ValidationError

from ntk_atlas.provenance import source_digest
from ntk_atlas.registry import Named, Registry, value_files

SHADE = '"""A shade."""\n\nfrom palette.shade import Shade\n\nshade = Shade({light})\n'


class WrongShadeError(ValueError):
    """What the room raises."""


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A package `palette` with two values, the class of them, and something private."""
    folder = tmp_path / "palette"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "shade.py").write_text(
        "class Shade:\n    name = ''\n\n    def __init__(self, light):\n        self.light = light\n"
    )
    (folder / "_mixing.py").write_text("raise RuntimeError('nobody imports it')\n")
    (folder / "dark.py").write_text(SHADE.format(light=0.1))
    (folder / "bright.py").write_text(SHADE.format(light=0.9))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "palette"]:
        del sys.modules[name]


@pytest.fixture
def shades(room):
    from palette.shade import Shade

    return Registry("palette", Shade, "shade", error=WrongShadeError)


def test_names_are_files_and_import_nothing(shades):
    assert shades.names() == ("bright", "dark")
    assert "dark" in shades
    assert "shade" not in shades
    assert not {"palette.dark", "palette.bright", "palette._mixing"} & sys.modules.keys()


def test_a_value_is_the_only_instance_in_its_module_and_knows_its_name(shades, room):
    assert (shades.get("dark").light, shades.get("dark").name) == (0.1, "dark")
    assert "palette.bright" not in sys.modules
    assert shades.get("dark") is shades.get("dark")
    (room / "two.py").write_text("from palette.shade import Shade\n\na, b = Shade(1), Shade(2)\n")
    with pytest.raises(WrongShadeError, match=r"two\.py has 2 instances of Shade"):
        shades.get("two")


def test_one_new_file_is_one_new_value(shades, room):
    (room / "pale.py").write_text(SHADE.format(light=0.7))
    assert shades.names() == ("bright", "dark", "pale")
    assert shades.get("pale").light == 0.7
    assert [value.name for value in shades.values()] == ["bright", "dark", "pale"]


@pytest.mark.parametrize("ask", [Registry.get, Registry.module_file])
def test_another_name_is_refused_with_those_there_are(shades, ask):
    with pytest.raises(WrongShadeError, match=r"no shade 'drak'; did you mean `dark`\? known here: bright, dark"):
        ask(shades, "drak")


def test_a_value_in_a_file_of_the_users(shades, room):
    (room.parent / "mine.py").write_text(SHADE.format(light=0.3) + "\nnumber = 0.4\n")
    assert (shades.get("mine.py:shade").light, shades.get("mine.py:shade").name) == (0.3, "mine.py:shade")
    with pytest.raises(WrongShadeError, match=r"shade 'mine.py:number' is float: name an instance of Shade"):
        shades.get("mine.py:number")
    with pytest.raises(WrongShadeError, match="no file"):
        shades.get("gone.py:shade")
    adopting = Registry("palette", shades.kind, "shade", adopt=lambda light, name: shades.kind(light))
    assert adopting.get("mine.py:number").light == 0.4


def settings_class(shades):
    class Lamp(BaseModel):
        shade: Annotated[str, Named(shades)] = "dark"

    class Room(BaseModel):
        lamp: Lamp = Lamp()
        lamps: tuple[Annotated[str, Named(shades, own=False, others=("off",))], ...] = ()
        by_name: dict[str, Lamp] = {}
        title: str = "bright"

    return Room


def test_settings_name_values(shades):
    room = settings_class(shades)
    assert room(lamp={"shade": "mine.py:shade"}, lamps=("off", "dark")).lamps == ("off", "dark")
    with pytest.raises(ValidationError, match="did you mean `bright`"):
        room(lamp={"shade": "brigth"})
    with pytest.raises(ValidationError, match=r"write `my_file\.py:shade`"):
        room(lamp={"shade": "mine:shade"})
    with pytest.raises(ValidationError, match=r"there is no shade 'mine\.py:shade'"):
        room(lamps=("mine.py:shade",))
    schema = room.model_json_schema()
    assert schema["$defs"]["Lamp"]["properties"]["shade"]["anyOf"][0]["enum"] == ["bright", "dark"]
    assert schema["properties"]["lamps"]["items"]["enum"] == ["bright", "dark", "off"]


def test_the_files_of_settings_are_those_of_the_values_they_name(shades, room):
    kind = settings_class(shades)
    dark, bright = room / "dark.py", room / "bright.py"
    assert value_files(kind()) == (dark,)
    assert value_files(kind(lamps=("bright", "off"))) == (bright, dark)
    assert value_files(kind(lamp={"shade": "mine.py:shade"}, by_name={"a": {"shade": "bright"}})) == (bright,)


def test_a_digest_covers_the_values_that_are_named_and_no_others(shades, room, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import palette\n")
    (tmp_path / "ntk_atlas").mkdir()
    dark = value_files(settings_class(shades)())

    def digests():
        return source_digest(script, room), source_digest(script, room, values=dark)

    before = digests()
    assert before[0] != before[1]
    (room / "new.py").write_text(SHADE.format(light=0.5))
    (room / "bright.py").write_text(SHADE.format(light=1.0))
    assert digests() == before
    (room / "dark.py").write_text(SHADE.format(light=0.0))
    assert (digests()[0] == before[0], digests()[1] == before[1]) == (True, False)


def test_a_registry_imports_no_torch():
    code = "import sys, ntk_atlas.registry; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout == "False\n"
