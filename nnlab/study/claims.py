# SPDX-License-Identifier: Apache-2.0
"""What is claimed about a study's results, as plain validated values; no JAX.

A claim is a sentence and the comparison that decides it. The functions below make one
in a line: what is said, what is compared, and of which trials.

>>> norm, plain = {"model.batch_norm": True}, {"model.batch_norm": False}
>>> claims = (
...     faster("Batch norm is faster to 85 %", 0.85, norm, plain),
...     higher("Batch norm ends better", "test_accuracy", norm, plain),
...     same_within("By 1 point at most", 0.01, "test_accuracy", norm, plain),
... )
>>> [claim.relation for claim in claims]
['less', 'greater', 'same']
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nnlab.study.fields import Checked, FieldError, field, from_mapping
from nnlab.study.hyperparameters import check_path

RELATIONS = ("greater", "less", "same", "different")

REDUCTIONS = (
    "final",
    "best",
    "at_epoch",
    "at_step",
    "steps_to",
    "steps",
    "best_minus_final",
    "drop_from_test",
    "diverged_share",
    "at_chance_share",
    "seconds",
)

FALLS = ("best_minus_final", "drop_from_test")
"""Reductions that are differences by themselves."""
COMPARABLE = ("final", "best", "at_epoch", "at_step")
"""Reductions whose values may be compared with those of another of them."""
DIFFERENCE, RATIO, ORDER = "difference", "ratio", "order"
"""What tells two values apart: how much, how many times, or only which is larger."""
_NORMS = ("grad_norm_", "last_grad_norm_")
_SETS = (
    *("batch", "train", "train_clean", "validation"),
    *("test", "test_moved", "test_rotated"),
)
"""Of what nnlab's own losses are; metrics of one's own may be negative."""
SCORES = ("accuracy", "r2")
"""Metrics of which larger values are better, 1 at best; of classes, of numbers."""
KINDS = (*SCORES, "loss", "mae", "std", "grad_norm", "share")
"""What the curves' own columns are measured in."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity(Checked):
    """A number for each member: a column of the curves and how to reduce it.

    Attributes:
      metric: a column such as "validation_accuracy" ("" for steps, shares, seconds).
      reduction: "final", "best", "at_epoch", "at_step" (between two evaluations on the
        straight line), "steps_to" (updates until `target`),
        "steps" (updates until training ended),
        "best_minus_final", "drop_from_test" (test_accuracy minus `metric`, at the end),
        "diverged_share", "at_chance_share", or "seconds" (a member's training time
        for an epoch).
      epoch: for "at_epoch".
      step: for "at_step".
      target: for "steps_to".
    """

    metric: str = ""
    reduction: str = field("final", choices=REDUCTIONS)
    epoch: float | None = field(None, minimum=0.0)
    step: float | None = field(None, minimum=0.0)
    target: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        needs = {"at_epoch": "epoch", "at_step": "step", "steps_to": "target"}
        needed = needs.get(self.reduction)
        if needed and getattr(self, needed) is None:
            raise FieldError("reduction", f"={self.reduction!r} needs {needed}")
        bare = ("steps", "diverged_share", "at_chance_share", "seconds")
        if not self.metric and self.reduction not in bare:
            raise FieldError("reduction", f"={self.reduction!r} needs metric")

    @property
    def kind(self) -> str:
        """What it is measured in: "accuracy", "loss" and so on; "" without a column."""
        is_norm = self.metric.startswith(_NORMS)
        return "grad_norm" if is_norm else self.metric.rpartition("_")[2]

    @property
    def scale(self) -> str:
        """`RATIO` for what is positive and spreads over factors, else `DIFFERENCE`.

        The first are norms of gradients, losses and their spread, steps and seconds.

        >>> final("test_loss").scale, final("test_accuracy").scale, STEPS.scale
        ('ratio', 'difference', 'ratio')
        """
        positive = self.metric.endswith(("_loss", "_mae"))
        positive |= self.metric == "batch_loss_std"
        positive |= self.metric.startswith(_NORMS)
        counted = self.reduction in ("steps", "steps_to", "seconds")
        is_ratio = counted or (positive and self.reduction in COMPARABLE)
        return RATIO if is_ratio else DIFFERENCE

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the largest value that it may have; infinite if not known.

        >>> final("test_accuracy").limits, STEPS.limits
        ((0.0, 1.0), (0.0, inf))
        """
        if self.reduction in ("steps", "steps_to", "seconds"):
            return 0.0, math.inf
        # Metrics of one's own, such as "test_balanced_accuracy", may be anything.
        of, is_share = self.metric.rpartition("_")[0], self.kind == "share"
        is_known = of.endswith("_active") if is_share else of in _SETS
        is_part = is_known and (is_share or self.kind == "accuracy")
        if is_part or self.reduction.endswith("_share"):
            return (-1.0 if self.reduction in FALLS else 0.0), 1.0
        if is_known and self.kind == "r2":
            return -math.inf, math.inf if self.reduction in FALLS else 1.0
        is_positive = self.scale == RATIO and (is_known or self.kind != "loss")
        return (0.0 if is_positive else -math.inf), math.inf


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim(Checked):
    """What people believe, in words and as a comparison that the data can decide.

    Attributes:
      text: the claim in words.
      quantity: what is compared.
      left: the trials meant, as ``{path: value}`` that their hyperparameters match (or
        ``{"label": ...}``).
      right: likewise, or a number, or "chance" (the share of the largest class).
      right_quantity: what is measured of the trials on the right, where it is not what
        is measured on the left: another column, or the same at another epoch.
      among: what stands for several matching trials: their "mean", seed by seed, or
        the "best" of them by validation accuracy, as when each side's learning rate is
        tuned.
      relation: left is "greater" or "less" than right, the "same" within `margin`, or
        "different" to either side.
      margin: half-width of "same", in units of the quantity. Of the other relations the
        least difference that the claim is about: what is surely smaller contradicts it,
        too. In units of the quantity; of what is compared as a ratio, a share (0.1: by
        a tenth).
      beside: two further sides, each like `left`: not the sides are compared but their
        difference, left minus right, with that of these two (an interaction). Of what
        is compared as a ratio, the ratios.
      main: whether it answers the study's question: the report opens with it.
      otherwise: what holds where the claim is contradicted, in words.
    """

    text: str
    quantity: Quantity
    left: dict[str, Any]
    right: dict[str, Any] | float | str
    right_quantity: Quantity | None = None
    among: str = field("mean", choices=("mean", "best"))
    relation: str = field("greater", choices=RELATIONS)
    margin: float = field(0.0, minimum=0.0)
    main: bool = field(False, later=True)
    otherwise: str = field("", later=True)
    beside: tuple[dict[str, Any], ...] = field((), later=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, problem in self._misfits():
            raise FieldError(name, problem)
        for path in (path for side in self.sides for path in side):
            if path != "label":
                check_path(path, f"the claim {self.text!r}")

    def _misfits(self) -> Iterator[tuple[str, str]]:
        """Yields fields that do not go with others, and why."""
        is_pair, other = isinstance(self.right, dict), self.right_quantity
        if isinstance(self.right, str) and self.right != "chance":
            yield "right", f"={self.right!r} must be trials, a number or 'chance'"
        if self.relation == "same" and self.margin == 0.0:
            yield "relation", "='same' needs a margin above 0"
        if other and not is_pair:
            yield "right_quantity", " goes with trials on the right"
        for of in (self.quantity, other) if other else ():
            if of.reduction not in COMPARABLE:
                allowed = f"allowed: {', '.join(COMPARABLE)}"
                yield (
                    "right_quantity",
                    f" does not go with reduction={of.reduction!r}; {allowed}",
                )
        if self.beside and (len(self.beside) != 2 or not is_pair):
            yield "beside", " needs two sides of trials, as left and right"
        if self.beside and (other or self.among == "best"):
            yield "beside", " goes without right_quantity and among='best'"
        if self.beside and self.quantity.reduction == "seconds":
            yield "beside", " does not go with reduction='seconds'"

    @property
    def compared(self) -> tuple[tuple[Quantity, "Right"], ...]:
        """The sides, each with what is measured there."""
        other = self.right_quantity or self.quantity
        pair = (self.quantity, self.left), (other, self.right)
        return (*pair, *((self.quantity, side) for side in self.beside))

    @property
    def sides(self) -> tuple[dict[str, Any], ...]:
        """The sides that are trials."""
        return tuple(side for _, side in self.compared if isinstance(side, dict))

    def parted(
        self, named: Callable[[dict[str, Any]], Any]
    ) -> tuple[list[str], list[str]]:
        """Returns what counts as more, and what as less, in any order.

        `named` makes one name of a side's many. Of gains, (a - b) - (c - d), a and d
        count as more.
        """
        each = [
            repr((of, named(side) if isinstance(side, dict) else side))
            for of, side in self.compared
        ]
        return sorted(each[:1] + each[3:]), sorted(each[1:3])

    def normal(self, named: Callable[[dict[str, Any]], Any] = repr) -> str:
        """Returns what is compared, the same for A > B and B < A; words do not count.

        >>> six, nine = {"batch_size": 6}, {"batch_size": 9}
        >>> one, other = higher("", "a", six, nine), lower("", "a", nine, six)
        >>> one.normal() == other.normal()
        True
        """
        relation, sides = self.relation, self.parted(named)
        if relation == "less":
            relation, sides = "greater", sides[::-1]
        if relation != "greater":
            sides = min(sides, sides[::-1])
        return repr((relation, sides, self.margin, self.among))


SECONDS = Quantity(reduction="seconds")
"""A network's training time for an epoch."""
STEPS = Quantity(reduction="steps")
"""Updates until training ended."""
AT_CHANCE = Quantity(reduction="at_chance_share")
"""The share of networks that end no better than chance."""
DIVERGED = Quantity(reduction="diverged_share")
"""The share of networks that left the finite numbers."""

