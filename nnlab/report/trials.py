# SPDX-License-Identifier: Apache-2.0
"""What was swept: where trials lie along it, and their names; no matplotlib.

Figures, tables and sentences use the same names for trials, columns and values.
"""

import dataclasses
import itertools
import math
import weakref
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

from nnlab.results import Results
from nnlab.statistics.members import networks
from nnlab.study import differing
from nnlab.study.fitting import meant
from nnlab.words import numbers as texts
from nnlab.words.settings import (
    is_log_like,
    is_number,
    setting_text,
    value_texts,
    words,
)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Where each trial lies along what was swept.

    Attributes:
      name: of the axis; "" for trials that share no single axis.
      values: for each trial, its place on the axis: a number, or 0, 1, 2, ... in the
        order of the sweep where the scale is "categories". A baseline has no place
        among numbers: infinity.
      texts: for each trial, the value as text; a baseline's name.
      groups: for each trial, the setting of everything else that was swept; all "" if
        nothing else was. A baseline beside numbers is a group of its own.
      scale: "linear", "log", or "categories".
    """

    name: str
    values: tuple[float, ...]
    texts: tuple[str, ...]
    groups: tuple[str, ...]
    scale: Literal["linear", "log", "categories"]

    @property
    def title(self) -> str:
        """Its name, above or beside the texts; "" where these say it themselves."""
        return "" if any(self.name in text for text in self.texts) else self.name

    @property
    def places(self) -> list[float]:
        """Where trials lie on the axis, ascending."""
        return sorted({v for v in self.values if math.isfinite(v)})


def trial_name(results: Results, trial: int) -> str:
    """Returns a trial's name in figures and sentences: its label, else what it sets."""
    sweep = sweep_of(results)
    given, text = results.study.sweep[trial].get("label"), sweep.texts[trial]
    if given or not sweep.groups[trial] or trial in baselines(results):
        return str(given or text)
    return f"{sweep.name} {text} with {sweep.groups[trial]}"


def value_of(results: Results, trial: int, path: str) -> Any:
    """Returns a trial's hyperparameter as it is drawn; a tuple of one as its element.

    None where the trial does not read it and stands for several values.
    """
    value = results.trials[trial].settings()[path]
    if path == "train_size" and value == 0:  # all of them
        return int(results.program(trial)["train_examples"])
    if isinstance(value, tuple) and len(value) == 1:
        return value[0]
    return value


def baselines(results: Results) -> tuple[int, ...]:
    """Returns the trials, by index, that are baselines beside networks."""
    return tuple(sorted({t.index for t in results.trials} - {*networks(results)}))


def paths(results: Results) -> tuple[str, ...]:
    """Returns the paths that differ between the networks, in the order of `PATHS`."""
    return _differing(results, networks(results))


def _differing(results: Results, trials: Collection[int]) -> tuple[str, ...]:
    return differing([results.trials[t].hyperparameters.given() for t in trials])


def sweep_of(results: Results) -> Sweep:
    """Chooses the axis along which the trials are drawn.

    It is the numeric hyperparameter that leaves the fewest lines, one for each setting
    of what else was swept. Where most lines would have a single trial (a random search,
    steps that change several things at once), or nothing numeric was swept, the trials
    are categories in the order of the sweep, under their labels. Baselines do not
    count: they are a further category, or lie across the axis.
    """
    if results not in _sweeps:  # every name of a trial asks for it
        _sweeps[results] = _sweep(results)
    return _sweeps[results]


_sweeps: weakref.WeakKeyDictionary[Results, Sweep] = weakref.WeakKeyDictionary()


def _sweep(results: Results) -> Sweep:
    found = _sweep_of_networks(results)
    beside = baselines(results)
    if not beside:
        return found
    numeric = found.scale != "categories"
    rows = dict(zip(networks(results), zip(found.values, found.texts, found.groups)))
    for trial, name in zip(beside, _baseline_names(results, beside)):
        rows[trial] = (math.inf, name, name if numeric else "")
    if not numeric:
        rows = {t: (float(t), text, group) for t, (_, text, group) in rows.items()}
    values, texts, groups = zip(*(row for _, row in sorted(rows.items())))
    name = found.name if numeric else ""
    return Sweep(name, values, texts, groups, found.scale)


def _baseline_names(results: Results, trials: Sequence[int]) -> list[str]:
    """Returns names of baselines: their labels, else their kind and what differs."""
    kinds = [results.trials[t].hyperparameters.model.name for t in trials]
    paths = [p for p in _differing(results, trials) if p != "model.name"]
    values = {p: [value_of(results, t, p) for t in trials] for p in paths}
    names = []
    settings = _settings(values, len(trials))
    for trial, kind, setting in zip(trials, kinds, settings):
        name = kind.replace("_", " ")
        if kinds.count(kind) > 1:
            name += f", {setting}"
        names.append(str(results.study.sweep[trial].get("label") or name))
    return names


