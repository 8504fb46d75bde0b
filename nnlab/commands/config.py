# SPDX-License-Identifier: Apache-2.0
"""Turns flags, config files and overrides into a `Study`; messages and exit statuses.

Below this module, the library has keyword arguments only. A config file defines
``get_config(arg="")``, which starts from `default`, and ``sweep(arg="")``, a generator
of flat override dicts.
"""

import collections
import contextlib
import dataclasses
import errno
import importlib.util
import io
import itertools
import json
import math
import os
import pathlib
import re
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from absl import flags
from ml_collections import ConfigDict

from nnlab import results
from nnlab import study as study_lib
from nnlab.commands import manual
from nnlab.commands.programs import as_typed
from nnlab.machine import devices, files
from nnlab.results import asked
from nnlab.study import fitting
from nnlab.study import sweep as sweep_lib
from nnlab.study.values import parse_value
from nnlab.watch import terminal
from nnlab.words import errors, numbers, spelling

_OVERRIDE = "config.PATH"
_RENAMED = {"tensorboard": "log=tensorboard", "tb": "log=tensorboard"}
"""Flags of earlier versions -> what takes their place."""
_FIELDS = {"seeds": "num_seeds", "halving": "halving.factor"}
_FIELDS |= {name: name for name in ("bands", "vary", "example_losses")}
"""Flags that set a field of the study."""
_MOST_BYTES = 1 << 30
"""Largest file of a study as JSON."""


class Failure(Exception):
    """A failure that is not the user's mistake; its message is printed."""


class UsageError(ValueError):
    """A mistake on the command line; its message is printed."""


def default(doc: str | None = None) -> ConfigDict:
    """Returns every field with its default; a config file changes what it studies.

    Args:
      doc: a config's docstring, whose first paragraph is the study's question; None
        for the question that `Study` has.

    >>> default("Does depth help?\\n\\nSix networks.").question
    'Does depth help?'
    """
    values = study_lib.Study().fields()
    del values["sweep"]
    if doc:
        values["question"] = " ".join(doc.partition("\n\n")[0].split())
    return ConfigDict(values)


def define_study_flags() -> None:
    """Defines the flags of the study, and those of how it runs."""
    flags.DEFINE_string(
        "config",
        None,
        "the study, such as configs/learning_rate.py:mnist; a config file, with what "
        "it takes behind a colon; of those in configs/ the name is enough, such as "
        "quickstart:smoke",
    )
    flags.DEFINE_string(
        "config_json",
        None,
        "the study as data, in the place of --config; the config.json of a workdir, or "
        "a study's fields as JSON; nothing in it is executed",
    )
    flags.DEFINE_multi_string(
        _OVERRIDE,
        [],
        "sets a field, such as --config.model.hidden=64,32; may be repeated",
    )
    flags.DEFINE_multi_string(
        "sweep",
        [],
        "values of a field to try, such as batch_size=16,64; or "
        "optimizer.momentum=linspace(0,0.9,4), or "
        "optimizer.learning_rate=logspace(1e-3,1,12); quotes hold a value with commas; "
        "several make a product; they take the place of the study's own sweep",
    )
    flags.DEFINE_integer(
        "seeds", None, "repetitions of every trial; default: the study's"
    )
    flags.DEFINE_list(
        "vary",
        None,
        "what changes from seed to seed; default: init,order,noise; with split, too, "
        "each seed draws training, validation and test examples of its own, with "
        "split=published only the first two",
    )
    flags.DEFINE_integer(
        "halving",
        None,
        "of N trials one goes on at each rung, others end; rungs are at "
        "--config.halving.min_epochs (1), at N times as many epochs, and so on; those "
        "that share a program race with each other; 0 for none",
    )
    flags.DEFINE_bool(
        "example_losses",
        None,
        "store the final networks' loss of each validation and test example, in "
        "artifacts/losses.npz; whether each was right is always stored; default: the "
        "study's",
    )
    define_bands()
    flags.DEFINE_string(
        "data_dir",
        None,
        "folder of the image data; a prepared TFDS directory or the published files; "
        "otherwise NNLAB_DATA_DIR, otherwise a download",
    )
    flags.DEFINE_integer(
        "lane_width", 0, "networks that run at once; 0 lets the plan choose"
    )
    flags.DEFINE_string(
        "compilation_cache",
        None,
        "folder in which compiled programs are kept; the next run of the same programs "
        "need not compile them; it runs them unseen, so only those whom you trust may "
        "write there",
    )


