# SPDX-License-Identifier: Apache-2.0
"""Flags, config files and overrides to a `Study`; messages and exit statuses.

Configuration ends here: below, the library has keyword arguments. A config file defines
``get_config(arg="")``, which starts from `default`, and ``sweep(arg="")``, a generator
of flat override dicts.
"""

import difflib
import importlib.util
import os
import pathlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from nnlab import study as study_lib
from nnlab import sweep as sweep_lib

_CONFIG_HELP = (
    "the study: configs/NAME.py, or configs/NAME.py:ARG with what the file takes, such "
    "as :mnist or :smoke; --config.PATH=VALUE overrides a field"
)


class UsageError(ValueError):
    """A mistake on the command line; its message is the line that is printed."""


def default() -> ConfigDict:
    """Every field with its default value; a config file changes what it studies."""
    values = study_lib.Study().to_dict()
    del values["sweep"]
    return ConfigDict(_tuples(values))


def choose(arg: str, *groups: Iterable[str]) -> tuple[str, ...]:
    """Splits a config's argument, such as "mnist,smoke", into one choice a group.

    Args:
      arg: comma-separated choices in any order.
      groups: the choices of each group; the first of a group is its default.

    Returns:
      One choice for each group.

    Raises:
      ValueError: an unknown choice, or two of one group.
    """
    lists = [tuple(group) for group in groups]
    chosen: dict[int, str] = {}
    for word in filter(None, arg.split(",")):
        group = next((i for i, names in enumerate(lists) if word in names), None)
        if group is None:
            allowed = [name for names in lists for name in names if name]
            raise ValueError(
                f"unknown config argument {word!r}{study_lib.nearest(word, allowed)}"
            )
        if group in chosen and chosen[group] != word:
            raise ValueError(
                f"config argument {arg!r} has both {chosen[group]!r} and {word!r}"
            )
        chosen[group] = word
    return tuple(chosen.get(i, names[0]) for i, names in enumerate(lists))


def define_study_flags() -> None:
    """Defines the flags from which `study` is made, --config apart."""
    flags.DEFINE_multi_string(
        "sweep",
        [],
        "an axis to sweep in the place of the config's own sweep: path=v1,v2 or "
        "path=logspace(1e-3,1,12) or path=linspace(0,0.9,4); several make a product",
    )
    flags.DEFINE_integer("seeds", None, "repetitions of every trial")
    flags.DEFINE_string(
        "data_dir",
        None,
        "folder of the data sets (a prepared TFDS directory or IDX files); "
        "default: NNLAB_DATA_DIR, else a download",
    )
    flags.DEFINE_integer(
        "lane_width", 0, "members that run at once; 0 lets the plan choose"
    )


def study() -> study_lib.Study:
    """The study that the parsed flags describe.

    Raises:
      ValueError: a bad field, value or axis.
    """
    values = flags.FLAGS.config.to_dict()
    if flags.FLAGS.seeds is not None:
        values["num_seeds"] = flags.FLAGS.seeds
    if flags.FLAGS.sweep:
        axes: dict[str, tuple[Any, ...]] = {}
        for text in flags.FLAGS.sweep:
            path, points = sweep_lib.parse_axis(text)
            if path in axes:
                raise ValueError(f"--sweep names {path!r} twice")
            axes[path] = points
        values["sweep"] = sweep_lib.product(axes)
    else:
        values["sweep"] = _loaded_sweep
    return study_lib.Study.from_dict(values)


_loaded_sweep: tuple[dict[str, Any], ...]


