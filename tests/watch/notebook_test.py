# SPDX-License-Identifier: Apache-2.0
"""What a notebook shows: progress, devices, and mistakes in one line."""

import math
import re

import nbformat
import pytest
from nbclient import NotebookClient
from progressed import progress

from nnlab.study import Study
from nnlab.watch import notebook

STUDY = Study(question="Is 1 < 2?")


def test_progress_before_during_and_after():
    before = notebook.page(STUDY, None, 0.0)
    assert "Is 1 &lt; 2?" in before
    assert "1 trial x 8 seeds = 8 networks" in before
    assert "<progress></progress>" in before
    assert "loading" in before
    during = notebook.page(STUDY, progress(done=250), 30.0)
    assert '<progress max="1" value="0.2500"></progress> 25%' in during
    assert "1:30 left" in during
    assert "best 97.3%" in during
    after = notebook.page(STUDY, progress(done=1000), 61.24, "trained in")
    assert "trained in 61.2 s" in after
    assert " left" not in after


def test_the_sparkline_goes_through_what_is_finite():
    assert notebook.sparkline([0.5]) == notebook.sparkline([math.nan, 0.1]) == ""
    drawn = notebook.sparkline([0.1, math.nan, 0.5, 0.9])
    points = drawn.partition('points="')[2].partition('"')[0].split()
    assert points == ["2.0,29.0", "80.0,16.0", "158.0,3.0"]
    assert 'aria-label="validation accuracy of the best trial, 10.0% to 90.0%"' in drawn


def test_it_is_drawn_a_few_times_a_second_and_at_the_end(monkeypatch):
    drawn = []

    class Handle:
        def update(self, page):
            drawn.append(page.data)

    monkeypatch.setattr("IPython.display.display", lambda *a, **k: Handle())
    seconds = iter(range(1000))
    monkeypatch.setattr(notebook.time, "monotonic", lambda: next(seconds) / 20)
    with notebook.display(STUDY) as show:
        for done in range(40):
            show(progress(done=done))
    assert len(drawn) == 8 + 1  # every fifth of 40 calls, and the end
    assert "trained in 2.0 s" in drawn[-1]
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


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The outputs of a few cells, run in a kernel."""
    sources = (
        "import nnlab\nnnlab.notebook.set_up('tpu')",
        "fields = {'num_epochs': 1, 'num_seeds': 1, 'train_size': 64}\n"
        "found = nnlab.run(fields, workdir='run')\nfound",
        "nnlab.run(fields, num_seedz=2)",
        "nnlab.load('nowhere')",
        "found.plot('finale')",
    )
    made = [nbformat.v4.new_code_cell(source) for source in sources]
    shown = nbformat.v4.new_notebook(cells=made)
    folder = tmp_path_factory.mktemp("notebook")
    client = NotebookClient(
        shown,
        timeout=120,
        allow_errors=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    return [cell.outputs for cell in shown.cells]


def html_of(output):
    return output["data"]["text/html"]


def test_a_device_that_was_not_asked_for_is_said_loudly(cells):
    (output,) = cells[0]
    assert "border: 2px solid" in html_of(output)
    assert "A TPU was asked for, but JAX found only the CPU" in html_of(output)


def test_a_run_shows_its_progress_and_then_itself(cells):
    first, last = cells[1]
    assert "trained in " in html_of(first)
    assert '<progress max="1" value="1.0000"></progress> 100%' in html_of(first)
    assert "<table" in html_of(last)


def test_a_mistake_is_one_line(cells):
    lines = [output["traceback"] for (output,) in cells[2:]]
    heads = [line[0].partition(";")[0] for line in lines]
    assert [re.sub(r"'/.*/", "'", head) for head in heads] == [
        "ValueError: unknown field 'num_seedz'",
        "FileNotFoundError: no folder 'nowhere'",
        "ValueError: nothing to plot: 'finale'",
    ]
    assert all(len(line) == 1 for line in lines)
