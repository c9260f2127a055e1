"""Results as text: the same cells for the terminal and for the page."""

from collections.abc import Sequence

from bars import AT_LEAST

HEADER = ("row", "what", "against", "ours", "theirs", "measured", "hold", "stretch", "verdict", "differ by")
SWEEP_HEADER = ("axis", "value", "seconds", "floor", "share of sgemm")
AXES = {"n": "samples", "width": "width", "depth": "hidden layers", "n_outputs": "outputs (trace)"}
"""Axes of the sweep in words."""


def verdict(result: dict) -> str:
    """Returns which bars a result meets: `stretch`, `hold` or `BELOW HOLD`; skipped and failed ones say so."""
    if result["outcome"] != "measured":
        return result["outcome"].upper()
    if result["quick"]:
        return "(quick)"
    larger_is_better = AT_LEAST[result["quantity"]]

    def meets(bar: float) -> bool:
        return result["value"] >= bar if larger_is_better else result["value"] <= bar

    return "stretch" if meets(result["stretch"]) else "hold" if meets(result["hold"]) else "BELOW HOLD"


def quantity(kind: str, value: float) -> str:
    """Returns a measured value or a bar in its unit."""
    if kind == "efficiency":
        return f"{100 * value:.0f} %"
    if kind == "memory":
        return f"{value:.0f} MB"
    return f"{value:.3g}×"


def _bar(kind: str, value: float) -> str:
    return ("≥ " if AT_LEAST[kind] else "≤ ") + quantity(kind, value)


def _side(result: dict, key: str) -> str:
    """Returns seconds, with the clock where it is not the wall's, or MB of one side."""
    if key not in result:
        return "–"
    best = result[key]["best"]
    if result["quantity"].startswith("memory"):
        return f"{best / 2**20:.0f} MB"
    text = f"{best:.3g} s" if best >= 0.1 else f"{1e3 * best:.3g} ms"
    return text + (" CPU" if result["clock"] == "cpu" else "")


def cells(result: dict) -> tuple[str, ...]:
    """Returns the cells of one result, in the order of `HEADER`."""
    kind, measured = result["quantity"], result["outcome"] == "measured"
    difference = result.get("difference")
    return (
        str(result["row"]),
        result["title"],
        result["rival"],
        _side(result, "ours"),
        _side(result, "theirs"),
        quantity(kind, result["value"]) if measured else "–",
        _bar(kind, result["hold"]),
        _bar(kind, result["stretch"]),
        verdict(result),
        "–" if difference is None else f"{difference:.0e}",
    )


def sweep_cells(point: dict) -> tuple[str, ...]:
    """Returns the cells of one point of the sweep, in the order of `SWEEP_HEADER`."""
    share = point["floor"] / point["seconds"]
    seconds = (f"{point[name]:.3g}" for name in ("seconds", "floor"))
    return (AXES[point["axis"]], str(point["value"]), *seconds, f"{100 * share:.0f} %")


def terminal_line(row: Sequence[str], widths: Sequence[int]) -> str:
    """Returns cells padded to `widths`."""
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
