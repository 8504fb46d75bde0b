# SPDX-License-Identifier: Apache-2.0
"""Takes the measurements of one program while it trains."""

import contextlib
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from nnlab import results
from nnlab.data.dataset import R2
from nnlab.results import pictures
from nnlab.results.answers import CORRECT, LOSSES, Answers
from nnlab.results.rows import (
    DIVERGED,
    DROPPED,
    FINISHED,
    STOPPED,
    Rows,
    by_layer,
    means,
    plain_rows,
)
from nnlab.runs import halving, provenance
from nnlab.runs.checkpoint import Saved
from nnlab.runs.clock import Clock
from nnlab.runs.progress import Evaluation
from nnlab.statistics import ranking
from nnlab.statistics.intervals import chance_bound
from nnlab.study import Trial
from nnlab.training import trees
from nnlab.training.metrics import explained
from nnlab.training.program import NetworkProgram, Program

_ITEMS = {CORRECT: "correct", LOSSES: "losses"}
"""The items of a checkpoint that hold what files of the workdir hold."""


class Record:
    """All measurements of one program, which has the plan that it uses.

    Attributes:
      about: its record in ``config.json``.
      rows: the curves and the members.
      probed: what probes measured; its members are not read.
      severity: its rows of ``severity.csv``.
      seen: what pictures need of the final members, by the index of a trial.
      each: what the final members said of each example, by the file that holds it.
      still_training: members that have not diverged, stopped early or been dropped,
        bool (T, S).
      done, planned: examples trained so far, and in all.
      evaluation: the last evaluation, if not yet reported.
      worths: what its trials, by index, are worth by now; None for those that are out.
    """

    def __init__(
        self,
        program: Program,
        clock: Clock,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        """Begins; to train, a program needs the sizes of its evaluated splits."""
        shape = len(program.trials), program.members.num_seeds
        self.program, self.clock = program, clock
        self.about = program.to_dict()
        self.rows, self.probed = Rows(program.members), Rows(program.members)
        self.severity: list[dict[str, Any]] = []
        self.seen: dict[int, pictures.Seen] = {}
        self.each: dict[str, Answers] = {}
        self.still_training = np.ones(shape, bool)
        self.done, self.planned = 0, program.num_examples
        self.evaluation: Evaluation | None = None
        self.worths: dict[int, float | None] = {}
        self._sizes = dict(sizes or {})
        self._chance = provenance.chance_of(program.dataset)
        self._score = f"validation_{program.dataset.score}"
        self._variances: dict[str, np.ndarray] = {}
        self._scores = np.full(shape, math.nan)
        self._means: list[list[float]] = [[] for _ in program.trials]
        self._step = 0

    @property
    def _network(self) -> NetworkProgram:
        """The program, which must be of networks."""
        assert isinstance(self.program, NetworkProgram)
        return self.program

    def best_score(self) -> float:
        """Returns the best trial's mean over seeds; -1 if there is none."""
        return float(np.nanmax(self._scores.mean(axis=1), initial=-1.0))

    def snapshot(self) -> dict[str, Any]:
        """Returns all but the rows as plain values; a copy."""
        return {
            "record": dict(self.about),
            "severity": [dict(row) for row in self.severity],
            "timings": [dict(row) for row in self.clock.rows],
            "still_training": self.still_training.tolist(),
            "accuracy": self._scores.tolist(),
            "means": [list(values) for values in self._means],
        }

    def final_arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """Returns what is known of the final members, as items of named arrays."""
        seen = {
            f"{trial}/{name}": value
            for trial, seen in self.seen.items()
            for name, value in vars(seen).items()
            if value is not None
        }
        each = {_ITEMS[file]: one.arrays() for file, one in self.each.items()}
        return {"seen": seen, **each}

    def restore(self, saved: Saved) -> None:
        """Restores the state of a checkpoint; see `Saved.reading` for its errors."""
        known, members = saved.about["known"], self.program.members
        arrays, seen = saved.arrays("rows"), saved.arrays("seen")
        fields: dict[str, dict[str, Any]] = {}
        for name, value in seen.items():
            trial, _, field = name.partition("/")
            fields.setdefault(trial, {"kernel": None})[field] = value
        self.seen = {int(t): pictures.Seen(**some) for t, some in fields.items()}
        shape = self.still_training.shape
        for file, item in _ITEMS.items():
            if each := saved.arrays(item):  # an earlier nnlab saved none
                self.each[file] = Answers.from_arrays(each, shape)
        self.rows = Rows.from_arrays(members, arrays)
        if probed := saved.arrays("probes"):
            self.probed = Rows.from_arrays(members, probed)
        self.severity = plain_rows(known["severity"], results.SEVERITY, "trial", "seed")
        self.clock.rows = plain_rows(
            known["timings"], results.TIMINGS, "cohort", "segment"
        )
        self.still_training = np.array(known["still_training"], bool).reshape(shape)
        self._scores = np.array(known["accuracy"], np.float64).reshape(shape)
        self._means = [list(values) for values in known["means"]]
        self._note_worths()
        self._account()

    def _account(self) -> None:
        """Counts the earlier training of the members as done."""
        program = self.program
        if not isinstance(program, NetworkProgram):
            self.done = self._num_grown * len(program.dataset.train.labels)
            return
        batch_size, steps = program.batch_size, self.rows.steps
        ended = self.rows.has_status(STOPPED, DIVERGED, DROPPED)
        self._step = int(steps.max())
        self.done = int(steps.sum()) * batch_size
        self.planned -= int((program.num_steps - steps[ended]).sum()) * batch_size

    def extend(self) -> None:
        """Lets finished members go on, without the measurements of final members."""
        finished = self.rows.reopen()
        scored = tuple(f"{split}_" for split in self._network.scored())
        self.rows.forget_at(
            self._kept_steps(), lambda name: name.startswith(scored), finished
        )
        self.severity, self.each = [], {}

    def position(self) -> tuple[float, float]:
        """Returns how many epochs, or seeds of trees, are trained, and of how many."""
        if isinstance(self.program, NetworkProgram):
            return self._step / self.program.steps_per_epoch, self.program.num_epochs
        return float(self._num_grown), float(self.still_training.size)

    @contextlib.contextmanager
    def training(self, step: int, count: int) -> Iterator[None]:
        """Measures the training of `count` steps that end at step `step`."""
        examples = self._examples(count)
        with self.clock.training(examples):
            yield
        self.done += examples
        self._step = step

    def steps_in(self, seconds: float) -> float:
        """Returns how many steps fit into some seconds, at the last steps' speed."""
        return seconds * self.clock.rate / self._examples(1)

    def _examples(self, num_steps: int) -> int:
        """Counts the examples of some steps, over all members that train."""
        batch_size = self._network.batch_size
        return num_steps * batch_size * int(self.still_training.sum())

    @contextlib.contextmanager
    def _ending_some(self, step: int) -> Iterator[None]:
        """Subtracts the steps that members ending in the context will not need."""
        left = self._network.num_steps - step
        before = self._examples(left)
        yield
        self.planned -= before - self._examples(left)

    def add(
        self,
        evaluation: int,
        measured: Mapping[str, Any],
        num_steps: int,
        samples: int,
    ) -> None:
        """Adds one evaluation of all members, from `Population.evaluate`.

        Since the evaluation before there were `num_steps` updates, with so many samples
        of the gradient norms.
        """
        program, rows = self._network, self.rows
        step = program.boundaries[evaluation]
        metrics = self._means_of(measured["sums"], self._sizes)
        alive, last = measured["alive"], step == program.num_steps
        if last:  # no later step would find that the last update was not finite
            losses = [metrics[f"{split}_loss"] for split in self._sizes]
            alive = alive & np.isfinite(losses).all(axis=0)
        members, examples = int(self.still_training.sum()), sum(self._sizes.values())
        self.clock.end_segment(evaluation, step, members, examples)
        seen, lost = alive & self.still_training, self.still_training & ~alive
        values = metrics | self._along(measured, num_steps, samples)
        epoch = step / program.steps_per_epoch
        rows.add(step, epoch, step * program.batch_size, values, seen)
        rows.steps[seen] = step
        stopped = seen & measured["stopped"]
        self._note_score(step, measured, metrics[self._score], seen)
        self._scores[lost] = math.nan
        ended = seen if last else stopped
        if program.recipe.patience:
            self._scores[ended] = rows.best_score[ended]
        rows.end(ended, stopped, self._scores <= self._chance_bound)
        rows.diverge(
            lost, measured["step"], measured["last_norms"], program.recipe.layers
        )
        with self._ending_some(step):
            self.still_training &= ~(lost | stopped)
        self.evaluation = Evaluation(
            program.trials,
            tuple(program.members.seeds),
            step,
            epoch,
            {name: np.where(seen, v, math.nan) for name, v in metrics.items()},
            rows.has_status(DIVERGED),
        )
        for curve, mean in zip(self._means, self._scores.mean(axis=1)):
            curve.append(float(mean))
        self._note_worths()

    def add_probed(
        self, step: int, alive: np.ndarray, values: Mapping[str, np.ndarray]
    ) -> None:
        """Adds what probes measured after a step, of the members that still train.

        All are (T, S); `alive` is bool, the values are by column.
        """
        network, wide = self._network, {n: v.astype(float) for n, v in values.items()}
        examples = step * network.batch_size
        epoch, rows = step / network.steps_per_epoch, alive & self.still_training
        self.probed.add(step, epoch, examples, wide, rows)

    def _along(
        self, measured: Mapping[str, Any], num_steps: int, samples: int
    ) -> dict[str, np.ndarray]:
        """Returns the columns measured along the updates; none without any update."""
        if not num_steps:
            return {}
        mean = measured["loss_sum"].astype(np.float64) / num_steps
        square = measured["loss_square_sum"].astype(np.float64) / num_steps
        norms, layers = measured["norm_sum"] / samples, self._network.recipe.layers
        return {
            "batch_loss": mean,
            "batch_loss_std": np.sqrt(np.maximum(square - mean**2, 0.0)),
            **by_layer("grad_norm_", norms, layers),
        }

    def _note_score(
        self,
        step: int,
        measured: Mapping[str, Any],
        score: np.ndarray,
        seen: np.ndarray,
    ) -> None:
        """Notes the members' current score, and at which step it was best."""
        if self._network.recipe.patience:
            best = seen & (measured["best_step"] == step)
        else:
            best = seen & (score > self.rows.best_score)
        self.rows.more.put("best_step", step, best)
        self.rows.best_score[best] = score[best]
        self._scores[seen] = score[seen]

    def drop_worst(self, factor: int) -> None:
        """Ends all but the best 1/factor of the trials by the last evaluation."""
        leaving = halving.worst(self._scores, self.still_training, self._least, factor)
        dropped = self.still_training & leaving[:, None]
        self.rows.status[dropped] = DROPPED
        with self._ending_some(self._step):
            self.still_training &= ~dropped

    def _note_worths(self) -> None:
        lost, dropped = self.rows.has_status(DIVERGED), self.rows.has_status(DROPPED)
        for i, trial in enumerate(self.program.trials):
            worth = ranking.worth(self._scores[i], lost[i], self._least)
            self.worths[trial.index] = None if dropped[i].any() else worth

    @property
    def _least(self) -> float:
        """The score with which a diverged network counts."""
        score = self.program.dataset.score
        return ranking.of_lost(score, self._chance, self._scores)

    def curve(self, trial: int) -> tuple[float, ...]:
        """Returns a trial's mean validation score at its evaluations so far."""
        indices = [t.index for t in self.program.trials]
        return tuple(self._means[indices.index(trial)])

    @functools.cached_property
    def _chance_bound(self) -> float:
        """The highest validation score that counts as chance."""
        if self.program.dataset.is_regression:
            return self._chance
        return chance_bound(self._chance, self._sizes["validation"])

    def living(self, trial: int) -> np.ndarray:
        """Returns which members of a trial (by index) did not diverge, bool (S,)."""
        indices = [t.index for t in self.program.trials]
        kept: np.ndarray = self.rows.has_status(FINISHED, STOPPED)
        return kept[indices.index(trial)]

    def add_final(
        self, sums: Mapping[str, Mapping[str, np.ndarray]], sizes: Mapping[str, int]
    ) -> None:
        """Adds sums of final members only, ``{split: {metric: (T, S)}}``.

        They go into the row of the parameters that are kept.
        """
        kept = self.rows.has_status(FINISHED, STOPPED)
        self.rows.add_at(self._kept_steps(), self._means_of(sums, sizes), kept)

    def _means_of(
        self, sums: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, int]
    ) -> dict[str, np.ndarray]:
        """Divides sums by sizes, see `rows.means`, and makes R2 of squared errors."""
        found = means(sums, sizes)
        if not self.program.dataset.is_regression:
            return found
        for split, of_split in sums.items():
            if split not in self._variances:
                self._variances[split] = self._network.variance(split)
            for name in (name for name in of_split if name.endswith(R2)):
                column = f"{split}_{name}"
                variance = self._variances[split]
                found[column] = explained(found[column], variance)
        return found

    def _kept_steps(self) -> np.ndarray:
        """Returns the step of the parameters that each ended member keeps, (T, S)."""
        steps: np.ndarray = self.rows.steps
        program = self.program
        if isinstance(program, NetworkProgram) and program.recipe.patience:
            steps = self.rows.more.get("best_step", steps)
        return steps

    def add_each(
        self,
        judged: Mapping[str, Mapping[str, np.ndarray]],
        sizes: Mapping[str, int],
    ) -> None:
        """Adds what the final members said of each example.

        Args:
          judged: ``{split: {"accuracy": bool, "loss": float}}``, (T, S, N or more);
            losses may lack.
          sizes: N of each split.
        """
        known = self.rows.has_status(FINISHED, STOPPED)
        for file, name in ((CORRECT, "accuracy"), (LOSSES, "loss")):
            each = {split: of[name] for split, of in judged.items() if name in of}
            if each:
                self.each[file] = Answers.of_program(each, sizes, known)

    def add_severity(
        self,
        transform: str,
        amount: float,
        sums: Mapping[str, np.ndarray],
        size: int,
    ) -> None:
        """Adds the metrics of the final members on "moved" or "rotated" images.

        The amount is in pixels or degrees; the sums, (T, S), are over `size` examples.
        """
        program = self.program
        for t, s in np.argwhere(self.rows.has_status(FINISHED, STOPPED)).tolist():
            self.severity.append(
                {
                    "trial": program.trials[t].index,
                    "seed": program.members.first_seed + s,
                    "transform": transform,
                    "amount": amount,
                    "accuracy": float(sums["accuracy"][t, s]) / size,
                    "loss": float(sums["loss"][t, s]) / size,
                }
            )

    @property
    def _num_grown(self) -> int:
        """Number of seeds, over all trials, whose trees are fitted."""
        return int((~self.still_training).sum())

    def add_trees(
        self, trial: Trial, seed: int, fit: trees.Fit, inferences_per_second: float
    ) -> None:
        """Adds the trees of one seed: a row for each of some numbers of trees."""
        program, examples = self.program, len(self.program.dataset.train.labels)
        at = program.trials.index(trial), seed - program.members.first_seed
        here = np.zeros(self.still_training.shape, bool)
        here[at] = True
        for i, count in enumerate(fit.trees.tolist()):
            found = {name: float(values[i]) for name, values in fit.metrics.items()}
            self.rows.add(count, float(count), count * examples, found, here)
        score = float(fit.metrics[self._score][-1])
        kept = int(fit.trees[-1])
        self.rows.status[at], self.rows.steps[at] = FINISHED, kept
        self.rows.at_chance[at] = score <= self._chance_bound
        self.rows.more.put("best_step", kept, here)
        self._scores[at] = score
        self.clock.add_trees(self._num_grown, fit, examples, inferences_per_second)
        self.still_training[at] = False
        self.done += examples
        self._note_worths()