Trials = Mapping[str, Any]
"""Which trials are meant: ``{path: value}``, or ``{"label": ...}``."""
Right = Trials | float | str
"""What they are compared with: other trials, a number, or "chance"."""
Claims = Iterable[Claim]
"""What a config's function of claims yields, one after another."""


def final(metric: str = "test_accuracy") -> Quantity:
    """A column of the curves at the end of training."""
    return Quantity(metric=metric)


def best(metric: str) -> Quantity:
    """The best value that a column ever has."""
    return Quantity(metric=metric, reduction="best")


def at_epoch(epoch: float, metric: str) -> Quantity:
    """A column after so many epochs, such as ``at_epoch(0, "test_loss")``."""
    return Quantity(metric=metric, reduction="at_epoch", epoch=epoch)


def at_step(step: float, metric: str) -> Quantity:
    """A column after so many updates."""
    return Quantity(metric=metric, reduction="at_step", step=step)


def best_minus_final(metric: str) -> Quantity:
    """How far a column ends below its best; negative for a loss that rises again."""
    return Quantity(metric=metric, reduction="best_minus_final")


def drop(metric: str) -> Quantity:
    """How far a column ends below the test accuracy, such as on moved images."""
    return Quantity(metric=metric, reduction="drop_from_test")


def steps_to(target: float, metric: str = "validation_accuracy") -> Quantity:
    """Updates until a column reaches a value."""
    return Quantity(metric=metric, reduction="steps_to", target=target)


