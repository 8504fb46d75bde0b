# SPDX-License-Identifier: Apache-2.0
"""The page of a report in a browser: it sorts, fits, prints, and reports no error."""

import html
import itertools
import re

import pytest
import synthetic

from nnlab import report
from nnlab.report import copies
from nnlab.statistics.findings import Findings
from nnlab.study import Claim, Quantity
from nnlab.words.numbers import NONE

pytestmark = pytest.mark.slow
RATE = "optimizer.learning_rate"
RATES = (0.02, 10.0, 0.7, 3.0)
NOTHING = ("", NONE, "\u2014", "not reached")
# The contrast of every text with its background, as WCAG 2 computes it; without
# figures, whose colours are inverted.
CONTRASTS = """() => {
  const rgb = (c) => c.match(/[\\d.]+/g).map(Number);
  const level = (c) => {
    const [r, g, b] = rgb(c).map((v) => {
      v /= 255;
      return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (e) => {
    const color = getComputedStyle(e).backgroundColor;
    return (rgb(color)[3] ?? 1) === 1 || !e.parentElement
      ? color : behind(e.parentElement);
  };
  const texts = [...document.querySelectorAll("body *")].filter(
    (e) => !e.closest("svg, script")
      && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()));
  return texts.map((e) => {
    const [a, b] = [getComputedStyle(e).color, behind(e)].map(level);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return [ratio, e.textContent.slice(0, 40)];
  });
}"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """A report with claims, many sections, and a trial without surviving networks."""
    claim = Claim(
        text="A rate that is far too high, in a claim of so many words, learns nothing",
        quantity=Quantity(metric="test_accuracy"),
        left={RATE: 0.7},
        right={RATE: 0.02},
    )
    found = synthetic.results(
        sweep=[{RATE: rate} for rate in RATES],
        claims=[claim],
        diverged={(3, seed): 2 for seed in range(8)},
        fields={"figures": ("curves", "gap", "final", "target", "costs")},
        seconds={0: [0.1] * 3},
        workdir=tmp_path_factory.mktemp("run"),
    )
    return report.write(found.workdir)


@pytest.fixture
def opened(browsed, page_file):
    """Opens the page, or another file's; at its end the console must be empty."""
    return lambda width=1280, scheme="light", file=page_file, **options: browsed(
        file, width, scheme, **options
    )


def cells(page, table, column):
    """Returns the texts of a column, from the first row on."""
    return page.eval_on_selector_all(
        f"section:has(> #{table}) table tbody tr",
        f"rows => rows.map(row => row.cells[{column}].textContent)",
    )


def test_a_click_on_a_header_sorts_and_the_third_one_restores(opened):
    with opened() as page:
        headers = page.locator("section:has(> #comparison) thead th")
        names = headers.all_inner_texts()
        column = names.index("test accuracy, %")
        before = cells(page, "comparison", column)
        assert before[3] == NONE  # of the trial that diverged
        order = sorted(before[:3], key=lambda text: float(text.split()[0]))
        assert before[:3] not in (order, order[::-1])
        for state, expected in (
            ("ascending", [*order, NONE]),
            ("descending", [*order[::-1], NONE]),
            (None, before),
        ):
            headers.nth(column).get_by_role("button").click()
            assert cells(page, "comparison", column) == expected
            assert headers.nth(column).get_attribute("aria-sort") == state
        trial = headers.first.get_by_role("button")
        trial.focus()
        page.keyboard.press("Enter")
        assert cells(page, "comparison", 0) == ["0.02", "0.7", "3", "10"]
        marked = page.locator("tr.marked th").inner_text()
        page.keyboard.press("Space")
        assert cells(page, "comparison", 0) == ["10", "3", "0.7", "0.02"]
        assert page.locator("tr.marked th").inner_text() == marked
        headers.nth(1).get_by_role("button").click()
        assert page.locator("th[aria-sort]").count() == 1


def test_a_table_is_copied_as_its_files_are_written(opened, tmp_path):
    """With the clipboard, and without one, as in a frame of a notebook."""
    evil = "=cmd|' /C calc'!A0 <b>&amp; \\x_1 [2] ^{~} 50 % $5$ # é −3"  # noqa: RUF001
    sweep = [
        {"label": evil, RATE: 0.1},
        {"label": "1. www.e.x https://e.x", RATE: 0.2},
        {"label": '"a" b--- c', RATE: 0.3},
        {"label": "* +1", RATE: 0.4},
        {"label": "+4.8 points (1 to 3)", RATE: 0.5},
        {"label": "-1 SUM(A1)", RATE: 0.6},
    ]
    claim = Claim(
        text="- *higher* | @all",
        quantity=Quantity(metric="test_accuracy"),
        left={RATE: 0.1},
        right={RATE: 0.2},
    )
    options = {"sweep": sweep, "claims": [claim], "target": 0.9, "num_seeds": 3}
    found = synthetic.results(**options, workdir=tmp_path)
    file = report.write(found.workdir)
    sections = report.content(Findings(found)).sections
    tables = [table for section in sections for table in section.tables]
    names = {"Markdown": "markdown", "LaTeX": "latex", "tabs": "tsv"}
    allowed = ["clipboard-read", "clipboard-write"]
    for permissions in (allowed, []):
        with opened(file=file, permissions=permissions) as page:
            if not permissions:
                page.evaluate("() => { navigator.clipboard.writeText = undefined; }")
            page.evaluate(
                "() => document.addEventListener('copy', (event) => {"
                "window.copied = document.getSelection().toString()"
                "  || document.activeElement.value; })"
            )
            page.eval_on_selector_all("details", "all => all.map(d => d.open = true)")
            bars = page.locator(".copy")
            assert bars.count() == len(tables)
            for place, table in enumerate(tables):
                for name, form in names.items():
                    bars.nth(place).get_by_text(name, exact=True).click()
                    bars.nth(place).get_by_text("copied").wait_for()
                    read = "navigator.clipboard.readText()"
                    text = page.evaluate(read if permissions else "window.copied")
                    assert text == copies.FORMATS[form].write(table)


