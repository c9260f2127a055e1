"""How soon the page of a large study is there, how fast its slider moves, and how many bytes it has, in Chromium.

python benchmarks/page.py [--moves 20] [--libraries]

Ten thousand cells with everything that a page can hold: regimes, errors of five predictors, curves along training and
spectra. *sizes* has ten values of each axis, *one size* a map of 25 × 50 cells at eight init scales; cells that are
behind a slider are not drawn. First paint is from the start of loading the file to the first frame with the map; a move
is from the slider's event to the end of the next frame. `--libraries` draws the same six charts by Bokeh and by Plotly.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import machine

from ntk_atlas.config import FigureSettings
from ntk_atlas.page import experiment_contents, library_scripts, page_of, study_contents
from tests.synthetic_page import planted_files

FIRST_PAINT, MOVE, MEGABYTES = 1000.0, 100.0, 30.0
"""Bars: milliseconds, milliseconds, MB beyond the library."""
GRIDS = {
    "sizes": {
        "depth": range(1, 11), "width": [2**k for k in range(3, 13)], "init_scale": np.linspace(1, 3, 10),
        "n_train": [2**k for k in range(3, 13)],
    },
    "one size": {
        "depth": range(1, 26), "width": [8 * k for k in range(1, 51)], "init_scale": np.linspace(1, 3, 8),
        "n_train": [64],
    },
}  # fmt: skip
EVERYTHING = {
    "draws": 2, "seeds": 1, "n_probe": 24, "predictors": ("network", "ntk_init", "ntk_final", "infinite_ntk", "rbf"),
}  # fmt: skip
_FRAME = "() => new Promise(done => requestAnimationFrame(() => setTimeout(() => done(performance.now()))))"
_MOVE = """([id, step]) => new Promise(done => {
  const slider = document.getElementById(id), start = performance.now();
  slider.value = step;
  slider.dispatchEvent(new Event("input"));
  requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
})"""


def written(folder: Path, name: str) -> tuple[Path, float]:
    """The page of a grid, and its megabytes beyond the library."""
    files = planted_files(np.random.default_rng(0), **GRIDS[name], **EVERYTHING)
    style = FigureSettings()
    page = page_of(study_contents(name, [experiment_contents(name, *files, style=style)], None, style=style))
    file = folder / f"{name}.html"
    file.write_text(page, encoding="utf-8")
    return file, (len(page.encode()) - sum(len(script.encode()) for script in library_scripts())) / 1e6


def first_paint(browser: Browser, file: Path, repeats: int = 5) -> list[float]:
    """Milliseconds from the start of loading to the first frame that has the map."""
    found = []
    for _ in range(repeats):
        page = browser.new_page()
        page.goto(file.as_uri(), wait_until="commit")
        page.locator(".cell").first.wait_for()
        page.evaluate(_FRAME)
        marks = page.evaluate(
            "[performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0, "
            "performance.getEntriesByName('atlas-drawn')[0].startTime]"
        )
        found.append(max(marks))
        page.close()
    return found


def moves(browser: Browser, file: Path, slider: str, repeats: int) -> list[float]:
    """Milliseconds of each move of a slider, to the end of the frame that shows it."""
    page = browser.new_page()
    page.goto(file.as_uri())
    page.locator(".cell").first.wait_for()
    if slider == "axis-epoch":
        page.select_option("#colour", "kernel_drift")
    last = int(page.get_attribute(f"#{slider}", "max"))
    found = [page.evaluate(_MOVE, [slider, step % (last + 1)]) for step in range(repeats + 1)][1:]
    page.close()
    return found


def chromium(driver: object) -> Browser:
    """The system's browser."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    return driver.chromium.launch(executable_path=found, args=["--no-sandbox"])


def measure_pages(repeats: int) -> bool:
    """Prints a line a grid; whether all bars are held."""
    held = True
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = chromium(driver)
        for name, slider in (("sizes", "axis-n_train"), ("one size", "axis-epoch")):
            file, size = written(Path(folder), name)
            paint, move = first_paint(browser, file), moves(browser, file, slider, repeats)
            held &= statistics.median(paint) <= FIRST_PAINT and statistics.median(move) <= MOVE and size <= MEGABYTES
            print(
                f"{name}: {size:.1f} MB beyond the library; map there after {statistics.median(paint):.0f} ms "
                f"(at most {max(paint):.0f}); a move {statistics.median(move):.0f} ms (at most {max(move):.0f})"
            )
    return held


