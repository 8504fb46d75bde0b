# SPDX-License-Identifier: Apache-2.0
"""A run in a terminal: one bar, the news, and a curve that fits."""

import io
import math
import re

import pytest
from progressed import progress
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nnlab.watch import terminal

NAN = math.nan
LATE = progress(done=400, diverged=16, stopped=4)


def shown(console, told):
    """Returns the last lines of a live display."""
    with terminal.live(console) as show:
        show(told)
    lines = map(str.rstrip, console.export_text().splitlines())
    return [line for line in lines if line]


@pytest.mark.parametrize("width", [80, 120])
def test_the_bar_fits_the_terminal(width):
    console = Console(force_terminal=True, width=width, record=True, highlight=False)
    lines = shown(console, LATE)
    assert max(map(len, lines)) <= width
    bar, news, curve = lines[-3:]
    assert re.match(r"program 1/20 epoch 13.2/60 .* 40% 0:00:0\d left ", bar)
    wanted = "2,000,000 examples/s | 4 stopped early | 16 diverged | best 97.3% (learn"
    assert news.startswith(wanted)
    assert curve == "validation accuracy of the best: 10% ▁▄█ 97%"


@pytest.mark.parametrize("width", [60, 200])
def test_a_few_lines_are_said_and_the_last_is_whole(width):
    console = terminal.Terminal(width=width, force_terminal=True, record=True)
    sentences = ["word " * 30, "short", "word " * 90, "not reached"]
    path = "report: /" + "folder/" * 30
    terminal.say(console, sentences, path)
    *lines, last = console.export_text().splitlines()
    assert len(lines) < terminal.MOST_LINES
    assert max(map(len, lines)) <= min(width, terminal.MOST_WIDTH)
    assert lines[-1] == "short"
    assert last == path
    terminal.say(console, ["word " * 900], path)
    assert len(console.export_text().splitlines()) == terminal.MOST_LINES


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "no-such-codec"])
def test_a_console_without_blocks_gets_no_curve(encoding):
    class File(io.StringIO):
        """A text stream with a terminal's encoding."""

        def write(self, text):
            if encoding != "no-such-codec":
                text.encode(encoding)
            return super().write(text)

    File.encoding = encoding
    options = {"force_terminal": True, "width": 80, "record": True}
    console = Console(file=File(), legacy_windows=False, **options)
    assert shown(console, LATE)[-1].startswith("2,000,000 examples/s | ")
    assert "validation" not in console.file.getvalue()


@pytest.mark.parametrize(
    ("curve", "wanted"),
    [
        ((), ""),
        ((0.1,), ""),
        ((NAN, 0.1, NAN), ""),
        ((0.1, 0.973), "10% ▁█ 97%"),
        ((0.9, NAN, 0.1), "90% █▁ 10%"),
        ([n / 10 for n in range(8)], "0% ▁▂▃▄▅▆▇█ 70%"),
        ((0.1, 0.1, 0.1), "10.0% ▁▁▁ 10.0%"),
        ((0.500, 0.501, 0.500), "50.0% ▁▂▁ 50.0%"),  # noise stays small
        ((0.9, 0.95, 0.904), "90.0% ▁█▂ 90.4%"),  # else both ends would read 90%
        ([i / 99 for i in range(100)], "0% ▁▁▂▂▂▃▃▄▄▄▅▅▅▆▆▇▇▇██ 100%"),
    ],
)
def test_a_curve_says_where_it_begins_and_ends(curve, wanted):
    text = terminal.curve(progress(best_curve=curve))
    assert text.removeprefix("validation accuracy of the best: ") == wanted
    assert len(text) <= 80


@pytest.mark.parametrize("count", [20, 21, 5000])
def test_a_long_curve_keeps_its_ends_and_its_direction(count):
    line = terminal.sparkline([i / count for i in range(count)])
    assert len(line) == terminal.WIDTH
    assert (line[0], line[-1]) == ("▁", "█")
    assert sorted(line) == list(line)


def test_a_log_gets_a_line_now_and_then(capsys, monkeypatch):
    now = iter([0.0, 1.0, 2.0, 20.0])
    monkeypatch.setattr(terminal.time, "monotonic", lambda: next(now))
    with terminal.lines(Console(width=80, highlight=False)) as show:
        show(progress(rate=NAN))
        show(progress(done=100))
        show(progress(program=1, done=500))
        show(progress(program=1, done=600))
    lines = capsys.readouterr().out.splitlines()
    second = "program 2/20 epoch 13.2/60"
    heads = [line.partition(" | ")[0] for line in lines]
    assert heads == ["program 1/20 compiling", second, second]


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ("growing", "program 1/20 trees 13.25/60"),
        ("pretraining", "program 1/20 backbone, epoch 13.2/60"),
        ("scoring", "program 1/20 compiling"),
        ("compiling", "program 1/20 compiling"),
    ],
)
def test_what_goes_on_before_there_is_a_speed(status, wanted):
    assert terminal.where(progress(rate=NAN, status=status)) == wanted


def test_a_terminal_shows_what_would_steer_it():
    evil = "\x1b]0;x\a\x1b[2J\r\x9b\u202ea"
    console = terminal.Terminal(width=300)
    console.file = io.StringIO()
    console.print(evil)
    table = Table(evil)
    table.add_row(Text(evil))
    console.print(table)
    for display in (terminal.lines, terminal.live):
        with display(console) as show:
            show(progress(best_label=evil))
    told = console.file.getvalue()
    assert not {"\x1b", "\a", "\r", "\x9b", "\u202e"} & set(told)
    assert told.count(r"\u202ea") == 3