# Columns as they stand, and in ascending order.
COLUMNS = (
    (
        ["1,024", "\u22123.1", "95.7 ± 0.2", ""],
        ["\u22123.1", "95.7 ± 0.2", "1,024", ""],
    ),
    (["0.02", "\u2014", "< 0.001", "0.001"], ["< 0.001", "0.001", "0.02", "\u2014"]),
    (["29", "not reached", "2.5", "12"], ["2.5", "12", "29", "not reached"]),
    (["2.1 M", "102 k", "814", NONE], ["814", "102 k", "2.1 M", NONE]),
    (["10 x 8", "2 x 64", "2 x 8", NONE], ["2 x 8", "2 x 64", "10 x 8", NONE]),
    (["16 of 16", "2 of 16", "1e-05", "9 %"], ["1e-05", "2 of 16", "9 %", "16 of 16"]),
    (
        ["+2 points (1 to 3)", "\u2212971 updates", "3", ""],
        ["\u2212971 updates", "+2 points (1 to 3)", "3", ""],
    ),
    (["b", "", "a", "b"], ["a", "b", "b", ""]),
)
TABLE = """<!doctype html><html lang="en"><meta charset="utf-8"><h1 id="answer">a</h1>
<nav><ol></ol></nav><section><h2 id="t">t</h2><table class="sortable">
<thead><tr>{}</tr></thead><tbody>{}</tbody></table></section>{}"""


def test_numbers_are_sorted_as_numbers_and_what_is_none_comes_last(
    opened, page_file, tmp_path
):
    script = re.search("<script>.*</script>", page_file.read_text(), flags=re.S)[0]
    rows = zip("0123", *(texts for texts, _ in COLUMNS))
    body = (
        f"<tr><td>{'</td><td>'.join(map(html.escape, row))}</td></tr>" for row in rows
    )
    file = tmp_path / "table.html"
    head = "<th>n</th>" * (1 + len(COLUMNS))
    file.write_text(TABLE.format(head, "".join(body), script), "utf-8")
    with opened(file=file) as page:
        for column, (_, ascending) in enumerate(COLUMNS, 1):
            button = page.get_by_role("button").nth(column)
            button.click()
            assert cells(page, "t", column) == ascending
            button.click()
            last = ascending[-1:] if ascending[-1] in NOTHING else []
            some = ascending[: 4 - len(last)]
            assert cells(page, "t", column) == [*some[::-1], *last]
        assert cells(page, "t", 0) == ["0", "3", "2", "1"]  # equal ones keep order