def _sweep_of_networks(results: Results) -> Sweep:
    """Returns the sweep with an entry for each of `networks`."""
    trials = networks(results)
    chosen = paths(results)
    if not chosen and baselines(results):
        chosen = ("model.name",)
    count = len(trials)
    values = {p: [value_of(results, t, p) for t in trials] for p in chosen}
    labels = [str(results.study.sweep[t].get("label") or "") for t in trials]

    def others(path: str) -> list[str]:
        rest = [values[p] for p in chosen if p != path]
        return [repr([column[t] for column in rest]) for t in range(count)]

    numeric = [p for p in chosen if all(is_number(v) for v in values[p])]
    path = min(
        numeric,
        key=lambda p: (len(set(others(p))), -len(set(values[p]))),
        default="",
    )
    keys = others(path)
    if not path or 2 * len(set(keys)) > count:
        name, texts = _category_texts(labels, values)
        places = tuple(float(t) for t in range(count))
        return Sweep(name, places, texts, ("",) * count, "categories")
    return Sweep(
        words(path),
        tuple(float(v) for v in values[path]),
        tuple(value_texts(values[path])),
        _group_texts(labels, keys, {p: v for p, v in values.items() if p != path}),
        "log" if is_log_like(values[path]) else "linear",
    )


def _category_texts(
    labels: Sequence[str], values: Mapping[str, Sequence[Any]]
) -> tuple[str, tuple[str, ...]]:
    """Returns the axis' name and each trial's text: its label, else what it sets."""
    paths = list(values)
    if len(paths) > 1 and not any(labels):
        # A model or an activation that differs in all trials says enough.
        telling = (p for p in paths if _are_texts(values[p]) and _all_differ(values[p]))
        paths = [p for p in telling][:1] or paths
    name, texts = "", _settings(values, len(labels))
    if len(paths) == 1:
        name, column = words(paths[0]), values[paths[0]]
        pairs = zip(column, value_texts(column))
        flags = isinstance(column[0], bool)
        texts = [setting_text(paths[0], v) if flags else text for v, text in pairs]
    return name, tuple(label or text for label, text in zip(labels, texts))


def _group_texts(
    labels: Sequence[str], keys: Sequence[str], values: Mapping[str, Sequence[Any]]
) -> tuple[str, ...]:
    """Names each trial's group by what its labels share, else by what it sets."""
    first = {key: keys.index(key) for key in keys}
    if len(first) == 1:
        return ("",) * len(keys)
    shared = {
        key: shared_start([text for text, k in zip(labels, keys) if k == key])
        for key in first
    }
    if all(shared.values()) and _all_differ(list(shared.values())):
        return tuple(shared[key] for key in keys)
    for column in values.values():
        if _are_texts(column) and _all_differ([column[t] for t in first.values()]):
            return tuple(column)
    names = _settings(values, len(keys))
    return tuple(names[first[key]] for key in keys)


def shared_start(texts: Sequence[str]) -> str:
    """Returns the parts between commas, else the words, that start all texts."""
    for separator in (", ", " "):
        parts = (text.split(separator) for text in texts)
        same = itertools.takewhile(lambda p: len(set(p)) == 1, zip(*parts))
        if start := separator.join(p[0] for p in same):
            return start
    return ""


def _settings(values: Mapping[str, Sequence[Any]], count: int) -> list[str]:
    """Returns the settings of so many trials; what one does not read is left out."""
    columns = [
        ["" if v is None else setting_text(path, v, text) for v, text in pairs]
        for path, column in values.items()
        if (pairs := zip(column, value_texts(column)))
    ]
    rows = zip(*columns) if columns else [()] * count
    return [", ".join(filter(None, row)) for row in rows]


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(v, str) for v in values)


def _all_differ(values: Collection[Any]) -> bool:
    return len(set(values)) == len(values)


def full_name(results: Results, trial: int) -> str:
    """Returns a trial's name with what its value is: "learning rate 0.7"."""
    name, sweep = trial_name(results, trial), sweep_of(results)
    given = results.study.sweep[trial].get("label") or sweep.groups[trial]
    return name if given else f"{sweep.title} {name}".strip()


def named(results: Results, trial: int) -> str:
    """Returns a trial's full name for its first mention, a label as "trial LABEL"."""
    is_bare = results.study.sweep[trial].get("label") or not sweep_of(results).title
    return "trial " * bool(is_bare) + full_name(results, trial)


def side_name(results: Results, side: Mapping[str, Any]) -> str:
    """Returns a name of the trials on a side of a claim; "" if they share none."""
    trials = meant(results.trials, side)
    if len(trials) == 1:
        return full_name(results, trials[0].index)
    labels = [str(results.study.sweep[t.index].get("label") or "") for t in trials]
    return shared_start(labels) if all(labels) and labels else ""


def several(results: Results, trials: Collection[int], most: int = 3) -> str:
    """Names a few trials; of more, their range, or some and the number of others."""
    sweep = sweep_of(results)
    order = sorted(range(len(results.trials)), key=lambda t: sweep.values[t])
    chosen = [t for t in order if t in trials]
    names = [trial_name(results, t) for t in chosen]
    if len(chosen) <= most:
        return texts.joined([named(results, chosen[0]), *names[1:]])
    if sweep.scale == "categories" or len(set(sweep.groups)) > 1:
        return f"{texts.joined([*names[:2], f'{len(names) - 2} others'])}"
    together = order.index(chosen[-1]) - order.index(chosen[0]) == len(chosen) - 1
    low, high = named(results, chosen[0]), names[-1]
    if together:
        return f"the {len(chosen)} trials from {low} to {high}"
    return f"{len(chosen)} of the trials between {low} and {high}"
