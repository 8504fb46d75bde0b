# SPDX-License-Identifier: Apache-2.0
"""Figures of a study's results: every function draws on an Axes and returns it.

Colours are ordered with the swept value, labels stand at the ends of the lines, and the
scale of an axis is decided by the data. No pyplot, hence no global state.
"""

import dataclasses
import io
import itertools
import math
import pathlib
import re
import textwrap
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, cast

import matplotlib
import matplotlib.ticker
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredOffsetbox, HPacker, TextArea, VPacker

from nnlab import statistics
from nnlab.results import (
    DIVERGED,
    FINISHED,
    STOPPED,
    UNFINISHED,
    Results,
    write_atomic,
)
from nnlab.study import PATHS, Quantity

INK, MUTED, RULE = "#1f2328", "#68717a", "#e3e6ea"
FAILURES = {"diverged": "#b5381c", "at chance": "#98a2ad", "not reached": "#98a2ad"}
# Okabe and Ito's palette without its yellow, which is illegible on white.
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", INK)
# Plasma up to here keeps a contrast of 2 to white; viridis gets there only to 0.75 and
# has fewer hues on the way.
PLASMA_END = 0.8
MOST_LABELS = 12  # above it, a colour bar
MAIN_PACKAGES = ("nnlab", "jax")  # those that a caption names
WRAP = 26  # characters in a line of a label that has two
ROW_WRAP = 36  # likewise, where each trial has a row
MOST_LOSS = 10.0  # times the loss at the start: what is above leaves the axes
FEW_SEEDS = 5  # up to here each seed has its thin line
FAR_APART = 5.0  # ends of training whose ratio is above it need a log axis
LONG_DASHES = (0, (7.0, 3.0))  # of baselines; training curves have short ones
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "font.size": 9.0,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",  # a page's background shows through
    "svg.fonttype": "none",  # text stays text: searchable, and read aloud
    "svg.hashsalt": "nnlab",
}


# What was swept, and how to draw it.


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Where each trial lies along what was swept.

    Attributes:
      name: what the axis is called; "" for trials that share no single axis.
      values: for each trial, its place on the axis: a number, or 0, 1, 2, ... in the
        order of the sweep where the scale is "categories". A baseline has no place
        among numbers: infinity.
      texts: for each trial, the value as text; what a baseline is called.
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
    def places(self) -> list[float]:
        """Where trials lie on the axis, ascending."""
        return sorted({v for v in self.values if math.isfinite(v)})


def words(name: str) -> str:
    """A column or a hyperparameter's path in words: "learning rate", "model"."""
    parent, _, leaf = name.rpartition(".")
    if name == "batch_loss_std":
        return "spread of batch losses"
    if share := re.fullmatch(r"(\w+)_active_share", name):
        return f"active share ({share[1]})"
    if layer := re.fullmatch(r"grad_norm_(\w+)", name):
        return f"gradient norm of {layer[1]}".replace("_", " ")
    if count := re.fullmatch(r"num_(\w+)", leaf):
        return f"number of {count[1]}".replace("_", " ")
    if further := re.fullmatch(r"test_(\w+)_(loss|accuracy)", name):
        return f"{further[1]} test {further[2]}".replace("_", " ")
    return (parent if leaf == "name" and parent else leaf).replace("_", " ")


def value_text(value: Any) -> str:
    """A hyperparameter's value as short text: "0.1", "60-60", "10 x 64"."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        parts = [value_text(v) for v in value]
        runs = [(text, len(list(run))) for text, run in itertools.groupby(parts)]
        layers = any(isinstance(v, Mapping) for v in value)
        if layers or (len(runs) == 1 and runs[0][1] > 2):
            parts = []
            for text, count in runs:
                parts += [f"{count} x {text}"] if count > 2 else [text] * count
        return (", " if layers else "-").join(parts) or "none"
    if isinstance(value, Mapping):
        return " ".join(value_text(v) for v in value.values())
    return str(value)


def trial_name(results: Results, trial: int) -> str:
    """What a figure or a sentence calls a trial: its own label, else what it sets."""
    sweep = sweep_of(results)
    given, text = results.study.sweep[trial].get("label"), sweep.texts[trial]
    if given or not sweep.groups[trial] or trial in baselines(results):
        return str(given or text)
    return f"{sweep.name} {text} with {sweep.groups[trial]}"


def value_of(results: Results, trial: int, path: str) -> Any:
    """A trial's hyperparameter as it is drawn: a tuple of one is that one."""
    value = results.trials[trial].hyperparameters.flat()[path]
    if path == "train_size" and value == 0:  # all of them
        return int(results.cohort(trial)["train_examples"])
    if isinstance(value, tuple) and len(value) == 1:
        return value[0]
    return value


def baselines(results: Results) -> tuple[int, ...]:
    """The trials, by index, that stand beside networks and are none: trees."""
    return tuple(
        sorted({t.index for t in results.trials} - {*statistics.networks(results)})
    )


def swept(results: Results) -> tuple[str, ...]:
    """Paths whose values differ between the networks, in the order of `PATHS`."""
    return _differing(results, statistics.networks(results))


def _differing(results: Results, trials: Collection[int]) -> tuple[str, ...]:
    flats = [results.trials[t].hyperparameters.flat() for t in trials]
    return tuple(p for p in PATHS if any(f[p] != flats[0][p] for f in flats))


def sweep_of(results: Results) -> Sweep:
    """Chooses the axis along which the trials are drawn.

    It is the numeric hyperparameter that leaves the fewest lines, one for each setting
    of what else was swept, which becomes groups. Where that leaves most groups with a
    single trial (a random search, steps that change several things at once), or nothing
    numeric was swept, the trials are categories in the order of the sweep, under their
    labels. Baselines have no say: they are one category more, or stand beside the axis.
    """
    found = _sweep_of_networks(results)
    beside = baselines(results)
    if not beside:
        return found
    numeric = found.scale != "categories"
    rows = dict(
        zip(statistics.networks(results), zip(found.values, found.texts, found.groups))
    )
    for trial, name in zip(beside, _baseline_names(results, beside)):
        rows[trial] = (math.inf, name, name if numeric else "")
    if not numeric:
        rows = {t: (float(t), text, group) for t, (_, text, group) in rows.items()}
    values, texts, groups = zip(*(row for _, row in sorted(rows.items())))
    name = found.name if numeric else ""
    return Sweep(name, values, texts, groups, found.scale)


def _baseline_names(results: Results, trials: Sequence[int]) -> list[str]:
    """What baselines are called: their labels, else their kind and what tells apart."""
    kinds = [results.trials[t].hyperparameters.model.name for t in trials]
    paths = [p for p in _differing(results, trials) if p != "model.name"]
    values = {p: [value_of(results, t, p) for t in trials] for p in paths}
    names = []
    for number, (trial, kind) in enumerate(zip(trials, kinds)):
        name = kind.replace("_", " ")
        if kinds.count(kind) > 1:
            name += f", {_setting(values, number)}"
        names.append(str(results.study.sweep[trial].get("label") or name))
    return names


def _sweep_of_networks(results: Results) -> Sweep:
    """The sweep with an entry for each of `networks`."""
    trials = statistics.networks(results)
    paths = swept(results)
    if not paths and baselines(results):
        paths = ("model.name",)
    count = len(trials)
    values = {p: [value_of(results, t, p) for t in trials] for p in paths}
    labels = [str(results.study.sweep[t].get("label") or "") for t in trials]

    def others(path: str) -> list[str]:
        rest = [values[p] for p in paths if p != path]
        return [repr([column[t] for column in rest]) for t in range(count)]

    numeric = [p for p in paths if all(is_number(v) for v in values[p])]
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
        tuple(value_text(v) for v in values[path]),
        _group_texts(labels, keys, {p: v for p, v in values.items() if p != path}),
        "log" if is_log_like(values[path]) else "linear",
    )


