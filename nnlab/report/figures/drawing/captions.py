# SPDX-License-Identifier: Apache-2.0
"""Figures with their words: the caption, and what can be seen.

A caption says what the reader must know to read a figure. What can be seen, such as
where lines end, goes into the alternative text.
"""

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping
from typing import TypeVar

import numpy as np
from matplotlib.figure import Figure as Canvas

from nnlab import results as tables
from nnlab.report.figures.drawing.curves import FEW_LINES, FEW_SEEDS
from nnlab.report.figures.drawing.levels import level_of, levels_of
from nnlab.report.scores import score_of
from nnlab.report.trials import baselines, named, trial_name
from nnlab.results import Results
from nnlab.statistics.findings import Findings
from nnlab.statistics.members import is_accuracy, keep_best
from nnlab.study import POINTWISE, SIMULTANEOUS, TRAIN_EVALUATION_SIZE
from nnlab.words import numbers as texts

_T = TypeVar("_T")
MAIN_PACKAGES = ("nnlab", "jax")  # those that a caption names
ENDED = {
    tables.FINISHED: "finished",
    tables.STOPPED: "stopped (small ticks; carried on at their best)",
    tables.DIVERGED: "diverged (left out of means, crosses)",
    tables.DROPPED: "dropped by halving (dashed as far as they go)",
    tables.UNFINISHED: "unfinished (dashed if alone)",
    "absent": "did not run",
}
"""Ways in which networks end, and how each is drawn."""
FEW = 6  # up to here all trials are gone through


@dataclasses.dataclass(frozen=True)
class Sketch:
    """A figure that is not stored yet.

    Attributes:
      name: of its files, without suffix.
      what: what it shows, in a few words.
      caption: what the reader must know to read it.
      seen: what can be seen in it, in a sentence; may be "".
    """

    name: str
    canvas: Canvas
    what: str
    caption: str
    seen: str = ""

    @property
    def alt(self) -> str:
        """The alternative text."""
        return f"{self.what}. {self.seen}".strip()


class Lacking(Exception):
    """The reason why a figure cannot be drawn."""


def need(value: _T | None, why: str) -> _T:
    """Returns a value, or raises `Lacking` if it is None, False, 0 or empty."""
    if not value:
        raise Lacking(why)
    return value


def caption(
    findings: Findings, trials: Collection[int] | None = None, *, curves: bool = False
) -> str:
    """Says what lines are means over: seeds, how they ended, band, device, versions.

    Bands along `curves` are of the study's kind, all others are pointwise.
    """
    results = findings.results
    shown = range(len(results.trials)) if trials is None else trials
    counts: Counter[str] = Counter()
    for trial in shown:
        counts.update(findings.counts(trial))
    seeds = [results.trials[t].num_seeds for t in shown]
    least, most = (f(seeds, default=results.study.num_seeds) for f in (min, max))
    if most >= 3:
        span = f"{least} to {most}" if least < most else f"{most}"
        kind = band_text([results.study.bands]) if curves else "Student-t interval"
        first = f"Mean over {span} seeds with its 95 % {kind}"
        if any(np.count_nonzero(findings.alive(t)) in (1, 2) for t in shown):
            first += "; no interval where fewer than 3 survive"
    elif most == 2:
        first = "Mean over 2 seeds; fewer than 3 give no interval"
    else:
        first = "One seed, hence no interval"
    total = sum(seeds)
    counts["absent"] = total - sum(counts[s] for s in tables.STATUSES)
    listed = ", ".join(f"{counts[s]} {text}" for s, text in ENDED.items() if counts[s])
    said = f"{first}. Of {total} {'network' if total == 1 else 'networks'}: {listed}"
    kept = sum(np.count_nonzero(keep_best(results, t)) for t in shown)
    if curves and kept > counts[tables.STOPPED]:
        said += "; lines end as measured, final values are of each network's best"
    if counts["at_chance"]:
        said += f"; {counts['at_chance']} ended at chance and count in the means"
    return f"{said}. {_made_with(results)}"


def band_text(kinds: Collection[str]) -> str:
    """Returns what bands along curves are, for one or more of `study.BANDS`."""
    said = {
        POINTWISE: "Student-t interval, which holds point by point",
        SIMULTANEOUS: "band, which holds along the whole curve",
    }
    return " or ".join(text for kind, text in said.items() if kind in kinds)


def sampled(results: Results, *metrics: str) -> str:
    """Says of which examples training loss and score are, if not of all."""
    most = max(program["train_examples"] for program in results.config["cohorts"])
    of_training = any(metric.startswith("train_") for metric in metrics)
    if not of_training or most <= TRAIN_EVALUATION_SIZE:
        return ""
    return (
        "Training loss and accuracy are measured on the first "
        f"{TRAIN_EVALUATION_SIZE:,} training examples."
    )


