# SPDX-License-Identifier: Apache-2.0
"""Accuracies on moved and on rotated test images."""

import re
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes

from nnlab.report.figures.drawing import captions, curves, labels, points, scales, style
from nnlab.report.figures.drawing.captions import Sketch, need
from nnlab.report.figures.drawing.chart import kept
from nnlab.report.figures.drawing.levels import Level
from nnlab.report.figures.drawing.paper import side_by_side, tall
from nnlab.report.figures.final import height_of
from nnlab.report.figures.learning import learning
from nnlab.report.trials import Sweep, sweep_of, trial_name
from nnlab.results import Results
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import mean_interval
from nnlab.words import numbers
from nnlab.words.settings import words

SETS = ("moved", "rotated")
UNITS = {"moved": "pixels", "rotated": "degrees"}


def moved_sets(findings: Findings) -> list[str]:
    """Returns which of `SETS` were measured."""
    return [
        s for s in SETS if findings.is_measured(f"test_{s}_{findings.results.score}")
    ]


def final_on_sets(findings: Findings) -> Iterator[Sketch]:
    """Draws the final accuracies on each test set, and curves if asked for."""
    sets = need(moved_sets(findings), "no image was moved or rotated")
    results = findings.results
    canvas = style.canvas(height_of(results, row=0.42))
    _draw_sets(canvas.add_subplot(), findings)
    named = numbers.joined(["normal", *(f"the {s}" for s in sets)])
    what = f"Final accuracy on the {named} test set, for each trial"
    caption = (
        f"{what}. Small dots are seeds. {set_meaning(results)} "
        f"{captions.error_scale(canvas)} {captions.caption(findings)}"
    )
    further = {name: f"test_{name}_{results.score}" for name in sets}
    measured = {"normal": results.test_score, **further}
    seen = captions.ends_of_each(findings, {"best": findings.best}, measured)
    yield Sketch("test_sets", canvas, what, caption, seen)
    for metric in further.values() if results.study.test_sets.along_curve else ():
        yield learning(findings, metric, f"curves_{metric}")


def set_meaning(results: Results) -> str:
    """Says how the images of the further test sets were made."""
    sets = results.study.test_sets
    made = []
    if sets.moved_pixels:
        pixels = numbers.count(sets.moved_pixels, "pixel")
        made.append(f"moved by up to {pixels} along both axes")
    if sets.rotated_degrees:
        made.append(f"rotated by up to {sets.rotated_degrees:g} degrees to both sides")
    return (
        "The further sets hold the images of the normal one, "
        f"{' or '.join(made)}, each by an amount drawn once for all networks."
    )


def _draw_sets(ax: Axes, findings: Findings) -> None:
    """Draws each trial's final accuracy on the normal, the moved, the rotated test set.

    A numeric sweep runs along x with a line for each set; otherwise each trial is a
    row.
    """
    results = findings.results
    sets = [
        m for m in results.metrics if re.fullmatch(rf"test_(\w+_)?{results.score}", m)
    ]
    ran = [t for t in findings.ran if findings.alive(t).any()]
    measured = {(t, m): findings.final(t, m) for m in sets for t in ran}
    finals = {k: p[~np.isnan(p)] for k, p in measured.items() if np.isfinite(p).any()}
    centers = {key: Level(*map(float, mean_interval(p))) for key, p in finals.items()}
    sweep = sweep_of(results)
    if rows := sweep.scale == "categories" or any(sweep.groups):
        names = tuple(trial_name(results, t) for t in range(len(results.trials)))
        places = tuple(map(float, range(len(names))))
        sweep = Sweep("", places, names, ("",) * len(names), "categories")
    learnt = [curves.learnt(findings, metric) for metric in sets]
    core = scales.finite(v for each in learnt for v in each.values())
    core = core if core.size else scales.finite(finals.values())
    scale = scales.scale_of(results, results.test_score, core)
    learns = {trial for each in learnt for trial in each}
    ends = scales.finite(c[1:] for (t, _), c in centers.items() if t in learns)
    view = scales.view_of(scale, core, ends)
    scales.set_scale(ax, "x" if rows else "y", scale, view)
    low, high = ax.get_xlim() if rows else ax.get_ylim()
    for chance in (c for c in curves.chances_of(findings, ran) if low <= c <= high):
        scales.draw_chance(ax, chance, "x" if rows else "y", "chance")
    for number, metric in enumerate(sets):
        color = style.CATEGORIES[number % len(style.CATEGORIES)]
        marker = "osD^v"[number % 5]
        name = words(metric).removesuffix(words(results.test_score)).strip() or "normal"
        shift = 0.22 * (number - (len(sets) - 1) / 2) if rows else 0.0
        of_set = [t for t, m in finals if m == metric]
        of_set.sort(key=sweep.values.__getitem__)
        if not rows:
            middle = [min(centers[t, metric].mean, scale.ceiling) for t in of_set]
            at = [sweep.values[t] for t in of_set]
            ax.plot(at, middle, color=color, linewidth=1.2)
        for trial in of_set:
            along = sweep.values[trial] + shift
            place = points.Place(scale, along, rows, "" if rows else name, color)
            called = labels.called(findings, trial, name)
            of = finals[trial, metric], centers[trial, metric], color, called
            points.draw_points(ax, place, *of, marker=marker)
        ax.plot([], [], color=color, marker=marker, markersize=5.5, label=name)
    scales.name_axes(ax, sweep, scales.axis_words(results.test_score, scale))
    labels.legend_above(ax)


