# SPDX-License-Identifier: Apache-2.0
"""Curves of the best and of the worst trial, side by side with equal axes."""

from nnlab.report.figures.drawing import captions, curves, labels, style
from nnlab.report.figures.drawing.captions import Sketch, need
from nnlab.report.figures.drawing.paper import side_by_side
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
    """Draws scores and losses in rows of panels, with a column for each trial.

    Panels of a row share their limits. Curves of trees run along their number, and
    share the metric's axis only.
    """
    results = findings.results
    pair = zip(("best", "worst"), findings.extremes)
    trials = {name: trial for name, trial in pair if trial is not None}
    need(len(trials) == 2, "there is no best trial with a worst one beside it")
    trees = {*baselines(results)} & {*trials.values()}
    usual = (results.score, "loss")
    kinds = [k for k in usual if findings.is_measured(f"validation_{k}")]
    across = side_by_side(2)
    rows = 2 // across * len(kinds)
    canvas = style.canvas(0.6 + 2.5 * rows, style.PAGE)
    panels = canvas.subplots(rows, across, squeeze=False).reshape(-1, 2)
    measured: dict[str, str] = {}
    for kind, row in zip(kinds, panels):
        columns = {split: f"{split}_{kind}" for split in SPLITS}
        columns = {s: name for s, name in columns.items() if name in results.metrics}
        of_kind = {f"{SPLITS[s][0]} {kind}": column for s, column in columns.items()}
        measured |= {n: c for n, c in of_kind.items() if findings.is_measured(c)}
        drawn = {
            (trial, split): curve
            for trial in trials.values()
            for split, column in columns.items()
            if (curve := curves.curve_of(findings, trial, column)) is not None
        }
        every = [(trial, curve) for (trial, _), curve in drawn.items()]
        for ax, trial in zip(row, trials.values()):
            scale = curves.set_curves_axis(ax, findings, f"test_{kind}", every, {})
            alike = {t: c for t, c in every if (t in trees) == (trial in trees)}
            curves.set_time_axis(ax, findings, alike)
            for split, (label, color) in SPLITS.items():
                if (trial, split) in drawn:
                    called = labels.called(findings, trial, label)
                    called = called._replace(full=f"{called.full}, {label}")
                    curves.draw_curve(ax, drawn[trial, split], color, scale, called)
                    ax.plot([], [], color=color, linewidth=1.7, label=label)
            style.dress(ax)
            ax.set_ylabel(axis_words(kind, scale))
    titles = [f"{which}: {trial_name(results, t)}" for which, t in trials.items()]
    titles = labels.apart(titles, 46)
    named = panels[0] if across == 2 else panels.flat
    for ax, name, trial in zip(named, titles * rows, [*trials.values()] * rows):
        fate = labels.fate_of(findings, trial)
        ax.set_title(f"{name} {fate}".strip(), fontsize=9, loc="left")
    for ax in panels.flat[:-across]:
        ax.set_xlabel("")
    for ax in panels[:, 1] if across == 2 else ():
        ax.set_ylabel("")
        ax.tick_params(labelleft=False)
    named = panels[0, 0].get_legend_handles_labels()
    place = {"loc": "outside upper left", "ncols": len(named[1])}
    canvas.legend(*named, **place, **labels.LEGEND)
    what = "Training, validation and test curves of the best and the worst trial"
    along = " (of trees, against their number)" if trees else ""
    caption = (
        f"{what}, against epochs{along}. {captions.by_validation(findings)} "
        f"{captions.error_scale(canvas)} "
        f"{captions.sampled(results, *measured.values())} "
        f"{captions.caption(findings, tuple(trials.values()), curves=True)}"
    )
    seen = captions.ends_of_each(findings, trials, measured)
    return Sketch("extremes", canvas, what, caption, seen)
