# SPDX-License-Identifier: Apache-2.0
"""How far a run is, as text and in a terminal; each display is an ``on_progress``.

    with display.live(display.Terminal()) as show:
        experiment.run(study, workdir, on_progress=show)

Everything here is a function of what `nnlab.runs.progress.Progress` tells; no JAX.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.segment import Segment
from rich.text import Text

from nnlab.words import numbers

if TYPE_CHECKING:
    from nnlab.runs.progress import Progress

SECONDS_BETWEEN_LINES = 15.0
BLOCKS = "▁▂▃▄▅▆▇█"
"""What a sparkline is drawn with, low to high."""
WIDTH = 20
"""Characters of a sparkline, at most."""
SMALLEST_RANGE = 0.01
"""From a sparkline's lowest block to its highest: less would make noise look steep."""


class Terminal(Console):
    """A console that shows what texts hold, and is steered by none of them."""

    def __init__(self, width: int | None = None, file: Any = None) -> None:
        super().__init__(highlight=False, markup=False, width=width, file=file)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """As a console's, which everything goes through."""
        for segment in super().render(renderable, options):
            if not segment.control:  # of its own
                segment = segment._replace(text=numbers.visible(segment.text))
            yield segment


class Output:
    """A stream that is silent once it cannot be written, as on a full disk.

    What is done meanwhile goes on: that nobody hears of it is no reason to end.

    Attributes:
      error: why it cannot be written; None if it can.
      is_needed: whether the error is raised, too, since what is printed is all.
    """

    def __init__(self, stream: TextIO, is_needed: bool = False) -> None:
        self._stream = stream
        self.is_needed = is_needed
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Writes, or does nothing."""
        self._unless_failed(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Flushes, or does nothing."""
        self._unless_failed(self._stream.flush)

    def _unless_failed(self, act: Callable[..., object], *given: str) -> None:
        if self.error:
            return
        try:
            act(*given)
        except OSError as error:
            self.error = error
            if self.is_needed:
                raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def live(console: Console) -> Iterator[Callable[["Progress"], None]]:
    """A bar with epoch and time left; below it speed, best trial and its curve.

    Args:
      console: a terminal.

    Yields:
      What is to be called with the progress after every visit of the host.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        expand=True,
    )
    has_blocks = _takes(console, BLOCKS)
    overflow = "ellipsis" if _takes(console, "…") else "crop"
    below = Text(no_wrap=True, overflow=overflow)  # type: ignore[arg-type]
    task = bar.add_task("loading", total=None)

    def show(progress: "Progress") -> None:
        bar.update(
            task,
            description=where(progress),
            total=progress.total,
            completed=progress.done,
        )
        lines = [news(progress), curve(progress) if has_blocks else ""]
        below.plain = "\n".join(filter(None, lines))

    with Live(Group(bar, below), console=console):
        yield show


@contextlib.contextmanager
def lines(console: Console) -> Iterator[Callable[["Progress"], None]]:
    """A line whenever a program starts, and now and then, for logs.

    Args:
      console: need not be a terminal.

    Yields:
      What is to be called with the progress after every visit of the host.
    """
    last, program = -math.inf, -1

    def show(progress: "Progress") -> None:
        nonlocal last, program
        now = time.monotonic()
        if now - last < SECONDS_BETWEEN_LINES and progress.program == program:
            return
        last, program = now, progress.program
        share = f"{progress.done / progress.total:.0%}"
        parts = [where(progress), share, news(progress)]
        console.print(" | ".join(filter(None, parts)), soft_wrap=True)

    yield show


def where(progress: "Progress") -> str:
    """Where in the run it is, such as "program 2/7 epoch 13.2/60"."""
    if progress.status == "elsewhere":
        return f"{progress.program}/{progress.num_programs} programs done"
    parts = []
    if progress.num_programs > 1:
        parts.append(f"program {progress.program + 1}/{progress.num_programs}")
    if progress.status == "growing":
        parts.append(f"trees {progress.epoch:g}/{progress.num_epochs:g}")
    elif progress.status == "pretraining":
        parts.append(f"backbone, epoch {progress.epoch:.1f}/{progress.num_epochs:g}")
    elif math.isnan(progress.examples_per_second):
        parts.append("compiling")  # until the first steps are done
    elif progress.status == "scoring":
        parts.append("scoring")
    else:
        parts.append(f"epoch {progress.epoch:.1f}/{progress.num_epochs:.4g}")
    return " ".join(parts)


def news(progress: "Progress") -> str:
    """Speed, members that ended, and the best trial so far; "" before there is any."""
    parts = []
    if not math.isnan(progress.examples_per_second):
        parts.append(f"{progress.examples_per_second:,.0f} examples/s")
    if progress.stopped:
        parts.append(f"{progress.stopped} stopped early")
    if progress.dropped:
        parts.append(f"{progress.dropped} dropped")
    if progress.diverged:
        parts.append(f"{progress.diverged} diverged")
    if not math.isnan(progress.best_accuracy):
        parts.append(f"best {progress.best_accuracy:.1%} ({progress.best_label})")
    return " | ".join(parts)


def curve(progress: "Progress") -> str:
    """How the best trial got there: "validation accuracy of the best: 10% ▁▃▆▇█ 97%".

    Returns:
      One line of at most 80 characters; "" before two evaluations.
    """
    values = _finite(progress.best_curve)
    if len(values) < 2:
        return ""
    ends = [f"{values[i]:.0%}" for i in (0, -1)]
    if ends[0] == ends[1]:
        ends = [f"{values[i]:.1%}" for i in (0, -1)]
    return f"validation accuracy of the best: {ends[0]} {sparkline(values)} {ends[1]}"


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """A curve as a row of blocks, its lowest value a low one, its highest a full one.

    Args:
      values: shares; those that are not finite are left out.
      width: characters at most; a longer curve is sampled evenly, with both its ends.

    Returns:
      "" for fewer than two values.
    """
    values = _finite(values)
    if len(values) < 2:
        return ""
    if (last := len(values) - 1) >= width:
        values = [values[round(i * last / (width - 1))] for i in range(width)]
    low = min(values)
    step = max(max(values) - low, SMALLEST_RANGE) / (len(BLOCKS) - 1)
    return "".join(BLOCKS[round((value - low) / step)] for value in values)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _takes(console: Console, text: str) -> bool:
    """Whether a console can show a text."""
    try:
        text.encode(console.encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True
