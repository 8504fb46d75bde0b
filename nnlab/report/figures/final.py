# SPDX-License-Identifier: Apache-2.0
"""Final accuracies, and how soon trials reach a target, against what was swept."""

import dataclasses
import math

import numpy as np

from nnlab.report.figures.drawing import captions, curves, points, scales, style
from nnlab.report.figures.drawing.captions import Sketch, need
from nnlab.report.figures.drawing.levels import Level, levels_of
from nnlab.report.figures.drawing.paper import tall
from nnlab.report.scores import score_of
from nnlab.report.trials import Sweep, sweep_of, trial_name
from nnlab.results import Results
from nnlab.statistics.findings import Findings
from nnlab.study import Quantity
from nnlab.words import numbers


def final(findings: Findings) -> Sketch:
    """Draws the test score at the end of training against the swept value."""
    results, score = findings.results, score_of(findings.results)
    metric = score.of("test")
    canvas = style.canvas(height_of(results))
    ax = canvas.add_subplot()
    finals = {t: scales.finite([findings.final(t, metric)]) for t in findings.ran}
    levels = levels_of(findings, finals, metric)
    learnt = curves.learnt(findings, metric)
    known = [np.append(values, levels[t].mean) for t, values in learnt.items()]
    every = scales.finite(finals.values())
    scale = scales.scale_of(results, metric, scales.finite(known) if known else every)
    core = scales.finite([known[n] for n in scales.near(scale, known)])
    shares = points.shares_lost(findings, findings.ran)
    shown = points.Against(sweep_of(results), finals, levels, shares, core)
    shown.draw(ax, findings, scales.axis_words(metric, scale), scale)
    low, high = ax.get_xlim() if shown.rows else ax.get_ylim()
    for chance in curves.chances_of(findings, finals if levels else ()):
        if low <= chance <= high:
            scales.draw_chance(ax, chance, "x" if shown.rows else "y")
    scheme = f"Points are seeds. {captions.rings(findings)}"
    if not shown.rows:
        scheme += f" {captions.beside(findings, metric)}"
    scheme += f" {captions.outside(canvas)}"
    said = f"{scheme} {captions.error_scale(canvas)} {captions.caption(findings)}"
    what = f"Final test {score.name} against {sweep_of(results).name or 'trial'}"
    seen = captions.ends(findings, metric)
    return Sketch(f"final_{metric}", canvas, what, said, seen)


def height_of(results: Results, row: float = 0.0) -> float:
    """Returns the height in inches of a figure whose trials may have rows.

    `row` is that of a row where other settings are rows, too; 0 where they are lines.
    """
    sweep = sweep_of(results)
    if sweep.scale != "categories" and not (row > 0 and any(sweep.groups)):
        return tall(3.6)
    names = [trial_name(results, t.index) for t in results.trials]
    lines = max(text.count("\n") + 1 for text in scales.row_texts(names))
    each = max(row or 0.32, scales.ROW_LINE * lines + 0.08)
    return min(1.2 + each * len(results.trials), 12.0 if row else 9.0)


def target(findings: Findings) -> Sketch:
    """Draws the epochs until a validation accuracy is reached, and who does not get it.

    Baselines have no epochs and are left out.
    """
    results, target = findings.results, findings.target
    need(target > 0, "no trial is best, or it reaches no round value")
    score = score_of(results)
    metric = score.of("validation")
    quantity = Quantity(metric=metric, reduction="steps_to", target=target)
    epochs, medians, missed, counts = {}, {}, {}, {}
    for trial in (t for t in findings.networks if t in findings.ran):
        time = findings.steps_to_target(trial, target)
        steps = findings.reduced(trial, quantity)
        per_epoch = results.program(trial)["steps_per_epoch"]
        counts[trial] = time.n
        epochs[trial] = steps[np.isfinite(steps)] / per_epoch
        missed[trial] = 1 - time.reached_share if time.n else 0.0
        if np.isfinite(time.median_epochs):
            medians[trial] = Level(time.median_epochs, math.nan, math.nan)
    scale = scales.scale_of(results, "epochs", scales.finite(epochs.values()))
    goal = f"{score.goal(target)} validation {score.name}"
    sweep, shares = _without_baselines(findings), {"not reached": missed}
    canvas = style.canvas(height_of(results))
    shown = points.Against(
        sweep, epochs, medians, shares, center="median", counts=counts
    )
    shown.draw(canvas.add_subplot(), findings, f"epochs to {goal}", scale)
    what = f"Epochs to {goal} against {sweep.name or 'trial'}"
    said = (
        "Large points are medians over all seeds, those that never reach it counted as "
        "last; none where most do not. Small points are seeds. "
        f"{captions.rings(findings)} "
        f"{captions.source(results)}"
    )
    return Sketch("epochs_to_target", canvas, what, said, medians_text(findings))


def _without_baselines(findings: Findings) -> Sweep:
    """Returns the sweep in which baselines have no place, not even a row."""
    sweep = sweep_of(findings.results)
    values = [math.inf] * len(sweep.values)
    for place, trial in enumerate(findings.networks):
        rows = sweep.scale == "categories"
        values[trial] = float(place) if rows else sweep.values[trial]
    return dataclasses.replace(sweep, values=tuple(values))


def medians_text(findings: Findings) -> str:
    """Says each trial's median epochs to the target; of many, the extremes."""
    results, goal = findings.results, findings.target
    times = {t.index: findings.steps_to_target(t.index, goal) for t in results.trials}
    known = {t: time.median_epochs for t, time in times.items() if time.n}
    arrived = sorted((m, t) for t, m in known.items() if np.isfinite(m))
    if not arrived:
        return "No trial reaches it in most of its seeds."
    median, name = numbers.median_text, trial_name
    parts = [f"{median(m)} for {name(results, t)}" for m, t in arrived]
    if len(arrived) > captions.FEW:
        parts = [f"from {parts[0]} up to {parts[-1]}"]
    late = len(known) - len(arrived)
    rest = f"; {numbers.count(late, 'trial')} not in most seeds" if late else ""
    return f"Medians: {', '.join(parts)}{rest}."
