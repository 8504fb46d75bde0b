# SPDX-License-Identifier: Apache-2.0
"""Redraws the report of a run, compares several runs, or lists them.

python -m launch.report --workdir=runs/quickstart
python -m launch.report --workdir=runs/quickstart --bands=simultaneous
python -m launch.report --workdir=runs/quickstart --figure_size=column
python -m launch.report --workdir=runs/quickstart \\
    --claim='test_accuracy(learning_rate=10) == chance within 0.01'
python -m launch.report --compare=runs/a,runs/b --workdir=runs/comparison
python -m launch.report --list=runs
"""

import dataclasses
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnlab import results
from nnlab.commands import config
from nnlab.machine import files
from nnlab.results import asked, listing
from nnlab.watch import terminal

if TYPE_CHECKING:
    from nnlab.report.figures.drawing.paper import Export
    from nnlab.statistics.findings import Findings

_EXPORT = {
    "figure_format": "formats",
    "figure_size": "size",
    "dpi": "dpi",
    "figure_font": "font",
}
"""Flags of figures for other documents, and fields of `Export`."""
_AGES = ((86_400, "d"), (3_600, "h"), (60, "min"))


def main() -> None:
    """Redraws the report of a workdir, compares several, or lists them."""
    console = terminal.Terminal()
    check_exports()
    given, workdir = flags.FLAGS.compare, flags.FLAGS.workdir
    for flag in ("bands", "claim", "tables", *_EXPORT):
        if flags.FLAGS[flag].value and (given or flags.FLAGS.list is not None):
            beside = "compare" if given else "list"
            raise config.UsageError(
                f"--{flag} does not go with --{beside}; redraw a run with it"
            )
    if flags.FLAGS.list is not None:
        if given or workdir:
            beside = "compare" if given else "workdir"
            raise config.UsageError(f"--{beside} does not go with --list")
        show_list(console, flags.FLAGS.list)
    elif given:
        if not workdir:
            raise config.UsageError(
                "--workdir is missing: a folder for the comparison, such as "
                "runs/comparison"
            )
        write_comparison(console, given, files.absolute(workdir, "--workdir"))
    elif workdir:
        found = results.load(files.absolute(workdir, "--workdir"))
        bands = flags.FLAGS.bands or found.study.bands
        drawn = dataclasses.replace(found.study, bands=bands, recorded=True)
        found = dataclasses.replace(found, study=drawn)
        found, _ = asked.of_run(found, flags.FLAGS.claim)
        write(console, found)
    else:
        raise config.UsageError("--workdir is missing: a folder that launch.train made")


def check_exports() -> "Export | None":
    """Returns what the flags ask of figures for other documents; None for nothing.

    Raises:
      ValueError: a size, a format or the like that is not known, also of tables.
    """
    for name in flags.FLAGS.tables or ():
        from nnlab.report import copies

        copies.format_of(name)
    values = {field: flags.FLAGS[flag].value for flag, field in _EXPORT.items()}
    given = {field: value for field, value in values.items() if value is not None}
    if not given:
        return None
    from nnlab.report.figures.drawing.paper import Export

    given["formats"] = tuple(given.get("formats", Export.formats))
    return Export(**given)


def _write_beside(findings: "Findings") -> Iterator[pathlib.Path]:
    """Writes the files that the flags ask for; yields the folders where they are."""
    from nnlab.report import copies, page
    from nnlab.report.figures import catalog

    folder = findings.results.workdir
    if export := check_exports():
        figures = page.folder_of_figures(folder)
        if exported := catalog.export(findings, figures, export):
            yield exported
    if tables := flags.FLAGS.tables:
        yield copies.write(page.content(findings).sections, folder, tables)


def write(console: Console, found: results.Results) -> "tuple[Findings, Sequence[str]]":
    """Writes figures and report, and prints the answer and the report's path.

    That takes eight lines at most; the report has all sentences.

    Returns:
      What was found, and the answer's sentences.
    """
    # Imported here and above, since a list needs no matplotlib.
    from nnlab import report
    from nnlab.report import answer
    from nnlab.statistics.findings import Findings

    findings = Findings(found)
    page = report.write(findings)
    config.need_no_output()
    said = answer.sentences(findings)
    for folder in _write_beside(findings):
        console.print(f"written: {files.shown(folder)}", soft_wrap=True)
    terminal.say(console, said, f"report: {files.shown(page)}")
    return findings, said


def write_comparison(
    console: Console, workdirs: list[str], folder: pathlib.Path
) -> None:
    """Writes the report on several runs, and prints its answer and its path."""
    from nnlab.report import compare

    runs = compare.load(workdirs)
    page = compare.write(runs, folder)
    config.need_no_output()
    terminal.say(console, compare.sentences(runs), f"report: {files.shown(page)}")


def show_list(console: Console, folder: str) -> None:
    """Prints the runs below a folder, the latest first."""
    runs = listing.listed(folder)
    if not runs:
        console.print(f"no runs in {folder!r} or below it", soft_wrap=True)
        return
    table = Table(
        box=None, pad_edge=False, expand=True, header_style="bold", padding=(0, 1, 1, 0)
    )
    table.add_column("run and question", ratio=3, overflow="fold")
    table.add_column("status", no_wrap=True)
    table.add_column("networks", justify="right", no_wrap=True)
    table.add_column("test score of best", ratio=2, overflow="fold")
    table.add_column("age", justify="right", no_wrap=True)
    now = time.time()
    for run in runs:
        name = Text(_line(run.name), style="bold")
        name.append(f"\n{_line(run.broken or run.question)}", style="not bold dim")
        best = f"{run.score}\n{_line(run.best)}" if run.best else ""
        networks = f"{run.networks:,}" if run.networks else ""
        color = {"complete": "green", "running": "cyan"}.get(run.status, "red")
        age = _age(now - run.written)
        table.add_row(name, Text(run.status, style=color), networks, best, age)
    console.print(table)


def _age(seconds: float) -> str:
    """Returns an age in its largest unit: "3 min"."""
    for length, unit in _AGES:
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return "now"


def _line(text: str) -> str:
    return " ".join(text.split())


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string(
        "workdir",
        None,
        "folder that launch.train made; with --compare, one for the comparison",
    )
    config.define_bands()
    config.define_exports()
    config.define_claims()
    flags.DEFINE_list(
        "compare",
        None,
        "folders of two or more runs to compare in one report, such as runs/a,runs/b",
    )
    flags.DEFINE_string("list", None, "lists the runs in this folder and below it")
