# SPDX-License-Identifier: Apache-2.0
"""A program ready to run, of networks or of trees: its data, its sizes, its record."""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from nnlab.data import Dataset, Split
from nnlab.data.dataset import read_only
from nnlab.data.drawing import Drawing
from nnlab.models import layers
from nnlab.study import TRAIN_EVALUATION_SIZE, Hyperparameters, Trial
from nnlab.study.members import Members
from nnlab.training import member as train
from nnlab.training import metrics, trees
from nnlab.training.lanes import Lanes
from nnlab.training.plan import Demand, Plan

SPLITS = ("train", "validation", "test")

WORK_OF_A_STEP = 5e6
"""Overhead of a small step, as operations that a CPU core could do in that time."""


@dataclasses.dataclass(frozen=True)
class FurtherSets:
    """Test sets beside the normal one."""

    splits: Mapping[str, Split]  # "test_moved", "test_rotated" as the study asks
    along_curve: bool  # whether every evaluation includes them
    severities: Mapping[tuple[str, float], Split]  # by transform and amount


@dataclasses.dataclass(frozen=True, eq=False)
class Picked:
    """Examples of one purpose that each seed picks from a pool; see `Split`."""

    pool: Split
    rows: np.ndarray  # of the pool, int32 (S, N)

    @property
    def size(self) -> int:
        """N, the number of a seed's examples."""
        return self.rows.shape[1]


@dataclasses.dataclass(frozen=True)
class Probed:
    """A probe of a program.

    Attributes:
      steps: after which it measures, ascending.
      columns: the names of what it measures.
      asks_start: whether it reads the parameters before the first update.
      code: digest of what it computes, as of a module of one's own.
    """

    steps: tuple[int, ...]
    columns: tuple[str, ...]
    asks_start: bool
    code: str


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the backbone of a program comes from.

    Attributes:
      key: sources with equal keys make equal backbones.
      digest: SHA-256 of the data that train it, or of the file.
      training: the program that trains it, with one member; None for a file.
      variables: the file's "params" and "batch_stats"; None without a file.
      whole: recipe of the program's whole network, on the program's own data.
      frozen: whether the members are only a last layer on the backbone's features.
    """

    key: str
    digest: str
    training: "NetworkProgram | None"
    variables: Mapping[str, Any] | None
    whole: train.Recipe
    frozen: bool


@dataclasses.dataclass(frozen=True)
class Position:
    """How far the training of a program of networks is."""

    evaluation: int = 0  # index of the next one
    step: int = 0
    samples: int = 0  # of the gradient norms since the last evaluation

    def check(self, boundaries: Sequence[int]) -> None:
        """Raises an error if it does not lie between two evaluations."""
        edges = (0, *boundaries, boundaries[-1])
        if not edges[self.evaluation] <= self.step <= edges[self.evaluation + 1]:
            raise ValueError(f"step {self.step} is not at evaluation {self.evaluation}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """Trials and seeds that run together, ready to run; networks or trees.

    Attributes:
      hyperparameters: those of the first trial; all trials share the static ones.
      dataset: the data, limited to `train_size`; as seed 0 has them.
      test_sets: further test sets, as the members are fed them.
      drawing: how each seed draws its own examples; None if all have the same.
      source: where the members' backbone comes from; None without one.
    """

    members: Members
    hyperparameters: Hyperparameters
    dataset: Dataset
    test_sets: FurtherSets
    drawing: Drawing | None = None
    source: Source | None = None

    @property
    def part(self) -> str:
        """The name of its checkpoints."""
        return f"program_{self.index}"

    @property
    def index(self) -> int:
        """Position among the study's programs."""
        return self.members.index

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Its trials, in the order of the sweep."""
        return self.members.trials

    @property
    def lanes(self) -> Lanes | None:
        """How its members are divided; None for trees."""
        return None

    @property
    def num_examples(self) -> int:
        """Training examples that all members see, repetitions included."""
        raise NotImplementedError

    @property
    def work(self) -> float:
        """Estimated floating-point operations of its training; 0 if unknown."""
        return 0.0

    def to_dict(self) -> dict[str, Any]:
        """Returns the record for ``config.json``."""
        raise NotImplementedError

    def is_done(self, about: Mapping[str, Any]) -> bool:
        """Returns whether nothing is left to train, by its last checkpoint's values."""
        return bool(about["finished"])

    def lacks(self, about: Mapping[str, Any]) -> str:
        """Says why it cannot continue from a checkpoint's plain values; "" if it can.

        Raises:
          ValueError, LookupError, TypeError: the checkpoint is not of such a program.
        """
        del about
        return ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TreeProgram(Program):
    """Boosted trees or forests, ready to be fitted."""

    @property
    def num_examples(self) -> int:
        """Training examples of all fits, once each."""
        return len(self.dataset.train.labels) * len(self.members.pairs())

    def splits(self, seed: int) -> dict[str, Split]:
        """Returns all splits of a seed by name."""
        dataset, further = self.dataset, dict(self.test_sets.splits)
        if self.drawing:
            dataset = self.drawing.dataset(dataset, seed)
            rows = self.drawing.indices(seed).get("test")
            if rows is not None:
                further = {
                    name: Split(pool.inputs[rows], pool.labels[rows])
                    for name, pool in further.items()
                }
        return {name: getattr(dataset, name) for name in SPLITS} | further

    def to_dict(self) -> dict[str, Any]:
        """Returns the record for ``config.json``; an epoch is a round of trees."""
        library, version = trees.library(self.hyperparameters.model.name)
        return {
            **self.members.to_dict(),
            "train_examples": len(self.dataset.train.labels),
            "parameters": None,
            "flops": 0,
            "layers": [],
            "steps_per_epoch": 1,
            "num_steps": self.hyperparameters.model.num_trees,
            "library": f"{library} {version}",
        }


