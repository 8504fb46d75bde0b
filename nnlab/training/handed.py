# SPDX-License-Identifier: Apache-2.0
"""What a caller passes to a run beside the study: data, module, functions."""

import dataclasses
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from nnlab import data
from nnlab.data import Dataset, Split, transforms
from nnlab.data.dataset import read_only
from nnlab.data.drawing import Drawing
from nnlab.study import (
    DRAWN,
    OWN_PROBE,
    Hyperparameters,
    MovedSets,
    Optimizer,
    Own,
    Study,
)
from nnlab.study.probes import Probe, name_of, parse
from nnlab.training import losses, modules, optimizers, own, probes, schedules
from nnlab.training.metrics import Metric
from nnlab.training.program import SPLITS, FurtherSets

TAKEN = ("loss", "accuracy", "active_share", "r2", "mae")
"""Endings of nnlab's own metrics, by which tables and figures recognise them."""

LARGE = 30.0
"""Absolute input above which a warning suggests scaling."""

FUNCTIONS: Mapping[str, tuple[str, Callable[[Any, Dataset], str]]] = {
    "loss": ("outputs, targets", own.check_loss),
    "schedule": ("fraction_done", own.check_schedule),
    "optimizer": ("learning_rate, **h", lambda *_: ""),  # `own` has trials
    "probes": ("network, batch", lambda *_: ""),  # `prepare.own_of` has a network
}
"""What a function from Python may do: its arguments, and what checks it on a data set
and returns the digest of its code."""

Data = tuple[Dataset, FurtherSets, Drawing | None]
"""A data set, its further test sets, and how seeds draw from it, if they do.

If they draw the test set too, further test sets are of the whole pool.
"""

