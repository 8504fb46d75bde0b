# SPDX-License-Identifier: Apache-2.0
"""The report of a run as Markdown and HTML, from its stored results alone; no JAX.

`content` gathers plain texts, and two templates lay them out. Every text is escaped for
its format. Times appear only under "Costs" and "How it was run", and in the figures
called "seconds".
"""

import base64
import dataclasses
import hashlib
import os
import pathlib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from html import escape, unescape
from importlib import resources
from typing import Any

from markupsafe import Markup

from nnlab.machine.files import refuse_links, write_atomic
from nnlab.report import answer, cite, copies, decided
from nnlab.report.costs import costs, how
from nnlab.report.figures import catalog
from nnlab.report.figures.drawing import captions, style
from nnlab.report.sections import (
    Chip,
    Section,
    chips,
    claims,
    comparison,
    environment,
    looks,
    missing,
    notes,
)
from nnlab.report.trials import sweep_of
from nnlab.results import Results, load
from nnlab.statistics.findings import Findings
from nnlab.statistics.verdicts import VERDICTS
from nnlab.words import numbers

PLOT_WIDTH = 48  # rem of a figure as wide as a page
FIRST = 3  # sentences above the figure: the answer and its first numbers


@dataclasses.dataclass(frozen=True)
class Content:
    """All that the report says, as plain text.

    Attributes:
      title: the study's question.
      about: what was run, in a line.
      answer: sentences made from the data.
      sections: in order.
      lead: the figure that shows the answer; in no section.
      chips: the verdicts that carry the answer.
    """

    title: str
    about: str
    answer: tuple[str, ...]
    sections: tuple[Section, ...]
    lead: catalog.Figure | None = None
    chips: tuple[Chip, ...] = ()

    @property
    def figures(self) -> tuple[catalog.Figure, ...]:
        """All figures, the leading one first."""
        lead = () if self.lead is None else (self.lead,)
        return (*lead, *(f for section in self.sections for f in section.figures))


def write(found: Findings | str | os.PathLike[str]) -> pathlib.Path:
    """Draws the figures and writes report.md and report.html from stored results.

    Beside them go ``cite.txt`` and, where the study makes claims, ``verdicts.json``.

    `found` are the findings of a run, or its folder. Returns the path of report.html,
    which holds its figures and needs no other file.

    Raises:
      FileNotFoundError: no such folder, or it holds no results.
      ValueError: its tables are missing or damaged, or its figures are a link.
    """
    findings = found if isinstance(found, Findings) else Findings(load(found))
    folder = findings.results.workdir
    drawn, absent = catalog.draw(findings, folder_of_figures(folder))
    decided.write(findings)
    cite.write(findings)
    return lay_out(folder, content(findings, drawn, absent))


def folder_of_figures(folder: pathlib.Path) -> pathlib.Path:
    """Returns the folder of a report's figures.

    Raises:
      ValueError: it is a link, whose target would be overwritten.
    """
    figures = folder / "figures"
    refuse_links(figures)
    return figures


def lay_out(folder: pathlib.Path, shown: Content) -> pathlib.Path:
    """Writes report.md and report.html; returns the path of the latter.

    The page's policy names its one style sheet and its one script by their digests and
    allows nothing else. The folder's ``figures/`` hold those of `shown`.
    """
    whole = {"content": shown, "first": FIRST}
    markdown = environment(finalize=copies.escape_markdown)
    markdown.globals["tabulated"] = lambda table: Markup(copies.markdown(table))
    text = markdown.get_template("report.md.j2").render(whole)
    write_atomic(folder / "report.md", text.encode(), durable=False)
    html = environment(finalize=visible, autoescape=True)
    styles: dict[str, str] = {}
    inlined = {f.name: _inline_svg(folder, f, styles) for f in shown.figures}
    css = html.get_template("report.css.j2").render()
    css += "".join(f".{name} {{ {rules} }}\n" for rules, name in styles.items())
    templates = resources.files("nnlab.report") / "templates"
    charts = any(figure.data for figure in shown.figures)
    scripts = ("report.js", "copy.js", *["chart.js"] * charts)
    script = "".join((templates / name).read_text("utf-8") for name in scripts)
    html.globals |= {
        "svg": inlined,
        "data": {f.name: Markup(f.data) for f in shown.figures},
        "css": Markup(css),
        "css_digest": _digest(css),
        "script": Markup(script),
        "script_digest": _digest(script),
        "verdicts": VERDICTS,
    }
    page = html.get_template("report.html.j2").render(whole)
    write_atomic(folder / "report.html", page.encode(), durable=False)
    return folder / "report.html"


