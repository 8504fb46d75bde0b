# SPDX-License-Identifier: Apache-2.0
"""Figures of a page that a reader asks for values, hides trials in, and rescales."""

import re

import numpy as np
import pytest
import synthetic
from matplotlib.figure import Figure

from nnlab import report
from nnlab.report.figures.drawing import chart
from nnlab.results import load
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import mean_interval

pytestmark = pytest.mark.slow
RATE = "optimizer.learning_rate"
RATES = (0.02, 0.1, 0.7, 3.0)
EVIL = (
    "</script><script>document.title = 'taken'</script>",
    "<img src=x onerror=\"document.title = 'taken'\">\u2028",
    "</td></svg>-->{{7*7}}",
)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """Four rates, of which the last one learns nothing; its second seed diverges."""
    ends = np.array([0.93, 0.95, 0.97, synthetic.CHANCE])
    rise = 1 - np.exp(-np.arange(20) / 2)
    noise = np.random.default_rng(0).normal(0, 0.002, (4, 6, 20))
    values = synthetic.CHANCE + (ends - synthetic.CHANCE)[:, None, None] * rise + noise
    found = synthetic.results(
        np.clip(values, 0.05, 0.99),
        sweep=[{RATE: rate} for rate in RATES],
        diverged={(3, 1): 4},
        at_chance=[(3, seed) for seed in (0, 2, 3, 4, 5)],
        fields={"figures": ("curves", "final")},
        workdir=tmp_path_factory.mktemp("run"),
    )
    return report.write(found.workdir)


@pytest.fixture(scope="module")
def hostile_file(tmp_path_factory):
    """Trials whose names would like to be code."""
    found = synthetic.results(
        sweep=[{RATE: 0.1 * n, "label": name} for n, name in enumerate(EVIL, 1)],
        num_seeds=3,
        num_evaluations=3,
        fields={"figures": ("curves",)},
        workdir=tmp_path_factory.mktemp("evil"),
    )
    return report.write(found.workdir)


def figure_of(page, words):
    """Returns the figure whose alternative text begins so."""
    image = page.locator(f'svg[aria-label^="{words}"]')
    return page.locator("figure", has=image)


def button(figure, name):
    return figure.get_by_role("button", name=name, exact=True)


def paths(figure):
    """Returns the curves and bands that are drawn."""
    drawn = figure.locator("g[data-group] path")
    return [path.get_attribute("d") for path in drawn.all()]


def test_a_pointer_over_a_point_shows_what_the_table_has(browsed, page_file):
    with browsed(page_file) as page:
        figure = figure_of(page, "Final test accuracy")
        assert figure.locator("xpath=ancestor::div[@class='lead']").count() == 1
        point = figure.locator('g[data-group="1"] circle[r="4.5"]')
        point.hover()
        told = figure.get_by_role("status").inner_text()
        values = Findings(load(page_file.parent)).final(1, "test_accuracy")
        mean, low, high = (f"{100 * float(v):.2f} %" for v in mean_interval(values))
        assert told.splitlines() == [
            "learning rate 0.1",
            f"test accuracy: mean {mean}",
            f"95 % interval {low} to {high}",
            "n = 6",
        ]
        row = page.locator("section:has(> #comparison) tbody tr", has_text="0.1").first
        table = re.search(r"([\d.]+) ± ", row.inner_text())[1]
        digits = len(table.partition(".")[2])
        assert f"{float(mean.split()[0]):.{digits}f}" == table
        page.mouse.move(5, 5)
        assert not figure.get_by_role("status").is_visible()


def test_the_keyboard_goes_through_measured_values(browsed, page_file):
    with browsed(page_file) as page:
        figure = figure_of(page, "Validation accuracy against epochs")
        curve = load(page_file.parent).curve(0, "validation_accuracy").values
        figure.get_by_role("group", name="Values").focus()
        for epoch in (1, 2, 3):
            page.keyboard.press("ArrowRight")
            told = figure.get_by_role("status").inner_text()
            assert f"epochs {epoch}\n" in told
            mean = 100 * curve[:, epoch - 1].mean()
            assert f"mean {mean:.2f} %" in told
        page.keyboard.press("ArrowDown")
        told = figure.get_by_role("status").inner_text()
        assert "learning rate 0.1\nepochs 3\n" in told
        page.keyboard.press("Escape")
        assert not figure.get_by_role("status").is_visible()


def test_a_click_hides_a_trial_and_the_axis_fits_the_others(browsed, page_file):
    with browsed(page_file) as page:
        figure = figure_of(page, "Validation accuracy against epochs")
        whole = paths(figure)
        button(figure, "3").click()
        assert button(figure, "3").get_attribute("aria-pressed") == "false"
        assert figure.locator('g[data-group="3"]').count() == 0
        button(figure, "0.7").dblclick()
        assert {
            g.get_attribute("data-group") for g in figure.locator("g[data-group]").all()
        } == {"2"}
        alone = paths(figure)
        assert alone
        assert not {*alone} & {*whole}  # it fills the axis now
        button(figure, "Show all").click()
        assert paths(figure) == whole
        button(figure, "0.1").focus()
        page.keyboard.press("Shift+Enter")
        pressed = figure.locator('[aria-pressed="true"]:has(.swatch)')
        assert pressed.all_inner_texts() == ["0.1"]


