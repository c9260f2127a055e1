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
_FIRST_BYTES = 500_000
"""Arrays that stand before the script, which draws the first map from them; the order is that of the contents."""
_TYPES = {"float64": "f8", "float32": "f4", "int8": "i1", "int32": "i4"}


def encoded(value: Any, blocks: list[str]) -> Any:
    """Contents as JSON can have them, numbers that are none as null; arrays stand apart.

    Args:
        value: plain values, mappings, sequences and NumPy arrays of float64, float32, int8 or int32.
        blocks: gets the base64 of each array's little-endian bytes.

    Returns:
        The same of plain values alone; an array is `{"type", "shape", "block"}`, the place of its bytes in `blocks`.
    """
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        code = _TYPES[array.dtype.name]
        blocks.append(base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode())
        return {"type": code, "shape": list(array.shape), "block": len(blocks) - 1}
    if isinstance(value, Mapping):
        return {str(key): encoded(inner, blocks) for key, inner in value.items()}
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return [encoded(inner, blocks) for inner in value]
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
    blocks: list[str] = []
    data = json.dumps(encoded(contents, blocks), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    elements = [f'<script type="text/plain" id="block-{i}">{block}</script>' for i, block in enumerate(blocks)]
    first = int(np.searchsorted(np.cumsum([len(block) for block in blocks]), _FIRST_BYTES)) + 1
    parts = {
        "STUDY": str(contents["study"]).replace("&", "&amp;").replace("<", "&lt;"),
        "STYLE": (_HERE / "atlas.css").read_text(encoding="utf-8"),
        "SCRIPT": _inline((_HERE / "atlas.js").read_text(encoding="utf-8")),
        "DATA": data.replace("<", "\\u003c"),
        # The first map is drawn while the rest of the file is still being read.
        "FIRST": "\n".join(elements[:first]),
        "OTHERS": "\n".join(elements[first:]),
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
