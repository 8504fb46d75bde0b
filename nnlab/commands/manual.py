# SPDX-License-Identifier: Apache-2.0
"""What ``--help`` prints: a screen to begin with, and a page for each topic.

Flags tell by themselves what they are for, up to a semicolon in short; the fields of a
study are described where they are defined; nothing is written twice.
"""

import collections
import dataclasses
import inspect
import pathlib
import re
import textwrap
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from absl import flags

from nnlab import study as study_lib
from nnlab.study.fields import hints
from nnlab.words import spelling

WIDTH = 80
_ONE = ("int", "float", "string")
"""Types of flags that have one value; a number may be written as 1e6."""
_COLUMN = 23
"""Where the meaning of a flag begins."""


@dataclasses.dataclass(frozen=True)
class _Group:
    """Flags that belong together.

    Attributes:
      title: what they are about.
      placeholders: for each flag what stands for its value.
      rare: those that the first screen leaves out.
    """

    title: str
    placeholders: Mapping[str, str]
    rare: tuple[str, ...] = ()


_GROUPS = (
    _Group(
        "What to run",
        {
            "config": "=FILE:ARG",
            "config.PATH": "=VALUE",
            "sweep": "=PATH=A,B,..",
            "seeds": "=N",
            "until_resolved": "",
            "max_seeds": "=N",
            "low": "=X",
            "high": "=X",
            "count": "=N",
            "steps": "=N",
            "halving": "=N",
            "config_json": "=FILE",
        },
        rare=("until_resolved", "max_seeds", "count", "halving", "config_json"),
    ),
    _Group(
        "Where",
        {
            "workdir": "=DIR",
            "data_dir": "=DIR",
            "tensorboard": "",
            "compilation_cache": "=DIR",
            "profile": "=DIR",
        },
        rare=("compilation_cache", "profile"),
    ),
    _Group(
        "How it runs",
        {
            "lane_width": "=N",
            "checkpoint_seconds": "=X",
            "measure": "",
            "members": "=N",
            "devices": "=N",
            "cost_per_device_hour": "=X",
            "check_gradients": "",
        },
        rare=("lane_width", "checkpoint_seconds", "cost_per_device_hour"),
    ),
    _Group(
        "Search, in the place of a sweep",
        {
            "search": "=optuna",
            "search_space": "=PATH=SPAN",
            "search_trials": "=N",
            "search_batch": "=N",
            "sampler": "=NAME",
        },
        rare=("search", "search_space", "search_trials", "search_batch", "sampler"),
    ),
    _Group(
        "As one of several processes",
        {"coordinator": "=HOST:PORT", "processes": "=N", "process_index": "=N"},
        rare=("coordinator", "processes", "process_index"),
    ),
    _Group(
        "On many machines",
        {"executor": "=ray:ADDR", "chunk_members": "=N", "storage": "=URL"},
        rare=("executor", "chunk_members", "storage"),
    ),
    _Group(
        "Afterwards",
        {"resume": "", "resume_anyway": "", "rerun": "=TRIAL,SEED"},
        rare=("resume_anyway",),
    ),
)
_TOPICS = {
    "configs": "the bundled studies, with their questions and arguments",
    "fields": "what can be set and swept, with defaults and meaning",
    "parts": "what a report can show, for --config.figures=PART,PART",
    "flags": "every flag of this program",
}


def wanted(arguments: Iterable[str]) -> str | None:
    """The page that the command line asks for, of `page`; None for none.

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
    """A page of the manual of a program, in 80 columns.

    Args:
      which: "" for the first screen, "full" for all pages, or a topic.
      doc: the docstring of the program: a sentence, examples, and more.
      defined: the program's flags.
      bundled: the config files at hand.
      load: imports one.
    """
    has_study = any(flag.name == "config" for flag in defined)
    topics = tuple(_TOPICS) if has_study else ("flags",)
    if not which:
        return "\n".join(_first_screen(doc, defined, topics))
    makers = {
        "configs": lambda: _configs(bundled, load),
        "fields": _fields,
        "parts": _parts,
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
    """Every flag, with its default."""
    lines: list[str] = []
    for title, some in _grouped(defined, with_rare=True):
        lines.append(title)
        for flag, placeholder in some:
            text = _meaning(flag) + _default(flag)
            lines += [f"  --{flag.name}{placeholder}", *_wrapped(text, 6)]
    return lines


def _grouped(
    defined: Sequence[flags.Flag], with_rare: bool
) -> Iterator[tuple[str, list[tuple[flags.Flag, str]]]]:
    """Titles with their flags and what stands for the flags' values."""
    left = {flag.name: flag for flag in defined}
    for group in _GROUPS:
        some = []
        for name, placeholder in group.placeholders.items():
            flag = left.get(name)
            # Of one name, a list is another flag: numbers to try, not a number.
            if flag is None or (placeholder == "=N" and flag.flag_type() not in _ONE):
                continue
            del left[name]
            if with_rare or name not in group.rare:
                some.append((flag, placeholder))
        if some:
            yield group.title, some
    if left:
        kinds = {"bool": "", "int": "=N", "float": "=X", "string": "=VALUE"}
        others = [(f, kinds.get(f.flag_type(), "=A,..")) for f in left.values()]
        yield "Flags", others