def severity(findings: Findings) -> Sketch:
    """Draws the test accuracy against how far the images are moved or rotated."""
    results = findings.results
    kinds = results.severity["transform"].to_pylist()
    shown = [s for s in SETS if s in kinds]
    need(shown, "no image was moved or rotated by more")
    columns = side_by_side(len(shown), 1)
    rows = len(shown) // columns
    canvas = style.canvas(tall(3.3) * rows)
    for ax, name in zip(canvas.subplots(rows, columns, squeeze=False).flat, shown):
        _draw_severity(ax, findings, name)
    what = f"Test accuracy against how far the images are {' and '.join(shown)}"
    caption = (
        f"{what}, for the final networks of each trial. {captions.error_scale(canvas)} "
        f"{captions.thin_lines(results, len(results.trials))} "
        f"{captions.caption(findings, curves=True)}"
    )
    return Sketch("severity", canvas, what, caption, falls(findings))


def _draw_severity(ax: Axes, findings: Findings, kind: str) -> None:
    results, metric = findings.results, "test_accuracy"
    table = results.severity.to_pandas()
    table = table[table["transform"] == kind]
    amounts = np.unique(table["amount"])
    drawn = {}
    for trial, rows in table.groupby("trial"):
        seeds = rows.pivot(index="seed", columns="amount", values="accuracy")
        values = seeds.reindex(columns=amounts).to_numpy()
        drawn[int(trial)] = curves.Drawn.of(amounts, values, results.study.bands)
    core = scales.finite(d.mean for d in drawn.values())
    scale = scales.scale_of(results, metric, core)
    ends = scales.finite(a for d in drawn.values() for a in (d.low, d.high))
    view = scales.view_of(scale, core, ends)
    chances = curves.chances_of(findings, drawn)
    scales.set_metric_axis(ax, scale, metric, view, chances)
    ax.set_xlim(0, amounts[-1] or 1.0)
    kept(ax).training = False
    largest = {"moved": "largest shift", "rotated": "largest rotation"}[kind]
    ax.set_xlabel(f"{largest}, {UNITS[kind]}")
    tints = style.colors(findings)
    if len(set(sweep_of(results).groups)) > 1 and len(tints) <= len(style.CATEGORIES):
        tints = style.CATEGORIES[: len(tints)]  # all groups share the panel
    thin = len(drawn) <= curves.FEW_LINES
    for trial, curve in drawn.items():
        name = labels.called(findings, trial, trial_name(results, trial))
        curves.draw_curve(ax, curve, tints[trial], scale, name, thin=thin)
    style.dress(ax)
    curves.name_lines(ax, findings, drawn, tints, {})


def falls(findings: Findings) -> str:
    """Says how far the best trial falls on the most moved or rotated images."""
    table = findings.results.severity.to_pandas()
    table = table[table["trial"] == findings.best]
    said = []
    for kind, rows in table.groupby("transform", sort=False):
        means = rows.groupby("amount")["accuracy"].mean()
        start, end = (numbers.percent(float(means.iloc[n])) for n in (0, -1))
        most = f"{means.index[-1]:g} {UNITS[kind]}"
        said.append(f"{kind} by {most} from {start} to {end}")
    return f"The best trial falls when {' and when '.join(said)}." if said else ""
