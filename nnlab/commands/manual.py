# SPDX-License-Identifier: Apache-2.0
"""What ``--help`` prints: a screen to begin with, and a page for each topic.

Nothing is written twice: flags carry their own meaning (its short form ends at the
first semicolon), and a study's fields are described where they are defined.
"""

import collections
import dataclasses
import inspect
import pathlib
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

from absl import flags

from nnlab import study as study_lib
from nnlab.study import grammar
from nnlab.study.fields import hints
from nnlab.words import spelling

WIDTH = 80
_COLUMN = 23
"""Column where the meaning of a flag begins."""
_GROUPS = {
    "What to run": (
        *("config", "config.PATH", "sweep", "seeds", "until_resolved*", "max_seeds*"),
        *("claim", "vary*", "low", "high", "count*", "steps", "halving*"),
        "config_json*",
    ),
    "Where": ("workdir", "data_dir", "log*", "compilation_cache*", "profile*"),
    "How it runs": (
        *("lane_width*", "checkpoint_seconds*", "seal*", "measure", "members*"),
        *("devices*", "cost_per_device_hour*", "detect", "decide", "power*"),
        "check_gradients*",
        *("example_losses*",),
    ),
    "Search, in the place of a sweep": (
        *("search*", "search_space*", "search_trials*", "search_batch*", "sampler*"),
    ),
    "As one of several processes": ("coordinator*", "processes*", "process_index*"),
    "On many machines": ("executor*", "chunk_members*", "storage*"),
    "Afterwards": ("resume", "resume_anyway*", "rerun*", "bands*"),
    "For other documents": (
        *("figure_format*", "figure_size*", "dpi*", "figure_font*", "tables*"),
    ),
}
"""Groups of flags; the others come last. The first screen leaves out those with *."""
_VALUES = {
    "config": "=FILE:ARG",
    "config.PATH": "=VALUE",
    "sweep": "=PATH=A,B,..",
    "claim": "=CLAIM",
    "config_json": "=FILE",
    **dict.fromkeys(("workdir", "data_dir", "compilation_cache", "profile"), "=DIR"),
    **dict.fromkeys(("members", "devices"), "=N"),  # may be written as 1e6
    **dict.fromkeys(("vary", "log"), "=A,B,.."),
    "search": "=optuna",
    "search_space": "=PATH=SPAN",
    "sampler": "=NAME",
    "bands": "=KIND",
    **dict.fromkeys(("figure_format", "tables"), "=A,B,.."),
    **{"figure_size": "=SIZE", "figure_font": "=FONT"},
    "coordinator": "=HOST:PORT",
    "executor": "=ray:ADDR",
    "storage": "=URL",
    "rerun": "=TRIAL,SEED",
}
"""Stands for a flag's value, where its type does not say enough."""
_KINDS = {"bool": "", "int": "=N", "float": "=X", "string": "=VALUE"}
_TOPICS = {
    "configs": "the bundled studies, with their questions and arguments",
    "fields": "what can be set and swept, with defaults and meaning",
    "parts": "what a report can show, for --config.figures=PART,PART",
    "claims": "how to write a claim, for --claim",
    "flags": "every flag of this program",
}
_NEEDS = {"claims": "claim", "flags": ""}
"""The flag that a topic goes with, if not "config"."""


def wanted(arguments: Iterable[str]) -> str | None:
    """Returns the page that the command line asks for, of `page`; None for none.

    Raises:
      ValueError: an unknown topic.
    """
    for text in arguments:
        if text in ("--help", "-help", "-h"):
            return ""
        if text in ("--helpfull", "-helpfull"):
            return "full"
        if found := re.fullmatch(r"--?help=(.*)", text):
            if found[1] not in _TOPICS:
                hint = spelling.nearest(found[1], _TOPICS)
                raise ValueError(f"unknown topic {text!r}{hint}")
            return found[1]
    return None


def page(
    which: str,
    doc: str,
    defined: Sequence[flags.Flag],
    bundled: Sequence[pathlib.Path],
    load: Callable[[pathlib.Path], ModuleType],
) -> str:
    """Returns a page of a program's manual, in 80 columns.

    It is the first screen (""), all pages ("full"), or a topic, of a program with that
    docstring (a sentence, examples, and more) and the `defined` flags. `load` imports
    one of the `bundled` config files.
    """
    known = {"", *(flag.name for flag in defined)}
    topics = [topic for topic in _TOPICS if _NEEDS.get(topic, "config") in known]
    makers = {
        "": lambda: _first_screen(doc, defined, topics),
        "configs": lambda: _configs(bundled, load),
        "fields": _fields,
        "parts": _parts,
        "claims": grammar.HELP.splitlines,
        "flags": lambda: _flags(defined),
    }
    if which != "full":
        return "\n".join(makers[which]())
    parts = [[doc.strip()], *(makers[topic]() for topic in ("flags", *topics[:-1]))]
    return "\n\n".join("\n".join(lines) for lines in parts)


def _first_screen(
    doc: str, defined: Sequence[flags.Flag], topics: Sequence[str]
) -> list[str]:
    sentence, *more = doc.strip().split("\n\n")
    examples = [text for text in more if text.lstrip().startswith("python -m")]
    lines = [sentence, *textwrap.indent("\n".join(examples), "  ").splitlines(), ""]
    for title, some in _grouped(defined, with_rare=False):
        lines.append(title)
        for flag, placeholder in some:
            name = f"  --{flag.name}{placeholder}"
            short, room = _meaning(flag).partition("; ")[0], WIDTH - _COLUMN
            short += _default(flag) * (len(short + _default(flag)) <= room)
            lines += _hung(name, textwrap.shorten(short, room, placeholder=" ..."))
    lines.append("")
    for topic in topics:
        lines += _hung(f"  --help={topic}", _TOPICS[topic])
    return lines