CHARTS = """
const X = [32, 64, 128, 256, 512, 1024], COLOURS = ["#000", "#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc"];
const wave = (seed, k, s) => Math.exp(-0.4 * k - 0.1 * s + 0.05 * Math.sin(seed + k * s));
const curves = seed => COLOURS.map((_, s) => X.map((_, k) => wave(seed, k, s)));
const frame = () => new Promise(done => requestAnimationFrame(() => setTimeout(done)));
function host() {
  const made = document.createElement("div");
  made.style.cssText = "width:380px;height:225px";
  document.body.append(made);
  return made;
}
"""
DRAW = {
    "bokeh": """window.draw = async () => {
      const start = performance.now(), sources = [], f = field => ({field});
      const look = {
        height: 225, width: 380, x_axis_type: "log", y_axis_type: "log", tools: "hover", toolbar_location: null,
        output_backend: "svg",
      };
      const points = i => ({x: COLOURS.flatMap(() => X), y: curves(i).flat(), c: COLOURS.flatMap(c => X.map(() => c))});
      for (let i = 0; i < 6; i++) {
        const plot = Bokeh.Plotting.figure(look);
        const lines = new Bokeh.ColumnDataSource({data: {xs: COLOURS.map(() => X), ys: curves(i), c: COLOURS}});
        const dots = new Bokeh.ColumnDataSource({data: points(i)});
        plot.multi_line(f("xs"), f("ys"), {source: lines, line_color: f("c")});
        plot.scatter(f("x"), f("y"), {source: dots, color: f("c")});
        sources.push([lines, dots]);
        await Bokeh.Plotting.show(plot, host());
      }
      await frame();
      const drawn = performance.now();
      sources.forEach(([lines, dots], i) => {
        lines.data = {...lines.data, ys: curves(i + 9)};
        dots.data = points(i + 9);
      });
      await frame();
      return [drawn - start, performance.now() - drawn];
    }""",
    "plotly": """window.draw = async () => {
      const start = performance.now(), hosts = [0, 1, 2, 3, 4, 5].map(host);
      const traces = i => curves(i).map((y, s) => ({x: X, y, mode: "lines+markers", line: {color: COLOURS[s]}}));
      const axis = {type: "log"}, margin = {t: 9, r: 9, l: 40, b: 30};
      const layout = {xaxis: axis, yaxis: axis, showlegend: false, margin}, bare = {displayModeBar: false};
      for (let i = 0; i < 6; i++) await Plotly.newPlot(hosts[i], traces(i), layout, bare);
      await frame();
      const drawn = performance.now();
      for (let i = 0; i < 6; i++) await Plotly.react(hosts[i], traces(i + 9), layout, bare);
      await frame();
      return [drawn - start, performance.now() - drawn];
    }""",
}
_RUN = """script => {
  const start = performance.now(), made = document.createElement("script");
  made.textContent = script;
  document.head.append(made);
  return performance.now() - start;
}"""


def measure_libraries(repeats: int = 3) -> None:
    """Prints what the same six charts take by each library."""
    scripts = {"bokeh": "\n;\n".join(library_scripts())}
    if (found := find_spec("plotly")) is None:
        print("plotly is not installed: pip install --no-deps plotly")
    else:
        file = Path(found.submodule_search_locations[0], "package_data", "plotly.min.js")
        scripts["plotly"] = file.read_text(encoding="utf-8")
    with sync_playwright() as driver:
        browser = chromium(driver)
        for name, script in scripts.items():
            taken = []
            for _ in range(repeats):
                page = browser.new_page()
                page.set_content("<body></body>")
                started = page.evaluate(_RUN, script)
                page.evaluate(_RUN, CHARTS + DRAW[name])
                taken.append([started, *page.evaluate("draw()")])
                page.close()
            start, drawn, again = (statistics.median(column) for column in zip(*taken, strict=True))
            words = f"script {start:.0f} ms, six charts {drawn:.0f} ms, new data {again:.0f} ms"
            print(f"{name}: {len(script) / 1e6:.1f} MB; {words}")


def main() -> None:
    """Measures, and exits with 1 if a bar is not held."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=20, help="moves of the slider")
    parser.add_argument("--libraries", action="store_true", help="the libraries that could draw curves, side by side")
    asked = parser.parse_args()
    here = machine()
    print(f"on {here['cores']} cores of {here['cpu']}")
    if asked.libraries:
        measure_libraries()
    elif not measure_pages(asked.moves):
        sys.exit("a bar is not held")


if __name__ == "__main__":
    main()