@pytest.mark.parametrize(
    ("width", "scheme"), [(390, "light"), (390, "dark"), (800, "light"), (1280, "dark")]
)
def test_the_page_fits_and_is_legible(opened, width, scheme):
    with opened(width, scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (dark != "rgb(255, 255, 255)") == (scheme == "dark")
        pale = [(r, t) for r, t in page.evaluate(CONTRASTS) if r < 4.5]
        assert not pale
        # Contents stay in view, and mark where the reader is.
        assert page.locator("nav [aria-current]").inner_text() == "Answer"
        page.evaluate("document.getElementById('costs').scrollIntoView()")
        page.locator("nav [aria-current]", has_text="Costs").wait_for()
        box = page.locator("nav [aria-current]").bounding_box()
        assert 0 <= box["x"] <= width - box["width"]
        assert 0 <= box["y"] <= 900 - box["height"]


WIDER = """(boxes) => boxes.filter(
  (box) => box.scrollWidth > box.clientWidth).map((box) => box.ariaLabel)"""
LETTERS = """(drawn) => drawn.flatMap((svg) => {
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return [...svg.querySelectorAll("text")].map(
    (text) => scale * parseFloat(getComputedStyle(text).fontSize));
})"""


def test_on_a_phone_figures_are_whole_and_their_letters_legible(opened):
    with opened(390) as page:
        assert not page.eval_on_selector_all(".plot", WIDER)
        boxes = [svg.bounding_box() for svg in page.locator(".plot svg").all()]
        assert len(boxes) == 6
        assert all(0 <= box["x"] <= 390 - box["width"] for box in boxes)
        assert min(page.eval_on_selector_all(".plot svg", LETTERS)) > 6
        assert not page.eval_on_selector_all(".few", WIDER)  # claims


def test_on_a_phone_a_wide_table_folds_and_a_tap_shows_a_whole_row(opened):
    with opened(390, has_touch=True) as page:
        section = page.locator("section:has(> #comparison)")
        table = section.locator("table").first
        names = table.locator("thead th").all_inner_texts()
        assert not page.eval_on_selector_all(".table:not(details *)", WIDER)
        row = table.locator("tbody tr").nth(1)
        hidden = [cell for cell in row.locator("td").all() if not cell.is_visible()]
        assert len(hidden) == len(names) - 3 > 0
        row.get_by_role("button").tap()
        rest = table.locator(".rest").inner_text().splitlines()
        assert rest == [
            f"{name}: {cell.text_content()}" for name, cell in zip(names[3:], hidden)
        ]
        page.evaluate(
            "() => { navigator.clipboard.writeText = async (t) => { copied = t; }; }"
        )
        section.locator(".copy").first.get_by_text("tabs").tap()
        copied = page.evaluate("copied").splitlines()
        assert [len(line.split("\t")) for line in copied] == [len(names)] * 5
        table.locator("thead button").first.tap()  # sorted rows are folded again
        assert table.locator(".rest").count() == 0
        assert table.locator("tbody tr").count() == len(RATES)


def test_no_table_runs_out_of_a_page(opened):
    with opened() as page:
        assert page.locator("details .table").count() > 1
        page.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
        assert not page.eval_on_selector_all(".table", WIDER)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_first_screen_holds_answer_figure_and_verdicts(opened, width):
    with opened(width) as page:
        first = ("h1", ".answer", ".lead figure svg")
        boxes = [page.locator(part).bounding_box() for part in first]
        chip = page.locator(".chips li").first.bounding_box()
        for above, below in itertools.pairwise(boxes):
            assert above["y"] + above["height"] <= below["y"]
        assert boxes[-1]["y"] + boxes[-1]["height"] < 900
        if width == 1280:  # beside the figure
            assert chip["y"] + chip["height"] < 900
            assert chip["x"] >= boxes[-1]["x"] + boxes[-1]["width"]
        verdict = page.locator(".chips .verdict").first.inner_text()
        table = page.locator("section:has(> #claims) tbody tr").first
        assert verdict in table.inner_text()
        assert table.locator("td, th").count() == 4


def test_a_screen_reader_finds_its_way(opened):
    with opened() as page:
        figures = page.get_by_role("img").all()
        assert len(figures) == page.locator("figure").count() == 6
        for figure in figures:
            assert re.search(r"At the end|Medians", figure.get_attribute("aria-label"))
        levels = page.eval_on_selector_all(
            "h1, h2, h3, h4", "titles => titles.map(title => Number(title.tagName[1]))"
        )
        assert levels[0] == 1
        assert set(levels[1:]) == {2}
        for landmark in ("main", "navigation"):
            assert page.get_by_role(landmark).count() == 1
        regions = page.eval_on_selector_all(
            ".table", "tables => tables.map(table => table.ariaLabel)"
        )
        assert len(regions) == len(set(regions)) == page.locator("table").count()
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
        assert outline == "2px"


def test_without_a_script_the_page_is_whole(opened):
    with opened(java_script_enabled=False) as page:
        assert page.get_by_role("button").count() == 0
        assert page.locator("tbody tr").count() > 6
        page.get_by_text("How to read").first.click()
        assert page.locator("details[open] p").first.is_visible()


def test_it_prints_light_and_cuts_nothing_off(opened):
    with opened(688, "dark") as page:  # as wide as A4's text
        pdf = page.pdf(format="A4")
        assert pdf.startswith(b"%PDF")
        assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 3
        page.emulate_media(media="print", color_scheme="dark")
        style = "getComputedStyle(document.{}).{}"
        paper = page.evaluate(style.format("body", "backgroundColor"))
        assert paper == "rgb(255, 255, 255)"
        drawn = page.evaluate(style.format("querySelector('figure svg')", "filter"))
        assert drawn == "none"
        too_wide = page.eval_on_selector_all(
            ".table, .plot, pre",
            "all => all.filter(e => e.scrollWidth > e.clientWidth)",
        )
        assert not too_wide
        assert not page.locator("nav").is_visible()
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator("details:not([open])").count() == 0
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert page.locator("details[open]").count() == 0


def test_smooth_scrolling_is_for_those_who_want_motion(opened):
    behaviour = "getComputedStyle(document.documentElement).scrollBehavior"
    for motion, wanted in (("reduce", "auto"), ("no-preference", "smooth")):
        with opened(reduced_motion=motion) as page:
            assert page.evaluate(behaviour) == wanted