def _category_texts(
    labels: Sequence[str], values: Mapping[str, Sequence[Any]]
) -> tuple[str, tuple[str, ...]]:
    """The name of the axis and each trial's text: its label, else what it sets."""
    paths = list(values)
    if len(paths) > 1 and not any(labels):
        # A model, an activation that tells all trials apart says enough.
        telling = (p for p in paths if _are_texts(values[p]) and _all_differ(values[p]))
        paths = [p for p in telling][:1] or paths
    texts = [
        value_text(values[paths[0]][t]) if len(paths) == 1 else _setting(values, t)
        for t in range(len(labels))
    ]
    name = words(paths[0]) if len(paths) == 1 else ""
    return name, tuple(label or text for label, text in zip(labels, texts))


def _group_texts(
    labels: Sequence[str], keys: Sequence[str], values: Mapping[str, Sequence[Any]]
) -> tuple[str, ...]:
    """The name of each trial's group: what its labels share, else what it sets."""
    first = {key: keys.index(key) for key in keys}
    if len(first) == 1:
        return ("",) * len(keys)
    shared = {
        key: _shared_start([text for text, k in zip(labels, keys) if k == key])
        for key in first
    }
    if all(shared.values()) and _all_differ(list(shared.values())):
        return tuple(shared[key] for key in keys)
    for column in values.values():
        if _are_texts(column) and _all_differ([column[t] for t in first.values()]):
            return tuple(column)
    return tuple(_setting(values, first[key]) for key in keys)


def _shared_start(texts: Sequence[str]) -> str:
    """The parts between commas, else the words, with which all texts begin."""
    for separator in (", ", " "):
        parts = (text.split(separator) for text in texts)
        same = itertools.takewhile(lambda p: len(set(p)) == 1, zip(*parts))
        if start := separator.join(p[0] for p in same):
            return start
    return ""


def _setting(values: Mapping[str, Sequence[Any]], trial: int) -> str:
    """What a trial sets, such as "relu, batch norm, hidden 60-60"."""
    parts = []
    for path, column in values.items():
        value = column[trial]
        if isinstance(value, bool):
            parts.append(("" if value else "no ") + words(path))
        elif isinstance(value, str):
            parts.append(value)
        elif path == "model.layers":
            parts.append(value_text(value))
        else:
            parts.append(f"{words(path)} {value_text(value)}")
    return ", ".join(parts)


def _are_texts(values: Iterable[Any]) -> bool:
    return all(isinstance(v, str) for v in values)


def _all_differ(values: Collection[Any]) -> bool:
    return len(set(values)) == len(values)


def is_number(value: Any) -> bool:
    """Whether a hyperparameter's value can lie on a numeric axis."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_log_like(values: Collection[float]) -> bool:
    """Whether positive values are spaced more evenly in their logarithm."""
    distinct = np.unique(np.asarray(values, float))
    if distinct[0] <= 0 or distinct[-1] < 4 * distinct[0]:
        return False
    gaps, log_gaps = np.diff(distinct), np.diff(np.log(distinct))
    return bool(np.std(log_gaps) / log_gaps.mean() <= np.std(gaps) / gaps.mean())


def colors(results: Results) -> tuple[str, ...]:
    """One colour for each trial: ordered with a numeric sweep, distinct otherwise.

    Baselines are dark and grey.
    """
    sweep = sweep_of(results)
    values = {t: sweep.values[t] for t in statistics.networks(results)}
    distinct = sorted(set(values.values()))
    few = sweep.scale == "categories" and len(values) <= len(CATEGORIES)
    shades = CATEGORIES if few else ordered_colors(len(distinct))
    greys = itertools.cycle((INK, MUTED))
    return tuple(
        shades[distinct.index(values[t])] if t in values else next(greys)
        for t in range(len(sweep.values))
    )


def ordered_colors(count: int) -> list[str]:
    """So many colours from dark to light, all legible on white."""
    shades = matplotlib.colormaps["plasma"](np.linspace(0, PLASMA_END, max(count, 2)))
    return [to_hex(s) for s in shades[:count]]


def _darker(color: str, factor: float = 0.75) -> str:
    red, green, blue = to_rgb(color)
    return to_hex((factor * red, factor * green, factor * blue))


def plain(value: str, most: int = 30) -> str:
    """A user's text for a figure: printable, short, and never read as mathematics."""
    shown = "".join(c if c.isprintable() else " " for c in value)
    shown = shown if len(shown) <= most else shown[: most - 1] + "…"
    return shown.replace("$", r"\$")


def wrapped(value: str, width: int = WRAP) -> str:
    """A user's text for a figure, in at most two lines of so many characters."""
    first, *rest = textwrap.wrap(value, width) or [""]
    lines = [first, " ".join(rest)] if rest else [first]
    return "\n".join(plain(line, width) for line in lines)


# Scales, chosen by the data.


class Scale(NamedTuple):
    """How a metric is laid along an axis.

    Attributes:
      name: "linear", "log" (of the value) or "error" (log of one minus the value).
      percent: whether values are shares.
      ceiling: the largest value drawn; an accuracy of 1 has no place on a log axis.
    """

    name: Literal["linear", "log", "error"]
    percent: bool
    ceiling: float

    def forward(self, value: Any) -> Any:
        """The place of a value along a linear axis."""
        value = np.asarray(value, float)
        if self.name == "log":
            return np.log10(np.maximum(value, 1e-300))
        if self.name == "error":
            return -np.log10(np.maximum(1 - value, 1e-12))
        return value

    def inverse(self, place: Any) -> Any:
        """The value at a place."""
        place = np.asarray(place, float)
        if self.name == "log":
            return 10.0**place
        return 1 - 10.0**-place if self.name == "error" else place

    def text(self, value: float) -> str:
        """A tick's label."""
        if not self.percent:
            return f"{value:.6g}"
        # The highest place stands for everything above it, 100 % included.
        return f"{100 if value >= self.ceiling else 100 * value:.6g} %"


def scale_of(results: Results, metric: str, shown: np.ndarray) -> Scale:
    """Chooses the scale for finite values that will be drawn."""
    if metric.endswith("share"):
        return Scale("linear", True, math.inf)
    if metric.endswith("accuracy"):
        part = metric.split("_")[0]
        counts = [d.get(part, d["test"]) for d in results.config["datasets"].values()]
        ceiling = 1 - 0.5 / max(counts)
        # From 95 % to 99 % a linear axis shows nothing: draw the error's logarithm.
        error = shown.size > 0 and shown.max() >= 0.9
        return Scale("error" if error else "linear", True, ceiling)
    wide = shown.size > 0 and shown.min() > 0 and shown.max() > 3 * shown.min()
    return Scale("log" if wide else "linear", False, math.inf)