@pytest.mark.parametrize(
    ("words", "switch", "scale"),
    [
        ("Final test accuracy", "y: log scale of the error", "error"),
        ("Final test accuracy", "x: log scale", ""),
        ("Validation loss", "y: log scale", "log scale"),
        ("Validation loss", "x: log scale", "log scale"),
    ],
)
def test_axes_are_linear_or_logarithmic(browsed, page_file, words, switch, scale):
    with browsed(page_file) as page:
        figure = figure_of(page, words)
        texts = figure.locator("svg").text_content
        before, drawn = texts(), paths(figure)
        made = button(figure, switch)
        was = made.get_attribute("aria-pressed") == "true"
        made.click()
        assert (made.get_attribute("aria-pressed") == "true") != was
        assert before.count(scale) != texts().count(scale) or not scale
        made.click()
        assert (texts(), paths(figure)) == (before, drawn)


def test_all_values_can_be_seen(browsed, page_file):
    with browsed(page_file) as page:
        figure = figure_of(page, "Validation accuracy")
        assert "\u2193 3" in figure.locator("svg").text_content()  # beyond the axis
        button(figure, "y: all values").click()
        assert "\u2193" not in figure.locator("svg").text_content()


def test_a_tap_shows_a_value_within_a_phones_screen(browsed, page_file):
    with browsed(page_file, 390, has_touch=True) as page:
        figure = figure_of(page, "Final test accuracy")
        figure.evaluate("figure => figure.scrollIntoView({ block: 'center' })")
        tip = figure.get_by_role("status")
        button(figure, "y: all values").tap()
        for group in ("0", "3"):  # at both edges
            figure.locator(f'g[data-group="{group}"] circle').last.tap(force=True)
            box = tip.bounding_box()
            assert 0 <= box["x"] <= 390 - box["width"]
            assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert "n = 5; 1 diverged, 5 at chance" in tip.inner_text()
        page.locator("h1").tap()
        assert not tip.is_visible()


def test_without_a_script_the_images_stand(browsed, page_file):
    with browsed(page_file, java_script_enabled=False) as page:
        assert (
            page.locator(".plot > svg").count() == page.locator("figure").count() == 4
        )
        assert page.locator(".plot > svg").first.is_visible()
        assert page.get_by_role("button").count() == 0
        assert '"series"' not in page.locator("main").inner_text()


def test_names_are_never_code(browsed, hostile_file):
    refused = "Content Security Policy"
    with browsed(hostile_file, expected=[refused]) as page:
        figure = figure_of(page, "Validation accuracy")
        shown = [
            text.split() for text in figure.locator(".keys button").all_inner_texts()
        ]
        names = [name.replace("\u2028", r"\u2028").split() for name in EVIL]
        assert shown[: len(EVIL)] == names
        figure.get_by_role("group", name="Values").focus()
        page.keyboard.press("ArrowRight")
        assert EVIL[0] in figure.get_by_role("status").inner_text()
        assert page.locator("img").count() == 0
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'),"
            " { textContent: 'document.title = \"taken\"' }))"
        )
        assert page.title() != "taken"


def test_a_cell_of_a_map_is_asked_for_its_interval(browsed, tmp_path):
    grid = [{RATE: r, "batch_size": b} for r in (0.1, 0.3, 1.0) for b in (8, 16)]
    options = {"num_seeds": 3, "num_evaluations": 3, "fields": {"figures": ("map",)}}
    found = synthetic.results(sweep=grid, workdir=tmp_path / "map", **options)
    with browsed(report.write(found.workdir)) as page:
        figure = page.locator("figure")
        values = Findings(found).final(5, "test_accuracy")
        mean, low, high = (100 * float(v) for v in mean_interval(values))
        number = figure.locator("svg text", has_text=f"{mean:.1f}").last
        number.hover(force=True)
        told = figure.get_by_role("status").inner_text().splitlines()
        assert told == [
            "learning rate 1 with batch size 16",
            f"test accuracy: mean {mean:.2f} %",
            f"95 % interval {low:.2f} % to {high:.2f} %",
            "n = 3",
        ]
        assert figure.get_by_role("button").count() == 0


FIGURE = """<!doctype html><html lang="en"><meta charset="utf-8"><h1 id="answer">a</h1>
<nav><ol></ol></nav><figure><div class="plot"><svg viewBox="0 0 600 300"></svg></div>
<script type="application/json">{}</script></figure>{}"""


@pytest.fixture
def shown(browsed, page_file, tmp_path):
    """Opens a page with one figure, of what is kept beside each of its Axes."""
    script = re.search("<script>.*</script>", page_file.read_text("utf-8"), re.S)[0]

    def shown(*panels):
        canvas = Figure()
        for ax, of in zip(canvas.subplots(1, len(panels), squeeze=False).flat, panels):
            vars(chart.kept(ax)).update(vars(of))
        file = tmp_path / "figure.html"
        file.write_text(FIGURE.format(chart.data_of(canvas), script), "utf-8")
        return browsed(file)

    return shown


