# SPDX-License-Identifier: Apache-2.0
"""What a notebook shows: which device trains, and how far a run is.

It takes IPython alone: no widgets, no scripts, so that it shows alike in Colab,
JupyterLab and a page made of the notebook.
"""

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from nnlab.machine import devices
from nnlab.study import Study
from nnlab.watch import terminal as progress_text
from nnlab.words import numbers

if TYPE_CHECKING:
    from nnlab.runs.progress import Progress

SECONDS_BETWEEN_UPDATES = 0.25
WIDTH, HEIGHT = 160, 32
"""Of the best trial's curve, in pixels."""


def is_notebook() -> bool:
    """Whether this runs in a notebook's kernel, which shows HTML."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def set_up(wanted: str | None = None) -> None:
    """Readies JAX for all cores, and says which device trains; the first cell's work.

    Args:
      wanted: "cpu", "gpu" or "tpu"; what the runtime is meant for if None. If it is not
        what JAX got, that is said loudly.

    Raises:
      ValueError: an unknown platform.
    """
    told, wrong = devices.check(wanted)
    line = f"nnlab trains on {told}"
    if not wrong:
        print(line)
    elif is_notebook():
        _show(
            '<div style="border: 2px solid #c0341d; border-radius: 4px; padding: 0.6em '
            f'1em; margin: 0.4em 0"><b>{numbers.escaped(line)}.</b> '
            f"{numbers.escaped(wrong)}</div>"
        )
    else:
        print(f"{line}. WARNING: {wrong}", file=sys.stderr)


def _show(text: str) -> None:
    from IPython.display import HTML, display

    display(HTML(text))


@contextlib.contextmanager
def display(study: Study) -> "Iterator[Callable[[Progress], None]]":
    """A bar with epoch, time left, speed and the best trial's curve so far.

    Args:
      study: what runs.

    Yields:
      What is to be called with the progress after every visit of the host.
    """
    from IPython.display import HTML
    from IPython.display import display as show

    start = time.monotonic()
    handle = show(HTML(page(study, None, 0.0)), display_id=True)
    last: Progress | None = None
    drawn = -math.inf

    def update(progress: "Progress") -> None:
        nonlocal last, drawn
        last, now = progress, time.monotonic()
        if now - drawn >= SECONDS_BETWEEN_UPDATES:
            drawn = now
            handle.update(HTML(page(study, progress, now - start)))

    try:
        yield update
    except BaseException:
        handle.update(HTML(page(study, last, time.monotonic() - start, "ended after")))
        raise
    handle.update(HTML(page(study, last, time.monotonic() - start, "trained in")))


def page(
    study: Study, progress: "Progress | None", seconds: float, ended: str = ""
) -> str:
    """How far a run is, as HTML.

    Args:
      study: what runs.
      progress: how far it is; None before anything is known.
      seconds: since its start.
      ended: what to write before the seconds, if it has ended.
    """
    told = [f"{ended} {seconds:,.1f} s"] if ended else []
    share, bar, curve = "", "<progress></progress>", ""
    if progress:
        done = progress.done / max(progress.total, 1)
        bar = f'<progress max="1" value="{done:.4f}"></progress>'
        share = f"{done:.0%}"
        if not ended:
            told.append(progress_text.where(progress))
            if 0 < done < 1:
                told.append(f"{_clock(seconds * (1 - done) / done)} left")
        told += filter(None, [progress_text.news(progress)])
        curve = sparkline(progress.best_curve)
    elif not ended:
        told.append("loading")
    return (
        f"<div><b>{numbers.escaped(study.question)}</b><br>{study.size()}<br>{bar} "
        f"{share} {numbers.escaped(' | '.join(told))}<br>{curve}</div>"
    )


def sparkline(values: Sequence[float]) -> str:
    """The best trial's validation accuracies as a small SVG; "" for fewer than two."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    span = max(high - low, 0.01)
    points = " ".join(
        f"{2 + (WIDTH - 4) * i / (len(known) - 1):.1f},"
        f"{HEIGHT - 3 - (HEIGHT - 6) * (value - low) / span:.1f}"
        for i, value in enumerate(known)
    )
    told = f"validation accuracy of the best trial, {known[0]:.1%} to {known[-1]:.1%}"
    return (
        f'<svg role="img" aria-label="{told}" width="{WIDTH}" height="{HEIGHT}" '
        f'style="vertical-align: middle"><polyline points="{points}" fill="none" '
        f'stroke="#0a7bc2" stroke-width="2"/></svg> <small>{told}</small>'
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02}"
