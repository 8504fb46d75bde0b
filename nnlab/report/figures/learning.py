# SPDX-License-Identifier: Apache-2.0
"""Learning curves of all trials, in a panel for each setting of what else was swept."""

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure as Canvas

from nnlab.report.figures.drawing import captions, labels, style
from nnlab.report.figures.drawing.captions import Sketch, need
from nnlab.report.figures.drawing.curves import Along, Curves
from nnlab.report.figures.drawing.paper import side_by_side, tall
from nnlab.report.scores import score_of
from nnlab.report.trials import baselines, sweep_of
from nnlab.statistics.findings import Findings
from nnlab.words import numbers
from nnlab.words.settings import words

PROBE = "probe"
"""How the names of the probes' figures begin."""
USUAL = ("validation_accuracy", "validation_r2", "validation_loss", "train_loss")
SECONDS = (
    "Seconds are a network's share of the time that its program took to train all its "
    "networks, without compilation and evaluation."
)
_ALONG = {"epoch": "epochs", "step": "updates", "seconds": "seconds"}
_MEANINGS = {
    "batch_loss_std": (
        "Standard deviation of the losses of the batches since the evaluation before; "
        "where the loss falls quickly, its fall is part of it."
    ),
    "active_share": "Share of the activation layers' outputs that are above 0.",
}


def learning(
    findings: Findings, metric: str, name: str = "", x: Along = "epoch"
) -> Sketch:
    """Draws the curves of a metric; `name` is that of the files, else the metric's."""
    results = findings.results
    canvas = _panels(Curves(findings, metric, x))
    along = f"{numbers.capital(words(metric))} against {_ALONG[x]}"
    what = f"{along}, a line for each trial"
    groups = sweep_of(results).groups
    lines = Counter(groups[t] for t in findings.networks)
    parts = (
        f"{what}.",
        captions.beside(findings, metric),
        next((t for m, t in _MEANINGS.items() if metric.endswith(m)), ""),
        SECONDS if x == "seconds" else "",
        captions.error_scale(canvas),
        captions.outside(canvas),
        captions.sampled(results, metric),
        captions.thin_lines(results, max(lines.values())),
        captions.caption(findings, curves=True),
    )
    seen = captions.ends(findings, metric)
    return Sketch(name or metric, canvas, what, " ".join(parts), seen)


def usual(findings: Findings) -> Iterator[Sketch]:
    """Draws the usual metrics, and the further ones, if they were measured."""
    study = findings.results.study
    named = [f"validation_{name}" for name in study.further_metrics()]
    if study.has_label_noise():
        named += ["train_accuracy", "train_clean_accuracy"]
    for metric in filter(findings.is_measured, (*USUAL, *named)):
        yield learning(findings, metric, f"curves_{metric}")


def probes(findings: Findings) -> Iterator[Sketch]:
    """Draws what each probe measures, against updates; of some layers all."""
    results = findings.results
    for probe in results.study.probed():
        for column in filter(probe.measures, results.metrics):
            if findings.is_measured(column):
                yield learning(findings, column, f"{PROBE}_{column}", "step")


def noise(findings: Findings) -> Sketch:
    """Draws the spread of the batch losses."""
    return learning(findings, "batch_loss_std", "noise")


def updates(findings: Findings) -> Sketch:
    """Draws the validation score against updates."""
    return learning(findings, _score(findings), "updates", "step")


def seconds(findings: Findings) -> Sketch:
    """Draws the validation score against a network's share of the time."""
    programs = (program["index"] for program in findings.results.config["cohorts"])
    timed = any(findings.seconds_per_epoch(index).size for index in programs)
    need(timed, "no segment was timed")
    return learning(findings, _score(findings), "seconds", "seconds")


def active_units(findings: Findings) -> Sketch:
    """Draws the share of active units, on the first split on which it was measured."""
    columns = (f"{s}_active_share" for s in ("validation", "test", "train"))
    column = next(filter(findings.is_measured, columns), "")
    need(column, "no activation was watched")
    return learning(findings, column, "active_units")


def _score(findings: Findings) -> str:
    return score_of(findings.results).of("validation")


def gap(findings: Findings) -> Sketch:
    """Draws the training score, dashed, and the test score, solid, by epoch."""
    score = score_of(findings.results)
    both = {"training": score.of("train"), "test": score.of("test")}
    for column in both.values():
        need(findings.is_measured(column), f"the curves have no {words(column)}")
    canvas = _panels(Curves(findings, both["test"], dashed=both["training"]))
    what = f"Training {score.name} (dashed), test {score.name} (solid) against epochs"
    beside = captions.beside(findings, both["test"])
    parts = (
        f"{what}.",
        beside,
        captions.error_scale(canvas),
        captions.outside(canvas),
        captions.sampled(findings.results, *both.values()),
        captions.caption(findings, curves=True),
    )
    seen = captions.ends_of_each(findings, {"best": findings.best}, both)
    return Sketch("gap", canvas, what, " ".join(parts), seen)


def _panels(curves: Curves) -> Canvas:
    """Draws a panel for each setting of what else was swept that has a value.

    Baselines are in all panels.
    """
    findings = curves.findings
    results = findings.results
    groups = sweep_of(results).groups
    beside = baselines(results)
    shown = [
        groups[t]
        for t in findings.networks
        if results.has_run(t)
        and np.isfinite(results.curve(t, curves.metric).values).any()
    ]
    settings = list(dict.fromkeys(shown)) or [""]
    count = len(settings)
    columns = side_by_side(count)
    rows = math.ceil(count / columns)
    size = (tall(3.6), style.PHONE) if count == 1 else (2.8 * rows, style.PAGE)
    canvas = style.canvas(*size)
    titles = labels.apart(settings)
    for number, (setting, title) in enumerate(zip(settings, titles)):
        ax = style.panel(canvas, number, count)
        panel = [t for t, g in enumerate(groups) if g == setting or t in beside]
        curves.draw(ax, panel)
        ax.set_title(title, fontsize=9, loc="left")
        if number % columns:
            ax.set_ylabel("")
        if number < columns * (rows - 1):
            ax.set_xlabel("")
    return canvas
