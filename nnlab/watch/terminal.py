# SPDX-License-Identifier: Apache-2.0
"""Shows the progress of a run as text, in a terminal or a log.

    with terminal.live(terminal.Terminal()) as show:
        experiment.run(study, workdir, on_progress=show)

Everything shown comes from `nnlab.runs.progress.Progress`; nothing here imports JAX.
"""

import contextlib
import math
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich import progress as bars
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.segment import Segment
from rich.text import Text

from nnlab.words import numbers

if TYPE_CHECKING:
    from nnlab.runs.progress import Progress

SECONDS_BETWEEN_LINES = 15.0
BLOCKS = "▁▂▃▄▅▆▇█"  # of a sparkline, low to high
WIDTH = 20  # characters of a sparkline, at most
SMALLEST_RANGE = 0.01  # of a sparkline; with less, noise would look steep
MOST_LINES, MOST_WIDTH = 8, 100
"""Of what is said after a run, so that it can be read at a glance."""


class Terminal(Console):
    """A console that prints control characters as text, so that they have no effect."""

    def __init__(self, width: int | None = None, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, width=width, **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Renders as every console does, with control characters made visible."""
        for segment in super().render(renderable, options):
            if not segment.control:  # the console's own
                segment = segment._replace(text=numbers.visible(segment.text))
            yield segment


class Output:
    """A stream that is silenced when it cannot be written, as on a full disk.

    The run continues without its output, because its results are in the workdir.

    Attributes:
      error: why it cannot be written; None if it can.
      is_needed: whether to raise the error, because the output is the result.
    """

    def __init__(self, stream: TextIO, is_needed: bool = False) -> None:
        self._stream = stream
        self.is_needed = is_needed
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Writes the text, or does nothing after an error."""
        self._unless_failed(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Flushes, or does nothing after an error."""
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


def say(console: Console, sentences: Sequence[str], last: str) -> None:
    """Prints sentences while whole ones fit into `MOST_LINES`, and a last line.

    Each begins a line. Lines have at most `MOST_WIDTH` characters, but for the last,
    which is printed as it is. Of a first sentence that is too long, the beginning is.
    """
    width = min(MOST_WIDTH, console.width) if console.is_terminal else MOST_WIDTH
    said: list[str] = []
    for sentence in map(numbers.visible, sentences):
        lines = textwrap.wrap(sentence, width, subsequent_indent="  ")
        if said and len(said) + len(lines) >= MOST_LINES:
            break
        said += lines
    for line in said[: MOST_LINES - 1]:
        console.print(line, soft_wrap=True)
    console.print(last, style="bold", soft_wrap=True)


def board(
    console: Console,
) -> tuple[RenderableType, Callable[["Progress"], None]]:
    """Makes a bar with epoch and time left; below it speed, best trial and its curve.

    Returns what to show, and a function that updates it from the progress.
    """
    bar = bars.Progress(
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(bar_width=None),
        bars.TaskProgressColumn(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("left"),
        bars.TimeRemainingColumn(),
        console=console,
        expand=True,
    )
    has_blocks = _can_show(console, BLOCKS)
    overflow = "ellipsis" if _can_show(console, "…") else "crop"
    below = Text(no_wrap=True, overflow=overflow)  # type: ignore[arg-type]
    task = bar.add_task("loading", total=None)

    def update(progress: "Progress") -> None:
        total, done = progress.total, progress.done
        bar.update(task, description=where(progress), total=total, completed=done)
        lines = [news(progress), curve(progress) if has_blocks else ""]
        below.plain = "\n".join(filter(None, lines))

    return Group(bar, below), update


@contextlib.contextmanager
def live(console: Console) -> Iterator[Callable[["Progress"], None]]:
    """Shows the `board` in a terminal, redrawn in place; yields what updates it."""
    shown, update = board(console)
    with Live(shown, console=console):
        yield update


@contextlib.contextmanager
def lines(console: Console) -> Iterator[Callable[["Progress"], None]]:
    """Prints a line when a program starts and every 15 seconds, for logs.

    Yields the function to call with the progress after every segment.
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
    """Returns the run's position, such as "program 2/7 epoch 13.2/60"."""
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
    """Returns speed, networks that ended, and the best trial so far; "" before any."""
    parts = []
    if not math.isnan(progress.examples_per_second):
        parts.append(f"{progress.examples_per_second:,.0f} examples/s")
    ended = {
        "stopped early": progress.stopped,
        "dropped": progress.dropped,
        "diverged": progress.diverged,
    }
    parts += [f"{count} {how}" for how, count in ended.items() if count]
    if not math.isnan(progress.best_score):
        best = _score_text(progress, progress.best_score, 1)
        parts.append(f"best {best} ({progress.best_label})")
    return " | ".join(parts)


def curve(progress: "Progress") -> str:
    """Returns the best trial's curve: "validation accuracy of the best: 10% ▁▃▆▇█ 97%".

    It has at most 80 characters, and is "" before two evaluations.
    """
    values = _finite(progress.best_curve)
    if len(values) < 2:
        return ""
    first, last = (_score_text(progress, values[i], 0) for i in (0, -1))
    if first == last:
        first, last = (_score_text(progress, values[i], 1) for i in (0, -1))
    shown = f"{first} {sparkline(values)} {last}"
    return f"validation {progress.score} of the best: {shown}"


def _score_text(progress: "Progress", value: float, decimals: int) -> str:
    is_share = progress.score == "accuracy"
    return f"{value:.{decimals}%}" if is_share else f"{value:.{decimals + 2}f}"


def sparkline(values: Sequence[float]) -> str:
    """Draws a curve as a row of blocks: the lowest value is low, the highest full.

    Values that are not finite are left out; with fewer than two the result is "". A
    curve longer than `WIDTH` is sampled evenly, with both its ends.
    """
    values = _finite(values)
    if len(values) < 2:
        return ""
    if (last := len(values) - 1) >= WIDTH:
        values = [values[round(i * last / (WIDTH - 1))] for i in range(WIDTH)]
    low = min(values)
    step = max(max(values) - low, SMALLEST_RANGE) / (len(BLOCKS) - 1)
    return "".join(BLOCKS[round((value - low) / step)] for value in values)


def _finite(values: Sequence[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _can_show(console: Console, text: str) -> bool:
    """Returns whether a console can show a text."""
    try:
        text.encode(console.encoding)
    except (LookupError, UnicodeEncodeError):
        return False
    return True