def run(main: Callable[[], None], argv: Sequence[str] | None = None) -> None:
    """Parses flags, calls `main` and exits: 0 done, 2 the user's mistake, 1 otherwise.

    Args:
      main: the program.
      argv: arguments, the program's name first; ``sys.argv`` if None.
    """
    arguments = list(sys.argv if argv is None else argv)
    try:
        _parse(arguments)
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(1)
    except (ValueError, FileNotFoundError, FileExistsError, ConnectionError) as error:
        if os.environ.get("NNLAB_TRACEBACK"):
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except (PermissionError, NotADirectoryError, IsADirectoryError) as error:
        print(f"error: {error.strerror}: {error.filename!r}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _parse(arguments: list[str]) -> None:
    if any(a in ("--help", "-h", "-help", "--helpfull") for a in arguments[1:]):
        print((sys.modules["__main__"].__doc__ or "").strip())
        print(flags.FLAGS.main_module_help() + "\n" + _flags_help())
        sys.exit(0)
    if takes_config():
        arguments = _load_config(arguments)
    try:
        rest = flags.FLAGS(arguments)
    except flags.Error as error:
        raise UsageError(_flag_message(error)) from None
    except (AttributeError, KeyError, TypeError) as error:
        raise UsageError(f"bad --config override: {_one_line(error)}") from None
    if rest[1:]:
        raise UsageError(f"unexpected argument {rest[1]!r}; options start with --")


def takes_config() -> bool:
    """Whether the program has study flags."""
    return "sweep" in flags.FLAGS


def _flags_help() -> str:
    return flags.FLAGS.module_help(sys.modules[__name__]) if takes_config() else ""


def _load_config(arguments: list[str]) -> list[str]:
    """Loads the config file and defines its override flags; returns the rest."""
    global _loaded_sweep
    first = flags.FlagValues()
    flags.DEFINE_string("config", None, _CONFIG_HELP, flag_values=first)
    overrides = [a for a in arguments if re.match(r"--?config\.", a)]
    others = [a for a in arguments if a not in overrides]
    try:
        rest = first(others, known_only=True)
    except flags.Error as error:
        raise UsageError(_flag_message(error)) from None
    if not first.config:
        raise UsageError(f"--config is missing; bundled: {', '.join(_bundled())}")
    path, _, arg = first.config.partition(":")
    module = _import(path)
    try:
        config = module.get_config(arg)
        _loaded_sweep = tuple(dict(item) for item in module.sweep(arg))
    except ValueError as error:
        raise UsageError(f"{path}: {_one_line(error)}") from None
    _check_overrides(config, overrides)
    # config_flags looks for overrides in sys.argv only.
    sys.argv = [*rest, *overrides]
    config_flags.DEFINE_config_dict("config", config, _CONFIG_HELP)
    return sys.argv


def _bundled() -> list[str]:
    folder = pathlib.Path(__file__).parent.parent / "configs"
    return sorted(f"configs/{p.name}" for p in folder.glob("[!_]*.py"))


def _import(path: str) -> ModuleType:
    file = pathlib.Path(path)
    if not file.is_file():
        raise UsageError(
            f"no config file {path!r}{study_lib.nearest(path, _bundled())}"
        )
    spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever the user's file raises is the user's
        name = type(error).__name__
        raise UsageError(f"config file {path!r}: {name}: {_one_line(error)}") from None
    for function in ("get_config", "sweep"):
        if not callable(getattr(module, function, None)):
            raise UsageError(f"config file {path!r} defines no {function}(arg='')")
    return module


def _check_overrides(config: ConfigDict, overrides: Sequence[str]) -> None:
    """Refuses an override of a field that the config does not have."""
    known = _leaves(config)
    for text in overrides:
        path = text.lstrip("-").partition("=")[0].removeprefix("config.")
        if path not in known:
            raise UsageError(
                f"unknown field {path!r} in {text!r}{study_lib.nearest(path, known)}"
            )


def _leaves(config: ConfigDict, prefix: str = "") -> list[str]:
    found = []
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            found += _leaves(value, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def _flag_message(error: flags.Error) -> str:
    text = _one_line(error)
    unknown = re.search(r"Unknown command line flag '([^']+)'", text)
    if not unknown:
        return text
    names = [n for n in flags.FLAGS if not n.startswith("?")]
    close = difflib.get_close_matches(unknown[1], names, n=1)
    hint = f"; did you mean --{close[0]}?" if close else "; see --help"
    return f"unknown option --{unknown[1]}{hint}"


def _tuples(value: Any) -> Any:
    """Lists to tuples: config_flags overrides tuples only."""
    if isinstance(value, dict):
        return {k: _tuples(v) for k, v in value.items()}
    if isinstance(value, list):
        return tuple(_tuples(v) for v in value)
    return value


def use_all_cores() -> None:
    """Makes one JAX device for each CPU core; call it before JAX's first use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(cores or os.cpu_count() or 1))
