# SPDX-License-Identifier: Apache-2.0
"""The programs by name: `nnlab train` where nnlab is installed, or a clone's doors."""

import importlib
import os
import re
import sys

import nnlab
from nnlab.words import spelling

PROGRAMS = {
    "train": "train",
    "report": "report",
    "describe": "describe",
    "find-rate": "find_rate",
    "check": "check",
    "bench": "bench.bench",
}
"""What a shell calls each program, and its module here."""
_DOORS = "|".join(name.replace("-", "_") for name in PROGRAMS)
_DOOR = re.compile(rf"(?:python -m )?(?<![\w./-])launch\.({_DOORS})\b")


def main() -> None:
    """Runs ``nnlab PROGRAM --flag=value``, or says which programs there are."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in ("--help", "-h"):
        print("\n".join(_overview()))
    elif name == "--version":
        print(f"nnlab {nnlab.__version__}")
    elif name.replace("_", "-") in PROGRAMS:
        run(name.replace("_", "-"), arguments)
    else:
        hint = spelling.nearest(name, PROGRAMS)
        print(f"error: unknown program {name!a}{hint}", file=sys.stderr)
        sys.exit(2)


def run(name: str, arguments: list[str] | None = None) -> None:
    """Runs a program of `PROGRAMS` and exits; with ``sys.argv`` if None is given."""
    from nnlab.commands import config

    program = importlib.import_module(f"nnlab.commands.{PROGRAMS[name]}")
    program.define_flags()
    config.run(program.main, None if arguments is None else [name, *arguments])


def as_typed(text: str) -> str:
    """Returns a text in which programs are called as this one was.

    Texts are written for a clone: to who typed ``nnlab train``, both ``python -m
    launch.find_rate`` and ``launch.find_rate`` are ``nnlab find-rate``.
    """
    if os.path.basename(sys.argv[0]) != "nnlab":
        return text
    return _DOOR.sub(lambda door: f"nnlab {door[1].replace('_', '-')}", text)


def _overview() -> list[str]:
    lines = ["nnlab PROGRAM --flag=value", ""]
    for name, place in PROGRAMS.items():
        doc = importlib.import_module(f"nnlab.commands.{place}").__doc__ or ""
        lines.append(f"  {name:<10} {re.split('[;:.]', doc)[0]}")
    return [*lines, "", "nnlab PROGRAM --help tells flags and examples."]