def embedded(path: pathlib.Path) -> str:
    """Returns a frame that holds a report, for a notebook, which may serve no files."""
    page = escape(path.read_text(encoding="utf-8"))
    return (
        '<iframe title="report" sandbox="allow-scripts" loading="lazy" '
        'style="width: 100%; height: 42rem; border: 1px solid #8884; '
        f'border-radius: 4px" srcdoc="{page}"></iframe>'
    )


def _digest(text: str) -> str:
    """Returns the name of a style sheet or a script in a page's policy."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def visible(value: Any) -> Any:
    """Makes what a template of HTML writes `visible`, if it is a text."""
    is_text = isinstance(value, str) and not isinstance(value, Markup)
    return numbers.visible(value) if is_text else value


def _inline_svg(
    folder: pathlib.Path, figure: catalog.Figure, styles: dict[str, str]
) -> Markup:
    """Returns the stored SVG as an element of a page, with ids unique to the figure.

    Style attributes become classes, so that the page's policy can name its one style
    sheet by a digest and allow no others. They are added to `styles`, ``{rules:
    class}``.
    """
    text = (folder / "figures" / f"{figure.name}.svg").read_text(encoding="utf-8")
    element = text[text.index("<svg") :]
    element = re.sub(
        r"<metadata>.*?</metadata>|<style.*?</style>", "", element, flags=re.S
    )

    def with_class(match: re.Match[str]) -> str:
        rules = unescape(match[1]).rstrip("; ")
        name = styles.setdefault(rules, f"s{len(styles)}")
        return f' class="{name}"'

    def tag(match: re.Match[str]) -> str:
        changed = re.sub(r'(\sid="|href="#|url\(#)', rf"\g<1>{figure.name}-", match[0])
        return re.sub(r'\sstyle="([^"]*)"', with_class, changed)

    start, rest = element.split(">", 1)
    width = re.search(r'\swidth="([\d.]+)pt"', start)
    # Small figures stay small, so that letters are equally large in all.
    share = min(float(width[1]) / (72 * style.PAGE), 1.0) if width else 1.0
    start += f' style="max-width: {PLOT_WIDTH * share:.3g}rem"'
    start = re.sub(r'\s(width|height)="[^"]*"', "", start)
    label = numbers.escaped(figure.alt)
    # In tags only: a user's text, where < is escaped, stays as it is.
    element = re.sub(r"<[^<>]*>", tag, f"{start}>{rest}")
    return Markup(element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1))


def content(
    findings: Findings,
    drawn: Sequence[catalog.Figure] = (),
    absent: Mapping[str, str] = types.MappingProxyType({}),
) -> Content:
    """Gathers all that the report says.

    `drawn` are the stored figures, `absent` has the reason for each part without any.
    """
    lead = catalog.telling(findings, drawn)
    drawn = [figure for figure in drawn if figure != lead]
    along = [f.part for f in drawn if f.section == "along"]
    results = findings.results
    swept = sweep_of(results).name or "the trials"
    every = (trial.hyperparameters for trial in results.trials)
    batches = {(h.full_batch, h.batch_size) for h in every}
    time = notes("time", batches=len(batches))

    def figures(anchor: str, title: str) -> Section:
        named = title.format(along=" and ".join(along), swept=swept)
        said = time if anchor == ("along" if along else "curves") else ()
        chosen = tuple(f for f in drawn if f.section == anchor)
        return Section(anchor, named, said, figures=chosen)

    sections = (
        claims(findings),
        *(figures(*section) for section in catalog.SECTIONS.items()),
        comparison(findings),
        looks(findings),
        costs(findings),
        how(findings),
        cite.section(findings),
        missing(findings, absent),
    )
    said = tuple(answer.sentences(findings))
    title, about = results.study.question, _about(results)
    return Content(title, about, said, filled(sections), lead, chips(findings))


def filled(sections: Iterable[Section]) -> tuple[Section, ...]:
    """Returns the sections that hold anything."""
    return tuple(s for s in sections if s.items or s.tables or s.figures)


def _about(results: Results) -> str:
    trials = numbers.count(len(results.trials), "trial")
    seeds = results.study.seeds()
    data = (d.get("name", name) for name, d in results.config["datasets"].items())
    return (
        f"{trials} x {seeds} on {numbers.joined([*data])}; {captions.device(results)}"
    )
