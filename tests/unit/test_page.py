"""The page of a study in a browser: its numbers are the cube's, it answers to mouse, keys and links, and is alone."""

import csv
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.stats
import xarray as xr
import yaml

from ntk_atlas.config import FigureSettings
from ntk_atlas.page import MOST_CELLS, experiment_contents, library_scripts, page_of, study_contents
from ntk_atlas.study import read_study
from tests.browser import chromium
from tests.synthetic_page import CELL, SENTENCES, planted_claims, planted_files, settings_of

STYLE = FigureSettings()
in_browser = pytest.mark.slow
NUMBER = r"(−?∞|−?[\d.]+(?:e−?\d+)?)"


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Files of a planted experiment and of one that lacks most, and their page."""
    folder = tmp_path_factory.mktemp("page")
    cube, regimes, laws = planted_files(np.random.default_rng(3))
    bare = planted_files(
        np.random.default_rng(4), depth=(2,), width=(32,), init_scale=(2.0,), n_train=(64,), draws=1,
        predictors=("network", "ntk_init"),
    )[0]  # fmt: skip
    own = settings_of(bare, factory="my_net.py:build")
    bare.attrs["config"] = own.model_dump_json()
    for name, dataset in {"cube": cube, "regimes": regimes}.items():
        dataset.to_netcdf(folder / f"{name}.nc")
    parts = [
        experiment_contents("planted", cube, regimes, laws, style=STYLE, folder=str(folder)),
        experiment_contents("bare", bare, style=STYLE),
    ]
    file = folder / "atlas.html"
    file.write_text(page_of(study_contents("tests", parts, planted_claims(), style=STYLE)), encoding="utf-8")
    return file, cube, regimes, laws


@pytest.fixture
def opened(browser, study):
    """A function that opens the page; in the end nothing was asked of any server, and nothing went wrong."""
    contexts, asked, wrong = [], [], []

    def open_page(link="", **options):
        options = {"viewport": {"width": 1360, "height": 900}} | options
        context = browser.new_context(accept_downloads=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.goto(study[0].as_uri() + (f"#{link}" if link else ""))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def drawn(page, where="#card"):
    page.locator(f"{where} .charts[data-drawn=yes]").wait_for()


def numbers(text):
    return [float(found.replace("−", "-").replace("∞", "inf")) for found in re.findall(NUMBER, text)]


def rounded(*values):
    return [float(f"{value:.3g}") for value in values]


def over_draws(values, *, logarithmic):
    """Mean and 95 % t interval over draws of the mean over seeds, by scipy."""
    found = np.log(values.values) if logarithmic else values.values
    by_draw = found.mean(values.dims.index("seed")) if "seed" in values.dims else found
    half = scipy.stats.t.ppf(0.975, by_draw.size - 1) * by_draw.std(ddof=1) / by_draw.size**0.5
    ends = np.array([by_draw.mean(), by_draw.mean() - half, by_draw.mean() + half])
    return rounded(*(np.exp(ends) if logarithmic else ends))


def link(place):
    return f"n_train={place['n_train']}&cell={place['depth']}_{place['width']}_{place['init_scale']:g}"


PLACES = (
    {"depth": 1, "width": 16, "init_scale": 1.0, "n_train": 32},
    {"depth": 3, "width": 256, "init_scale": 2.0, "n_train": 128},
)


@pytest.mark.parametrize("place", PLACES)
@in_browser
def test_every_number_on_a_card_is_the_cubes(opened, study, place):
    _, cube, regimes, laws = study
    page = opened(link(place))
    drawn(page)
    shown = page.eval_on_selector_all(
        "#card [data-layer]", "all => all.map(one => [one.dataset.layer, one.textContent])"
    )
    assert len(shown) == 15
    for layer, text in shown:
        if layer in regimes:
            cell = regimes.sel(place)
            ends = [float(cell[f"{layer}{end}"]) for end in ("", "_low", "_high") if f"{layer}{end}" in cell]
            assert numbers(text) == rounded(*ends), layer
        else:
            values = cube[layer].sel({dim: at for dim, at in place.items() if dim in cube[layer].dims})
            values = values.sel(ridge="zero") if "ridge" in values.dims else values
            logarithmic = layer.startswith("test_mse")
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                continue
            wanted = over_draws(values, logarithmic=logarithmic)
            assert numbers(text) == (wanted if wanted[1] != wanted[2] or len(numbers(text)) == 3 else wanted[:1]), layer
    exponents = page.eval_on_selector_all(
        "#card [data-exponent]", "all => all.map(o => [o.dataset.exponent, o.textContent])"
    )
    for predictor, text in exponents:
        law = laws.sel({dim: place[dim] for dim in CELL if dim != "n_train"} | {"predictor": predictor})
        assert numbers(text) == rounded(*(float(law[f"exponent{end}"]) for end in ("", "_low", "_high")))
    assert {name for name, _ in exponents} == {"network", "ntk_init", "infinite_ntk", "rbf"}
    status = page.locator("#card [data-counts=status]").text_content()
    assert status == f"Networks: {cube.sizes['draw'] * cube.sizes['seed']} converged" or "missing" in status


@in_browser
def test_curves_are_the_cubes(opened, study):
    _, cube, *_ = study
    place = PLACES[1]
    page = opened(link(place))
    drawn(page)
    curves = page.evaluate(
        "[...document.querySelectorAll('#card .chart')].map(c => [c.dataset.chart, c.spec.series.map("
        "s => [s.label, [...s.x], [...s.y], s.low ? [...s.low] : []])])"
    )
    found = {chart: series for chart, series in curves}
    assert list(found) == ["test_mse", "test_error", "training", "kernel_drift", "kernel_alignment", "spectrum"]
    cell = {dim: place[dim] for dim in ("depth", "width", "init_scale")}
    label, x, y, low = found["test_mse"][0]
    errors = cube["test_mse_network"].sel(cell)
    assert (label, x) == ("network", cube["n_train"].values.tolist())
    assert y == pytest.approx(np.exp(np.log(errors).mean(["draw", "seed"])).values)
    assert all(a < b for a, b in zip(low, y, strict=True))
    drift = cube["kernel_drift"].sel(place).isel(epoch=slice(1, None))  # at epoch 0 it is 0
    assert found["kernel_drift"][0][2][1:] == pytest.approx(
        np.exp(np.log(drift).mean(["draw", "seed"])).values, rel=1e-6
    )
    spectrum = np.exp(np.log(cube["kernel_spectrum"].sel(place).astype(float)).mean(["draw", "seed"])).sel(epoch=300)
    assert found["spectrum"][-1][2] == pytest.approx(spectrum.values[np.array(found["spectrum"][-1][1]) - 1], rel=1e-5)
    points = page.evaluate("document.querySelector('[data-chart=test_mse] .plot').made.sources.points.data.y")
    assert 10.0 ** np.array(list(points)[:3]) == pytest.approx(y)


@in_browser
def test_only_cells_of_the_chosen_size_are_drawn_and_a_slider_moves_them(opened, study):
    _, cube, regimes, _ = study
    page = opened()
    assert (
        page.locator("h1").first.text_content()
        == "NTK theory holds in 3 of 12 cells (planted), in 1 of them already with the infinite NTK."
    )
    assert [li.text_content() for li in page.locator("#more li").all()] == list(SENTENCES[3:])
    assert page.locator(".cell").count() == 2 * 3 * 2  # of 36 cells, those of one n_train
    assert page.locator(".panel").count() == 2

    def words():
        return page.eval_on_selector_all(".cell", "all => all.map(one => one.getAttribute('aria-label'))")

    page.select_option("#colour", "distance_infinite_ntk")
    for step, n in ((None, 512), ("ArrowLeft", 128), ("Home", 32)):
        if step:
            page.locator("#axis-n_train").press(step)
        at = regimes.sel(n_train=n)
        for text in words():
            depth, width, scale = (float(v) for v in re.match(r"depth (\d+), width (\d+), σ_w² = (\d+)", text).groups())
            cell = at.sel(depth=depth, width=width, init_scale=scale)
            ends = [float(cell[f"distance_infinite_ntk{end}"]) for end in ("", "_low", "_high")]
            assert numbers(text.split(": ")[1]) == rounded(*ends)
            assert f"n = {n}" in text
    assert "n_train=32" in page.evaluate("location.hash")
    page.select_option("#colour", "kernel_drift")
    page.locator("#axis-epoch").press("Home")
    page.locator("#axis-epoch").press("ArrowRight")
    assert "epoch=1" in page.evaluate("location.hash")
    first = cube["kernel_drift"].sel(depth=3, width=16, init_scale=1.0, n_train=32, epoch=1)
    assert numbers(words()[0].split(": ")[1])[0] == over_draws(first, logarithmic=True)[0]
    fronts = page.eval_on_selector_all(".front", "all => all.map(one => Number(one.dataset.value))")
    assert sorted(fronts) == pytest.approx(sorted(regimes["frontier_infinite_ntk"].sel(depth=1, n_train=32).values))


@in_browser
def test_a_link_brings_the_view_back_and_keys_do_what_the_mouse_does(opened):
    page = opened()
    page.locator(".cell").nth(4).click()
    drawn(page)
    page.locator(".cell").nth(2).click(modifiers=["Shift"])
    page.locator("#axis-n_train").press("ArrowLeft")
    drawn(page)
    drawn(page, "#compare")
    view = page.evaluate("location.hash")
    title, place = (page.locator(f"#card {name}").first.text_content() for name in ("h2", ".place"))
    again = opened(view[1:])
    drawn(again)
    assert again.evaluate("location.hash") == view
    assert again.locator("#card h2").text_content() == title
    assert again.locator("#card .place").first.text_content() == place
    assert again.locator(".cell.chosen").count() == 1

    keyed = opened()
    keyed.locator(".cell[tabindex='0']").focus()
    for key in ("ArrowRight", "ArrowDown", "Enter"):
        keyed.keyboard.press(key)
    drawn(keyed)
    assert keyed.locator("#card .place").first.text_content().startswith("depth 1, width 64, σ_w² = 1")
    keyed.keyboard.press(" ")
    keyed.keyboard.press("ArrowRight")
    keyed.keyboard.press("ArrowRight")  # into the next panel
    keyed.keyboard.press(" ")
    drawn(keyed, "#compare")
    assert keyed.locator(".cell.chosen").count() == 2
    keyed.keyboard.press("Escape")
    assert keyed.locator(".cell.chosen").count() == 0
    keyed.locator("#tab-map").focus()
    keyed.keyboard.press("ArrowRight")
    assert keyed.locator("#part-claims").is_visible()
    assert not keyed.locator("#part-map").is_visible()


@in_browser
def test_a_brush_compares_the_cells_it_went_over(opened, study):
    _, cube, *_ = study
    page = opened("n_train=128")
    first, last = (page.locator(".panel").first.locator(".cell").nth(i).bounding_box() for i in (0, 4))
    page.mouse.move(first["x"] + 9, first["y"] + 9)
    page.mouse.down()
    page.mouse.move(last["x"] + 9, last["y"] + 9, steps=8)
    page.mouse.up()
    drawn(page, "#compare")
    assert page.locator(".cell.chosen").count() == 4
    assert page.locator("#card .card-head").count() == 0  # it opened no card
    series = page.evaluate(
        "document.querySelector('[data-chart=compare-test_mse]').spec.series.map(s => [s.label, [...s.y]])"
    )
    assert len(series) == 4
    for label, y in series:
        depth, width, scale = (float(v) for v in re.match(r"depth (\d+), width (\d+), σ_w² = (\d+)", label).groups())
        errors = cube["test_mse_network"].sel(depth=depth, width=width, init_scale=scale)
        assert y == pytest.approx(np.exp(np.log(errors).mean(["draw", "seed"])).values)


@in_browser
def test_files_and_code_are_what_is_shown(opened, study, tmp_path):
    regimes = study[2]
    place = PLACES[1]
    page = opened(link(place) + "&colour=distance_own_ntk")
    drawn(page)

    def saved(button):
        with page.expect_download() as download:
            page.click(f"[data-do={button}]")
        file = tmp_path / download.value.suggested_filename
        download.value.save_as(file)
        return file.read_text()

    rows = list(csv.DictReader(io.StringIO(saved("map-csv"))))
    assert len(rows) == 12
    for row in rows:
        cell = regimes.sel({dim: float(row[dim]) for dim in CELL})
        for column, name in {"distance_own_ntk": "", "low": "_low", "high": "_high"}.items():
            assert float(row[column]) == float(cell[f"distance_own_ntk{name}"])
    curves = list(csv.DictReader(io.StringIO(saved("card-csv"))))
    assert {row["chart"] for row in curves} >= {"test_mse", "kernel_drift", "spectrum"}
    for button, texts in {"map-svg": ("width", "σ_w² = 2"), "card-svg": ("Learning curve", "infinite NTK")}.items():
        drawing = ElementTree.fromstring(saved(button))
        said = " ".join(drawing.itertext())
        assert drawing.tag.endswith("svg") and all(text in said for text in texts), said
        assert "var(--" not in ElementTree.tostring(drawing, encoding="unicode")
    for button, at in {"map-code": {"n_train": place["n_train"]}, "card-code": place}.items():
        page.click(f"[data-do={button}]")
        scope = {}
        exec(page.evaluate("atlas.copied"), scope)
        xr.testing.assert_allclose(
            scope["value"].drop_vars(["phase"], errors="ignore"), regimes["distance_own_ntk"].sel(at)
        )
    page.select_option("#colour", "test_mse_infinite_ntk")
    page.click("[data-do=card-code]")
    scope = {}
    exec(page.evaluate("atlas.copied"), scope)
    shown = page.locator("#card [data-layer=test_mse_infinite_ntk]").text_content()
    assert rounded(scope["value"]) == numbers(shown)[:1]


@in_browser
def test_the_config_of_a_card_is_that_cell_alone(opened, study, tmp_path):
    _, cube, *_ = study
    place = PLACES[0]
    page = opened(link(place))
    drawn(page)
    page.click("[data-do=card-config]")
    file = tmp_path / "cell.yaml"
    file.write_text(page.evaluate("atlas.copied"))
    assert [name for name in yaml.safe_load(file.read_text())["experiments"]] == ["planted_depth1_width16_scale1_n32"]
    again = read_study([file]).experiments["planted_depth1_width16_scale1_n32"]
    wanted = settings_of(cube.sel({dim: [at] for dim, at in place.items()}))
    assert again == wanted


@in_browser
def test_claims_are_number_lines_with_their_reasons(opened):
    page = opened("tab=claims")
    claims = planted_claims()
    assert page.locator("#part-claims h1").text_content() == "1 supported, 1 not supported, 1 inconclusive, 1 not run"
    for row in claims.itertuples():
        shown = page.locator(f"[data-claim={row.claim}]")
        assert row.verdict.capitalize() in shown.text_content() and row.reason in shown.text_content()
        if np.isnan(row.value):
            assert shown.locator("svg").count() == 0
            continue
        assert numbers(shown.locator(".number").text_content())[:3] == rounded(row.value, row.low, row.high)
        assert shown.locator(".threshold").count() == np.isfinite([row.lower, row.upper]).sum()
        assert shown.locator(".region").count() == (2 if row.outside else 1)
        assert page.locator(f"[data-claim={row.claim}] .interval").count() == 1


@in_browser
def test_an_experiment_that_lacks_most_says_which_keys_add_it(opened):
    page = opened("experiment=bare")
    said = page.locator("#missing").text_content()
    for key in (
        "ntk_init or infinite_ntk in regression.predictors",
        "linearized",
        "no infinite kernel",
        "grid.width",
        "grid.n_train",
        "grid.draws",
    ):
        assert key in said
    assert page.locator(".cell").count() == 1
    page.locator(".cell").click()
    drawn(page)
    assert page.locator("#card [data-layer=test_mse_network]").text_content() != "–"
    page.locator("#tab-experiments").click()
    page.locator("#part-experiments button", has_text="planted").click()
    assert page.locator(".cell").count() == 12


@in_browser
def test_dark_and_phone_wide(opened):
    dark = opened(link(PLACES[0]), color_scheme="dark")
    drawn(dark)
    paper, ink = (dark.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    assert max(numbers(paper)) < 60 and min(numbers(ink)) > 180
    phone = opened(link(PLACES[0]), viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    drawn(phone)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    phone.locator("#tab-claims").tap()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_page_without_regimes_or_claims_is_small_and_says_so():
    cube = planted_files(np.random.default_rng(5), draws=1)[0]
    contents = study_contents("plain", [experiment_contents("one", cube, style=STYLE)], None, style=STYLE)
    page = page_of(contents)
    data = re.search(r'id="contents">(.*?)</script>', page, re.S).group(1)
    assert len(data) < 1_000_000 and not contents["judges"]
    assert "http://" not in data and "{{" not in page.split('class="library"')[0]


def test_large_grids_are_thinned_and_say_so():
    sizes = {"depth": range(1, 13), "width": range(8, 38), "init_scale": [1.0, 2.0], "n_train": range(8, 24)}
    cube = planted_files(
        np.random.default_rng(6), **sizes, draws=1, seeds=1, epoch=(0, 1, 2), n_probe=2, predictors=("network",)
    )[0]
    contents = experiment_contents("large", cube, style=STYLE)
    assert cube["status"].size > MOST_CELLS
    kept = np.prod([len(contents["axes"][dim]["values"]) for dim in CELL])
    assert MOST_CELLS / 3 < kept <= MOST_CELLS
    assert contents["axes"]["width"]["values"][::14] == [8, 37]
    assert "15 of 30 widths" in contents["notices"][-1]
    layer = contents["layers"]["kernel_drift"]
    assert layer["value"].shape[:4] == tuple(len(contents["axes"][dim]["values"]) for dim in CELL)


@pytest.mark.slow
def test_ten_thousand_cells_are_a_page_of_less_than_thirty_megabytes():
    axes = [2**k for k in range(3, 13)]
    grid = {"depth": range(1, 11), "width": axes, "init_scale": np.linspace(1.0, 3.0, 10), "n_train": axes}
    predictors = ("network", "ntk_init", "ntk_final", "infinite_ntk", "rbf")
    files = planted_files(np.random.default_rng(8), **grid, draws=2, seeds=1, predictors=predictors)
    contents = experiment_contents("large", *files, style=STYLE)
    assert np.prod([len(contents["axes"][dim]["values"]) for dim in CELL]) == MOST_CELLS
    page = page_of(study_contents("large", [contents], None, style=STYLE))
    assert len(page.encode()) - sum(len(script.encode()) for script in library_scripts()) < 30e6
