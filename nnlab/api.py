# SPDX-License-Identifier: Apache-2.0
"""nnlab in a notebook or a script: as short as the command line, with plain values.

    import nnlab

    found = nnlab.run(
        question="Which learning rate?",
        model={"hidden": (32,)},
        num_epochs=20,
        sweep={"optimizer.learning_rate": [0.01, 0.1, 1.0]},
    )
    found.plot()

JAX is imported only to train or to predict. `load` and all figures work without it.
"""

import base64
import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import sys
import time
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import jinja2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure

from nnlab import report, results
from nnlab.data import Dataset
from nnlab.machine import devices
from nnlab.machine.files import absolute
from nnlab.report import answer, cite, copies, sections
from nnlab.report.figures import catalog
from nnlab.report.figures.drawing import style
from nnlab.report.figures.drawing.captions import Lacking, Sketch
from nnlab.report.figures.drawing.curves import Along
from nnlab.report.figures.drawing.paper import Export
from nnlab.report.figures.learning import learning
from nnlab.report.page import visible
from nnlab.results.answers import SPLITS
from nnlab.results.asked import of_run, of_study, planned
from nnlab.runs import rate_range
from nnlab.statistics.findings import Findings
from nnlab.study import (
    OWN_PROBE,
    PATHS,
    PICTURES,
    Study,
    check_path,
    is_path,
    put,
    sweep,
)
from nnlab.study.fitting import fitted
from nnlab.study.values import split
from nnlab.watch import notebook, terminal
from nnlab.words import errors, numbers, spelling

if TYPE_CHECKING:
    import jax
    import pandas as pd

    from nnlab.runs.progress import Progress
    from nnlab.runs.saved_network import Network
    from nnlab.training.losses import Loss
    from nnlab.training.metrics import Metric
    from nnlab.training.optimizers import Make
    from nnlab.training.probes import Probe

FIELDS = (*Study().fields(), "module", "own")
"""The top-level fields of a study."""

