# SPDX-License-Identifier: Apache-2.0
"""What can be seen in figures, in sentences for those who cannot see them.

A figure's accessible name says what it is of and then, from here, where its lines end,
which trial is highest, or which class is taken for which.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from nnlab.report.figures.drawing.levels import level_of
from nnlab.report.figures.gradient_norms import Norms
from nnlab.report.figures.test_sets import moved_sets
from nnlab.report.trials import named, trial_name
from nnlab.results import Results
from nnlab.results.pictures import Examples, Gallery, Mistakes
from nnlab.statistics.members import is_accuracy, status_counts
from nnlab.statistics.ranking import best_trial
from nnlab.statistics.targets import steps_to_target
from nnlab.words import numbers

FEW = 6  # up to here all trials are gone through
SOME = 5  # kinds of mistakes that are gone through


def ends(results: Results, metric: str, trials: Collection[int] | None = None) -> str:
    """The final means from the largest on; of many trials the extremes and the median.

    Args:
      results: what the study found.
      metric: a column of the curves.
      trials: indices; all when None.

    Returns:
      A sentence; "" where no trial has a value.

    Raises:
      ValueError: no such column.
    """
    among = range(len(results.trials)) if trials is None else trials
    found = {t: level_of(results, t, metric) for t in among}
    means = {t: level.mean for t, level in found.items() if level is not None}
    order = sorted(means, key=lambda t: (-means[t], t))
    if not order:
        return ""
    if len(results.trials) == 1:
        return f"At the end: {_value(metric, means[order[0]])}."
    first, last = order[0], order[-1]
    shown = order if len(order) <= FEW else [first, last]
    names = {t: trial_name(results, t) for t in shown}
    names[first] = named(results, first)
    parts = [f"{_value(metric, means[t])} for {names[t]}" for t in shown]
    if len(order) <= FEW:
        return f"At the end: {', '.join(parts)}."
    middle = _value(metric, float(np.median(list(means.values()))))
    return (
        f"At the end from {' down to '.join(parts)}; the median of {len(order)} trials "
        f"is {middle}."
    )


def _value(metric: str, value: float) -> str:
    """A metric's value as text."""
    if is_accuracy(metric) or metric.endswith("share"):
        return numbers.percent(value)
    return numbers.true_minus(f"{value:.3g}")


def ends_of_each(
    results: Results, trials: Mapping[str, int], metrics: Mapping[str, str]
) -> str:
    """Final means of several metrics, trial by trial.

    Args:
      results: what the study found.
      trials: ``{what it is: index}``, such as of the best.
      metrics: ``{what a column is called: column}``.
    """
    said = []
    for which, trial in trials.items():
        values = []
        for name, metric in metrics.items():
            level = level_of(results, trial, metric)
            if level is not None:
                values.append(f"{name} {_value(metric, level.mean)}")
        if values:
            name = f"{which}, {trial_name(results, trial)}"
            said.append(f"{name}: {', '.join(values)}")
    return f"At the end of the {'; of the '.join(said)}." if said else ""


def _of_best(results: Results, metrics: Mapping[str, str]) -> str:
    best = best_trial(results)
    return "" if best is None else ends_of_each(results, {"best": best}, metrics)


def gap(results: Results) -> str:
    """Training and test accuracy of the best trial."""
    return _of_best(results, {"training": "train_accuracy", "test": "test_accuracy"})


def test_sets(results: Results) -> str:
    """Accuracy of the best trial on each test set."""
    sets = {name: f"test_{name}_accuracy" for name in moved_sets(results)}
    return _of_best(results, {"normal": "test_accuracy", **sets})


def targets(results: Results, target: float) -> str:
    """Median epochs of each trial to a target; of many, the soonest and slowest."""
    times = {t.index: steps_to_target(results, t.index, target) for t in results.trials}
    medians = {t: time.median_epochs for t, time in times.items() if time.n}
    arrived = sorted((m, t) for t, m in medians.items() if np.isfinite(m))
    if not arrived:
        return "No trial reaches it in most of its seeds."
    shown = arrived if len(arrived) <= FEW else [arrived[0], arrived[-1]]
    parts = [f"{numbers.median_text(m)} for {trial_name(results, t)}" for m, t in shown]
    if len(arrived) > FEW:
        parts = [f"from {parts[0]} up to {parts[1]}"]
    late = len(medians) - len(arrived)
    rest = f"; {numbers.count(late, 'trial')} not in most seeds" if late else ""
    return f"Medians: {', '.join(parts)}{rest}."


