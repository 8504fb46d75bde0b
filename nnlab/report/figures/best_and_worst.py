# SPDX-License-Identifier: Apache-2.0
"""Curves of the best and of the worst trial, side by side with equal axes."""

from collections.abc import Collection

from matplotlib.axes import Axes

from nnlab.report.figures.drawing import captions, labels, style
from nnlab.report.figures.drawing.captions import Sketch, need
from nnlab.report.figures.drawing.curves import (
    curve_of,
    draw_curve,
    set_curves_axis,
    set_time_axis,
)
from nnlab.report.figures.drawing.scales import axis_words
from nnlab.report.trials import baselines, trial_name
from nnlab.statistics.findings import Findings

SPLITS = {
    "train": ("training", style.CATEGORIES[0]),
    "validation": ("validation", style.CATEGORIES[1]),
    "test": ("test", style.CATEGORIES[2]),
}
"""Splits of the data, with their names and colours."""


def best_and_worst(findings: Findings) -> Sketch:
    """Draws accuracies and losses in rows of panels, with a column for each trial."""
    pair = zip(("best", "worst"), findings.extremes)
    trials = {name: trial for name, trial in pair if trial is not None}
    need(len(trials) == 2, "there is no best trial with a worst one beside it")
    kinds = [k for k in ("accuracy", "loss") if findings.is_measured(f"validation_{k}")]
    canvas = style.canvas(0.6 + 2.5 * len(kinds))
    panels = canvas.subplots(len(kinds), len(trials), squeeze=False)
    for kind, row in zip(kinds, panels):
        for (which, trial), ax in zip(trials.items(), row):
            draw(ax, findings, kind, trial, trials.values())
            if ax in panels[0]:
                name = labels.plain(
                    f"{which}: {trial_name(findings.results, trial)}", 46
                )
                fate = labels.fate_of(findings, trial)
                ax.set_title(f"{name} {fate}".strip(), fontsize=9, loc="left")
            if ax not in panels[-1]:
                ax.set_xlabel("")
            if ax not in panels[:, 0]:
                ax.set_ylabel("")
                ax.tick_params(labelleft=False)
    named = panels[0, 0].get_legend_handles_labels()
    place = {"loc": "outside upper left", "ncols": len(named[1])}
    canvas.legend(*named, **place, **labels.LEGEND)
    what = "Training, validation and test curves of the best and the worst trial"
    trees = {*baselines(findings.results)} & {*trials.values()}
    along = " (of trees, against their number)" if trees else ""
    caption = (
        f"{what}, against epochs{along}. {captions.by_validation(findings)} "
        f"{captions.error_scale(canvas)} "
        f"{captions.caption(findings, tuple(trials.values()))}"
    )
    measured = {
        f"{name} {kind}": f"{part}_{kind}"
        for kind in kinds
        for part, (name, _) in SPLITS.items()
        if findings.is_measured(f"{part}_{kind}")
    }
    seen = captions.ends_of_each(findings, trials, measured)
    return Sketch("extremes", canvas, what, caption, seen)


def draw(
    ax: Axes, findings: Findings, kind: str, trial: int, beside: Collection[int]
) -> Axes:
    """Draws a trial's training, validation and test curves, as `curves.Curves`.

    `kind` is "accuracy" or "loss". The panels of the trials `beside` share their
    limits. A baseline's curves run along its number of trees, and share the metric's
    axis only. The legend's handles have a label for each curve.

    Raises:
      ValueError: the curves have none of the metrics.
    """
    results = findings.results
    columns = {name: f"{name}_{kind}" for name in SPLITS}
    metrics = {n: column for n, column in columns.items() if column in results.metrics}
    if not metrics:
        raise ValueError(f"the curves have no {kind}")
    curves = {
        (t, name): curve
        for t in (trial, *beside)
        for name, metric in metrics.items()
        if (curve := curve_of(findings, t, metric)) is not None
    }
    every = [(t, curve) for (t, _), curve in curves.items()]
    scale = set_curves_axis(ax, findings, f"test_{kind}", every, {})
    networks = {t: results.trials[t].hyperparameters.model.is_network for t, _ in every}
    alike = {t: c for t, c in every if networks[t] == networks.get(trial)}
    set_time_axis(ax, findings, alike)
    for name, (label, color) in SPLITS.items():
        if (trial, name) in curves:
            draw_curve(ax, curves[trial, name], color, scale)
            ax.plot([], [], color=color, linewidth=1.7, label=label)
    style.dress(ax)
    ax.set_ylabel(axis_words(kind, scale))
    return ax