Loaded = dict[str, Data]
"""A study's data that have been loaded, by their names in the study."""

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Handed:
    """What a caller passes to a run beside the study, as to `nnlab.run`.

    `functions` take the place of nnlab's own, or are probes, by what they do, such as
    "loss" or "probes:spread@50"; see `FUNCTIONS`. `loaded` are data sets loaded before;
    newly loaded ones are added.
    """

    data_dir: str | os.PathLike[str] | None = None
    dataset: Dataset | None = None
    module: Any = None
    own_metrics: Mapping[str, Metric] = dataclasses.field(default_factory=dict)
    functions: Mapping[str, Callable[..., Any]] = dataclasses.field(
        default_factory=dict
    )
    loaded: Loaded = dataclasses.field(default_factory=dict)

    def check(self, study: Study) -> None:
        """Refuses invalid metrics, and the absence of what the study was run with."""
        _check_metrics(self.own_metrics)
        for what, function in self.functions.items():
            kind = what.partition(":")[0]
            if not callable(function):
                raise ValueError(
                    f"{what}={function!r} is no function: hand in "
                    f"{kind}=lambda {FUNCTIONS[kind][0]}: ..."
                )
        _check_probes(self.probes, study)
        lacking = {}
        set_by = [trial.hyperparameters.module.text for trial in study.trials()]
        known = study.own.module
        if (known or any(set_by)) and self.module is None:
            name = repr(known.name) if known else next(filter(None, set_by))
            lacking["module"] = f"module of its own, {name}"
        names = [name for name in study.own.metrics if name not in self.own_metrics]
        if names:
            listed = ", ".join(map(repr, names))
            lacking["own_metrics"] = f"metric of its own, {listed}"
        lacking |= {
            what.partition(":")[0]: f"{what} of its own"
            for what in study.own.functions
            if what not in self.functions
        }
        needed = [name for name in study.datasets() if name in study.own.datasets]
        if needed and self.dataset is None:
            listed = ", ".join(map(repr, needed))
            lacking["dataset"] = f"data set of its own, {listed}"
        if lacking:
            words = ", and ".join(map(_with_article, lacking.values()))
            call = ", ".join(f"{name}=..." for name in lacking)
            raise ValueError(
                f"the study has {words}: hand in the same, nnlab.run(..., {call}) in "
                "Python"
            )
        for h in (trial.hyperparameters for trial in study.trials()):
            losses.find(h.loss.name)
            schedules.find(h.schedule.name)
        self._check_optimizers(study)
        modules.by_name(self.module)  # refuses what is none, before data are loaded

    def _check_optimizers(self, study: Study) -> str:
        """Refuses optimizers that do not fit; returns the digest of the user's own."""
        every = [trial.hyperparameters for trial in study.trials()]
        mine = self.functions.get("optimizer")
        if mine and (named := {h.optimizer.name for h in every} - {Optimizer().name}):
            raise ValueError(
                f"optimizer.name={min(named)!r} does not go with an optimizer of your "
                "own: leave out one of them"
            )
        return optimizers.check(every, mine)

    @property
    def probes(self) -> dict[str, Callable[..., Any]]:
        """The probes of one's own, by name and schedule."""
        return {
            what.removeprefix(OWN_PROBE): function
            for what, function in self.functions.items()
            if what.startswith(OWN_PROBE)
        }

    def own(self, study: Study) -> Own:
        """Returns the record of the user's own modules, metrics and data sets.

        They are traced on the data of the first trial that has them.
        """
        self.check(study)
        named = modules.by_name(self.module)
        if not (self.dataset or named or self.own_metrics or self.functions):
            return Own()
        settings = [trial.hyperparameters for trial in study.trials()]
        first, *others = _by_module(settings) or settings[:1]

        def record(h: Hyperparameters, metrics: Mapping[str, Metric]) -> Own:
            mine = modules.chosen(named, h.module) if named else None
            some, *_ = self.data(h, study)
            return own.record(mine, metrics, some)

        some, *_ = self.data(settings[0], study)
        names = study.datasets() if self.dataset else ()
        functions = {
            what: FUNCTIONS[what.partition(":")[0]][1](function, some)
            for what, function in self.functions.items()
        }
        if "optimizer" in functions:
            functions["optimizer"] = self._check_optimizers(study)
        return dataclasses.replace(
            record(first, self.own_metrics),
            functions=functions,
            datasets=dict.fromkeys(names, some.digest),
            modules={
                h.module.text: dataclasses.asdict(record(h, {}))["module"]
                for h in others
            },
        )

    def data(self, h: Hyperparameters, study: Study) -> Data:
        """Loads a trial's data, once for each name."""
        if h.data not in self.loaded:
            some = self.dataset or _load(h, self.data_dir)
            drawing = _drawing(some, study) if study.split else None
            if most := study.eval_size:
                validation, test = (
                    Split(split.inputs[:most], split.labels[:most])
                    for split in (some.validation, some.test)
                )
                some = dataclasses.replace(some, validation=validation, test=test)
            all_h = [trial.hyperparameters for trial in study.trials()]
            if any(one.model.is_network and not one.standardize for one in all_h):
                _point_out_large(some)
            draws_test = drawing and "test" in drawing.sizes
            test = drawing.pool if drawing and draws_test else some.test
            sets = _test_sets(some, test, study.test_sets)
            self.loaded[h.data] = some, sets, drawing
        return self.loaded[h.data]


def _by_module(settings: Sequence[Hyperparameters]) -> list[Hyperparameters]:
    """Returns the first of those that train each of the modules."""
    found: dict[str, Hyperparameters] = {}
    for h in settings:
        if h.model.is_network:
            found.setdefault(h.module.text, h)
    return list(found.values())


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _load(h: Hyperparameters, data_dir: Any) -> Dataset:
    """Loads a trial's data, under a name that says how a table is read."""
    if h.data == h.dataset:
        return data.load(h.dataset, data_dir=data_dir)
    found = data.load(h.dataset, data_dir=data_dir, csv=dataclasses.asdict(h.csv))
    return dataclasses.replace(found, name=h.data)


