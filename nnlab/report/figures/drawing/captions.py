# SPDX-License-Identifier: Apache-2.0
"""Captions: what the reader must know to read a figure."""

from collections import Counter
from collections.abc import Collection, Mapping

import numpy as np
from matplotlib.figure import Figure as Canvas

from nnlab.report.figures.drawing.curves import FEW_SEEDS
from nnlab.report.figures.drawing.levels import level_of
from nnlab.report.trials import baselines
from nnlab.results import (
    DIVERGED,
    DROPPED,
    FINISHED,
    STATUSES,
    STOPPED,
    UNFINISHED,
    Results,
)
from nnlab.statistics.members import alive, networks, status_counts
from nnlab.words import numbers as texts

MAIN_PACKAGES = ("nnlab", "jax")  # those that a caption names


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
        counts.update(status_counts(results, trial))
    numbers = sorted({results.trials[t].num_seeds for t in shown})
    total = sum(results.trials[t].num_seeds for t in shown)
    seeds = numbers[-1] if numbers else results.study.num_seeds
    if seeds >= 3:
        least = f"{numbers[0]} to " if len(numbers) > 1 else ""
        first = f"Mean over {least}{seeds} seeds with its 95 % Student-t interval"
        survivors = [np.count_nonzero(alive(results, t)) for t in shown]
        if any(count in (1, 2) for count in survivors):
            first += "; no interval where fewer than 3 survive"
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
    if counts[DROPPED]:
        ended.append(f"{counts[DROPPED]} dropped by halving (dashed as far as they go)")
    if counts[UNFINISHED]:
        ended.append(f"{counts[UNFINISHED]} unfinished (dashed if alone)")
    absent = total - sum(counts[s] for s in STATUSES)
    if absent:
        ended.append(f"{absent} did not run")
    members = "member" if total == 1 else "members"
    text = f"{first}. Of {total} {members}: {', '.join(ended)}"
    if counts["at_chance"]:
        text += f"; {counts['at_chance']} ended at chance and count in the means"
    return f"{text}. {_made_with(results)}"


def _made_with(results: Results) -> str:
    """Device and versions of the main packages."""
    main = {n: v for n, v in results.config["versions"].items() if n in MAIN_PACKAGES}
    return f"{device(results)}; {versions(main)}."


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


def beside(results: Results, metric: str) -> str:
    """What long dashes are, if there are any."""
    levels = (level_of(results, t, metric) for t in baselines(results))
    if not any(levels):
        return ""
    return "Long dashes are the final values of baselines."


def error_scale(canvas: Canvas) -> str:
    """What the error's log scale is, if an axis has it."""
    labels = (ax.get_xlabel() + ax.get_ylabel() for ax in canvas.axes)
    if any("error on log scale" in text for text in labels):
        return "On the error's log scale equal distances are equal ratios of the error."
    return ""


def thin_lines(results: Results, lines: int) -> str:
    """What thin lines are, if so many lines leave room for them."""
    few = 1 < results.study.num_seeds <= FEW_SEEDS and lines <= 8
    return "Thin lines are single seeds." if few else ""


def source(results: Results) -> str:
    """Seeds, device and versions, for figures that show no means with intervals."""
    return f"{results.study.seeds()} a trial. {_made_with(results)}"


def by_validation(results: Results) -> str:
    """How the best and the worst trial were chosen, see `ranking.best_and_worst`."""
    left_out = len(networks(results)) in range(2, len(results.trials))
    among = ", among the networks" if left_out else ""
    return f"Best and worst are by validation accuracy{among}."


def set_meaning(results: Results) -> str:
    """How the images of the further test sets were made."""
    sets = results.study.test_sets
    made = []
    if sets.moved_pixels:
        pixels = texts.count(sets.moved_pixels, "pixel")
        made.append(f"moved by up to {pixels} along both axes")
    if sets.rotated_degrees:
        made.append(f"rotated by up to {sets.rotated_degrees:g} degrees to both sides")
    return (
        "The further sets hold the images of the normal one, "
        f"{' or '.join(made)}, each by an amount drawn once for all networks."
    )
