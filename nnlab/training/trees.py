# SPDX-License-Identifier: Apache-2.0
"""Fits boosted trees and random forests, as baselines for the networks; no JAX.

XGBoost fits boosted trees where it is installed, else scikit-learn; forests are always
scikit-learn's. Both libraries load when a model is fitted.
"""

import contextlib
import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nnlab.data import Split
from nnlab.machine.devices import num_cores

SHRINKAGE = 0.3
"""Shrinkage factor on every boosted tree; XGBoost's default."""
SUBSAMPLE = 0.8
"""Share of the training examples that XGBoost gives each tree; seeds differ by it."""
FEATURE_SHARE = 0.5
"""Share of the features that scikit-learn tries at each split of a boosted tree."""
PATIENCE = 10
"""Rounds without a lower validation loss after which boosting ends."""
SMALLEST_PROBABILITY = 1e-7
"""Lower bound on probabilities before their logarithm; a forest's may be 0."""
MANY_FEATURES = 256
"""From this number on a feature has 64 bins instead of 256. On 4,000 images of MNIST
that took 0.43 of the time and had no more errors."""
THREAD_VALUES = 4_000_000
"""Values of the training inputs per boosting thread. On little data, threads cost more
than they gain: on a busy machine two took 5 to 35 times as long as one for 40,000 x 2.
"""
HISTOGRAM_BYTES = 2**28
"""Memory for the histograms of a tree's finished nodes. On 1,500 x 12,288 this limit
saved two thirds of 8.6 GB, with the same trees in the same time."""

Stages = Callable[[np.ndarray, Sequence[int]], Iterator[np.ndarray]]
"""Maps inputs (B, F) and ascending numbers of trees to the probabilities by that many
trees, float32 (B, C), for each number; of a regression to the targets as stored."""


@dataclasses.dataclass(frozen=True, eq=False)
class Fit:
    """The trees of one seed; validation chose how many are kept.

    Attributes:
      depth: largest depth of a tree, the one with the best validation accuracy, or R2.
      trees: int64 (E,), ascending numbers of trees at which the metrics were measured;
        the last is the number kept. Boosted trees count rounds: each grows a tree for
        every class.
      metrics: ``{"<split>_accuracy": (E,), "<split>_loss": (E,)}``, see `score`; of a
        regression "<split>_r2", "<split>_loss" and "<split>_mae".
      probabilities: of the kept trees for the N examples of each split but "train",
        float32 (N, C); of a regression what `predict` returns.
      seconds: wall clock of fitting and choosing, without evaluating `metrics`.
      candidates: ``{depth: validation accuracy of the trees it would keep}``, or R2.
      predict: maps inputs (B, ...) to float32 class probabilities (B, C), or targets.
    """

    depth: int
    trees: np.ndarray
    metrics: Mapping[str, np.ndarray]
    probabilities: Mapping[str, np.ndarray]
    seconds: float
    candidates: Mapping[int, float]
    predict: Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class _Problem:
    """The task of one seed; inputs are float32 (N, F)."""

    train: Split
    validation: Split
    num_classes: int
    num_trees: int
    depths: Sequence[int]
    seed: int
    unit: np.ndarray | None

    @property
    def bins(self) -> int:
        return 256 if self.train.inputs.shape[1] < MANY_FEATURES else 64

    @property
    def threads(self) -> int:
        return _threads(self.train)


class _Candidate(NamedTuple):
    """Trees of one depth: the number with the lowest validation loss is kept."""

    depth: int
    kept: int
    accuracy: float  # or R2
    loss: float
    stages: Stages

    @property
    def rank(self) -> tuple[float, float]:
        return self.accuracy, -self.loss


def library(name: str) -> tuple[str, str]:
    """Returns the name and version of the library that fits a model here."""
    if name == "boosted_trees":
        with contextlib.suppress(ModuleNotFoundError):
            import xgboost

            return "xgboost", xgboost.__version__
    import sklearn

    return "scikit-learn", sklearn.__version__


