# SPDX-License-Identifier: Apache-2.0
"""Figures, tables and report again, from the stored results alone.

python -m launch.report --workdir=runs/quickstart
"""

import pathlib

from absl import flags
from rich.console import Console
from rich.markup import escape

from launch import config
from nnlab import report, results


def main() -> None:
    """Redraws the report of a workdir."""
    if not flags.FLAGS.workdir:
        raise config.UsageError("--workdir is missing: a folder that launch.train made")
    write(Console(highlight=False), pathlib.Path(flags.FLAGS.workdir))


def write(console: Console, workdir: pathlib.Path) -> None:
    """Writes figures and report, and prints the answer and where the report is."""
    page = report.write(workdir)
    for sentence in report.answer(results.load(workdir)):
        console.print(escape(sentence))
    console.print(f"report: {escape(str(page))}", style="bold", soft_wrap=True)


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "folder that launch.train made")
    config.run(main)