def define_claims() -> None:
    """Defines the flag of claims beside a study's own."""
    flags.DEFINE_multi_string(
        "claim",
        [],
        "a claim to test, see --help=claims; such as "
        "'test_accuracy(dropout_rate=0.5) > test_accuracy(dropout_rate=0)'; beside "
        "the study's own; may be repeated",
    )


def define_bands() -> None:
    """Defines the flag of the bands, of the study and of its report."""
    flags.DEFINE_enum(
        "bands",
        None,
        list(study_lib.BANDS),
        "what the bands of learning curves cover in 95 % of experiments; pointwise is "
        "each point by itself, simultaneous the whole curve, which makes them wider; "
        "default: the study's",
    )


def define_exports() -> None:
    """Defines the flags of files for other documents, beside a report."""
    flags.DEFINE_list(
        "figure_format",
        None,
        "also draw figures for other documents; one or more of pdf (the default), svg, "
        "png; they go into figures/column and the like; see --figure_size",
    )
    flags.DEFINE_string(
        "figure_size",
        None,
        "what those figures are for; column (3.35 inches wide, letters of 8 points), "
        "page (6.9 inches, 9 points; the default) or slide (10 x 5.6 inches, 18 "
        "points); letters are smaller only where they would overlap or be cut",
    )
    flags.DEFINE_integer(
        "dpi", None, "dots an inch of their PNG, and of images in them; default: 300"
    )
    flags.DEFINE_string(
        "figure_font", None, "their letters; sans (the default) or serif"
    )
    flags.DEFINE_list(
        "tables",
        None,
        "also write the report's tables for other documents, into tables/; one or more "
        "of markdown, latex (with booktabs), tsv (tabs between cells)",
    )


def study() -> study_lib.Study:
    """Returns the study that the parsed flags describe.

    Raises:
      ValueError: a bad config file, field, value or axis.
    """
    given = flags.FLAGS
    values = _given()
    trials = values.pop("sweep")  # of dicts: no field to override
    own = set()
    for text in given[_OVERRIDE].value or ():
        path, value = text.split("=", 1)
        _override(values, path, value)
        own.add(path)
    for flag, field in _FIELDS.items():
        if (value := given[flag].value) is not None:
            value = tuple(value) if isinstance(value, list) else value
            study_lib.put(values, field, value)
    axes: dict[str, tuple[Any, ...]] = {}
    for text in given.sweep:
        field, points = sweep_lib.parse_axis(text)
        if field in axes:
            raise UsageError(f"--sweep names {field!r} twice")
        axes[field] = points
    values["sweep"] = sweep_lib.product(axes) if axes else trials
    own |= {"sweep"} if axes else set()
    made = fitting.fitted(values, own, trials)
    claims = asked.planned(made) if own else made.claims  # others' fit no more
    if "claim" in given and given.claim:
        claims = asked.of_study(dataclasses.replace(made, claims=claims), given.claim)
    if claims == made.claims:
        return made
    # Made anew, since claims decide by which metric networks stop.
    values["claims"] = claims
    return fitting.fitted(values, own | {"claims"}, trials)


def load(config: str) -> study_lib.Study:
    """Returns the study of a config file, for notebooks.

    Args:
      config: as --config has it: the file's path, with its argument behind a colon,
        such as "configs/learning_rate.py:mnist".

    Raises:
      ValueError: a bad config file, field or value.
    """
    return study_lib.Study.from_dict(_load(config))