def higher(
    text: str, quantity: Quantity | str, left: Trials, right: Right, **more: Any
) -> Claim:
    """The claim that a quantity is greater on the left.

    Args:
      text: the claim in words.
      quantity: what is compared; a column of the curves, such as "test_accuracy", is
        its `final` value.
      left: the trials meant, such as ``{"batch_size": 6}``.
      right: likewise, or a number, or "chance".
      more: further fields of `Claim`: ``among="best"`` where each side's trial is
        chosen by validation, `right_quantity`, ``main=True`` where it answers the
        study's question, or `otherwise`.

    Raises:
      ValueError: a bad field; says of which claim.

    >>> claim = higher("6 learns", "test_accuracy", {"batch_size": 6}, "chance")
    >>> claim.quantity.reduction, claim.left, claim.right
    ('final', {'batch_size': 6}, 'chance')
    """
    what = final(quantity) if isinstance(quantity, str) else quantity
    fields = {"text": text, "quantity": what, "left": left, "right": right, **more}
    claim: Claim = from_mapping(Claim, fields, f"claim {text!r}")
    if problem := nonsense(claim):
        raise ValueError(f"claim {text!r}: {problem}")
    return claim


def nonsense(claim: Claim) -> str:
    """Says why no run could decide a claim; "" if one could."""
    quantity, other = claim.quantity, claim.right_quantity or claim.quantity
    # Of other columns, such as one's own or a misspelt one, nothing is known here.
    known = [of.kind for of in (quantity, other) if of.kind in KINDS]
    is_other = quantity.kind in KINDS and quantity.kind not in SCORES
    if len(set(known)) > 1:
        return f"{quantity.metric} and {other.metric} are measured in different units"
    if claim.right == "chance" and (is_other or quantity.reduction not in COMPARABLE):
        return "only an accuracy, or R2, compares with chance"
    if quantity.reduction == "drop_from_test" and is_other:
        return f"{quantity.metric} is no accuracy, and a drop is between accuracies"
    for step in (of.step or 0.0 for of in (quantity, other)):
        if step % 1:
            return f"step={step:g} is no whole number of updates"
    return _impossible(claim)


