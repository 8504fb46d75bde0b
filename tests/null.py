# SPDX-License-Identifier: Apache-2.0
"""Results of studies whose trials do not differ, and what reports say about them."""

import dataclasses

import numpy as np
import synthetic
from scipy import stats

from nnlab.statistics.findings import Findings
from nnlab.statistics.verdicts import CONTRADICTED, SUPPORTED
from nnlab.study import Claim, Quantity

FINAL = Quantity(metric="test_accuracy")
NORM = Quantity(metric="grad_norm_dense_0")
LEFT, RIGHT = {"model.activation": "relu"}, {"model.activation": "tanh"}


@dataclasses.dataclass(frozen=True)
class Null:
    """A kind of study whose trials have one and the same distribution.

    Attributes:
      trials, seeds: their numbers.
      kind: of accuracies: "normal", "skewed" (lognormal errors), "ties" (counts of 360
        test images), "untrained" (around chance), or "late" (each network reaches 90 %
        after one to six epochs, or never). "norms" are also lognormal over four
        powers of ten, and "zeros" likewise, but a third of them 0.
      seed_effect: share of the variance that the networks of a seed have in common.
      own: share of the rest that belongs to the network, and so is the same on
        validation and on test images.
      at_chance, diverged: a network's probability to end so.
      compare: `Study.compare_trials`; "yes" tests the trials beside the claims.
    """

    trials: int
    seeds: int
    kind: str = "normal"
    seed_effect: float = 0.7
    own: float = 0.8
    at_chance: float = 0.0
    diverged: float = 0.0
    compare: str = "yes"

    def name(self):
        parts = [f"{self.trials} x {self.seeds} {self.kind}"]
        parts += [f"{self.at_chance:g} at chance"] * bool(self.at_chance)
        parts += [f"{self.diverged:g} diverged"] * bool(self.diverged)
        parts += ["claims alone"] * (self.compare == "auto")
        return " ".join(parts + ["no seed effect"] * (not self.seed_effect))


def draw(null, rng, shift=()):
    """Draws results of one study; `shift` is added to the first trials' scores."""
    shape = null.trials, null.seeds
    shared = np.sqrt(null.seed_effect) * rng.normal(size=null.seeds)
    luck = np.sqrt(null.own) * rng.normal(size=shape)
    luck = luck + np.sqrt(1 - null.own) * rng.normal(size=(2, *shape))
    score = shared + np.sqrt(1 - null.seed_effect) * luck  # variance 1
    score[:, : len(shift)] += np.reshape(shift, (-1, 1))
    if null.kind == "skewed":
        values, mean = 1 - 0.02 * np.exp(0.5 * score), 1 - 0.02 * np.exp(0.125)
    elif null.kind == "ties":
        values, mean = np.round(0.95 * 360 + 1.5 * score) / 360, 0.95
    else:
        mean = synthetic.CHANCE if null.kind == "untrained" else 0.95
        values = mean + 0.005 * score
    values = values[..., None]
    if null.kind == "late":
        soon = 2 + np.round(shared + rng.uniform(0, 2, shape))
        soon = np.where(rng.uniform(size=shape) < 0.3, np.inf, soon)[..., None]
        curve = np.where(np.arange(1, 7) >= soon, 0.92, 0.7)
        # All end at 85 %, so that the end does not reveal who was late.
        ends = np.arange(1, 7) == 6
        values = np.where(ends, values - 0.1, curve)
    dead = rng.uniform(size=shape)
    lost = np.argwhere(dead < null.diverged)
    dull = np.argwhere(
        (dead >= null.diverged) & (dead < null.diverged + null.at_chance)
    )
    norms = np.exp(2 * score[0])
    if null.kind == "zeros":
        norms *= rng.uniform(size=shape) > 1 / 3
    claims = _claims(null, mean)
    half = null.trials // 2
    sweep = [
        {**trial, **(LEFT if t < half else RIGHT)}
        for t, trial in enumerate(synthetic.labelled(null.trials))
    ]
    return synthetic.results(
        {
            "validation_accuracy": values[0],
            "test_accuracy": values[1],
            **({NORM.metric: norms} if null.kind in ("norms", "zeros") else {}),
        },
        sweep=sweep,
        num_evaluations=values.shape[-1],
        diverged={tuple(m): 0 for m in lost.tolist()},
        at_chance=[tuple(m) for m in dull.tolist()],
        claims=claims,
        target=0.9,
        fields={"compare_trials": null.compare},
        seconds={c: rng.normal(1.0, 0.05, 4) for c in range(2)},
    )