def view_of(scale: Scale, core: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """All of `core`, and of `ends` what lies at most a quarter of its extent away.

    The interval of three seeds, one of which failed, would leave no room for the rest.
    """
    if not core.size:
        return core
    core = np.minimum(core, scale.ceiling)
    low, high = scale.forward([core.min(), core.max()])
    reach = (high - low) / 4
    near = np.clip(
        scale.forward(np.minimum(ends, scale.ceiling)), low - reach, high + reach
    )
    view = np.append(core, scale.inverse(near))
    return np.clip(view, 0, 1) if scale.percent else view


def set_scale(
    ax: Axes,
    which: Literal["x", "y"],
    scale: Scale,
    view: np.ndarray,
    reserve: float = 0.0,
) -> None:
    """Sets scale, limits and ticks of one axis so that finite `view` is in view.

    `reserve` is the share of the axis kept free, at the foot of y or at the end of x.
    """
    if scale.name == "log":
        ax.set(**{f"{which}scale": "log"})
    elif scale.name == "error":
        (ax.set_xscale if which == "x" else ax.set_yscale)(
            "function", functions=(scale.forward, scale.inverse)
        )
    values = np.minimum(view, scale.ceiling) if view.size else np.array([0.0, 1.0])
    low, high = (float(v) for v in scale.forward([values.min(), values.max()]))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    ends = low - margin, high + margin
    free = (ends[1] - ends[0]) * reserve / (1 - reserve)
    limits = (ends[0] - free, ends[1]) if which == "y" else (ends[0], ends[1] + free)
    ax.set(**{f"{which}lim": tuple(float(e) for e in scale.inverse(limits))})
    axis = ax.xaxis if which == "x" else ax.yaxis
    axis.set_major_locator(matplotlib.ticker.FixedLocator(ticks(scale, ends)))
    axis.set_minor_locator(matplotlib.ticker.NullLocator())
    axis.set_major_formatter(lambda value, _: scale.text(value))


def ticks(scale: Scale, ends: tuple[float, float]) -> list[float]:
    """Round values within the ends, the roundest first, a tenth of the axis apart.

    The finer ones come in only until there are five.
    """
    low, high = ends
    groups: list[list[float]] = []
    if scale.name == "error":
        decades = range(math.floor(low), math.ceil(high) + 1)
        multiples = ((1,), (5,), (2,), (3,), (1.5, 4, 7), (1.2, 2.5, 3.5, 6, 8, 9))
        for group in multiples:
            errors = [m * 10.0**-d for d in decades for m in group]
            groups.append([1 - e for e in errors if e <= 1])
        groups.insert(0, [scale.ceiling])
    elif scale.name == "log":
        decades = range(math.floor(low), math.ceil(high) + 1)
        thin = max(1, len(decades) // 6)
        groups.append([10.0**d for d in decades if d % thin == 0])
        finer = (3, 5, 2, 1.5, 7, 4) if thin == 1 else ()
        groups += [[m * 10.0**d for d in decades] for m in finer]
    chosen: dict[float, float] = {}
    for value in (v for g in groups if len(chosen) < 5 for v in g):
        place = float(scale.forward(value))
        if low <= place <= high and all(
            abs(place - p) >= 0.1 * (high - low) for p in chosen.values()
        ):
            chosen[value] = place
    if len(chosen) < 3:  # a linear axis, or a range too narrow to see its bend
        locator = matplotlib.ticker.MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
        start, end = (float(v) for v in scale.inverse(ends))
        return [v for v in locator.tick_values(start, end) if start <= v <= end]
    return sorted(chosen)


def set_sweep_axis(ax: Axes, sweep: Sweep) -> None:
    """The swept value along x: of its own values those are ticks that have room."""
    ax.set_xlabel(plain(sweep.name))
    values = sweep.places
    if sweep.scale == "log":
        ax.set_xscale("log")
        pad = (values[-1] / values[0]) ** 0.06
        ax.set_xlim(values[0] / pad, values[-1] * pad)
    else:
        pad = 0.06 * (values[-1] - values[0]) or 0.5
        ax.set_xlim(values[0] - pad, values[-1] + pad)
    ax.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
    places = np.log(values) if sweep.scale == "log" else np.asarray(values)
    texts = dict(zip(sweep.values, sweep.texts))
    width = 0.016 * max(len(t) for t in texts.values()) * (places[-1] - places[0])
    kept = [0]
    for i in range(1, len(values)):
        if places[i] - places[kept[-1]] >= width:
            kept.append(i)
    ax.set_xticks([values[i] for i in kept], [plain(texts[values[i]]) for i in kept])


def _set_rows(ax: Axes, sweep: Sweep) -> None:
    """A row for each trial that has a place, the first at the top."""
    rows = {v: wrapped(t, ROW_WRAP) for v, t in zip(sweep.values, sweep.texts)}
    ax.set_yticks(sweep.places, [rows[place] for place in sweep.places])
    ax.set_ylim(len(sweep.places) - 0.5, -0.5)
    ax.set_ylabel(plain(sweep.name))


def dress(ax: Axes, grid: Literal["x", "y"] = "y") -> None:
    """The common look: no box, a light grid along the metric."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(MUTED)
    ax.tick_params(color=MUTED, labelcolor=INK, length=3)
    ax.grid(axis=grid, color=RULE, linewidth=0.8)
    ax.set_axisbelow(True)


# What is drawn of each trial.


class Drawn(NamedTuple):
    """One trial's curve.

    Attributes:
      x: place of each evaluation, (E,).
      values: (n, E), of the members that the mean is over.
      mean, low, high: (E,); low and high are NaN below three values.
      lost: (n, E), of the diverged members; NaN from where they diverged.
      stopped: for each member that stopped, the index of its last evaluation.
      running: whether the values are of members that the run did not finish.
    """

    x: np.ndarray
    values: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    lost: np.ndarray
    stopped: np.ndarray
    running: bool


class Level(NamedTuple):
    """A final mean and its 95 % interval; low and high are NaN below three values."""

    mean: float
    low: float
    high: float


Along = Literal["epoch", "step", "examples", "seconds"]
ALONG: dict[Along, str] = {
    "epoch": "epochs",
    "step": "steps",
    "examples": "examples",
    "seconds": "seconds of training",
}


def curve_of(results: Results, trial: int, metric: str, x: Along) -> Drawn | None:
    """A trial's curve over its finished and stopped members.

    Where it has none, over the unfinished ones; None where it has not run, or was not
    timed for an axis of seconds.
    """
    if not results.has_run(trial):
        return None
    curve = statistics.carried_forward(results, trial, metric)
    if not results.trials[trial].hyperparameters.model.is_network:
        # Each seed has its own number of trees, and stays with those.
        values = [_filled(curve.steps, seed) for seed in curve.values]
        curve = dataclasses.replace(curve, values=np.array(values))
    along = {"epoch": curve.epochs, "step": curve.steps, "examples": curve.examples}
    if x == "seconds":
        cohort = results.cohort(trial)["index"]
        seconds = statistics.seconds_per_epoch(results, cohort)
        if not seconds.size:
            return None
        along["seconds"] = curve.epochs * seconds.mean()
    status = results.member(trial, "status")
    ended = statistics.alive(results, trial)
    running = not ended.any() and bool((status == UNFINISHED).any())
    kept = curve.values[(status == UNFINISHED) if running else ended]
    lost = np.where(np.isfinite(curve.values), curve.values, np.nan)
    lost = lost[status == DIVERGED]
    mean, low, high = statistics.mean_interval(kept)
    last = results.member(trial, "steps")[status == STOPPED]
    stopped = np.searchsorted(curve.steps, last)
    places = np.asarray(along[x], float)
    return Drawn(places, kept, mean, low, high, lost, stopped, running)


def _filled(steps: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values (E,) on straight lines where there are none, and beyond the last, it."""
    known = np.isfinite(values)
    return np.interp(steps, steps[known], values[known]) if known.any() else values


def learning_curves(
    ax: Axes,
    results: Results,
    metric: str,
    *,
    x: Along = "epoch",
    trials: Collection[int] | None = None,
) -> Axes:
    """Draws each trial's mean over its seeds, with the 95 % Student-t band.

    The mean is over the members that finished or stopped; over the unfinished ones,
    dashed, where a trial has no others. No band below three seeds; a thin line for each
    seed where there are at most five; a tick where members stopped early, taller where
    several did at once, from where on they count with their best; a cross where a
    member diverged, at its last finite value (at the foot of the axes if it had none).
    Labels stand at the ends of the lines up to twelve trials, then a colour bar takes
    over. The x axis is logarithmic where some trials end far before others. Baselines
    beside networks have no epochs: they lie across the axes in long dashes, at their
    final value.

    Args:
      ax: where to draw.
      results: what the study found.
      metric: a column of the curves.
      x: what runs along the x axis. "seconds" is a network's share of the time that its
        program trained: epochs times the mean of `statistics.seconds_per_epoch`.
      trials: indices of the trials to draw; all when None. Colours and limits do not
        depend on it, so that panels compare.

    Returns:
      `ax`.

    Raises:
      ValueError: no such metric.
    """
    scale = _draw_curves(ax, results, (metric,), x, trials)
    ax.set_ylabel(axis_words(metric, scale))
    return ax


def gap_curves(
    ax: Axes, results: Results, *, trials: Collection[int] | None = None
) -> Axes:
    """Draws each trial's test accuracy, solid, and its training accuracy, dashed.

    As `learning_curves`, over the members that finished or stopped; a trial that has
    none is left out. Of baselines only the test accuracy is drawn.

    Args:
      ax: where to draw.
      results: what the study found.
      trials: indices of the trials to draw; all when None.

    Returns:
      `ax`.
    """
    scale = _draw_curves(
        ax, results, ("test_accuracy", "train_accuracy"), "epoch", trials
    )
    note = "accuracy: test solid, training dashed"
    ax.set_ylabel(note + ("\n(error on log scale)" if scale.name == "error" else ""))
    return ax


def _draw_curves(
    ax: Axes,
    results: Results,
    metrics: Sequence[str],
    x: Along,
    trials: Collection[int] | None,
) -> Scale:
    """Draws the first metric with all its marks, a second one dashed below it."""
    found = {
        (t, m): curve_of(results, t, m, x)
        for m in metrics
        for t in statistics.networks(results)
    }
    ran = {key: d for key, d in found.items() if d is not None}
    if len(metrics) > 1:
        ran = {key: d for key, d in ran.items() if not d.running}
    levels = {t: level_of(results, t, metrics[0]) for t in baselines(results)}
    across = {t: level for t, level in levels.items() if level is not None}
    shown = {t for t in range(len(results.trials)) if trials is None or t in trials}
    drawn = {t: d for (t, m), d in ran.items() if m == metrics[0] and t in shown}
    tints = colors(results)
    scale = set_metric_axis(ax, results, metrics[0], ran, across)
    set_time_axis(ax, results, x, {t: d.x for (t, _), d in ran.items()})
    for metric in reversed(metrics):
        main = metric == metrics[0]
        for trial in drawn:
            curve = ran[trial, metric]
            thin = main and len(drawn) <= 8 and len(metrics) == 1
            line = "--" if curve.running or not main else "-"
            draw_curve(ax, curve, tints[trial], scale, thin, line)
            if main:
                draw_ends(ax, curve, tints[trial], scale)
    across = {t: level for t, level in across.items() if t in shown}
    for trial, level in across.items():
        draw_level(ax, level, tints[trial], scale)
    dress(ax)
    _name_lines(ax, results, drawn, across, tints)
    return scale


def set_metric_axis(
    ax: Axes,
    results: Results,
    metric: str,
    curves: Mapping[tuple[int, str], Drawn],
    levels: Mapping[int, Level],
) -> Scale:
    """Sets limits and scale of y so that curves of one kind of metric are in view.

    Args:
      ax: where to draw; gets the level of chance where accuracies are near it.
      results: what the study found.
      metric: one of the kind.
      curves: by trial and metric.
      levels: of baselines, by trial.

    Returns:
      The scale.
    """
    # The loss of a trial that learnt nothing can be 1e9: it would flatten the others.
    learnt = [d.mean for (t, _), d in curves.items() if _learns(results, t)]
    bounded = metric.endswith(("accuracy", "_share"))
    core = finite([] if bounded else learnt)
    core = core if core.size else finite(d.mean for d in curves.values())
    core = core if core.size else finite(d.lost for d in curves.values())
    core = np.append(core, [level.mean for level in levels.values()])
    scale = scale_of(results, metric, core)
    ends = finite(a for d in curves.values() for a in (d.low, d.high))
    ends = np.append(ends, finite(np.array(level) for level in levels.values()))
    view = view_of(scale, core, ends)
    if metric.endswith("loss") and view.size:
        # So would one that grew in a few seeds of a trial that learns in others.
        start = finite(d.mean[:1] for d in curves.values())
        view = np.minimum(view, MOST_LOSS * start.max(initial=view.min()))
    if metric.endswith("accuracy") and view.size:
        trials = {*levels, *(t for t, _ in curves)}
        view = _draw_chance(ax, results, scale, view, trials)
    set_scale(ax, "y", scale, view)
    return scale


def level_of(results: Results, trial: int, metric: str) -> Level | None:
    """A trial's final mean; None where no member has a finite value.

    Raises:
      ValueError: no such metric.
    """
    final = Quantity(metric=metric, reduction="final")
    values = statistics.reduce_members(results, final, trial)
    values = values[np.isfinite(values)]
    if not values.size:
        return None
    return Level(*map(float, statistics.mean_interval(values)))


def draw_level(ax: Axes, level: Level, color: str, scale: Scale) -> None:
    """Draws a baseline's mean and interval across the axes."""
    mean, low, high = (min(value, scale.ceiling) for value in level)
    if low < high:
        ax.axhspan(low, high, color=color, alpha=0.1, linewidth=0, zorder=1)
    ax.axhline(mean, color=color, linestyle=LONG_DASHES, linewidth=1.2, zorder=2)


def _draw_chance(
    ax: Axes, results: Results, scale: Scale, view: np.ndarray, trials: Iterable[int]
) -> np.ndarray:
    """Draws the level of chance unless it would squeeze the curves; the new view."""
    low, high = scale.forward([view.min(), view.max()])
    for chance in {float(results.dataset(t)["chance"]) for t in trials}:
        if low - scale.forward(chance) < high - low:
            ax.axhline(chance, color=MUTED, linestyle=":", linewidth=1, zorder=1)
            _note(ax, chance, "chance")
            view = np.append(view, chance)
    return view


def set_time_axis(
    ax: Axes, results: Results, x: Along, places: Mapping[int, np.ndarray]
) -> None:
    """Limits and ticks for trials' curves; logarithmic if their ends are far apart.

    Args:
      ax: where to draw.
      results: what the study found.
      x: what runs along the axis; curves of trees alone run along their number.
      places: of the evaluations, (E,), by trial.
    """
    ends = [float(p[-1]) for p in places.values() if p.size]
    last = max(ends, default=0.0)
    models = [results.trials[t].hyperparameters.model for t in places]
    trees = bool(models) and not any(m.is_network for m in models)
    label = "trees" if trees and x != "seconds" else ALONG[x]
    if ends and FAR_APART * min(ends) < last and min(ends) > 0:
        view = finite(places.values())
        set_scale(ax, "x", Scale("log", False, math.inf), view[view > 0])
        ax.set_xlabel(f"{label}, log scale")
        return
    ax.set_xlim(0, last or 1.0)
    ax.xaxis.set_major_locator(
        matplotlib.ticker.MaxNLocator(
            6, integer=last >= 3 and x != "seconds", steps=[1, 2, 5, 10]
        )
    )
    ax.set_xlabel(label)


def _name_lines(
    ax: Axes,
    results: Results,
    drawn: Mapping[int, Drawn],
    across: Mapping[int, Level],
    tints: Sequence[str],
) -> None:
    """Labels at the ends of the lines, or a colour bar where there are too many."""
    if len(drawn) + len(across) <= MOST_LABELS:
        _label_trials(ax, results, drawn, across, tints)
        return
    note_levels(ax, {trial_name(results, t): level for t, level in across.items()})
    _color_bar(ax, results, tints)


def _learns(results: Results, trial: int) -> bool:
    at_chance = results.member(trial, "at_chance").astype(bool)
    return bool((statistics.alive(results, trial) & ~at_chance).any())


def axis_words(metric: str, scale: Scale) -> str:
    """A metric in words, as an axis with that scale is called."""
    return words(metric) + (" (error on log scale)" if scale.name == "error" else "")


def finite(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """All values that are finite, (N,)."""
    joined = np.concatenate([np.ravel(a) for a in arrays] or [np.empty(0)])
    return joined[np.isfinite(joined)]


def note_levels(ax: Axes, levels: Mapping[str, Level], right: bool = True) -> None:
    """Names at an end of horizontal lines; two that lie close together have room."""
    ordered = sorted(levels.items(), key=lambda item: -item[1].mean)
    for number, (name, level) in enumerate(ordered):
        _note(ax, level.mean, plain(name), number == 0, right)


def _note(
    ax: Axes, y: float, text: str, above: bool = True, right: bool = True
) -> None:
    """A small grey word above or below a horizontal line at `y`."""
    ax.annotate(
        text,
        (0.99 if right else 0.01, y),
        xycoords=ax.get_yaxis_transform(),
        xytext=(0, 1 if above else -2),
        textcoords="offset points",
        fontsize="x-small",
        color=MUTED,
        ha="right" if right else "left",
        va="bottom" if above else "top",
    )


def draw_curve(
    ax: Axes, curve: Drawn, color: str, scale: Scale, thin: bool, line: str
) -> None:
    """Draws mean, band and, if few, the single seeds of one trial."""
    mean, low, high = (
        np.minimum(a, scale.ceiling) for a in (curve.mean, curve.low, curve.high)
    )
    x = _places(ax, curve)
    if thin and 1 < len(curve.values) <= FEW_SEEDS:
        for seed in np.minimum(curve.values, scale.ceiling):
            ax.plot(x, seed, color=color, linewidth=0.6, alpha=0.5)
    if x.size == 1 and np.isfinite(low).all():
        ax.vlines(x, low, high, color=color, linewidth=1.2, alpha=0.5)
    elif np.isfinite(low).any():
        ax.fill_between(x, low, high, color=color, alpha=0.14, linewidth=0)
    ax.plot(
        x,
        mean,
        color=color,
        linewidth=1.7 if line == "-" or curve.running else 1.2,
        linestyle=line,
        marker="o" if x.size <= 2 else "",
        markersize=4,
        clip_on=x.size > 2,
        zorder=3,
    )


def _places(ax: Axes, curve: Drawn) -> np.ndarray:
    """The curve's x, without the start of training where the axis cannot show it."""
    return np.where(curve.x > 0, curve.x, np.nan) if _is_log(ax) else curve.x


def _is_log(ax: Axes) -> bool:
    return ax.get_xscale() == "log"


def draw_ends(ax: Axes, curve: Drawn, color: str, scale: Scale) -> None:
    """Ticks on the mean where members stopped, crosses where they diverged."""
    x = _places(ax, curve)
    for at, count in Counter(curve.stopped.tolist()).items():
        ax.plot(
            x[at],
            min(float(curve.mean[at]), scale.ceiling),
            marker="|",
            markersize=5.0 + 2.0 * min(count, 8),
            markeredgewidth=1.3,
            color=_darker(color),
            zorder=4,
        )
    bottom, top = ax.get_ylim()
    for values in curve.lost:
        ax.plot(x, values, color=color, linewidth=0.6, alpha=0.5)
        place, value = _last(x, values)
        ax.plot(
            ax.get_xlim()[0] if np.isnan(place) else place,
            bottom if np.isnan(value) else np.clip(value, bottom, top),
            marker="x",
            markersize=6,
            markeredgewidth=1.4,
            color=color,
            clip_on=False,
            zorder=5,
        )


def _last(x: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """The last finite point of a curve, NaN if there is none."""
    finite = np.flatnonzero(np.isfinite(values))
    if not finite.size:
        return np.nan, np.nan
    return float(x[finite[-1]]), float(values[finite[-1]])


def spread(places: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Moves labels apart as little as possible, keeping their order.

    Least squares under "neighbours at least `gap` apart" is isotonic regression of the
    places less their rank times the gap, solved by pooling adjacent violators.

    Args:
      places: wanted positions, (N,).
      gap: smallest distance between two neighbours; shrunk if they do not fit.
      low: lowest position allowed.
      high: highest position allowed.

    Returns:
      Positions, (N,), in the order of `places`.
    """
    count = len(places)
    if count == 0:
        return np.empty(0)
    gap = min(gap, (high - low) / max(count - 1, 1))
    order = np.argsort(places, kind="stable")
    ranks = np.arange(count)
    blocks: list[tuple[float, int]] = []  # mean and size, means ascending
    for place in np.asarray(places, float)[order] - gap * ranks:
        block = (float(place), 1)
        while blocks and blocks[-1][0] >= block[0]:
            mean, size = blocks.pop()
            total = size + block[1]
            block = ((mean * size + block[0] * block[1]) / total, total)
        blocks.append(block)
    level = np.repeat([m for m, _ in blocks], [n for _, n in blocks])
    level = np.clip(level, low, max(low, high - gap * (count - 1)))
    moved = np.empty(count)
    moved[order] = level + gap * ranks
    return moved


def _label_trials(
    ax: Axes,
    results: Results,
    drawn: Mapping[int, Drawn],
    across: Mapping[int, Level],
    tints: Sequence[str],
) -> None:
    """Writes each trial's name at the end of its line, and how its members ended."""
    sweep = sweep_of(results)
    grouped = any(sweep.groups[t] for t in statistics.networks(results))
    one_panel = len({sweep.groups[t] for t in drawn}) == 1
    names: list[tuple[str, str]] = []
    ends: list[tuple[str, float, float]] = []
    for trial, curve in drawn.items():
        at = _last(curve.x, curve.mean)
        if np.isnan(at[0]):  # all have diverged: the one that lasted longest
            at = max(
                (_last(curve.x, v) for v in curve.lost if np.isfinite(v).any()),
                default=at,
            )
        if np.isnan(at[1]):
            at = np.nan, ax.get_ylim()[0]
        given = results.study.sweep[trial].get("label")
        name = str(sweep.texts[trial] if grouped else given or sweep.texts[trial])
        name = name if one_panel else trial_name(results, trial)
        name = name if len(results.trials) > 1 else ""
        names.append((name, fate_of(results, trial, len(curve.stopped))))
        ends.append((tints[trial], *at))
    for trial, level in across.items():
        names.append((sweep.texts[trial], ""))
        ends.append((tints[trial], ax.get_xlim()[1], level.mean))
    label_ends(ax, names, ends, sweep.name if one_panel else "")


def label_ends(
    ax: Axes,
    names: Sequence[tuple[str, str]],
    ends: Sequence[tuple[str, float, float]],
    title: str,
) -> None:
    """Writes names right of the axes, with leaders to the ends of their lines.

    Args:
      ax: with its limits set; it needs room to its right.
      names: of each line, and a remark on it or "".
      ends: colour, x and y of the end of each line; x is NaN for one that has none.
      title: above the names, where there are several; "" for none.
    """
    if not ends:
        return
    y = ax.transAxes.inverted().transform(
        ax.transData.transform([(ax.get_xlim()[1], e[2]) for e in ends])
    )[:, 1]
    # Constrained layout has yet to shrink the axes; 0.8 is on the safe side.
    inches = 0.8 * ax.get_window_extent().height / ax.figure.dpi
    size = 8.0
    gap = 1.2 * size / 72 / inches
    texts = [_end_text(*pair) for pair in names]
    lines = max((text.count("\n") + 1 for text in texts), default=1)
    if lines * gap * (len(ends) - 1) > 1:
        texts, lines = [_end_text(*pair, one_line=True) for pair in names], 1
    places = spread(np.clip(y, 0, 1), lines * gap, 0.0, 1.0)
    for text, (color, x, value), place in zip(texts, ends, places):
        if text and np.isfinite(x):
            ax.annotate(
                "",
                (x, np.clip(value, *ax.get_ylim())),
                xytext=(1.025, place),
                textcoords="axes fraction",
                arrowprops={
                    "arrowstyle": "-",
                    "color": color,
                    "linewidth": 0.6,
                    "alpha": 0.7,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
                annotation_clip=False,
            )
        ax.text(
            1.035,
            place,
            text,
            transform=ax.transAxes,
            color=_darker(color),
            fontsize=size,
            va="center" if "\n" in text else "center_baseline",
            linespacing=1.0,
        )
    if title and len(ends) > 1:
        ax.annotate(
            plain(title),
            (1.035, max(float(np.max(places)), 0.0) + (lines - 1) * gap / 2),
            xycoords="axes fraction",
            xytext=(0, 0.9 * size),
            textcoords="offset points",
            color=MUTED,
            fontsize=size,
        )


def _end_text(name: str, fate: str, one_line: bool = False) -> str:
    """A trial's name and how its members ended, in few lines."""
    if one_line:
        return f"{plain(name, max(WRAP - len(fate), 12))} {fate}".strip()
    lines = [line for line in (*wrapped(name).split("\n"), fate) if line]
    if fate and len(lines) > 1 and len(lines[-2]) + len(fate) < WRAP:
        lines[-2:] = [" ".join(lines[-2:])]
    return "\n".join(lines)


def fate_of(results: Results, trial: int, stopped: int) -> str:
    """How a trial's members ended, in brackets; "" where all finished."""
    counts = statistics.status_counts(results, trial)
    parts = {
        "stopped": stopped,
        "diverged": counts["diverged"],
        "at chance": counts["at_chance"],
    }
    shown = ", ".join(f"{count} {text}" for text, count in parts.items() if count)
    return f"({shown})" if shown else ""


def _color_bar(ax: Axes, results: Results, tints: Sequence[str]) -> None:
    """A bar of the trials' colours in order, with the swept values as its ticks."""
    sweep = sweep_of(results)
    by_value = {
        sweep.values[t]: (tints[t], sweep.texts[t])
        for t in statistics.networks(results)
    }
    by_value = dict(sorted(by_value.items()))
    shades, texts = zip(*by_value.values())
    mapped = ScalarMappable(
        BoundaryNorm(np.arange(len(shades) + 1) - 0.5, len(shades)),
        ListedColormap(list(shades)),
    )
    step = 1 if sweep.scale == "categories" else math.ceil(len(shades) / 10)
    ticks = range(0, len(shades), step)
    bar = ax.figure.colorbar(mapped, ax=ax, ticks=list(ticks), aspect=30, pad=0.02)
    bar.ax.set_yticklabels([plain(texts[t]) for t in ticks])
    bar.ax.tick_params(length=0, labelsize=6 if step == 1 and len(shades) > 16 else 8)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label(plain(sweep.name), fontsize=8, color=MUTED)


# One number a trial, along what was swept.


def final_metric(ax: Axes, results: Results, metric: str) -> Axes:
    """Draws the metric at the end of training against the swept value.

    Mean and 95 % Student-t interval over the members that finished or stopped (no
    interval below three), a dot for each of them, a ring around the best trial by
    validation, and a strip with the shares of members that diverged or ended at chance,
    where there are any. Categories are rows; other settings are lines of their own.
    Baselines beside a numeric sweep lie across the axes in long dashes.

    Args:
      ax: where to draw.
      results: what the study found.
      metric: a column of the curves.

    Returns:
      `ax`; the strip is one of its child axes.

    Raises:
      ValueError: no such metric.
    """
    points: dict[int, np.ndarray] = {}
    shares: dict[str, dict[int, float]] = {"diverged": {}, "at chance": {}}
    for trial in range(len(results.trials)):
        curve = curve_of(results, trial, metric, "epoch")
        if curve is None:
            continue
        counts = statistics.status_counts(results, trial)
        total = results.study.num_seeds
        shares["diverged"][trial] = counts["diverged"] / total
        shares["at chance"][trial] = counts["at_chance"] / total
        if curve.x.size and not curve.running:
            final = Quantity(metric=metric, reduction="final")
            values = statistics.reduce_members(results, final, trial)
            points[trial] = values[~np.isnan(values)]
    every = finite(points.values())
    scale = scale_of(results, metric, every)
    centers = {t: statistics.mean_interval(p) for t, p in points.items() if p.size}
    label = axis_words(metric, scale)
    sweep = sweep_of(results)
    _draw_along(ax, results, sweep, label, scale, points, centers, shares)
    if metric.endswith("accuracy") and every.size:
        rows = sweep.scale == "categories"
        low, high = ax.get_xlim() if rows else ax.get_ylim()
        for chance in {float(results.dataset(t)["chance"]) for t in points}:
            if low <= chance <= high:
                line = ax.axvline if rows else ax.axhline
                line(chance, color=MUTED, linestyle=":", linewidth=1, zorder=1)
    return ax


def steps_to_target(ax: Axes, results: Results, target: float) -> Axes:
    """Draws the epochs until a validation accuracy is reached, and who does not get it.

    The median counts the members that never reach the target as later than all others,
    so a trial in which most never do has none; a dot for each seed that reaches it.
    Baselines have no epochs and are left out.

    Args:
      ax: where to draw.
      results: what the study found.
      target: validation accuracy, in (0, 1).

    Returns:
      `ax`; the strip with the share that does not reach it is one of its child axes.
    """
    quantity = Quantity(
        metric="validation_accuracy", reduction="steps_to", target=target
    )
    points, centers = {}, {}
    missed: dict[int, float] = {}
    for trial in statistics.networks(results):
        if not results.has_run(trial):
            continue
        time = statistics.steps_to_target(results, trial, target)
        steps = statistics.reduce_members(results, quantity, trial)
        per_epoch = results.cohort(trial)["steps_per_epoch"]
        points[trial] = steps[np.isfinite(steps)] / per_epoch
        missed[trial] = 1 - time.reached_share if time.n else 0.0
        if np.isfinite(time.median_epochs):
            centers[trial] = (time.median_epochs, np.nan, np.nan)
    every = finite(points.values())
    scale = scale_of(results, "epochs", every)
    label = f"epochs to {100 * target:g} % validation accuracy"
    shares = {"not reached": missed}
    sweep = _without_baselines(results, sweep_of(results))
    _draw_along(ax, results, sweep, label, scale, points, centers, shares)
    return ax


def _without_baselines(results: Results, sweep: Sweep) -> Sweep:
    """The sweep in which baselines have no place, not even a row."""
    values = [math.inf] * len(sweep.values)
    for place, trial in enumerate(statistics.networks(results)):
        rows = sweep.scale == "categories"
        values[trial] = float(place) if rows else sweep.values[trial]
    return dataclasses.replace(sweep, values=tuple(values))


def test_sets(ax: Axes, results: Results) -> Axes:
    """Draws each trial's final accuracy on the normal, the moved, the rotated test set.

    Mean and 95 % Student-t interval over the members that finished or stopped, and a
    small dot for each of them. A numeric sweep runs along x with a line for each set;
    else each trial is a row.

    Args:
      ax: where to draw.
      results: what the study found.

    Returns:
      `ax`.
    """
    sets = [m for m in results.metrics if re.fullmatch(r"test_(\w+_)?accuracy", m)]
    ran = [t.index for t in results.trials if statistics.alive(results, t.index).any()]
    quantities = {m: Quantity(metric=m, reduction="final") for m in sets}
    points = {
        (t, m): values[~np.isnan(values)]
        for t in ran
        for m in sets
        for values in [statistics.reduce_members(results, quantities[m], t)]
    }
    points = {key: p for key, p in points.items() if p.size}
    centers = {key: statistics.mean_interval(p) for key, p in points.items()}
    sweep = sweep_of(results)
    rows = sweep.scale == "categories" or any(sweep.groups)
    if rows:
        names = tuple(trial_name(results, t) for t in range(len(results.trials)))
        places = tuple(float(t) for t in range(len(names)))
        sweep = Sweep("", places, names, ("",) * len(names), "categories")
    core = finite([*points.values()])
    scale = scale_of(results, "test_accuracy", core)
    view = view_of(scale, core, finite(np.array(c[1:]) for c in centers.values()))
    chances = {float(results.dataset(t)["chance"]) for t in ran}
    view = np.append(view, [c for c in chances if view.size])
    set_scale(ax, "x" if rows else "y", scale, view)
    for chance in chances:
        draw = ax.axvline if rows else ax.axhline
        draw(chance, color=MUTED, linestyle=":", linewidth=1, zorder=1, label="chance")
    for number, metric in enumerate(sets):
        color, marker = CATEGORIES[number % len(CATEGORIES)], "osD^v"[number % 5]
        shift = 0.22 * (number - (len(sets) - 1) / 2) if rows else 0.0
        of_set = [t for t in ran if (t, metric) in points]
        of_set.sort(key=lambda t: sweep.values[t])
        if not rows:
            middle = [min(float(centers[t, metric][0]), scale.ceiling) for t in of_set]
            at = [sweep.values[t] for t in of_set]
            ax.plot(at, middle, color=color, linewidth=1.2, zorder=2)
        for trial in of_set:
            values = np.append(points[trial, metric], centers[trial, metric])
            values = np.minimum(values, scale.ceiling)
            place = sweep.values[trial] + shift
            draw_points(ax, place, values, color, rows, False, marker)
        name = words(metric).removesuffix("test accuracy").strip() or "normal"
        ax.plot([], [], color=color, marker=marker, markersize=5.5, label=name)
    label = axis_words("test_accuracy", scale)
    if rows:
        _set_rows(ax, sweep)
        ax.set_xlabel(label)
    else:
        set_sweep_axis(ax, sweep)
        ax.set_ylabel(label)
    dress(ax, "x" if rows else "y")
    legend_above(ax)
    return ax


def severity(
    ax: Axes, results: Results, transform: Literal["moved", "rotated"]
) -> Axes:
    """Draws the test accuracy against how far the images are moved or rotated.

    A line for each trial: mean over its final members and 95 % Student-t band (none
    below three).

    Args:
      ax: where to draw.
      results: what the study found.
      transform: which of the two.

    Returns:
      `ax`.

    Raises:
      ValueError: the study did not measure it.
    """
    columns = {
        name: results.severity[name].to_numpy(zero_copy_only=False)
        for name in ("trial", "seed", "transform", "amount", "accuracy")
    }
    chosen = columns["transform"] == transform
    if not chosen.any():
        kinds = ", ".join(sorted(set(columns["transform"]))) or "nothing"
        raise ValueError(f"no severity of {transform!r} was measured, but {kinds}")
    amounts = np.unique(columns["amount"][chosen])
    drawn: dict[int, Drawn] = {}
    for trial in sorted({int(t) for t in columns["trial"][chosen]}):
        rows = np.flatnonzero(chosen & (columns["trial"] == trial))
        values = np.full((results.study.num_seeds, len(amounts)), np.nan)
        at = np.searchsorted(amounts, columns["amount"][rows])
        values[columns["seed"][rows], at] = columns["accuracy"][rows]
        values = values[~np.isnan(values).all(axis=1)]
        summary = statistics.mean_interval(values)
        none = np.empty((0, len(amounts)))
        drawn[trial] = Drawn(
            amounts, values, *summary, none, np.empty(0, np.int64), False
        )
    core = finite(d.mean for d in drawn.values())
    scale = scale_of(results, "test_accuracy", core)
    ends = finite(a for d in drawn.values() for a in (d.low, d.high))
    view = _draw_chance(ax, results, scale, view_of(scale, core, ends), drawn)
    set_scale(ax, "y", scale, view)
    ax.set_xlim(0, amounts[-1] or 1.0)
    unit = {"moved": "largest shift, pixels", "rotated": "largest rotation, degrees"}
    ax.set(xlabel=unit[transform], ylabel=axis_words("test_accuracy", scale))
    tints = colors(results)
    if len(set(sweep_of(results).groups)) > 1 and len(tints) <= len(CATEGORIES):
        tints = CATEGORIES[: len(tints)]  # all groups share the panel
    for trial, curve in drawn.items():
        draw_curve(ax, curve, tints[trial], scale, len(drawn) <= 8, "-")
    dress(ax)
    _name_lines(ax, results, drawn, {}, tints)
    return ax


def _draw_along(
    ax: Axes,
    results: Results,
    sweep: Sweep,
    label: str,
    scale: Scale,
    points: Mapping[int, np.ndarray],
    centers: Mapping[int, tuple[Any, Any, Any]],
    shares: Mapping[str, Mapping[int, float]],
) -> None:
    """Draws points, centres with intervals, and a strip of shares along the sweep.

    Args:
      ax: where to draw.
      results: what the study found.
      sweep: where each trial lies; one that has no place lies across the axes.
      label: of the metric's axis.
      scale: of the metric.
      points: for each trial, a value for each member, (N,).
      centers: for each trial that has one: centre, low, high; NaN for no interval.
      shares: for each kind of failure, each trial's share of members, in [0, 1].
    """
    rows = sweep.scale == "categories"
    tints = colors(results)
    placed = [t for t, value in enumerate(sweep.values) if math.isfinite(value)]
    names = list(dict.fromkeys(sweep.groups[t] for t in placed))
    failing = {k: v for k, v in shares.items() if any(v.get(t) for t in placed)}
    core = finite([*points.values(), *(np.array(c[:1]) for c in centers.values())])
    view = view_of(scale, core, finite(np.array(c[1:]) for c in centers.values()))
    room = (0.14 if rows else 0.04 + 0.06 * len(names)) if failing else 0.0
    reserve = room + 0.07 if room and not rows else room  # with the strip's key
    set_scale(ax, "x" if rows else "y", scale, view, reserve)
    best = statistics.best_trial(results)
    for number, group in enumerate(names):
        members = [t for t in centers if sweep.groups[t] == group]
        members.sort(key=lambda t: sweep.values[t])
        line = MUTED if len(names) == 1 else CATEGORIES[number % len(CATEGORIES)]
        if members and not rows:
            middle = [min(float(centers[t][0]), scale.ceiling) for t in members]
            at = [sweep.values[t] for t in members]
            ax.plot(at, middle, color=line, linewidth=1.2, zorder=2, label=plain(group))
        for trial in (t for t in points if sweep.groups[t] == group):
            tint = tints[trial] if len(names) == 1 else line
            values = np.append(points[trial], centers.get(trial, (np.nan,) * 3))
            values = np.minimum(values, scale.ceiling)
            draw_points(ax, sweep.values[trial], values, tint, rows, trial == best)
    if not core.size:
        ax.text(0.5, 0.55, "no member has a value", transform=ax.transAxes, ha="center")
    if rows:
        _set_rows(ax, sweep)
        ax.set_xlabel(label)
    else:
        set_sweep_axis(ax, sweep)
        ax.set_ylabel(label)
    levels = {t: Level(*map(float, c)) for t, c in centers.items() if t not in placed}
    for trial, level in levels.items():
        draw_level(ax, level, tints[trial], scale)
    label_ends(
        ax,
        [(sweep.texts[t], "(best)" if t == best else "") for t in levels],
        [(tints[t], ax.get_xlim()[1], level.mean) for t, level in levels.items()],
        "",
    )
    dress(ax, "x" if rows else "y")
    if len(names) > 1:
        legend_above(ax)
    if failing:
        _draw_strip(ax, sweep, names, failing, room)


def legend_above(ax: Axes) -> None:
    """A legend above the axes, in as many columns as there is room for."""
    handles, texts = ax.get_legend_handles_labels()
    if not texts:
        return
    named = dict(zip(texts, handles))
    fitting = max(1, min(4, 90 // (max(map(len, named)) + 6)))
    ax.legend(
        list(named.values()),
        list(named),
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=math.ceil(len(named) / math.ceil(len(named) / fitting)),
        borderaxespad=0.2,
        frameon=False,
        fontsize=8,
        handlelength=1.2,
    )


def draw_points(
    ax: Axes,
    place: float,
    values: np.ndarray,
    color: str,
    rows: bool,
    best: bool,
    marker: str = "o",
) -> None:
    """One trial's members, and as the last three values its centre and interval."""
    *cloud, center, low, high = values
    places = np.full(len(cloud), place)
    along, across = (cloud, places) if rows else (places, cloud)
    ax.scatter(along, across, s=9, color=color, alpha=0.35, linewidth=0, zorder=2.5)
    if np.isfinite(low):
        line = ax.hlines if rows else ax.vlines
        line(place, low, high, color=color, linewidth=2.2, alpha=0.8, zorder=3)
    if np.isfinite(center):
        x, y = (center, place) if rows else (place, center)
        ax.plot(x, y, marker=marker, markersize=5.5, color=color, zorder=4)
        if best:
            ring = {"markerfacecolor": "none", "markeredgecolor": INK, "markersize": 11}
            ax.plot(x, y, marker="o", zorder=4, **cast(Any, ring))


def _draw_strip(
    ax: Axes,
    sweep: Sweep,
    groups: Sequence[str],
    shares: Mapping[str, Mapping[int, float]],
    room: float,
) -> None:
    """Bars of the failing shares: at the foot of the axes, or right of rows.

    Each group has its own row of the strip; a bar as high as the row is all members.
    """
    rows = sweep.scale == "categories"
    box = (1 - room, 0.0, room, 1.0) if rows else (0.0, 0.0, 1.0, room)
    strip = ax.inset_axes(box, sharex=None if rows else ax, sharey=ax if rows else None)
    values = np.array(sweep.places)
    if sweep.scale == "log":
        ratio = np.min(values[1:] / values[:-1]) if len(values) > 1 else 2.0
        ratio = min(ratio, (values[-1] / values[0]) ** 0.08) ** 0.35
    else:
        step = np.min(np.diff(values)) if len(values) > 1 else 1.0
        step = 0.35 * min(step, 0.08 * (values[-1] - values[0]) or 1.0)
        step = 0.3 if rows else step
    for number, group in enumerate(groups):
        base = float(len(groups) - 1 - number)
        filled = dict.fromkeys(range(len(sweep.values)), base)
        for kind, of_trials in shares.items():
            for trial, share in of_trials.items():
                if sweep.groups[trial] != group or not share:
                    continue
                value = sweep.values[trial]
                left, right = (
                    (value / ratio, value * ratio)
                    if sweep.scale == "log"
                    else (value - step, value + step)
                )
                edges = [left, right, right, left]
                start, end = filled[trial], filled[trial] + 0.9 * share
                across = [start, start, end, end]
                pair = (across, edges) if rows else (edges, across)
                strip.fill(*pair, color=FAILURES[kind], linewidth=0)
                filled[trial] = end
    strip.set_facecolor("#f4f5f7")
    strip.spines[:].set_visible(False)
    strip.tick_params(length=0, labelsize=7, labelcolor=MUTED)
    strip.tick_params(axis="y" if rows else "x", labelleft=False, labelbottom=False)
    if rows:
        strip.set(xlim=(0, 1), xticks=[])
    else:
        middle = [len(groups) - 0.55 - n for n in range(len(groups))]
        strip.set(ylim=(0, len(groups)))
        strip.set_yticks(middle, [plain(g, 14) for g in groups])
        strip.yaxis.tick_right()
    texts = [(f"■ {kind}", FAILURES[kind]) for kind in shares]
    if not rows:
        texts.insert(0, ("share of members:", MUTED))
    notes: list[Artist] = [
        TextArea(text, textprops={"color": color, "fontsize": 7})
        for text, color in texts
    ]
    ax.add_artist(
        AnchoredOffsetbox(
            "lower left",
            child=(VPacker if rows else HPacker)(children=notes, sep=5 - 3 * rows),
            bbox_to_anchor=(1 - room, 1.0) if rows else (0.0, room),
            bbox_transform=ax.transAxes,
            frameon=False,
            borderpad=0.2,
            pad=0,
        )
    )


# Captions and files.


def caption(results: Results, trials: Collection[int] | None = None) -> str:
    """Says what a figure's lines are over: seeds, statuses, band, device, versions.

    Args:
      results: what the study found.
      trials: indices of the trials drawn; all when None.

    Returns:
      Plain text, a few sentences.
    """
    shown = range(len(results.trials)) if trials is None else trials
    counts: Counter[str] = Counter()
    for trial in shown:
        counts.update(statistics.status_counts(results, trial))
    total = len(shown) * results.study.num_seeds
    seeds = results.study.num_seeds
    if seeds >= 3:
        first = f"Mean over {seeds} seeds with its 95 % Student-t interval"
    elif seeds == 2:
        first = "Mean over 2 seeds; fewer than 3 give no interval"
    else:
        first = "One seed, hence no interval"
    ended = [f"{counts[FINISHED]} {FINISHED}"] if counts[FINISHED] else []
    if counts[STOPPED]:
        ended.append(
            f"{counts[STOPPED]} {STOPPED} (small ticks; carried on at their best)"
        )
    if counts[DIVERGED]:
        ended.append(f"{counts[DIVERGED]} diverged (left out of means, crosses)")
    if counts[UNFINISHED]:
        ended.append(f"{counts[UNFINISHED]} unfinished (dashed if alone)")
    absent = total - sum(counts[s] for s in (FINISHED, STOPPED, DIVERGED, UNFINISHED))
    if absent:
        ended.append(f"{absent} did not run")
    members = "member" if total == 1 else "members"
    text = f"{first}. Of {total} {members}: {', '.join(ended)}"
    if counts["at_chance"]:
        text += f"; {counts['at_chance']} ended at chance and count in the means"
    main = {n: v for n, v in results.config["versions"].items() if n in MAIN_PACKAGES}
    return f"{text}. {device(results)}; {versions(main)}."


def device(results: Results) -> str:
    """What the study ran on, such as "2 CPU devices"."""
    devices = results.config["devices"]
    count, kind = devices["count"], str(devices["kind"])
    if kind.lower() == str(devices["platform"]).lower():
        return f"{count} {kind.upper()} device{'' if count == 1 else 's'}"
    return f"{count} x {kind}"


def versions(packages: Mapping[str, str]) -> str:
    """Packages with their versions, such as "nnlab 0.1.0, jax 0.10.2"."""
    return ", ".join(f"{name} {version}" for name, version in packages.items())


def save(figure: Figure, path: str | pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """Writes a figure as PNG (150 dots an inch) and SVG; equal input, equal bytes.

    Args:
      figure: what to write.
      path: file name without suffix; its folder is made.

    Returns:
      The paths of the PNG and of the SVG.
    """
    stem = pathlib.Path(path)
    stem.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE), warnings.catch_warnings():
            # A label in a script that the font lacks is drawn as boxes in the PNG.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            figure.savefig(
                buffer,
                format=suffix[1:],
                dpi=150,
                metadata=metadata,
                facecolor="none" if suffix == ".svg" else "white",
            )
        figure.set_layout_engine("none")  # found once, kept for the second format
        written.append(stem.with_name(stem.name + suffix))
        write_atomic(written[-1], buffer.getvalue())
    return written[0], written[1]
