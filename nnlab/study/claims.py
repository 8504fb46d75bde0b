# SPDX-License-Identifier: Apache-2.0
"""What is claimed about a study's results, as plain validated values; no JAX."""

import dataclasses
from typing import Any

from nnlab.study.fields import Checked, FieldError, field
from nnlab.study.hyperparameters import PATHS
from nnlab.words.spelling import nearest_path

RELATIONS = ("greater", "less", "same")

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

COMPARABLE = ("final", "best", "at_epoch", "at_step")
"""Reductions whose values may be compared with those of another of them."""


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
    epoch: float | None = None
    step: float | None = None
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
      relation: left is "greater" or "less" than right, or the "same" within `margin`.
      margin: half-width of "same", in units of the quantity.
    """

    text: str
    quantity: Quantity
    left: dict[str, Any]
    right: dict[str, Any] | float | str
    right_quantity: Quantity | None = None
    among: str = field("mean", choices=("mean", "best"))
    relation: str = field("greater", choices=RELATIONS)
    margin: float = field(0.0, minimum=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.right, str) and self.right != "chance":
            raise FieldError(
                "right", f"={self.right!r} must be trials, a number or 'chance'"
            )
        if self.relation == "same" and self.margin == 0.0:
            raise FieldError("relation", "='same' needs a margin above 0")
        if self.right_quantity is not None:
            if not isinstance(self.right, dict):
                raise FieldError("right_quantity", " goes with trials on the right")
            for quantity in (self.quantity, self.right_quantity):
                if quantity.reduction not in COMPARABLE:
                    raise FieldError(
                        "right_quantity",
                        f" does not go with reduction={quantity.reduction!r}; allowed: "
                        f"{', '.join(COMPARABLE)}",
                    )
        for side in (self.left, self.right):
            for path in side if isinstance(side, dict) else ():
                if path != "label" and path not in PATHS:
                    raise ValueError(
                        f"unknown field {path!r} in the claim {self.text!r}"
                        f"{nearest_path(path, (*PATHS, 'label'))}"
                    )
