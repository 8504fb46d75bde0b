# SPDX-License-Identifier: Apache-2.0
"""What a notebook shows: progress and devices."""

import html
import re

import pytest
from progressed import progress

from nnlab.study import Study
from nnlab.watch import notebook

STUDY = Study(question="Is 1 < 2? <i>[red]yes[/red]</i>")


@pytest.fixture
def drawn(monkeypatch):
    """Collects the HTML that a notebook is given to show."""
    pages = []

    class Handle:
        def update(self, page):
            pages.append(page.data)

    monkeypatch.setattr("IPython.display.display", lambda *a, **k: Handle())
    return pages


def read(page):
    """Returns the lines that a browser shows of a page."""
    return html.unescape(re.sub("<[^>]*>", "", page)).splitlines()


def test_progress_is_shown_as_it_goes_and_no_text_is_markup(drawn):
    with notebook.display(STUDY) as show:
        show(progress(done=250, best_label="<script>\x1b[2J"))
        question, size, bar, news, curve = read(drawn[-1])
    assert question == STUDY.question
    assert size == "1 trial x 8 seeds = 8 networks"
    assert re.match("program 1/20 epoch 13.2/60 .* 25% ", bar)
    assert news == r"2,000,000 examples/s | best 97.3% (<script>\x1b[2J)"
    assert curve == "validation accuracy of the best: 10% ▁▄█ 97%"
    assert set(re.findall(r"<(\w+)", drawn[-1])) == {"pre", "span"}


def test_it_is_drawn_a_few_times_a_second_and_at_the_end(drawn, monkeypatch):
    seconds = iter(range(1000))
    monkeypatch.setattr(notebook.time, "monotonic", lambda: next(seconds) / 20)
    with notebook.display(STUDY) as show:
        for done in range(40):
            show(progress(done=done))
    assert len(drawn) == 8 + 1  # every fifth of 40 calls, and the end
    assert read(drawn[-1])[-1] == "trained in 2.0 s"
    with pytest.raises(KeyboardInterrupt), notebook.display(STUDY):
        raise KeyboardInterrupt
    assert "ended after" in drawn[-1]


def test_without_a_notebook_it_prints(capsys, monkeypatch):
    assert not notebook.is_notebook()
    monkeypatch.setattr(notebook.devices, "check", lambda wanted: ("2 GPUs", ""))
    notebook.set_up()
    assert capsys.readouterr().out == "nnlab trains on 2 GPUs\n"
    monkeypatch.setattr(notebook.devices, "check", lambda wanted: ("1 CPU", "Slow."))
    notebook.set_up()
    assert capsys.readouterr().err == "nnlab trains on 1 CPU. WARNING: Slow.\n"