def fit(
    name: str,
    splits: Mapping[str, Split],
    num_classes: int,
    *,
    num_trees: int,
    depths: Sequence[int],
    seed: int,
    train_evaluation_size: int = 5_000,
    unit: np.ndarray | None = None,
) -> Fit:
    """Fits trees of every depth and keeps those that do best on the validation split.

    For each depth it keeps the number of trees with the lowest validation loss. Of the
    depths it keeps the one with the best validation accuracy (then the lower loss, then
    the smaller depth). Equal arguments, versions and cores give equal results.

    Args:
      name: "boosted_trees" or "random_forest".
      splits: "train", "validation", "test" and any further ones to be evaluated. A
        class may be absent from "train".
      num_classes: C, at least 2.
      num_trees: most trees for each class (boosted) or in all (forest).
      depths: largest depths of a tree to choose from.
      seed: in [0, 2**32); decides which examples or features a tree sees.
      train_evaluation_size: most training examples, from the first on, for the training
        metrics.
      unit: of a regression the targets', see `nnlab.data.Dataset`; None for classes.
    """
    train, validation = (
        Split(_rows(splits[name].inputs), splits[name].labels)
        for name in ("train", "validation")
    )
    problem = _Problem(
        train, validation, num_classes, num_trees, sorted(set(depths)), seed, unit
    )
    names = ("accuracy", "loss") if unit is None else ("r2", "loss", "mae")
    start = time.perf_counter()
    best, accuracies = None, {}
    for candidate in _GROWERS[name, library(name)[0]](problem):
        accuracies[candidate.depth] = candidate.accuracy
        if best is None or candidate.rank > best.rank:
            best = candidate  # of equal ones the smaller depth, which comes first
    seconds = time.perf_counter() - start
    assert best is not None
    most = train_evaluation_size
    subset = Split(train.inputs[:most], train.labels[:most])
    numbers = _ladder(best.kept)
    metrics: dict[str, np.ndarray] = {}
    final: dict[str, np.ndarray] = {}
    for split, examples in {**splits, "train": subset}.items():
        scores = []
        for probabilities in best.stages(_rows(examples.inputs), numbers):
            scores.append(score(probabilities, examples.labels, unit))
        metrics |= zip((f"{split}_{name}" for name in names), np.array(scores).T)
        if split != "train":
            final[split] = probabilities
    return Fit(
        depth=best.depth,
        trees=np.array(numbers, np.int64),
        metrics=metrics,
        probabilities=final,
        seconds=seconds,
        candidates=accuracies,
        predict=lambda inputs: next(best.stages(_rows(inputs), (best.kept,))),
    )