_UNTOLD = re.compile(r"\b0x[0-9a-f]+|(?<![\w.])-?\d[\w.+-]*(?=:\w+\[\])")
"""Addresses and numbers in a jaxpr that do not change the speed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkProgram(Program):
    """Networks ready to train, as `describe` shows them and `run` runs them.

    Attributes:
      fed: the members' inputs: the data, or a frozen backbone's features, which are 0
        until `with_features`.
      pool: likewise what training picks its examples from, if not from `fed`: what each
        seed draws from, or all that any trial of the study trains on.
      rows: the layer table; empty for a user's own module.
      plans: lane plans to choose from, the likely fastest one first.
      steps_per_epoch: updates in an epoch; the short batch at its end is dropped.
      boundaries: steps at which members are evaluated, from 0, strictly increasing.
      largest: the training examples that are evaluated, and the steps between two
        evaluations, of the study's trials that train on most examples; 0 where all
        train on as many. Programs that differ in nothing else share functions.
      features: maps stored inputs to the members' inputs; None if they are the same.
      probed: the probes by name.
      probe_size: training examples that they see.
    """

    fed: Dataset
    rows: tuple[layers.LayerRow, ...]
    recipe: train.Recipe
    demand: Demand
    plans: tuple[Plan, ...]
    steps_per_epoch: int
    boundaries: tuple[int, ...]
    features: Callable[[np.ndarray], np.ndarray] | None = None
    pool: Split | None = None
    probed: Mapping[str, Probed] = dataclasses.field(default_factory=dict)
    probe_size: int = 0
    largest: tuple[int, int] = (0, 0)

    @property
    def batch_size(self) -> int:
        """Examples in an update."""
        return self.hyperparameters.batch_of(self.dataset.train.size)

    @property
    def whole(self) -> train.Recipe:
        """The network from stored inputs on, including a frozen backbone."""
        return self.source.whole if self.features and self.source else self.recipe

    @property
    def plan(self) -> Plan:
        """The chosen plan, or else the first."""
        return self.plans[0]

    @property
    def lanes(self) -> Lanes:
        """The lanes of the plan."""
        return self.plan.lanes

    def with_plan(self, chosen: Plan) -> "NetworkProgram":
        """Returns the same program with one of its plans."""
        return dataclasses.replace(self, plans=(chosen,))

    def with_width(self, lane_width: int) -> "NetworkProgram":
        """Returns the same program with the plan of a lane width, if that fits."""
        return self.with_plan(self.demand.plans(jax.devices(), lane_width)[0])

    def alone(self, trial: int, seed: int) -> "NetworkProgram":
        """Returns one member (index of its trial, seed), in lanes of the same shape."""
        one = tuple(t for t in self.trials if t.index == trial)
        members = dataclasses.replace(
            self.members, trials=one, first_seed=seed, num_seeds=1
        )
        lanes = dataclasses.replace(self.plan.lanes, room=(0, 0)).with_members(1, 1)
        chosen = dataclasses.replace(self.plan, lanes=lanes)
        return dataclasses.replace(self, members=members, plans=(chosen,))

    def with_features(self, of: Callable[[np.ndarray], np.ndarray]) -> "NetworkProgram":
        """Returns the same program, fed with features of the examples.

        `of` maps stored inputs (N, *input_shape) to float32 (N, F).
        """

        def through(splits: Mapping[Any, Split]) -> Any:
            return {
                name: Split(read_only(of(split.inputs)), split.labels)
                for name, split in splits.items()
            }

        drawing, pool = self.drawing, self.pool
        shared = drawing.shared if drawing else SPLITS
        data = through({name: getattr(self.dataset, name) for name in shared})
        sets = dataclasses.replace(
            self.test_sets,
            splits=through(self.test_sets.splits),
            severities=through(self.test_sets.severities),
        )
        fed = dataclasses.replace(self.fed, **data)
        if drawing:
            pool = through({"pool": drawing.pool})["pool"]
            fed = drawing.dataset(fed, 0, pool)
        return dataclasses.replace(
            self, features=of, fed=fed, test_sets=sets, pool=pool
        )

    @functools.cached_property
    def jaxpr(self) -> str:
        """Returns the jaxprs of a member's step and evaluation, without numbers."""
        recipe, size = self.recipe, self.batch_size
        state, traced, key = train.shapes(recipe, self.members.traced())
        of = jax.ShapeDtypeStruct
        train_set = self.fed.train
        inputs = of((size, math.prod(recipe.input_shape)), train_set.inputs.dtype)
        labels = of((size, *train_set.labels.shape[1:]), train_set.labels.dtype)
        flags = of((size,), np.bool_)

        def step(*member: Any) -> train.TrainState:
            return train.train_step(recipe, *member, sample=always, check=always)

        always: Any = np.True_
        evaluate = functools.partial(train.evaluate, recipe)
        made = (
            jax.make_jaxpr(step)(state, traced, key, inputs, labels),
            jax.make_jaxpr(evaluate)(state, inputs, labels, flags),
        )
        return _UNTOLD.sub("", "".join(map(str, made)))

    @property
    def num_steps(self) -> int:
        """Updates of a member in all."""
        return self.boundaries[-1]

    @property
    def num_epochs(self) -> float:
        """Passes over the training examples; `max_steps` may end them early."""
        return self.num_steps / self.steps_per_epoch

    @functools.cached_property
    def cuts(self) -> tuple[int, ...]:
        """Steps at which training halts: for evaluations, and for probes."""
        probed = {step for one in self.probed.values() for step in one.steps}
        inside = {step for step in probed if step <= self.num_steps}
        return tuple(sorted(inside.union(self.boundaries)))

    def probe_rows(self) -> np.ndarray:
        """Returns the examples of the pool that probes see, int32 (S, n), by seed."""
        members, size = self.members, self.probe_size
        places = max(members.num_seeds, self.plan.lanes.room[1])
        found = np.tile(np.arange(size, dtype=np.int32), (places, 1))
        if self.drawing:
            rows = self.drawing.stacked("train", members.seeds)
            found[: members.num_seeds] = rows[:, :size]
        return found

    @property
    def work(self) -> float:
        """Estimated floating-point operations of training, with steps' overhead."""
        forward = sum(row.flops for row in self.rows)
        step = 3 * forward * self.batch_size + WORK_OF_A_STEP
        return float(self.num_steps * self.plan.lanes.members * step)

    @property
    def num_examples(self) -> int:
        """Training examples of all members in all epochs."""
        members = self.plan.lanes.members
        return self.num_steps * self.batch_size * members

    @property
    def num_evaluated(self) -> int:
        """Examples that all members evaluate in all evaluations."""
        size = sum(split.size for split in self.evaluated().values())
        once = [*self.scored().values(), *self.test_sets.severities.values()]
        last = sum(split.size for split in once)
        evaluations = len(self.boundaries) + 1  # of the final members once more
        return (evaluations * size + last) * self.plan.lanes.members

    def is_done(self, about: Mapping[str, Any]) -> bool:
        """Returns whether nothing is left to train; a resumed run may train longer."""
        return bool(about["finished"] and about["num_steps"] == self.num_steps)

    def lacks(self, about: Mapping[str, Any]) -> str:
        """Says why it cannot continue from a checkpoint; see `Program.lacks`."""
        before, at = int(about["num_steps"]), about["position"]
        if before > self.num_steps:
            return (
                f"program {self.index + 1} was trained for {before} updates, and has "
                f"{self.num_steps} now: num_epochs may only grow"
            )
        ended = about["finished"] or int(at["step"]) == before
        if ended and before not in self.boundaries:
            return (
                f"program {self.index + 1} was evaluated at its end after {before} "
                "updates, which is no evaluation of the longer training: choose "
                "num_epochs a multiple of eval_every_epochs"
            )
        Position(**at).check(self.boundaries)
        return ""

    def evaluated(self) -> dict[str, Split | Picked]:
        """Returns the splits that are evaluated along training, by name."""
        splits: dict[str, Any] = {name: getattr(self.fed, name) for name in SPLITS}
        whole, most = splits["train"], TRAIN_EVALUATION_SIZE
        splits["train"] = Split(whole.inputs[:most], whole.labels[:most])
        if self.drawing and self.pool:
            for name in self.drawing.sizes:
                rows = self.drawing.stacked(name, self.members.seeds)
                splits[name] = Picked(self.pool, rows[:, : splits[name].size])
        return splits | (self._further() if self.test_sets.along_curve else {})

    def scored(self) -> dict[str, Split | Picked]:
        """Returns the splits that only the final members are evaluated on, by name."""
        return {} if self.test_sets.along_curve else self._further()

    def variance(self, split: str) -> np.ndarray:
        """Returns the variance of a regression's targets, see `metrics.variance`.

        It is (), or (S,) of examples that each seed picks.
        """
        some = {**self.evaluated(), **self.scored()}[split]
        if isinstance(some, Picked):
            return metrics.variance(some.pool.labels[some.rows])
        return metrics.variance(some.labels)

    def _further(self) -> dict[str, Any]:
        """Returns the further test sets: of each seed's own examples, if it has any."""
        if not (self.drawing and "test" in self.drawing.sizes):
            return dict(self.test_sets.splits)
        rows = self.drawing.stacked("test", self.members.seeds)
        return {
            name: Picked(pool, rows) for name, pool in self.test_sets.splits.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Returns the record for ``config.json``."""
        return {
            **self.members.to_dict(),
            "train_examples": len(self.dataset.train.labels),
            "parameters": self.demand.parameters,
            "flops": sum(row.flops for row in self.rows),
            "layers": list(self.recipe.layers),
            "steps_per_epoch": self.steps_per_epoch,
            "num_steps": self.num_steps,
            "plan": self.plan.to_dict(),
            **({"keeps_best": True} if self.recipe.patience else {}),
            **({"source": self.source.digest} if self.source else {}),
        }


def networks_of(programs: Iterable[Program]) -> list[NetworkProgram]:
    """Returns the programs of networks among some programs."""
    return [one for one in programs if isinstance(one, NetworkProgram)]