def _flags(defined: Sequence[flags.Flag]) -> list[str]:
    lines: list[str] = []
    for title, some in _grouped(defined, with_rare=True):
        lines.append(title)
        for flag, placeholder in some:
            text = _meaning(flag) + _default(flag)
            lines += [f"  --{flag.name}{placeholder}", *_hung("", text, 6)]
    return lines


def _grouped(
    defined: Sequence[flags.Flag], with_rare: bool
) -> Iterator[tuple[str, list[tuple[flags.Flag, str]]]]:
    """Yields titles with their flags and what stands for the flags' values."""
    left = {flag.name: flag for flag in defined if not _is_numbers(flag)}
    for title, names in _GROUPS.items():
        some = [name.rstrip("*") for name in names if with_rare or name[-1] != "*"]
        if found := [left[name] for name in some if name in left]:
            yield title, [(f, _VALUES.get(f.name, _kind(f))) for f in found]
    grouped = {name.rstrip("*") for names in _GROUPS.values() for name in names}
    if others := [f for f in defined if f.name not in grouped or _is_numbers(f)]:
        yield "Flags", [(flag, _kind(flag)) for flag in others]


def _kind(flag: flags.Flag) -> str:
    return _KINDS.get(flag.flag_type(), "=A,..")


def _is_numbers(flag: flags.Flag) -> bool:
    """Whether a flag lists numbers to try, where others of that name have one."""
    return _VALUES.get(flag.name, "=N") == "=N" and flag.flag_type() not in _KINDS


def _meaning(flag: flags.Flag) -> str:
    return str(flag.help).partition(";\n")[0]  # absl adds a line


def _default(flag: flags.Flag) -> str:
    if not flag.default:
        return ""
    return f" (default: {str(flag.default_as_str).strip(chr(39))})"


def _configs(
    bundled: Sequence[pathlib.Path], load: Callable[[pathlib.Path], ModuleType]
) -> list[str]:
    lines = ["Bundled studies, --config=configs/NAME.py or configs/NAME.py:ARG,ARG"]
    for file in bundled:
        module = load(file)
        lines += _hung(f"  {file.stem}", (module.__doc__ or "").partition("\n\n")[0])
        groups = [", ".join(filter(None, some)) for some in module.GROUPS]
        lines += _hung("", f"takes {'; '.join(groups)}")
    return lines


def _parts() -> list[str]:
    shown = ",".join(study_lib.Study().figures)
    lines = [f"Parts of a report, --config.figures=PART,PART (default: {shown})"]
    for name, words in study_lib.SHOWN.items():
        lines += _hung(f"  {name}", words)
    return lines


def _fields() -> list[str]:
    lines = [
        "Fields of a study: --config.PATH=VALUE sets one for all trials,",
        "--sweep=PATH=A,B,.. tries several values. Each is shown with its default; a",
        "config has others. Fields with a * cost no compiling when they are swept.",
    ]
    trial = _described("A trial", study_lib.Hyperparameters)
    study = _described("The study", study_lib.Study, skipped=("base", "own", "sweep"))
    for title, fields in (*trial, *study):
        lines += ["", title]
        for name, text in fields:
            lines += _hung(f"  {name}", text, column=32)
    return lines


def _described(
    title: str, cls: Any, skipped: Sequence[str] = ()
) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yields titles with names and meanings: plain fields, then each dataclass's."""
    docs, plain, groups = _attributes(cls), [], []
    for field in dataclasses.fields(cls):
        hint, text = hints(cls)[field.name], docs[field.name]
        if field.name in skipped:
            continue
        if not dataclasses.is_dataclass(hint):
            plain.append(_field(field, text))
            continue
        inner = _attributes(hint)
        fields = dataclasses.fields(hint)
        some = [_field(f, inner[f.name], f"{field.name}.") for f in fields]
        groups.append((f"{field.name}: {text}".rstrip("."), some))
    yield title, plain
    yield from groups


def _field(
    field: "dataclasses.Field[Any]", text: str, prefix: str = ""
) -> tuple[str, str]:
    """Returns a field's entry: "optimizer.momentum=0*" and its meaning."""
    text = re.sub(r"^traced;? |; see nnlab[\w.]+| \(see [\w.]+\)", "", text).rstrip(".")
    text = text.replace("some of PARTS", "see --help=parts")
    choices = field.metadata.get("choices", ())
    if not all(f'"{name}"' in text for name in choices):
        text += f"; one of {', '.join(choices)}"
    star = "*" if "traced" in field.metadata else ""
    if "opened" in field.metadata:
        return f"{prefix}NAME", text
    if dataclasses.is_dataclass(field.default):
        return f"{prefix}{field.name}.LAYER=1*", text
    return f"{prefix}{field.name}={_value(field.default)}{star}", text


def _value(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "()"
    return f"{default:g}" if isinstance(default, float) else str(default)


def _attributes(cls: Any) -> dict[str, str]:
    """Returns ``{name: meaning}`` from the section Attributes of a docstring."""
    _, _, section = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    found: dict[str, str] = collections.defaultdict(str)  # python -OO leaves none
    for entry in re.split(r"\n(?=  \w)", section.strip("\n")):
        name, _, text = entry.strip().partition(": ")
        found[name] = " ".join(text.replace("`", "").split())
    return found


def _hung(name: str, text: str, column: int = _COLUMN) -> list[str]:
    """Puts the meaning beside a name, or below it if the name is long."""
    margin, is_short = " " * column, len(name) + 1 < column
    beside = f"{name:{column}}" if is_short else margin
    lines = textwrap.wrap(text, WIDTH, initial_indent=beside, subsequent_indent=margin)
    return lines if is_short and lines else [name, *lines]