def _given() -> dict[str, Any]:
    """Returns the fields and the sweep of the config that the flags name."""
    given = flags.FLAGS
    if given.config and given.config_json:
        raise UsageError("--config and --config_json are both given; one is enough")
    if given.config:
        return _load(given.config)
    if given.config_json:
        fields = _load_json(files.absolute(given.config_json, "--config_json"))
    elif "resume" in given and given.resume and given.workdir:
        if "claim" in given and given.claim:  # it would look as if made before
            raise UsageError(
                "--claim does not go with --resume without --config; launch.report "
                "--claim asks a run that is there"
            )
        fields = _resumed(files.absolute(given.workdir, "--workdir"))
    else:
        raise UsageError(f"--config is missing; bundled: {', '.join(_bundled())}")
    return study_lib.Study.from_dict(fields).fields()  # a stored one may lack some


def _resumed(workdir: pathlib.Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = results.load_config(workdir)["study"]
        return found
    except (results.LostError, FileNotFoundError) as error:
        if not (workdir / results.CHECKPOINTS).is_dir():
            raise
        raise UsageError(
            f"{error}; --resume with the run's --config goes on from its checkpoints"
        ) from None


def _load_json(path: pathlib.Path) -> dict[str, Any]:
    told = f"--config_json={files.shown(path)!r}"
    if not path.is_file():  # a pipe may never end
        raise UsageError(f"no file {told}{spelling.nearest_file(files.shown(path))}")
    if path.stat().st_size > _MOST_BYTES:
        raise UsageError(f"{told} is larger than {_MOST_BYTES >> 30} GiB")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{told} is no JSON: {error}") from None
    try:
        return dict(results.study_fields(found))
    except ValueError as error:
        raise UsageError(f"{told} holds no study: {error}") from None


def run(main: Callable[[], int | None], argv: Sequence[str] | None = None) -> None:
    """Parses flags, calls `main` and exits: 0 done, 2 the user's mistake, 1 otherwise.

    `argv` has the program's name first; ``sys.argv`` if None.
    """
    arguments = list(sys.argv if argv is None else argv)
    with _streams() as out:
        status = _status(main, arguments, out)
    sys.exit(status)


def need_no_output() -> None:
    """Lets the program go on if its output is closed: it now makes files."""
    if isinstance(sys.stdout, terminal.Output):
        sys.stdout.is_needed = False


@contextlib.contextmanager
def _streams() -> Iterator[terminal.Output]:
    """Makes standard output and error silent once they cannot be written."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # an encoding without "±" is no reason
        sys.stdout.reconfigure(errors="replace")
    out, err = terminal.Output(sys.stdout, is_needed=True), terminal.Output(sys.stderr)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            yield out
        finally:
            out.is_needed = False
            for stream in (out, err):
                stream.flush()
                if stream.error:  # Python would flush it again, and complain
                    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _status(
    main: Callable[[], int | None], arguments: Sequence[str], out: terminal.Output
) -> int:
    """Calls `main`, prints what went wrong, and returns the exit status.

    That of `main` is its own where it returns one.
    """
    status = 0
    try:
        if (topic := manual.wanted(arguments[1:])) is not None:
            doc = sys.modules[main.__module__].__doc__ or ""
            page = manual.page(topic, doc, _flags(), _bundled_files(), _import)
            print(as_typed(page))
        else:
            _parse(arguments)
            status = main() or 0
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        line = as_typed(": ".join(["interrupted", *map(str, interrupt.args)]))
        print(numbers.visible(line), file=sys.stderr)
        out.is_needed = False
        sys.stdout.flush()
        sys.stderr.flush()
        # All is written. JAX's threads may still be at work on what was interrupted: an
        # interpreter that shut down under them crashed (once, Python 3.13.0).
        os._exit(1)
    except Exception as error:
        is_known = isinstance(error, Failure) or error is out.error
        found = 1 if is_known else errors.status_of(error)
        if found is None:
            raise
        status = found
        if error is not out.error:
            print(f"error: {as_typed(errors.line_of(error))}", file=sys.stderr)
    if out.error and out.error.errno != errno.EPIPE:  # `| head` has seen enough
        line = f"standard output: {errors.line_of(out.error)}"
        print(f"error: {line}" if status else line, file=sys.stderr)
    return status


def start_jax() -> collections.Counter[str] | None:
    """Sets JAX up as the flags say; must be called before JAX's first use.

    Returns:
      How often the compilation cache had a program ("cache_hits") and had not
      ("cache_misses"), kept up to date; None without ``--compilation_cache``.
    """
    devices.use_all_cores()
    path = check_folder("compilation_cache")
    if path is None:
        return None
    if path.is_dir() and path.stat().st_mode & stat.S_IWOTH:
        raise UsageError(
            f"--compilation_cache={str(path)!r} can be written by every user of this "
            "machine, and programs in it are run; choose a folder of your own"
        )
    import jax

    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    counts: collections.Counter[str] = collections.Counter()
    jax.monitoring.register_event_listener(
        lambda event, **_: counts.update([event.rpartition("/")[2]])
    )
    return counts


def check_folder(name: str) -> pathlib.Path | None:
    """Returns a flag's folder, which can be made or written; None if none is given."""
    folder = flags.FLAGS[name].value
    if folder is None:
        return None
    path = files.absolute(folder, f"--{name}")
    above = next((p for p in (path, *path.parents) if p.exists()), path)
    if not above.is_dir():
        where = "" if above == path else f": {str(above)!r}"
        raise UsageError(f"--{name}={folder!r}{where} is a file, not a folder")
    if not os.access(above, os.W_OK):
        raise UsageError(f"--{name}={folder!r} cannot be written")
    return path


def check_alone(name: str, *beside: str) -> None:
    """Refuses all flags beside one, but for those that go with it."""
    for flag in _flags():
        if flag.present and flag.name not in (name, *beside):
            allowed = ", ".join(f"--{flag}" for flag in beside)
            raise UsageError(
                f"--{flag.name} does not go with --{name}; allowed beside it: {allowed}"
            )


def _parse(arguments: Sequence[str]) -> None:
    """Parses all flags, ``--config.PATH=VALUE`` among them."""
    given = []
    takes_value = {f"--{f.name}" for f in _flags() if not f.boolean}
    for text, following in zip(arguments, [*arguments[1:], ""]):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"argument {text!a} is not UTF-8") from None
        if text in takes_value and following.startswith("--"):
            raise UsageError(f"{text} has no value: {following!r} comes next")
        # absl's own: one reads flags from any file, the other ignores misspelt ones.
        if found := re.match(r"--?(flagfile|undefok)\b", text):
            raise UsageError(f"unknown flag '--{found[1]}'")
        if re.fullmatch(r"--?[\w.]+=", text):
            raise UsageError(f"{text} has no value")
        override = re.match(r"--?config\.(.+)", text, re.DOTALL)
        if override and "=" not in text:
            raise UsageError(f"{text} has no value; write {text}=VALUE")
        given.append(f"--{_OVERRIDE}={override[1]}" if override else text)
    try:
        rest = flags.FLAGS(given)
    except flags.UnrecognizedFlagError as error:
        name = error.flagname
        known = [f"--{f.name}" for f in _flags()]
        if (now := _RENAMED.get(name)) and f"--{now.partition('=')[0]}" in known:
            raise UsageError(f"unknown flag '--{name}'; it is --{now} now") from None
        hint = spelling.nearest(f"--{name}", known)
        if "config" in flags.FLAGS and (field := _field_of(name, "did you" in hint)):
            hint = f"; did you mean '--config.{field}=VALUE'?"
        raise UsageError(f"unknown flag '--{name}'{hint}") from None
    except flags.Error as error:
        wrong = re.match(r"flag --(\w+)=(.*?): ", text := errors.line_of(error))
        if wrong:
            parser = flags.FLAGS[wrong[1]].parser
            allowed = getattr(parser, "enum_values", ("true", "false"))
            kind = parser.syntactic_help or " or ".join(allowed)
            text = f"--{wrong[1]}={wrong[2]!r} is not {kind}"
        raise UsageError(text) from None
    for flag in _flags():
        if isinstance(flag.value, float) and math.isnan(flag.value):
            raise UsageError(f"--{flag.name}={flag.value} is not a number")
    if rest[1:]:
        raise UsageError(f"unexpected argument {rest[1]!r}; flags begin with --")


