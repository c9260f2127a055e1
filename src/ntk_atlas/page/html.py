"""The page as one file of HTML: template, style and script of this folder, the library's script, data as base64."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

_HERE = Path(__file__).parent
LIBRARY = ("bokeh.min.js", "bokeh-api.min.js")
"""Scripts of the Bokeh wheel that draw curves; the map is drawn without them."""
_TYPES = {"float64": "f8", "float32": "f4", "int8": "i1", "int32": "i4"}


def encoded(value: Any) -> Any:
    """Contents as JSON can have them: arrays as base64 of their little-endian bytes, numbers that are none as null.

    Args:
        value: plain values, mappings, sequences and NumPy arrays of float64, float32, int8 or int32.

    Returns:
        The same of plain values alone; an array is `{"type", "shape", "data"}`.
    """
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        code = _TYPES[array.dtype.name]
        data = base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()
        return {"type": code, "shape": list(array.shape), "data": data}
    if isinstance(value, Mapping):
        return {str(key): encoded(inner) for key, inner in value.items()}
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return [encoded(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def library_scripts() -> list[str]:
    """The library's scripts, read from where its wheel put them; nothing of it is imported.

    Raises:
        ModuleNotFoundError: if Bokeh is not installed.
    """
    found = find_spec("bokeh")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("the page's curves are drawn by Bokeh, which is not installed: pip install bokeh")
    folder = Path(found.submodule_search_locations[0], "server", "static", "js")
    return [(folder / name).read_text(encoding="utf-8") for name in LIBRARY]


def page_of(contents: Mapping[str, Any]) -> str:
    """The page, whole: it asks for nothing else.

    Args:
        contents: what `study_contents` gives.

    Returns:
        HTML.
    """
    data = json.dumps(encoded(contents), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    parts = {
        "STUDY": str(contents["study"]).replace("&", "&amp;").replace("<", "&lt;"),
        "STYLE": (_HERE / "atlas.css").read_text(encoding="utf-8"),
        "SCRIPT": _inline((_HERE / "atlas.js").read_text(encoding="utf-8")),
        "DATA": data.replace("<", "\\u003c"),
        # Not run before curves are asked for: the map does not wait for it.
        "LIBRARY": "\n".join(
            f'<script type="text/plain" class="library">{_inline(script)}</script>' for script in library_scripts()
        ),
    }
    page = (_HERE / "atlas.html").read_text(encoding="utf-8")
    before, *rest = page.split("{{")
    pieces = [before]
    for piece in rest:
        name, _, after = piece.partition("}}")
        pieces += [parts[name], after]
    return "".join(pieces)


def _inline(script: str) -> str:
    """Text that does not end the element it stands in."""
    return script.replace("</", "<\\/").replace("<!--", "<\\!--")