def _meaning(flag: flags.Flag) -> str:
    return str(flag.help).partition(";\n")[0]  # absl adds a line


def _default(flag: flags.Flag) -> str:
    if not flag.default:
        return ""
    return f" (default: {str(flag.default_as_str).strip(chr(39))})"


def _configs(
    bundled: Sequence[pathlib.Path], load: Callable[[pathlib.Path], ModuleType]
) -> list[str]:
    """The bundled studies: question, and the arguments that each takes."""
    lines = ["Bundled studies, --config=configs/NAME.py or configs/NAME.py:ARG,ARG"]
    for file in bundled:
        module = load(file)
        lines += _hung(f"  {file.stem}", (module.__doc__ or "").partition("\n\n")[0])
        groups = [", ".join(filter(None, some)) for some in module.GROUPS]
        lines += _wrapped(f"takes {'; '.join(groups)}", _COLUMN)
    return lines


def _parts() -> list[str]:
    """The parts of a report, in words."""
    shown = ",".join(study_lib.Study().figures)
    lines = [f"Parts of a report, --config.figures=PART,PART (default: {shown})"]
    for name, text in study_lib.PARTS.items():
        lines += _hung(f"  {name}", text)
    return lines


def _fields() -> list[str]:
    """The fields of a study, in groups, with default and meaning."""
    lines = [
        "Fields of a study: --config.PATH=VALUE sets one for all trials,",
        "--sweep=PATH=A,B,.. tries several values. Each is shown with its default; a",
        "config has others. Fields with a * cost no compiling when they are swept.",
    ]
    study = _described(study_lib.Study, skipped=("base", "own", "sweep"))
    trial = _described(study_lib.Hyperparameters)
    for title, fields in (*trial.items(), *study.items()):
        lines += ["", title]
        for field in fields:
            lines += _hung(f"  {field.name}", field.text, column=32)
    return lines


class _Field(typing.NamedTuple):
    name: str
    text: str


def _described(cls: Any, skipped: Sequence[str] = ()) -> dict[str, list[_Field]]:
    """``{title: fields}`` of a dataclass, a group for each dataclass in it."""
    own = {study_lib.Study: "The study", study_lib.Hyperparameters: "A trial"}[cls]
    found: dict[str, list[_Field]] = {own: []}
    docs = _attributes(cls)
    for field in dataclasses.fields(cls):
        hint = hints(cls)[field.name]
        if field.name in skipped:
            continue
        if not dataclasses.is_dataclass(hint):
            found[own].append(_field(field, docs[field.name], ""))
            continue
        title = f"{field.name}: {docs[field.name]}".rstrip(".")
        inner = _attributes(hint)
        found[title] = [
            _field(f, inner[f.name], f"{field.name}.") for f in dataclasses.fields(hint)
        ]
    return found


def _field(field: "dataclasses.Field[Any]", text: str, prefix: str) -> _Field:
    """One field: "optimizer.momentum=0*" and what it is."""
    text = re.sub(r"^traced;? |; see nnlab[\w.]+| \(see [\w.]+\)", "", text).rstrip(".")
    text = text.replace("some of PARTS", "see --help=parts")
    choices = field.metadata.get("choices", ())
    if not all(f'"{name}"' in text for name in choices):
        text += f"; one of {', '.join(choices)}"
    star = "*" if "traced" in field.metadata else ""
    return _Field(f"{prefix}{field.name}={_value(field.default)}{star}", text)


def _value(default: Any) -> str:
    """A default as it is written on the command line."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    if isinstance(default, tuple):
        return ",".join(map(str, default)) or "()"
    return str(default)


def _attributes(cls: Any) -> dict[str, str]:
    """``{name: meaning}`` from the section Attributes of a docstring."""
    _, _, section = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    found: dict[str, str] = collections.defaultdict(str)  # python -OO leaves none
    for entry in re.split(r"\n(?=  \w)", section.strip("\n")):
        name, _, text = entry.strip().partition(": ")
        found[name] = " ".join(text.replace("`", "").split())
    return found


def _hung(name: str, text: str, column: int = _COLUMN) -> list[str]:
    """A name, and its meaning beside it, or below it if the name is long."""
    lines = textwrap.wrap(text, WIDTH - column)
    if len(name) + 1 >= column:
        return [name, *textwrap.indent("\n".join(lines), " " * column).split("\n")]
    first = f"{name:{column}}{lines[0] if lines else ''}".rstrip()
    return [first, *(" " * column + line for line in lines[1:])]


def _wrapped(text: str, indent: int) -> list[str]:
    lines = textwrap.fill(text, WIDTH - indent)
    return textwrap.indent(lines, " " * indent).split("\n")