def _impossible(claim: Claim) -> str:
    """Says which number of a claim lies where no value can be; "" for none."""
    quantity, number = claim.quantity, claim.right
    of, (low, high) = quantity.metric or quantity.reduction, quantity.limits
    if quantity.target is not None:
        ends = final(quantity.metric).limits
        if not ends[0] <= quantity.target <= ends[1]:
            return f"a target of {_beyond(quantity.target, of, ends)}"
    if isinstance(number, float) and not low <= number <= high:
        return _beyond(number, of, (low, high))
    if number == {"greater": high, "less": low}.get(claim.relation, math.nan):
        way = "above" if claim.relation == "greater" else "below"
        return f"{of} is never {way} {number:g}"
    if claim.margin >= high:
        unit = "point" if claim.margin == 1 else "points"
        return f"a margin of {_beyond(claim.margin, of, (low, high), unit)}"
    return ""


def _beyond(
    number: float, of: str, limits: tuple[float, float], unit: str = "%"
) -> str:
    low, high = limits
    if not math.isfinite(high):
        return f"{number:g} is out of range: {of} is at least {low:g}"
    # What is a little above 100 % was hardly meant as so many percent.
    meant = number == 1 or 2 <= number <= 100
    hint = f"; did you mean {number / 100:g}, {number:g} {unit}?" if meant else ""
    return f"{number:g} is out of range: {of} is from {low:g} to {high:g}{hint}"


def lower(
    text: str, quantity: Quantity | str, left: Trials, right: Right, **more: Any
) -> Claim:
    """The claim that a quantity is less on the left; see `higher`.

    >>> lower("6 fits", "train_loss", {"batch_size": 6}, 0.5).relation
    'less'
    """
    return higher(text, quantity, left, right, relation="less", **more)