def _claims(null, mean):
    """Returns claims of every kind, all of them wrong but "same"."""

    def claim(left, right, relation="greater", quantity=FINAL, **more):
        sides = {"left": left, "right": right}
        return Claim(text="x", quantity=quantity, relation=relation, **sides, **more)

    one, other = {"label": "0"}, {"label": str(null.trials - 1)}
    claims = [
        claim(one, other),
        claim(LEFT, RIGHT, "less"),
        claim(LEFT, RIGHT, among="best"),
        claim(one, RIGHT, among="best"),
        claim(one, other, "same", margin=0.0005),
        claim(LEFT, RIGHT, quantity=Quantity(reduction="seconds")),
        claim(LEFT, RIGHT, quantity=Quantity(reduction="at_chance_share")),
        claim(one, other, quantity=Quantity(reduction="diverged_share")),
    ]
    if not null.at_chance:
        constant = "chance" if null.kind == "untrained" else float(mean)
        late = null.kind == "late"  # the mean depends on who arrives
        claims += [] if late else [claim(one, constant), claim(other, constant, "less")]
    if null.kind in ("norms", "zeros"):
        sides = [(one, other), (LEFT, RIGHT), (other, one, "less")]
        # The geometric mean, and the median, is 1.
        sides += [(one, 1.0), (other, 1.0, "less")] * (null.kind == "norms")
        claims += [claim(*of, quantity=NORM) for of in sides]
    if null.kind == "late":
        steps = Quantity(metric="test_accuracy", reduction="steps_to", target=0.9)
        claims += [
            claim(one, other, quantity=steps),
            claim(LEFT, RIGHT, quantity=steps),
        ]
        share = Quantity(reduction="at_chance_share")
        claims += [claim(one, 0.0, quantity=share)]
    return claims


def false_statements(results):
    """Returns the differences that a report calls significant; all are false."""
    said = [
        f"claim {n}: {verdict.verdict}"
        for n, verdict in enumerate(Findings(results).verdicts)
        if verdict.verdict in (SUPPORTED, CONTRADICTED)
        and (verdict.claim.relation, verdict.verdict) != ("same", SUPPORTED)
    ]
    resolved = any(c.resolved for c in Findings(results).compared)
    return said + ["resolved"] * resolved


def false_over_seeds(results):
    """Returns whether a report would say anything false that looked at seeds alone."""
    found = Findings(results)
    p = [c.p_seeds for c in found.compared]
    p += [v.p_seeds for v in found.verdicts if v.claim.relation != "same"]
    return any(value <= 0.05 for value in p)


def draw_answers(world, rng):
    """Draws results of trials that are equal on the population, but on no test set."""
    trials, accuracy = len(world.accuracies), world.accuracies[0]
    size = world.examples
    right = world.draw(rng, 2 * size)  # validation and test examples
    one, other = {"label": "0"}, {"label": str(trials - 1)}
    sides = ((one, other, "mean"), (one, {}, "best"), ({}, accuracy, "mean"))
    claims = [
        Claim(text="x", quantity=FINAL, left=left, right=right, among=among)
        for left, right, among in sides
    ]
    return synthetic.results(
        sweep=synthetic.labelled(trials),
        fields={"compare_trials": "yes"},
        num_evaluations=1,
        correct={"validation": right[..., :size], "test": right[..., size:]},
        claims=claims,
    )


def count_false(null, reports):
    """Counts the reports that say anything false."""
    rng = np.random.default_rng(7)
    return sum(bool(false_statements(draw(null, rng))) for _ in range(reports))


def most(reports, level=0.05):
    """Returns the largest count with a probability of at most `level` at a rate of 5 %.

    A count up to it therefore shows a rate below 5 %.
    """
    most = int(stats.binom.ppf(level, reports, 0.05))
    return most - (stats.binom.cdf(most, reports, 0.05) > level)