def _field_of(flag: str, is_near_a_flag: bool) -> str | None:
    """Returns the field that a flag with this or a similar name would set."""
    every = study_lib.PATHS
    leaves = {path.rpartition(".")[2] for path in every}
    if flag in every or flag in leaves or not is_near_a_flag:
        return spelling.near_path(flag, every)
    return None


def _load(config: str) -> dict[str, Any]:
    path, _, arg = config.partition(":")
    file = _find(path)
    told = f"config file {path!r}"
    try:
        module = _import(file)
        made = module.get_config(arg)
        # One more than allowed: a generator may be endless.
        trials = tuple(itertools.islice(module.sweep(arg), study_lib.MOST_TRIALS + 1))
    except (Exception, SystemExit) as error:  # whatever the user's file raises
        raise UsageError(f"{told}{_blame(error, file)}") from None
    if not isinstance(made, ConfigDict):
        raise UsageError(f"{told}: get_config() returns {made!r}, not a ConfigDict")
    for item in trials:
        if not isinstance(item, Mapping):
            raise UsageError(
                f"{told}: sweep() yields {item!r}, not a dict such as "
                "{'optimizer.learning_rate': 0.1}"
            )
    if not trials:
        raise UsageError(f"{told}: sweep() is empty, it yields no trial")
    return {**made.to_dict(), "sweep": tuple(map(dict, trials))}