def of_trial(name, mean, look="solid", x=None, below=0.0):
    """Returns a series whose interval ends so far below its mean."""
    mean = np.array(mean)
    x = np.arange(1.0, 1 + mean.size) if x is None else x
    called = chart.Name(name, name, n=3)
    return chart.Series(called, "#123456", look, x, mean, mean - below, mean)


def axes(scale="linear", ends=(0.0, 1.0), percent=False, x=(0.0, 4.0)):
    value = {"scale": scale, "label": "y", "percent": percent, "ends": [*ends]}
    along = {"scale": "linear", "label": "x", "percent": False, "ends": [*x]}
    return {"x": along, "y": value}


@pytest.mark.parametrize("look", ["solid", "point"])
def test_what_is_not_positive_lies_below_a_log_axis(shown, look):
    ends = [[0.5, 0.2, 0.1, 0.0], [1.0, 0.1, 0.05, 0.01]]
    if look == "point":
        ends = [[0.0], [0.3], [0.4]]
    trials = []
    for n, mean in enumerate(ends):
        x = 1.0 + n if look == "point" else None
        trials.append(of_trial(f"trial {n}", mean, look, x, below=0.3))
    with shown(chart.Kept(trials, axes("log", (0.001, 1.0)))) as page:
        figure = page.locator("figure")
        figure.locator(".keys button").nth(1).click()
        assert "NaN" not in figure.locator("svg").inner_html()
        if look == "point":
            figure.locator("circle[r='4.5']").last.hover(force=True)
            assert "trial 2" in figure.get_by_role("status").inner_text()
        else:
            assert len(paths(figure)) == 2  # the curve and its band


def test_a_scale_is_offered_only_where_all_panels_can_have_it(shown):
    curves = [of_trial("a", [0.2, 0.5, 0.8]), of_trial("b", [0.3, 0.6, 0.9])]
    accuracy, loss = axes(percent=True), axes()
    for panels, count in (((accuracy, loss), 0), ((loss, accuracy), 0), ((loss,), 1)):
        with shown(*(chart.Kept(curves, each) for each in panels)) as page:
            assert page.get_by_role("button", name="y: log scale").count() == count
            assert page.get_by_role("button", name="x: log scale").count() == 1


def test_amounts_by_which_images_are_moved_are_no_training(shown):
    curves = [of_trial(name, [0.9, 0.5, 0.2, 0.1], x=np.arange(4.0)) for name in "ab"]
    drawn = {}
    for training in (True, False):
        kept = chart.Kept(curves, axes(ends=(0.0, 1.0)), training=training)
        with shown(kept) as page:
            figure = page.locator("figure")
            scales = page.get_by_role("button", name="x: log scale")
            assert scales.count() == training
            button(figure, "a").click()
            drawn[training] = paths(figure)
    assert drawn[True] != drawn[False]  # the axis fits the first value, too


def test_a_place_is_called_by_the_nearest_name(shown):
    of = [
        of_trial(name, [0.5], "point", x, 0.6)
        for name, x in (("a", 1023.0), ("b", 1024.0))
    ]
    kept = chart.Kept(
        of, axes(percent=True, x=(1000, 1100)), ticks={1023.0: "1,023", 1024.0: "1,024"}
    )
    with shown(kept) as page:
        page.get_by_role("group", name="Values").focus()
        for text in ("1,023", "1,024"):
            page.keyboard.press("ArrowRight")
            told = page.get_by_role("status").inner_text()
            assert f"x {text}" in told
            assert "95 % interval \u221210.00 % to 50.00 %" in told


def test_unfinished_trials_are_named_and_a_second_line_is_not(shown):
    curves = [
        of_trial("whole", [0.2, 0.5, 0.8]),
        of_trial("whole", [0.3, 0.6, 0.9], "dashed"),
        of_trial("running", [0.1, 0.2], "dashed"),
    ]
    with shown(chart.Kept(curves, axes())) as page:
        texts = page.locator("figure svg text").all_text_contents()
        assert texts.count("whole") == texts.count("running") == 1


def test_the_keyboard_begins_at_the_first_value_and_needs_one(shown):
    with shown(
        chart.Kept([of_trial(n, [0.2, 0.5, 0.8]) for n in "ab"], axes())
    ) as page:
        figure = page.locator("figure")
        for name in "ab":
            button(figure, name).click()
        for keys in (("ArrowRight", "ArrowDown"), ("ArrowLeft",)):
            figure.get_by_role("group", name="Values").focus()
            for key in keys:
                page.keyboard.press(key)
            if button(figure, "Show all").is_visible():
                assert not figure.get_by_role("status").is_visible()
                button(figure, "Show all").click()
        assert "x 1\n" in figure.get_by_role("status").inner_text()
