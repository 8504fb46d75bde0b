# SPDX-License-Identifier: Apache-2.0
"""Figures, tables and report again, from the stored results alone.

python -m launch.report --workdir=runs/quickstart
"""

import pathlib

from absl import flags
from rich.console import Console

from launch import config
from nnlab import answer, report, results


def main() -> None:
    """Redraws the report of a workdir."""
    if not flags.FLAGS.workdir:
        raise config.UsageError("--workdir is missing: a folder that launch.train made")
    write(Console(highlight=False, markup=False), pathlib.Path(flags.FLAGS.workdir))


def write(console: Console, workdir: pathlib.Path) -> None:
    """Writes figures and report, and prints the answer and where the report is."""
    page = report.write(workdir)
    for sentence in answer.sentences(results.load(workdir)):
        console.print(sentence, soft_wrap=not console.is_terminal)
    console.print(f"report: {page}", style="bold", soft_wrap=True)


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("workdir", None, "folder that launch.train made")


if __name__ == "__main__":
    define_flags()
    config.run(main)