def at_once(name: str, train: Split) -> int:
    """Returns how many fits can run side by side, each in a Python thread.

    A random forest uses all cores by itself.
    """
    return max(1, num_cores() // _threads(train)) if name == "boosted_trees" else 1


def _threads(train: Split) -> int:
    return min(num_cores(), 1 + train.inputs.size // THREAD_VALUES)


def _xgboost(problem: _Problem) -> Iterator[_Candidate]:
    import xgboost

    matrix = functools.partial(
        xgboost.QuantileDMatrix, max_bin=problem.bins, nthread=problem.threads
    )
    train = matrix(problem.train.inputs, label=problem.train.labels)
    validation = matrix(
        problem.validation.inputs, label=problem.validation.labels, ref=train
    )
    unit, node_bytes = problem.unit, 16 * problem.bins * problem.train.inputs.shape[1]
    task = {"objective": "multi:softprob", "num_class": problem.num_classes}
    if problem.unit is not None:
        task = {"objective": "reg:squarederror"}
    settings = {
        **task,
        "tree_method": "hist",
        "max_bin": problem.bins,
        "max_cached_hist_node": max(1, HISTOGRAM_BYTES // node_bytes),
        "eta": SHRINKAGE,
        "subsample": SUBSAMPLE,
        "seed": problem.seed,
        "nthread": problem.threads,
        "disable_default_eval_metric": True,
        "verbosity": 0,
    }
    for depth in problem.depths:
        scores: list[tuple[float, ...]] = []

        def note(probabilities: np.ndarray, matrix: Any, of: Any = scores) -> Any:
            labels = problem.validation.labels
            of.append(score(probabilities.reshape(len(labels), -1), labels, unit)[:2])
            return "loss", of[-1][1]

        booster = xgboost.train(
            {**settings, "max_depth": depth},
            train,
            num_boost_round=problem.num_trees,
            evals=[(validation, "validation")],
            custom_metric=note,
            early_stopping_rounds=PATIENCE,
            verbose_eval=False,
        )
        kept = booster.best_iteration + 1

        def stages(
            inputs: np.ndarray, numbers: Sequence[int], grown: Any = booster[:kept]
        ) -> Iterator[np.ndarray]:
            for number in numbers:
                found = grown.inplace_predict(inputs, iteration_range=(0, number))
                yield found.reshape(len(inputs), -1)

        best, loss = scores[kept - 1]
        yield _Candidate(depth, kept, best, loss, stages)


def _histogram(problem: _Problem) -> Iterator[_Candidate]:
    """Grows boosted trees by scikit-learn.

    It cannot give a tree a share of the examples. Instead each split tries half of the
    features, so that seeds differ.
    """
    from sklearn import ensemble
    from threadpoolctl import threadpool_limits

    threads, num_classes = problem.threads, problem.num_classes  # kept with the trees
    # Only from version 1.7 on can it stop by a validation split of ours. So the model
    # grows in stages, as long as the last rounds of a stage improve it.
    sizes = [n for n in _ladder(problem.num_trees) if n >= 2 * PATIENCE]
    kind: Any = ensemble.HistGradientBoostingClassifier
    targets = problem.train.labels
    if problem.unit is not None:
        kind, targets = ensemble.HistGradientBoostingRegressor, targets[:, 0]
        if num_classes > 1:
            raise ValueError(
                f"scikit-learn's boosted trees have one target, and there are "
                f"{num_classes}: install xgboost, or take model.name=random_forest"
            )
    for depth in problem.depths:
        model = kind(
            learning_rate=SHRINKAGE,
            max_depth=depth,
            max_leaf_nodes=None,
            l2_regularization=1.0,  # XGBoost's default
            max_bins=min(problem.bins, 255),
            max_features=FEATURE_SHARE,
            early_stopping=False,
            warm_start=True,
            random_state=problem.seed,
        )

        def stages(
            inputs: np.ndarray, numbers: Sequence[int], model: Any = model
        ) -> Iterator[np.ndarray]:
            with threadpool_limits(threads, user_api="openmp"):
                if not hasattr(model, "classes_"):
                    for found in _picked(model.staged_predict(inputs), numbers):
                        yield found[:, None].astype(np.float32)
                    return
                for found in _picked(model.staged_predict_proba(inputs), numbers):
                    yield _spread(found, model.classes_, num_classes)

        for size in sizes or [problem.num_trees]:
            model.set_params(max_iter=size)
            with threadpool_limits(problem.threads, user_api="openmp"):
                model.fit(problem.train.inputs, targets)
            candidate = _choose(depth, stages, size, problem)
            if size - candidate.kept >= PATIENCE:
                break
        yield candidate


def _forests(problem: _Problem) -> Iterator[_Candidate]:
    """Grows random forests; holds one at a time."""
    from sklearn import ensemble

    kind: Any = ensemble.RandomForestClassifier
    if problem.unit is not None:
        kind = ensemble.RandomForestRegressor
    num_classes = problem.num_classes  # kept with the trees, and nothing else of it
    for depth in problem.depths:
        forest = kind(
            problem.num_trees,
            max_depth=depth,
            n_jobs=num_cores(),
            random_state=problem.seed,
        )
        targets = problem.train.labels
        if targets.shape[1:] == (1,):
            targets = targets[:, 0]  # scikit-learn warns of a single column
        forest.fit(problem.train.inputs, targets)

        def stages(
            inputs: np.ndarray, numbers: Sequence[int], forest: Any = forest
        ) -> Iterator[np.ndarray]:
            # The forest's own sum over trees depends on the order of its threads.
            classes = hasattr(forest, "classes_")
            says = "predict_proba" if classes else "predict"
            answers = (getattr(tree, says)(inputs) for tree in forest.estimators_)
            sums = itertools.accumulate(answers)
            for number, total in zip(numbers, _picked(sums, numbers)):
                if not classes:
                    yield (total / number).reshape(len(inputs), -1).astype(np.float32)
                    continue
                yield _spread(total / number, forest.classes_, num_classes)

        candidate = _choose(depth, stages, problem.num_trees, problem)
        del forest.estimators_[candidate.kept :]
        yield candidate


_GROWERS: Mapping[tuple[str, str], Callable[[_Problem], Iterator[_Candidate]]] = {
    ("boosted_trees", "xgboost"): _xgboost,
    ("boosted_trees", "scikit-learn"): _histogram,
    ("random_forest", "scikit-learn"): _forests,
}


def _choose(depth: int, stages: Stages, size: int, problem: _Problem) -> _Candidate:
    """Chooses the best number of trees from 1 to `size`."""
    validation = problem.validation
    found = stages(validation.inputs, range(1, size + 1))
    scores = [score(one, validation.labels, problem.unit)[:2] for one in found]
    kept = int(np.argmin([loss for _, loss in scores])) + 1
    best, loss = scores[kept - 1]
    return _Candidate(depth, kept, best, loss, stages)


def score(
    probabilities: np.ndarray, labels: np.ndarray, unit: np.ndarray | None = None
) -> tuple[float, ...]:
    """Returns the means of what `judge` says of each example: accuracy and loss.

    Of a regression, which has a `unit`, targets (B, C) take the place of probabilities
    and labels, and it is R2, `half_square`, and the absolute error in the user's units.
    """
    if unit is not None:
        loss = float(np.mean(half_square(probabilities, labels)))
        r2 = 1.0 - 2 * loss / float(np.var(labels, axis=0, dtype=np.float64).sum())
        return r2, loss, float(np.mean(np.abs(probabilities - labels) * unit))
    right, losses = judge(probabilities, labels)
    return float(np.mean(right)), float(np.mean(losses))


def half_square(said: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Returns half the squared error of each example, float64 (B,), of (B, C) both."""
    error = said.astype(np.float64) - targets
    return 0.5 * np.sum(error**2, axis=1)


def judge(
    probabilities: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether each answer is right, bool (B,), and its loss in nats (B,).

    Class probabilities are (B, C), labels (B,); losses are float64. The first of equal
    probabilities is the answer.
    """
    right = np.argmax(probabilities, axis=1) == labels
    of_labels = np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]
    clipped = np.clip(of_labels.astype(np.float64), SMALLEST_PROBABILITY, 1.0)
    return right, -np.log(clipped)


def _picked(
    stages: Iterable[np.ndarray], numbers: Sequence[int]
) -> Iterator[np.ndarray]:
    """Yields, of the stages after 1, 2, ... trees, those after the given numbers."""
    chosen = set(numbers)
    for number, stage in enumerate(itertools.islice(stages, numbers[-1]), 1):
        if number in chosen:
            yield stage


def _spread(found: np.ndarray, classes: np.ndarray, num_classes: int) -> np.ndarray:
    """Extends probabilities of the training set's classes to all classes, (B, C)."""
    probabilities = np.zeros((len(found), num_classes), np.float32)
    # With a single class, scikit-learn's boosting has a second column: its complement.
    probabilities[:, classes] = found[:, : len(classes)]
    return probabilities


def _ladder(limit: int) -> list[int]:
    """Returns 1, 2, 5, 10, 20, 50, ... below the limit, and the limit."""
    steps = (digit * 10**zeros for zeros in itertools.count() for digit in (1, 2, 5))
    return [*itertools.takewhile(lambda step: step < limit, steps), limit]


def _rows(inputs: np.ndarray) -> np.ndarray:
    """Reshapes inputs (B, ...) to float32 (B, F)."""
    return np.ascontiguousarray(inputs.reshape(len(inputs), -1), np.float32)
