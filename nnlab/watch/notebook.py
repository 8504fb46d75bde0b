# SPDX-License-Identifier: Apache-2.0
"""Shows in a notebook which device trains, and how far a run is.

Rich makes the HTML and IPython shows it, without widgets or scripts. So it looks the
same in Colab, in JupyterLab and on a page made from the notebook.
"""

import contextlib
import io
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from nnlab.machine import devices
from nnlab.study import Study
from nnlab.watch import terminal
from nnlab.words import numbers

if TYPE_CHECKING:
    from nnlab.runs.progress import Progress

SECONDS_BETWEEN_UPDATES = 0.25
WIDTH = 100  # characters of a line
PAGE = '<pre style="line-height: 1.2; overflow-x: auto">{code}</pre>'


def is_notebook() -> bool:
    """Returns whether this runs in a notebook's kernel, which shows HTML."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def set_up(wanted: str | None = None) -> None:
    """Prepares JAX for all cores and says which device trains; for the first cell.

    Args:
      wanted: "cpu", "gpu" or "tpu"; None to guess from the runtime. A warning says if
        JAX got another device.

    Raises:
      ValueError: an unknown platform.
    """
    told, wrong = devices.check(wanted)
    line = f"nnlab trains on {told}"
    if not wrong:
        print(line)
    elif is_notebook():
        from IPython.display import HTML, display

        box = (
            '<div style="border: 2px solid #c0341d; border-radius: 4px; padding: 0.6em '
            f'1em; margin: 0.4em 0"><b>{numbers.escaped(line)}.</b> '
            f"{numbers.escaped(wrong)}</div>"
        )
        display(HTML(box))
    else:
        print(f"{line}. WARNING: {wrong}", file=sys.stderr)


def device() -> tuple[str, int]:
    """Returns what trains, "cpu", "gpu" or "tpu", and how many devices of it there are.

    A notebook that should end in seconds anywhere asks for as much as they can train:

    >>> platform, devices = device()
    >>> num_seeds = 4 if platform == "cpu" else 16 * devices
    """
    devices.use_all_cores()
    return devices.trains_on()


@contextlib.contextmanager
def display(study: Study) -> "Iterator[Callable[[Progress], None]]":
    """Shows the terminal's `board` below the cell; yields what updates it."""
    from IPython.display import HTML
    from IPython.display import display as show

    colours: dict[str, Any] = {"color_system": "truecolor", "force_jupyter": False}
    console = terminal.Terminal(WIDTH, file=io.StringIO(), record=True, **colours)
    board, update_board = terminal.board(console)
    start, drawn = time.monotonic(), -math.inf

    def html(ended: str = "") -> HTML:
        console.file = io.StringIO()  # only Rich's recording is shown
        console.print(study.question, style="bold")
        console.print(study.size())
        console.print(board)
        if ended:
            console.print(f"{ended} {time.monotonic() - start:,.1f} s")
        return HTML(console.export_html(inline_styles=True, code_format=PAGE))

    def update(progress: "Progress") -> None:
        nonlocal drawn
        update_board(progress)
        now = time.monotonic()
        if now - drawn >= SECONDS_BETWEEN_UPDATES:
            drawn = now
            handle.update(html())

    handle = show(html(), display_id=True)
    try:
        yield update
    except BaseException:
        handle.update(html("ended after"))
        raise
    handle.update(html("trained in"))