def _point_out_large(dataset: Dataset) -> None:
    """Warns of inputs that should be scaled, such as pixels of 0 to 255 as floats."""
    inputs = dataset.train.inputs
    low, high = (float(end) * dataset.scale for end in (inputs.min(), inputs.max()))
    plain = inputs.dtype == np.uint8 or dataset.is_table or dataset.vocabulary
    if not plain and max(-low, high) > LARGE:
        _log.warning(
            "%s: inputs from %.4g to %.4g are not scaled; pass pixels of 0 to 255 as "
            "uint8 (.astype(np.uint8)), which are scaled, or set standardize=True",
            *(dataset.name, low, high),
        )


def _drawing(dataset: Dataset, study: Study) -> Drawing:
    """Returns how the seeds of a study draw their examples; refuses what cannot be."""
    parts = SPLITS if study.split == DRAWN[0] else SPLITS[:2]
    drawing = Drawing.of(dataset, parts, study.root_seed, study.eval_size)
    try:
        drawing.indices(0)
    except ValueError as error:
        raise ValueError(f"vary={study.split}: {dataset.name}: {error}") from None
    return drawing


def _test_sets(dataset: Dataset, test: Split, asked: MovedSets) -> FurtherSets:
    """Makes the moved and rotated copies of `test` that a study asks for."""
    amounts = {"moved": asked.moved_pixels, "rotated": asked.rotated_degrees}
    wanted = {name: amount for name, amount in amounts.items() if amount}
    if (wanted or asked.severity) and len(dataset.input_shape) != 3:
        raise ValueError(
            f"test_sets need images (height, width, channels); examples of "
            f"{dataset.name} have shape {dataset.input_shape}"
        )

    def changed(name: str, amount: float, count: int | None = None) -> Split:
        inputs = transforms.TRANSFORMS[name](test.inputs[:count], amount)
        return Split(read_only(inputs), test.labels[:count])

    counted = asked.severity and not dataset.is_regression  # of right answers
    splits = {f"test_{name}": changed(name, amount) for name, amount in wanted.items()}
    severities = {
        (name, float(amount)): changed(name, amount, transforms.SEVERITY_SIZE)
        for name, amounts in transforms.SEVERITIES.items()
        for amount in (amounts if counted else ())
    }
    return FurtherSets(splits, asked.along_curve, severities)


def _check_probes(given: Iterable[str], study: Study) -> None:
    """Refuses names of probes that cannot be those of columns."""
    names = [name_of(text) for text in study.probes]
    for text in given:
        name = parse(text).name
        if name in (*probes.built_in(), *names):
            raise ValueError(f"probe {name!r} is there already: rename it")
        if name.startswith((*SPLITS, "batch_", "grad_norm")):
            raise ValueError(
                f"probe {name!r} begins as nnlab's own columns do: rename it, such as "
                f"{f'own_{name}'!r}"
            )
        for other in names:
            short, long = sorted((name, other), key=len)
            if Probe(short).measures(long):
                raise ValueError(
                    f"probe {long!r} begins as the columns of {short!r} do: rename "
                    f"{name!r}"
                )
        names.append(name)


def _check_metrics(own_metrics: Mapping[str, Metric]) -> None:
    """Refuses names that cannot be columns, and metrics that cannot be called."""
    if not isinstance(own_metrics, Mapping):
        raise ValueError(
            f"own_metrics={own_metrics!r} is no mapping such as {{'margin': margin}}, "
            "from names to functions of logits and labels"
        )
    for name, metric in own_metrics.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(
                f"metric {name!r} needs a name of letters, digits and underscores"
            )
        if ending := next(filter(name.endswith, TAKEN), ""):
            raise ValueError(
                f"metric {name!r} ends as nnlab's own {ending!r} does, and tables and "
                f"figures would confuse them: rename it, such as {f'{name}_own'!r}"
            )
        if not callable(metric):
            raise ValueError(
                f"metric {name!r} is {metric!r}, not a function of logits and labels"
            )