def _made_with(results: Results) -> str:
    main = {n: v for n, v in results.config["versions"].items() if n in MAIN_PACKAGES}
    return f"{device(results)}; {versions(main)}."


def device(results: Results) -> str:
    """Returns what the study ran on, such as "2 CPU devices"."""
    devices = results.config["devices"]
    count, kind = devices["count"], str(devices["kind"])
    if kind.lower() == str(devices["platform"]).lower():
        return f"{count} {kind.upper()} device{'' if count == 1 else 's'}"
    return f"{count} x {kind}"


def versions(packages: Mapping[str, str]) -> str:
    """Returns packages with their versions, such as "nnlab 0.1.0, jax 0.10.2"."""
    return ", ".join(f"{name} {version}" for name, version in packages.items())


def beside(findings: Findings, metric: str) -> str:
    """Explains long dashes, if there are any."""
    levels = levels_of(findings, baselines(findings.results), metric)
    return "Long dashes are the final values of baselines." if levels else ""


def error_scale(canvas: Canvas) -> str:
    """Explains the error's log scale, if an axis has it."""
    names = (ax.get_xlabel() + ax.get_ylabel() for ax in canvas.axes)
    if any("error on log scale" in text for text in names):
        return "On the error's log scale equal distances are equal ratios of the error."
    return ""


def rings(findings: Findings) -> str:
    """Explains the marks of the best trial and of those that are not worse."""
    others = ", grey ones those not significantly worse" if findings.as_good else ""
    return f"The dark ring marks the best trial by validation{others}."


def outside(canvas: Canvas) -> str:
    """Explains arrows, if there are any."""
    texts = (text.get_text() for ax in canvas.axes for text in ax.texts)
    arrows = any(text.startswith(("↑ ", "↓ ", "← ")) for text in texts)
    return "Arrows name what ends beyond the axes." if arrows else ""


def thin_lines(results: Results, lines: int) -> str:
    """Explains thin lines, if they are drawn beside so many lines."""
    few = 1 < results.study.num_seeds <= FEW_SEEDS and lines <= FEW_LINES
    return "Thin lines are single seeds." if few else ""


def source(results: Results) -> str:
    """Names seeds, device and versions, for figures without means and intervals."""
    return f"{results.study.seeds()} a trial. {_made_with(results)}"


def by_validation(findings: Findings) -> str:
    """Says how the best and the worst trial were chosen."""
    left_out = len(findings.networks) in range(2, len(findings.results.trials))
    among = ", among the networks" if left_out else ""
    name = score_of(findings.results).name
    return f"Best and worst are by validation {name}{among}."


def ends(findings: Findings, metric: str, trials: Collection[int] | None = None) -> str:
    """Says the final means from the largest on; of many trials the extremes and median.

    Returns "" where no trial has a value.
    """
    results = findings.results
    among = range(len(results.trials)) if trials is None else trials
    means = {t: lv.mean for t, lv in levels_of(findings, among, metric).items()}
    order = sorted(means, key=lambda t: (-means[t], t))
    if not order:
        return ""
    if len(results.trials) == 1:
        return f"At the end: {value_text(metric, means[order[0]])}."
    names = [named(results, order[0]), *(trial_name(results, t) for t in order[1:])]
    parts = [f"{value_text(metric, means[t])} for {n}" for t, n in zip(order, names)]
    if len(order) <= FEW:
        return f"At the end: {', '.join(parts)}."
    middle = value_text(metric, float(np.median(list(means.values()))))
    return (
        f"At the end from {parts[0]} down to {parts[-1]}; the median of {len(order)} "
        f"trials is {middle}."
    )


def value_text(metric: str, value: float) -> str:
    """Returns a metric's value as text."""
    if is_accuracy(metric) or metric.endswith("share"):
        return texts.percent(value)
    return texts.true_minus(f"{value:.3g}")


def ends_of_each(
    findings: Findings, trials: Mapping[str, int | None], metrics: Mapping[str, str]
) -> str:
    """Says the final means of several metrics, trial by trial.

    `trials` is ``{name: index or None}``, `metrics` is ``{name: column}``.
    """
    said = []
    for which, trial in trials.items():
        values = [
            f"{name} {value_text(metric, level.mean)}"
            for name, metric in metrics.items()
            if trial is not None and (level := level_of(findings, trial, metric))
        ]
        if trial is not None and values:
            name = trial_name(findings.results, trial)
            said.append(f"{which}, {name}: {', '.join(values)}")
    return f"At the end of the {'; of the '.join(said)}." if said else ""