RUNS = pathlib.Path("runs")
"""Where runs without a workdir go."""

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _briefly(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Shows the user's mistakes as one line, without a traceback."""

    @functools.wraps(function)
    def called(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return function(*args, **kwargs)
        except (ValueError, OSError) as error:
            if errors.status_of(error) is None:
                raise
            own = isinstance(error, ValueError)  # some are of a class of ours
            kind = "ValueError" if own else type(error).__name__
            raise _brief(error, f"{kind}: {errors.line_of(error)}") from None
        except KeyboardInterrupt as interrupt:
            line = ": ".join(["interrupted", *map(str, interrupt.args)])
            raise _brief(interrupt, line) from None

    return called


def _brief(error: BaseException, line: str) -> BaseException:
    """Makes IPython show an error as one line in place of its traceback."""
    error._render_traceback_ = lambda: [line]  # type: ignore[attr-defined]
    return error.with_traceback(None)


@_briefly
def define(
    base: Study | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    /,
    **fields: Any,
) -> Study:
    """Makes a study from plain values.

    Args:
      base: where to start: a study, a mapping of its fields, the workdir of a run, or a
        JSON file of a study such as ``config.json``; None for the defaults. Its
        question, claims and notes stay while they fit, see `fitting.fitted`; a claim
        about an epoch that is not evaluated any more does not.
      **fields: fields of `study.Study` and `study.Hyperparameters`, such as
        ``num_seeds=8``. A mapping changes only what it names:
        ``model={"hidden": (64,)}`` or ``**{"model.hidden": (64,)}``. The sweep is
        ``{path: values, ...}``, of which all combinations are tried, or a list with one
        ``{path: value, ...}`` for each trial. Claims may be texts, such as
        ``"test_accuracy(depth=6) > chance"``, see `nnlab.study.grammar`.
        ``own={"module": None}`` replaces a module of one's own by the model again.

    Raises:
      ValueError: an unknown field (the nearest name is offered) or a value that is not
        allowed.
      FileNotFoundError: no such file.

    >>> study = define(num_seeds=2, sweep={"optimizer.learning_rate": [0.1, 1.0]})
    >>> study.size()
    '2 trials x 2 seeds = 4 networks'
    >>> define(study, model={"hidden": (64,)}).base.model.hidden
    (64,)
    """
    values = _values(base)
    before = values.get("sweep", ())
    before = [before] if isinstance(before, Mapping) else before
    for name, value in fields.items():
        _set(values, name, value)
    trials = values.get("sweep")
    if isinstance(trials, Mapping):
        _check_axes(trials)
        values["sweep"] = sweep.product(trials)
    elif trials is not None:
        values["sweep"] = list(trials) if isinstance(trials, Iterable) else trials
    if base is None:
        return Study.from_dict(values)
    made = fitted(values, fields, before)
    if "claims" in fields or len(claims := planned(made)) == len(made.claims):
        return made
    return fitted({**values, "claims": claims}, {*fields, "claims"}, before)


def _set(values: dict[str, Any], path: str, value: Any) -> None:
    name, dot, inner = path.partition(".")
    if name not in FIELDS:
        raise ValueError(
            f"unknown field {path!r}{spelling.nearest_path(path, (*FIELDS, *PATHS))}"
        )
    if dot:
        value = {inner: value}
    if isinstance(value, Mapping) and name != "sweep":
        before, value = values.get(name) or {}, dict(value)
        values[name] = dict(before)
        for path, one in value.items():
            put(values[name], path, one)
    else:
        values[name] = value


def _values(
    base: Study | Mapping[str, Any] | str | os.PathLike[str] | None,
) -> dict[str, Any]:
    if base is None:
        return {}
    if isinstance(base, Study):
        return base.fields()
    if isinstance(base, Mapping):
        return dict(base)
    path = absolute(base, "study")
    if path.is_dir():
        return dict(results.load_config(path)["study"])
    try:
        return results.study_fields(json.loads(path.read_bytes()))
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ValueError(f"{str(path)!r} holds no study as JSON: {error}") from None


def _check_axes(axes: Mapping[str, Any]) -> None:
    for path, values in axes.items():
        check_path(path, "the sweep")
        is_listed = isinstance(values, Sequence) or getattr(values, "ndim", 0) > 0
        if isinstance(values, str | bytes) or not is_listed:
            raise ValueError(
                f"the sweep over {path!r} needs a list of values, not {values!r}"
            )


@_briefly
def run(
    study: Study | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    /,
    *,
    workdir: str | os.PathLike[str] | None = None,
    dataset: str | Dataset | Sequence[npt.ArrayLike] | None = None,
    module: Any = None,
    own_metrics: "Mapping[str, Metric]" = types.MappingProxyType({}),
    loss: "Loss | Mapping[str, Any] | None" = None,
    schedule: "Callable[[jax.Array], jax.Array] | Mapping[str, Any] | None" = None,
    optimizer: "Make | Mapping[str, Any] | None" = None,
    probes: "Sequence[str] | Mapping[str, Probe]" = (),
    data_dir: str | os.PathLike[str] | None = None,
    lane_width: int = 0,
    resume: bool = False,
    resume_anyway: bool = False,
    show: bool = True,
    on_progress: "Callable[[Progress], None] | None" = None,
    **fields: Any,
) -> "Outcome":
    """Trains every trial of a study with every seed.

    Args:
      study: what to run; see `define`. A study with a module, metrics or data of one's
        own needs them passed here, too.
      workdir: a folder without results in it; ``runs/<date and time>`` if None.
      dataset: the name of a data set, a `Dataset`, or arrays ``(inputs, labels)`` or
        ``(inputs, labels, test_inputs, test_labels)``, as `Dataset.from_arrays` takes
        them. The columns of a data frame keep their names.
      module: a network in place of the study's model, which returns logits (B, C): a
        Linen module, a pair of functions ``init(key, x)`` and ``apply(params, x)``, or
        a function of ``rngs`` that returns an NNX module; a list of them, or a mapping
        by name, trains each. A sweep over "module.width" sets its attribute width.
      own_metrics: further metrics, ``{name: function}``. A function takes logits (B, C)
        and labels (B,), and returns a value per example (B,). Columns: test_<name>, ...
      loss: a function in place of the study's loss. It takes outputs (B, C) and labels
        (B,), or targets (B, K) of a regression, and returns a value per example (B,).
      schedule: a function in place of the study's schedule, from the share of training
        that is done, float32 (), to a factor on the learning rate.
      optimizer: a function in place of the study's optimizer, from the keyword
        learning_rate, and those fields of `optimizer` that are set or swept, to an
        optax.GradientTransformation. All three may be mappings of fields instead, or
        a name, such as "lion".
      probes: what to measure along training: names for the study's field `probes`, or
        functions, ``{name: function}``. A function takes a `Network` and a `Batch` of
        `nnlab.training.probes`, and returns a number, a vector or a mapping of names to
        numbers. A name may have a schedule: "spread@50".
      data_dir: where image data lie; NNLAB_DATA_DIR if None, else they are downloaded.
      lane_width: networks that run at once; 0 lets the plan choose.
      resume: whether to continue the run in the workdir, or to train what was added to
        its study: trials, seeds or epochs.
      resume_anyway: likewise, even if versions, the device, or the code of module and
        metrics have changed. This changes the numbers.
      show: whether to show progress.
      on_progress: called with a `progress.Progress` each time results reach the host.
      **fields: fields of the study; see `define`.

    Raises:
      ValueError, FileNotFoundError, FileExistsError, ConnectionError: the user's
        mistakes, before anything is written; see `experiment.run`.
      KeyboardInterrupt: after the results so far have been written.
    """
    own = _dataset(dataset)
    mine = dict(probes) if isinstance(probes, Mapping) else {}
    doors = {"loss": loss, "schedule": schedule, "optimizer": optimizer}
    doors = {
        name: {"name": of} if isinstance(of, str) else of
        for name, of in doors.items()
        if of is not None
    }
    named = {name for name, of in doors.items() if isinstance(of, Mapping)}
    fields |= {name: doors[name] for name in named}
    functions: dict[str, Any] = {n: of for n, of in doors.items() if n not in named}
    functions |= {f"{OWN_PROBE}{name}": probe for name, probe in mine.items()}
    if own is not None:
        fields["dataset"] = own.name
    elif dataset is not None:
        fields["dataset"] = dataset
    if names := _names(module):
        plain = define(study, **{k: v for k, v in fields.items() if k != "claims"})
        fields["sweep"] = sweep.over_modules(names, plain.sweep)
    if probes and not mine:
        fields["probes"] = split(probes) if isinstance(probes, str) else probes
    asked = define(study, **fields)
    if texts := [c for c in fields.get("claims", ()) if isinstance(c, str)]:
        claims = of_study(asked, texts, own_metrics, mine)
        asked = dataclasses.replace(asked, claims=claims)
    folder = absolute(new_folder() if workdir is None else workdir, "workdir")
    devices.use_all_cores()
    from nnlab.runs import run as runner  # imports JAX

    where = repr(str(folder))
    so_far = (
        f"nnlab.load({where}) has the results so far; the same call with "
        f"workdir={where}, resume=True goes on"
    )
    try:
        found = runner.run(
            asked,
            folder,
            resumes=resume or resume_anyway,
            observers=[
                _display(asked) if show else contextlib.nullcontext(),
                contextlib.nullcontext(on_progress),
            ],
            so_far=lambda: so_far,
            data_dir=data_dir,
            dataset=own,
            module=module,
            own_metrics=own_metrics,
            functions=functions,
            lane_width=lane_width,
            resume_anyway=resume_anyway,
        )
    except FileExistsError as error:
        text = str(error).replace("(--resume)", "(resume=True)")
        raise FileExistsError(text) from None
    return Outcome(found, module)


def _names(module: Any) -> list[str]:
    """Returns the names of several modules; none for a single one."""
    if not isinstance(module, list | tuple | Mapping):
        return []
    from nnlab.training import modules  # imports JAX, as who made them has

    return [name for name in modules.by_name(module) if name]


@_briefly
def find_rate(
    study: Study | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    /,
    *,
    low: float = rate_range.LOW,
    high: float = rate_range.HIGH,
    count: int = rate_range.COUNT,
    seeds: int = rate_range.SEEDS,
    steps: int = rate_range.STEPS,
    workdir: str | os.PathLike[str] | None = None,
    dataset: str | Dataset | Sequence[npt.ArrayLike] | None = None,
    module: Any = None,
    data_dir: str | os.PathLike[str] | None = None,
    show: bool = True,
    **fields: Any,
) -> "Outcome":
    """Finds the learning rates at which the network of a study's first trial trains.

    Args:
      study, **fields: the study; see `define`.
      low, high, count, seeds, steps: see `rate_range.study_of`.
      workdir, dataset, module, data_dir, show: as for `run`.

    Returns:
      The outcome: `answer` says it in words, `plot` draws it, and `findings.rates` has
      the numbers.

    Raises:
      ValueError, FileNotFoundError, FileExistsError, ConnectionError: the user's
        mistakes, before anything is written.
    """
    if _names(module):
        raise ValueError("find_rate is about one network: hand in one module")
    if mine := [name for name in ("loss", "optimizer") if callable(fields.get(name))]:
        raise ValueError(
            f"find_rate takes no {mine[0]} of your own: sweep optimizer.learning_rate "
            f"by nnlab.run({mine[0]}=...)"
        )
    asked = define(study, **fields)
    ranged = rate_range.study_of(
        asked, low=low, high=high, count=count, seeds=seeds, steps=steps
    )
    return run(
        ranged,
        workdir=workdir,
        dataset=dataset,
        module=module,
        data_dir=data_dir,
        show=show,
    )


def _dataset(given: Any) -> Dataset | None:
    """Returns a data set of one's own; None for a name."""
    if given is None or isinstance(given, str):
        return None
    if isinstance(given, Dataset):
        return given
    arrays = isinstance(given, list | tuple)
    if not arrays or len(given) not in (2, 4):
        what = numbers.count(len(given), "array") if arrays else type(given).__name__
        raise ValueError(
            f"dataset holds {what}: it needs (inputs, labels) or (inputs, labels, "
            "test_inputs, test_labels)"
        )
    names = "inputs", "labels", "test_inputs", "test_labels"
    return Dataset.from_arrays(**dict(zip(names, given)))


def new_folder() -> pathlib.Path:
    """Returns a new folder for a run, named by the time."""
    name = time.strftime("%Y-%m-%d_%H-%M-%S")
    names = itertools.chain([name], (f"{name}_{n}" for n in itertools.count(2)))
    return next(RUNS / n for n in names if not (RUNS / n).exists())


@contextlib.contextmanager
def _display(study: Study) -> "Iterator[Callable[[Progress], None]]":
    """Shows progress: in a notebook, in a terminal, or as lines of a log."""
    if notebook.is_notebook():
        with notebook.display(study) as show:
            yield show
        return
    console = terminal.Terminal(file=terminal.Output(sys.stdout))
    shown = terminal.live if console.is_terminal else terminal.lines
    with shown(console) as show:
        yield show


@_briefly
def load(workdir: str | os.PathLike[str], *, module: Any = None) -> "Outcome":
    """Reads what a run found from its workdir. Trains nothing and imports no JAX.

    Args:
      workdir: the folder of a run, finished or not.
      module: the run's module of one's own, needed only to predict.

    Raises:
      FileNotFoundError: no such folder, or it holds no results.
      ValueError: damaged results.
    """
    return Outcome(results.load(workdir), module)


@_briefly
def load_network(path: str | os.PathLike[str], *, module: Any = None) -> "Network":
    """Loads a network that `Network.save` wrote; see `saved_network.load`."""
    from nnlab.runs import saved_network as network  # imports JAX

    return network.load(path, module=module)


class Outcome:
    """What a study found; shows itself in a notebook.

    An outcome comes from `run` or from `load`::

        found = nnlab.load("runs/quickstart")
        found.answer  # in sentences
        found.summary()  # a row for each trial
        found.network().predict(images)  # the best trial's network of seed 0

    Attributes:
      results: the tables as they are stored.
      findings: all that was computed from them, such as comparisons and verdicts; see
        `nnlab.statistics.findings`.
    """

    def __init__(self, found: results.Results, module: Any = None) -> None:
        self.results = found
        self.findings = Findings(found)
        self._module = module

    @property
    def study(self) -> Study:
        """The study that ran."""
        return self.results.study

    @property
    def workdir(self) -> pathlib.Path:
        """The folder of the run."""
        return self.results.workdir

    @property
    def best(self) -> int | None:
        """Index of the best trial by validation accuracy, or R2; None for none."""
        return self.findings.best

    @functools.cached_property
    def answer(self) -> tuple[str, ...]:
        """The answer in sentences, as at the top of the report."""
        return tuple(answer.sentences(self.findings))

    @_briefly
    def ask(self, *claims: str) -> "Outcome":
        """Returns the outcome with further claims, such as "test_loss(depth=6) < 0.1".

        They are tested together with the study's own, and marked as asked after the
        run, whose record does not change. `nnlab.study.grammar` says how to write them.

        Raises:
          ValueError: no claim, or about trials or columns that the run does not have.
        """
        return Outcome(of_run(self.results, claims)[0], self._module)

    def cite(self) -> str:
        """Returns methods and result in one paragraph of plain text, for citing."""
        return cite.paragraph(self.findings)

    def curves(self) -> "pd.DataFrame":
        """A row for each evaluation of each network: settings and metrics."""
        return self._with_settings(self.results.curves.to_pandas(ignore_metadata=True))

    def members(self) -> "pd.DataFrame":
        """A row for each network: settings, how it ended, and where it diverged."""
        return self._with_settings(self.results.members.to_pandas())

    def _with_settings(self, table: "pd.DataFrame") -> "pd.DataFrame":
        """Returns the table with the trials' labels and swept settings added."""
        trials = self.results.trials
        columns = {"label": [trial.label for trial in trials]}
        for path in self.study.swept():
            columns[path] = [trial.settings()[path] for trial in trials]
        for place, (name, values) in enumerate(columns.items()):
            table.insert(place + 1, name, [values[t] for t in table["trial"]])
        return table

    def summary(self) -> "pd.DataFrame":
        """A row for each trial: ``summary.csv`` without what all trials share."""
        table = self.findings.summary.to_pandas().set_index("index")
        same = [p for p in table if is_path(p) and p not in self.study.swept()]
        return table.drop(columns=["id", *same])

    @_briefly
    def correct(self, split: str) -> np.ndarray:
        """Returns which examples every final network got right, bool (T, S, N).

        By trial, seed and example, in the order of the data. Networks that neither
        finished nor stopped early, see `members`, are False throughout. The means of
        the others are their accuracies in the tables.

        Args:
          split: "validation" or "test"; "test_moved" or "test_rotated" where the study
            has them.

        Raises:
          ValueError: the run does not have them, or trials have different data.

        >>> right = np.array([[True, True, False, True], [True, False, False, True]])
        >>> right.mean(axis=1)  # the accuracies of two seeds
        array([0.75, 0.5 ])
        >>> right.mean(axis=0)  # which share of the seeds is right about each example
        array([1. , 0.5, 0. , 1. ])
        """
        of, trials = self.results, self.results.trials
        found = [of.correct(trial.index, split) for trial in trials]
        shapes = {one.shape for one in found if one is not None}
        if not shapes:
            have = [
                s for s in SPLITS for t in trials if of.correct(t.index, s) is not None
            ]
            raise ValueError(
                f"the run does not know what networks said of {split!r}"
                f"{spelling.nearest(split, dict.fromkeys(have))}"
            )
        if len(shapes) > 1:
            raise ValueError(
                f"trials have different {split} examples: take those of one by "
                f"results.correct(trial, {split!r})"
            )
        for trial, one in zip(trials, found):
            if one is None and of.has_run(trial.index):
                raise ValueError(
                    f"the run does not know what all networks of {trial.label!r} said "
                    f"of {split!r}: it has not ended, or an earlier nnlab began it"
                )
        none = np.zeros(shapes.pop(), bool)
        return np.stack([none if one is None else one for one in found])

    @_briefly
    def plot(
        self,
        what: str = "",
        *,
        x: Along = "epoch",
    ) -> "Plot":
        """Draws a metric over training, or a figure of the report.

        Args:
          what: a column of the curves, such as "train_loss", or one of `study.PARTS`,
            such as "final", "map" or "confusion"; by default the validation accuracy,
            or R².
          x: the horizontal axis of a metric.

        Raises:
          ValueError: nothing has that name, or the results do not allow it.
        """
        draw: Callable[[], tuple[Sketch, ...]]
        what = what or self.results.validation_score
        if (part := catalog.PARTS.get(what)) and part.section:
            if what in PICTURES and what not in self.study.figures:
                raise ValueError(
                    f"{what!r} is drawn where the study asks for it: name it in "
                    "figures=, such as figures=('curves', 'confusion')"
                )
            draw = functools.partial(part.drawn, self.findings)
        elif what in self.results.metrics:
            draw = functools.partial(_curves, self.findings, what, x)
        else:
            parts = (name for name, part in catalog.PARTS.items() if part.section)
            allowed = (*self.results.metrics, *parts)
            raise ValueError(
                f"nothing to plot: {what!r}{spelling.nearest(what, allowed)}"
            )
        try:
            with style.context():
                return Plot(draw(), draw)
        except Lacking as reason:
            raise ValueError(f"{what!r} cannot be drawn: {reason}") from None

    @_briefly
    def table(self, name: str = "comparison", *, form: str = "markdown") -> str:
        """Returns a table of the report as text for other documents.

        Args:
          name: of its section: "comparison", "claims", "costs" or the like. All tables
            of that section are returned, with empty lines between them.
          form: "markdown", "latex" (with booktabs) or "tsv" (tabs between cells).

        Raises:
          ValueError: no such table, or no such form.
        """
        write = copies.format_of(form).write
        sections = report.content(self.findings).sections
        tables = {section.anchor: section.tables for section in sections}
        if not tables.get(name):
            known = (one for one, some in tables.items() if some)
            raise ValueError(f"no table {name!r}{spelling.nearest(name, known)}")
        return "\n".join(map(write, tables[name]))

    @_briefly
    def report(self) -> "Page":
        """Writes the report, with all figures of the study."""
        return Page(report.write(self.workdir))

    @_briefly
    def network(self, trial: int | None = None, seed: int = 0) -> "Network":
        """Returns a network as it was at the end of its training.

        Args:
          trial: index of the trial; the best one if None.

        Raises:
          ValueError: there is no such network, or it needs its module.
        """
        from nnlab.runs import saved_network as network  # imports JAX

        chosen = self.best if trial is None else trial
        if chosen is None:
            raise ValueError("no trial is best: say which trial")
        return network.of_member(self.workdir, chosen, seed, module=self._module)

    def __repr__(self) -> str:
        last = f"{self.study.size()} in {self.workdir}"
        return "\n".join([self.study.question, *self.answer, last])

    def _repr_html_(self) -> str:
        measured = self.results.validation_score in self.results.metrics
        what = "rates" if "rates" in self.study.figures else ""
        figures = [self.plot(what)] if self.findings.ran and measured else []
        loader = jinja2.PackageLoader("nnlab.report", "templates")
        pages = jinja2.Environment(autoescape=True, finalize=visible, loader=loader)
        return pages.get_template("outcome.html.j2").render(
            question=self.study.question,
            answer=self.answer,
            figures=[Markup(f._repr_html_()) for f in figures],
            tables=sections.comparison(self.findings).tables,
            size=self.study.size(),
            workdir=str(self.workdir),
        )


def _curves(findings: Findings, metric: str, x: Along) -> tuple[Sketch, ...]:
    return (learning(findings, metric, x=x),)


@dataclasses.dataclass(frozen=True)
class Plot:
    """Figures with their captions; shows itself in a notebook.

    Attributes:
      sketches: the figures, each with what it shows.
      draw: makes them anew, for another size.
    """

    sketches: tuple[Sketch, ...]
    draw: Callable[[], tuple[Sketch, ...]]

    @property
    def figure(self) -> Figure:
        """The first figure, a matplotlib figure to change or to save."""
        return self.sketches[0].canvas

    @_briefly
    def save(
        self,
        folder: str | os.PathLike[str],
        formats: str | Sequence[str] = ("png", "svg"),
        *,
        size: str | None = None,
        dpi: int | None = None,
        font: str = "sans",
    ) -> list[pathlib.Path]:
        """Writes the figures into a folder; returns the paths of their files.

        Args:
          folder: is made if it is missing.
          formats: one or more of "png", "svg" and "pdf".
          size: "column" (3.35 inches wide), "page" (6.9) or "slide" (10 x 5.6), for
            which the figures are drawn anew; as they are shown if None.
          dpi: dots an inch of PNG, and of images in SVG and PDF; if None, 150 as they
            are shown, else 300.
          font: "sans", or "serif", with which they are drawn anew, for a page at least.

        Raises:
          ValueError: an unknown format, size or font, or dpi out of range.
        """
        formats = (formats,) if isinstance(formats, str) else tuple(formats)
        as_shown = size is None and font == "sans"
        dots = (150 if as_shown else 300) if dpi is None else dpi
        asked = Export(size or "page", formats, dots, font)
        target, paths = absolute(folder, "folder"), []
        for made in self.sketches if as_shown else catalog.fitted(self.draw, asked):
            if as_shown:
                paths += style.save(made.canvas, target / made.name, formats, dots)
            else:
                paths += catalog.store(made, target, asked)
        return paths

    def _repr_html_(self) -> str:
        parts = []
        for made in self.sketches:
            with style.context():
                png = style.encoded(made.canvas, "png")
            data = base64.b64encode(png).decode()
            width = round(96 * made.canvas.get_figwidth())
            caption = numbers.escaped(" ".join(made.caption.split()))
            parts.append(
                f'<figure style="margin: 0 0 0.8em"><img style="width: {width}px; '
                f'max-width: 100%" alt="{numbers.escaped(made.alt)}" '
                f'src="data:image/png;base64,{data}"><figcaption style="max-width: '
                f'{width}px; opacity: 0.75; font-size: 0.9em">{caption}</figcaption>'
                "</figure>"
            )
        return "".join(parts)


@dataclasses.dataclass(frozen=True)
class Page:
    """A report; shows itself in a notebook.

    Attributes:
      path: the HTML file, which needs no other files.
    """

    path: pathlib.Path

    def __fspath__(self) -> str:
        return str(self.path)

    def _repr_html_(self) -> str:
        return report.embedded(self.path)