def severity(results: Results) -> str:
    """How far the best trial falls on images that are moved or rotated most."""
    best = best_trial(results)
    said = []
    rows = [r for r in results.severity.to_pylist() if r["trial"] == best]
    for kind in dict.fromkeys(row["transform"] for row in rows):
        of_kind = [r for r in rows if r["transform"] == kind]
        amounts = [r["amount"] for r in of_kind]
        means = [
            float(np.mean([r["accuracy"] for r in of_kind if r["amount"] == amount]))
            for amount in (min(amounts), max(amounts))
        ]
        start, end = map(numbers.percent, means)
        unit = "pixels" if kind == "moved" else "degrees"
        said.append(f"{kind} by {max(amounts):g} {unit} from {start} to {end}")
    return f"The best trial falls when {' and when '.join(said)}." if said else ""


def divergence(results: Results) -> str:
    """Which trial loses how many members."""
    lost = {
        t.index: status_counts(results, t.index)["diverged"] for t in results.trials
    }
    losing = [t for t, count in lost.items() if count]
    if not losing:
        return "No member diverges."
    most = max(losing, key=lambda t: lost[t])
    return (
        f"Members of {len(losing)} of {len(lost)} trials diverge, most with "
        f"{named(results, most)}: {lost[most]} of "
        f"{results.trials[most].num_seeds}."
    )


def gradients(shown: Sequence[Norms]) -> str:
    """The last norms of the first and of the last layer, trial by trial."""
    said = []
    for one in shown:
        last = [row[np.isfinite(row)][-1:] for row in one.means]
        first, output = (
            f"{v[0]:.2g}" if v.size else "none" for v in (last[0], last[-1])
        )
        of = f"{one.title}: " if len(shown) > 1 else ""
        said.append(f"{of}{first} in the first layer, {output} in the output layer")
    return f"At the end {'; '.join(said)}."


def confusion(counts: np.ndarray, classes: Sequence[str]) -> str:
    """The share that is right, and the pair of classes that is confused most.

    Args:
      counts: examples by [seed, true class, predicted class], (S, C, C).
      classes: their names.
    """
    matrix = counts.sum(axis=0).astype(float)
    if not matrix.sum():
        return ""
    right = numbers.percent(float(np.trace(matrix) / matrix.sum()))
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    np.fill_diagonal(shares, 0.0)
    true, taken = np.unravel_index(shares.argmax(), shares.shape)
    if not shares[true, taken]:
        return "All examples are taken for what they are."
    share = numbers.percent(float(shares[true, taken]))
    return (
        f"{right} of the examples are right; most often {classes[true]} is taken for "
        f"{classes[taken]}, in {share} of its examples."
    )


def taken_for(found: Gallery | Mistakes, classes: Sequence[str]) -> str:
    """What the images are taken for, the most frequent first."""
    pairs = Counter(zip(found.labels.tolist(), found.taken_for.tolist()))
    listed = [
        f"{count} of {classes[true]} taken for {classes[taken]}"
        for (true, taken), count in pairs.most_common(SOME)
    ]
    more = pairs.total() - sum(count for _, count in pairs.most_common(SOME))
    rest = f" and {more} more" if more else ""
    return f"{numbers.count(pairs.total(), 'image')}: {', '.join(listed)}{rest}."


def probabilities(found: Examples) -> str:
    """The mean probability of the true class before and after training."""
    places = np.arange(len(found.labels))
    before, after = (
        numbers.percent(float(p[:, places, found.labels].mean()))
        for p in (found.before, found.after)
    )
    return (
        f"The true class of {numbers.count(len(places), 'image')} has a mean "
        f"probability of {before} before and {after} after training."
    )
