# SPDX-License-Identifier: Apache-2.0
"""What a quantity is on every example, and of what its test therefore speaks."""

import dataclasses
import functools
import itertools
from collections.abc import Hashable, Iterable, Sequence

import numpy as np

from nnlab.results import Results
from nnlab.results.answers import SPLITS
from nnlab.statistics.crossed import crossed, crossed_share, resampled
from nnlab.statistics.effects import Effect
from nnlab.statistics.intervals import MIN_SEEDS, mean_interval
from nnlab.statistics.members import is_accuracy, is_score, reduce_members
from nnlab.study import ORDER, RATIO, Quantity

SEEDS, EXAMPLES, DATA = "seeds", "seeds and examples", "data of the same kind"
"""What a significant difference would show again in: new seeds, and so on."""


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What a quantity is the mean of: a value for each network and example.

    Attributes:
      of: the examples; answers of the same ones are paired.
      values: (S, N): whether a network is right, its loss, or what it adds to its r2.
    """

    of: Hashable
    values: np.ndarray


def answers(results: Results, trial: int, quantity: Quantity) -> Answers | None:
    """Returns a quantity of a trial's final networks on every example.

    None for all but final accuracies, losses and r2 on validation and test sets, for
    runs that did not keep them, and where every seed has examples of its own. r2 is a
    mean over examples, too: of 1 - error**2 / variance of the targets, which falls
    evenly with the squared error.
    """
    name, _, kind = quantity.metric.rpartition("_")
    if name not in SPLITS or kind not in ("accuracy", "loss", "r2"):
        return None
    if quantity.reduction != "final" or ratio(results, trial, quantity):
        return None
    if kind == "r2" and not results.in_squares:
        return None
    found = (results.correct if kind == "accuracy" else results.losses)(trial, name)
    if found is None:
        return None
    if kind == "r2":
        mean = found.mean(axis=1, dtype=float)
        lacking = 1 - reduce_members(results, trial, quantity)
        scale = np.divide(lacking, mean, out=np.zeros_like(mean), where=mean > 0)
        found = 1 - found * scale[:, None]
    part = "validation" if name == "validation" else "test"
    return Answers((results.dataset(trial)["digest"], part, found.shape[1]), found)


def final_score(results: Results) -> Quantity:
    """Returns what trials are compared by: the final test accuracy, or r2."""
    return Quantity(metric=results.test_score)


def limits(results: Results) -> tuple[float, float]:
    """Returns between what differences of a run's scores lie."""
    return (-1.0, 1.0) if results.score == "accuracy" else (-np.inf, np.inf)


def _terms(results: Results, quantity: Quantity) -> list[tuple[int, Quantity]]:
    """Returns the final values that a quantity adds or subtracts: of a drop, two.

    Moved images are those of the test set, so that their drop is paired by example;
    validation images are others.
    """
    if quantity.reduction != "drop_from_test":
        return [(1, quantity)]
    return [(1, final_score(results)), (-1, Quantity(metric=quantity.metric))]


def ratio(results: Results, trial: int, quantity: Quantity) -> float:
    """Returns n_test / n_train where every seed draws the examples; else 0.

    That is so with `Study.vary` of "split"; with "split=published" the test set is the
    same for all, and only validation examples are drawn.
    """
    part = "validation" if quantity.metric.startswith("validation") else "test"
    split = results.study.split
    scored = quantity.metric.startswith(("validation_", "test_"))
    drawn = split == "split" or (bool(split) and part == "validation")
    if not (drawn and scored and quantity.reduction in ("final", "drop_from_test")):
        return 0.0
    data = results.dataset(trial)
    return float(data[part] / results.program(trial)["train_examples"])


def level(
    results: Results, trial: int, quantity: Quantity
) -> tuple[float, float, float]:
    """Returns the mean of a trial's final networks with its 95 % interval.

    It is for new seeds and new examples where these are known, see `widened`. That of
    an accuracy stays within [0, 1], that of an r2 below 1.
    """
    values = reduce_members(results, trial, quantity)
    mean, low, high = map(float, mean_interval(values))
    plain = Effect(mean, low, high, int(np.count_nonzero(~np.isnan(values))))
    effect, _ = widened(plain, values, [(quantity, [trial])], results, 0.0)
    if is_score(quantity.metric) and quantity.reduction == "final":
        least = 0.0 if is_accuracy(quantity.metric) else -np.inf
        return effect.mean, max(effect.low, least), min(effect.high, 1.0)
    return effect.mean, effect.low, effect.high


def widened(
    effect: Effect,
    differences: np.ndarray,
    sides: Sequence[tuple[Quantity, Iterable[int]]],
    results: Results | Sequence[Results],
    number: float = np.nan,
) -> tuple[Effect, str]:
    """Returns the effect of new examples, too, where they are known, and its reach.

    The logarithm of a mean loss varies over examples like what each one adds to the
    mean, divided by it (the delta method), so ratios of losses cross them as well.

    Args:
      effect: over seeds alone; it is returned where examples are not known.
      differences: of the sides, (S,); NaN for seeds that do not count. Of the scale of
        the effect, as the effects are.
      sides: of each side, the first one minus the second: what is measured of which
        trials, whose mean counts. There is one side against a number.
      results: of all sides, or of each; runs on different examples are not paired.
      number: what the only side is compared with.
    """
    if effect.n < MIN_SEEDS or effect.scale == ORDER:
        return effect, SEEDS
    found, over = _widened(effect, differences, sides, results, number)
    return dataclasses.replace(found, scale=effect.scale), over


def _widened(
    effect: Effect,
    differences: np.ndarray,
    sides: Sequence[tuple[Quantity, Iterable[int]]],
    results: Results | Sequence[Results],
    number: float,
) -> tuple[Effect, str]:
    is_ratio = effect.scale == RATIO
    limited = functools.partial(dataclasses.replace, limits=effect.limits)
    means = [(quantity, tuple(trials)) for quantity, trials in sides]
    runs = [results] * len(means) if isinstance(results, Results) else results
    ratios = [ratio(run, t, q) for run, (q, of) in zip(runs, means) for t in of]
    if all(ratios):
        return limited(resampled(differences, max(ratios))), DATA
    there = ~np.isnan(differences)
    parts: dict[Hashable, np.ndarray] = {}
    for side, run, (quantity, of) in zip((1, -1), runs, means):
        for trial, (sign, term) in itertools.product(of, _terms(run, quantity)):
            found = answers(run, trial, term)
            if found is None:
                return effect, SEEDS
            values = found.values[: len(there)][there]
            weight = side * sign / len(of)
            share = (_log_means(values) if is_ratio else values) * weight
            parts[found.of] = parts.get(found.of, 0.0) + share
    first, *others = parts.values()
    if len(means) > 1:
        return limited(crossed(first, *others)), EXAMPLES
    is_final = not others and quantity.reduction == "final"
    if is_final and is_accuracy(quantity.metric):
        return crossed_share(first, number), EXAMPLES
    first = first - (np.log(number) if is_ratio else number)
    return limited(crossed(first, *others)), EXAMPLES


def _log_means(values: np.ndarray) -> np.ndarray:
    """Returns (S, N) whose means over examples are the logarithms of those of values.

    Each example is there with what it adds to the mean, linearly.
    """
    mean = values.mean(axis=1, keepdims=True, dtype=float)
    return np.log(mean) + values / mean - 1
