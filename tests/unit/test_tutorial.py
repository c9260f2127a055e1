"""The tutorial says what its code prints.

`python tests/unit/test_tutorial.py --write` runs docs/tutorial.md and puts what it prints, and its figures, into docs.
"""

import os
import re
import socket
import sys
import traceback
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "tutorial.md"
FIGURES = DOCS / "figures"
LARGEST_FIGURE = 100_000

# A block of code, and the block of output right below it, if there is one.
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"(?P<about>≈ )?(?P<digits>-?\d+(?:\.(?P<decimals>\d+))?(?:[eE][+-]?\d+)?)")


@dataclass(frozen=True)
class Block:
    line: int
    code: str
    output: str


def blocks_of(text):
    return [
        Block(text[: match.start()].count("\n") + 2, match["code"], match["output"] or "")
        for match in BLOCK.finditer(text)
    ]


def difference(printed, shown):
    """What tells two outputs apart beyond the tolerance that the page states; None if nothing does."""
    if NUMBER.sub("#", printed).split() != NUMBER.sub("#", shown).split():
        return "other words"
    for mine, theirs in zip(NUMBER.finditer(printed), NUMBER.finditer(shown), strict=True):
        value, expected = float(mine["digits"]), float(theirs["digits"])
        tolerance = 0.0
        if mine["about"]:
            tolerance = 0.05 * abs(expected)
        elif theirs["decimals"] and mine["decimals"] and "e" not in theirs["digits"].lower():
            tolerance = 1.001 * 10.0 ** -len(theirs["decimals"])
        if abs(value - expected) > tolerance:
            return f"{mine['digits']} is not {theirs['digits']}"
    return None


@contextmanager
def session(folder):
    """A notebook's state: its folder, default precision and random numbers, all put back after it."""
    import matplotlib.pyplot as plt

    before, dtype, backend = Path.cwd(), torch.get_default_dtype(), matplotlib.get_backend()
    os.chdir(folder)
    try:
        with torch.random.fork_rng(devices=[]), matplotlib.rc_context(matplotlib.rcParamsDefault):
            plt.switch_backend("Agg")
            yield
    finally:
        os.chdir(before)
        torch.set_default_dtype(dtype)
        plt.close("all")
        plt.switch_backend(backend)


def run(blocks, folder):
    """What each block prints, as a list; a block that fails prints its traceback and is the last."""
    namespace, outputs = {"__name__": "tutorial"}, []
    with session(folder):
        for block in blocks:
            out = StringIO()
            try:
                with redirect_stdout(out):
                    # Lines are counted as in the page.
                    exec(compile("\n" * (block.line - 1) + block.code, str(PAGE), "exec"), namespace)
            except Exception:
                outputs.append(out.getvalue() + traceback.format_exc())
                break
            outputs.append(out.getvalue())
    return outputs


BLOCKS = blocks_of(PAGE.read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(scope="module")
def outputs(folder):
    def refuse(*_):
        raise OSError("the tutorial must not need a network connection")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        return run(BLOCKS, folder)


@pytest.mark.parametrize("number", range(len(BLOCKS)), ids=lambda i: f"line{BLOCKS[i].line}")
def test_the_page_shows_what_its_code_prints(number, outputs):
    assert number < len(outputs), "not reached: a block above failed"
    found = difference(outputs[number], BLOCKS[number].output)
    assert found is None, (
        f"{found}\n--- printed\n{outputs[number]}\n--- in the page\n{BLOCKS[number].output}\n"
        "if this is right, run: python tests/unit/test_tutorial.py --write"
    )


def test_every_fence_of_the_page_is_a_block_that_is_run():
    text = PAGE.read_text()
    assert text.count("\n```python\n") == len(BLOCKS) > 20
    assert text.count("\n```") == 2 * (len(BLOCKS) + sum(bool(block.output) for block in BLOCKS))


def test_figures_are_those_the_page_draws(outputs, folder):
    linked = re.findall(r"\]\(figures/(\S+\.png)\)", PAGE.read_text())
    assert sorted(linked) == sorted(file.name for file in folder.iterdir()) != []
    for name in linked:
        committed = FIGURES / name
        assert committed.stat().st_size < LARGEST_FIGURE
        old, new = (matplotlib.image.imread(file)[..., :3] for file in (committed, folder / name))
        assert old.shape == new.shape
        # Rasterizers differ by a shade along lines; a curve elsewhere moves far more than one pixel in a hundred.
        assert np.mean(np.abs(old - new).max(-1) > 0.2) < 0.01, f"{name} is another: run this file with --write"


def test_links_lead_somewhere():
    text = BLOCK.sub("", PAGE.read_text())

    def anchors(file):
        titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        file = DOCS / path if path else PAGE
        assert file.exists(), link
        assert not anchor or anchor in anchors(file), link


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("loss 0.52", "loss 0.51"),
        ("a  b 3", "a b 3"),
        ("products ≈ 103", "products ≈ 100"),
        ("[-1.0, '2.50']", "[-1.0, '2.49']"),
        ("jitter nan", "jitter nan"),
    ],
)
def test_outputs_within_the_stated_tolerance_are_equal(printed, shown):
    assert difference(printed, shown) is None


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("loss 0.53", "loss 0.51"),
        ("shape (3, 4)", "shape (3, 5)"),
        ("products ≈ 106", "products ≈ 100"),
        ("equal: False", "equal: True"),
        ("1.0 2.0", "1.0"),
        ("jitter 1e-12", "jitter 1e-11"),
        ("something", ""),
    ],
)
def test_outputs_beyond_the_tolerance_are_told_apart(printed, shown):
    assert difference(printed, shown) is not None


def test_a_failing_block_ends_the_session_and_leaves_no_trace(tmp_path):
    text = "```python\nimport torch\ntorch.set_default_dtype(torch.float64)\nprint(1)\n```\n\n```text\n1\n```\n\n"
    blocks = blocks_of(text + "```python\nprint(2)\n1 / 0\n```\n\n```python\nprint(3)\n```\n")
    assert [(block.line, block.output) for block in blocks] == [(2, "1\n"), (12, ""), (17, "")]
    here = Path.cwd()
    first, second = run(blocks, tmp_path)
    assert first == "1\n"
    assert second.startswith("2\n") and "line 13" in second and "ZeroDivisionError" in second
    assert torch.get_default_dtype() == torch.float32 and Path.cwd() == here


def write():
    """Runs the page and writes its outputs and figures."""
    FIGURES.mkdir(exist_ok=True)
    outputs = run(BLOCKS, FIGURES)
    if len(outputs) < len(BLOCKS) or "Traceback" in outputs[-1]:
        sys.exit(outputs[-1])
    remaining = iter(outputs)

    def with_output(match):
        output = next(remaining)
        # Output without changes that matter is left alone, so that a diff shows what is new.
        if difference(output, match["output"] or "") is None:
            return match[0]
        return f"```python\n{match['code']}```\n" + (f"\n```text\n{output}```\n" if output else "")

    PAGE.write_text(BLOCK.sub(with_output, PAGE.read_text()))


if __name__ == "__main__":
    sys.exit(write() if sys.argv[1:] == ["--write"] else __doc__)