def same_within(
    text: str,
    margin: float,
    quantity: Quantity | str,
    left: Trials,
    right: Right,
    **more: Any,
) -> Claim:
    """The claim that a quantity differs by less than a margin; see `higher`.

    >>> same_within("About 95 %", 0.01, "test_accuracy", {"batch_size": 6}, 0.95).margin
    0.01
    """
    more |= {"relation": "same", "margin": margin}
    return higher(text, quantity, left, right, **more)


def answering(claims: Claims, *parts: str) -> tuple[Claim, ...]:
    """Marks the claims that answer the study's question, by a part of their texts.

    The report opens with them, three at most.

    Raises:
      ValueError: a part is in no claim; says in which there are.

    >>> learns = higher("6 learns", "test_accuracy", {"batch_size": 6}, "chance")
    >>> [claim.main for claim in answering([learns], "learns")]
    [True]
    """
    found = tuple(claims)
    for part in parts:
        if not any(part in claim.text for claim in found):
            texts = "; ".join(claim.text for claim in found)
            raise ValueError(f"no claim says {part!r}; there are: {texts}")
    main = [any(part in claim.text for part in parts) for claim in found]
    return tuple(
        dataclasses.replace(c, main=is_main) for c, is_main in zip(found, main)
    )


def depends(
    text: str,
    quantity: Quantity | str,
    gain: tuple[Trials, Trials],
    other: tuple[Trials, Trials],
    **more: Any,
) -> Claim:
    """The claim that a gain differs from another: an interaction; see `higher`.

    Args:
      text: the claim in words.
      quantity: what is compared.
      gain: two sides; the gain is the first one's value minus the second one's.
      other: likewise, of the gain beside it.
      more: further fields of `Claim`, such as a margin or ``relation="greater"``.

    >>> sides = [
    ...     {"model.dropout_rate": dropout, "optimizer.learning_rate": rate}
    ...     for rate in (0.1, 1.0)
    ...     for dropout in (0.5, 0.0)
    ... ]
    >>> depends("The rate matters", "test_accuracy", sides[2:], sides[:2]).relation
    'different'
    """
    more = {"relation": "different", **more, "beside": other}
    return higher(text, quantity, *gain, **more)


def faster(text: str, target: float, left: Trials, right: Trials, **more: Any) -> Claim:
    """The claim that the left has a validation accuracy in fewer updates.

    >>> faster("6 wins", 0.9, {"batch_size": 6}, {"batch_size": 45}).quantity.target
    0.9
    """
    return lower(text, steps_to(target), left, right, **more)


def slower(text: str, target: float, left: Trials, right: Trials, **more: Any) -> Claim:
    """The claim that the left needs more updates; see `faster`."""
    return higher(text, steps_to(target), left, right, **more)


def about(claims: Claims, accuracy: float = 0.01, share: float = 0.25) -> Claims:
    """Yields claims with the least difference that they are about; see `Claim.margin`.

    Only claims that one side's trials have more or less than the other's get one, and
    only where they have none.

    Args:
      claims: in any number.
      accuracy: of claims about accuracies, such as 0.01 for a point.
      share: of what is compared as a ratio, such as 0.25 for a quarter.

    >>> wide, narrow = {"model.hidden": (64,)}, {"model.hidden": (8,)}
    >>> claims = [
    ...     higher("Wide is better", "test_accuracy", wide, narrow),
    ...     faster("And faster", 0.9, wide, narrow, margin=0.5),
    ...     higher("It learns", "test_accuracy", wide, "chance"),
    ... ]
    >>> [claim.margin for claim in about(claims)]
    [0.01, 0.5, 0.0]
    """
    for claim in claims:
        margin = share if claim.quantity.scale == RATIO else 0.0
        if not margin and claim.quantity.metric.endswith(SCORES):
            margin = accuracy
        fits = isinstance(claim.right, dict) and claim.relation != "same"
        yield dataclasses.replace(claim, margin=claim.margin or margin * fits)