def _find(path: str) -> pathlib.Path:
    """Finds a config file; the name of a bundled one is enough.

    Raises:
      UsageError: there is none; the nearest is offered.
    """
    file = files.absolute(path, "config") if path else pathlib.Path()
    bundled = {one.stem: one for one in _bundled_files()}
    if file.is_file():
        return file
    stem = file.name.removesuffix(".py")
    if stem and file.with_name(f"{stem}.py").is_file():
        return file.with_name(f"{stem}.py")
    if stem in bundled and os.path.dirname(path) in ("", "configs"):
        return bundled[stem]
    if path and file.is_dir():
        raise UsageError(f"config {path!r} is a folder; name a file in it")
    hint = spelling.nearest_file(files.shown(file))  # one of the user's own
    if not hint.endswith(".py'?"):
        meant = spelling.near(stem, bundled)
        hint = f"; did you mean 'configs/{meant}.py'?" if meant else ";"
    raise UsageError(f"no config file {path!r}{hint} allowed: {', '.join(_bundled())}")


def _import(file: pathlib.Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"config_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise UsageError("is not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for function in ("get_config", "sweep"):
        if not callable(getattr(module, function, None)):
            raise UsageError(f"defines no {function}(arg='')")
    return module


def _blame(error: BaseException, file: pathlib.Path) -> str:
    """Says what went wrong in a config file, and in which of its lines."""
    if isinstance(error, ValueError):  # says by itself what it refuses
        return f": {errors.line_of(error)}"
    frames = traceback.extract_tb(error.__traceback__)
    path = os.path.abspath(file)
    lines = [f.lineno for f in frames if os.path.abspath(f.filename) == path]
    where = f", line {lines[-1]}" if lines else ""
    return f"{where}: {type(error).__name__}: {errors.line_of(error)}"


def _override(values: dict[str, Any], path: str, text: str) -> None:
    leaves = list(_leaves(values))
    if path not in leaves and not study_lib.is_path(path):
        known = [p for p in study_lib.PATHS if p in leaves]
        hint = spelling.nearest_path(path, dict.fromkeys([*known, *leaves]))
        raise UsageError(f"unknown field {path!r}{hint}")
    study_lib.put(values, path, parse_value(path, text))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def _bundled() -> list[str]:
    return [f"configs/{file.name}" for file in _bundled_files()]


def _bundled_files() -> list[pathlib.Path]:
    """Returns the config files of a checkout, or of an installed nnlab."""
    package = pathlib.Path(__file__).parents[1]
    folders = (package / "configs", package.parent / "configs")
    folder = next(filter(pathlib.Path.is_dir, folders), folders[0])
    return sorted(folder.glob("[!_]*.py"))


def _flags() -> list[flags.Flag]:
    by_module = flags.FLAGS.flags_by_module_dict().items()
    return [
        flag
        for module, some in by_module
        if module.startswith("nnlab.commands.")
        for flag in some
    ]
