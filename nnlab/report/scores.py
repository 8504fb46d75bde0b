# SPDX-License-Identifier: Apache-2.0
"""How that is shown by which trials are compared: accuracies in percent, or R²."""

from typing import NamedTuple

from nnlab.results import Results
from nnlab.words import numbers

_LONG = 1e4
"""R² of networks that fail are this low; three digits then say enough."""


class Score(NamedTuple):
    """What trials are compared by, and how its values are written.

    Attributes:
      column: the end of its columns, "accuracy" or "r2".
      name: in words.
      factor: of the values that are shown, 100 for percent.
      unit, apart: of values, and of differences.
    """

    column: str
    name: str
    factor: float
    unit: str
    apart: str

    def of(self, split: str) -> str:
        """Returns its column for a split."""
        return f"{split}_{self.column}"

    def header(self, split: str) -> str:
        """Returns the head of a table's column: "test accuracy, %"."""
        return f"{split} {self.name}{', ' * bool(self.unit)}{self.unit}"

    def text(self, value: float) -> str:
        """Returns a value: "96.1 %" or "0.961".

        >>> ACCURACY.text(0.961), R2.text(0.961), R2.text(5.6e14)
        ('96.1 %', '0.961', '5.6e+14')
        """
        if self.unit:
            return numbers.percent(value)
        plain = numbers.fixed(value, 3)
        return numbers.true_minus(plain if abs(value) < _LONG else f"{value:.3g}")

    def values(self, values: list[float]) -> list[str]:
        """Returns values without their unit, the last with it: "95.1", "96.3 %"."""
        shown = [self.text(value) for value in values]
        end = f" {self.unit}" * bool(self.unit)
        return [text.removesuffix(end) for text in shown]

    def goal(self, target: float) -> str:
        """Returns a value to reach, as it was set: "95 %" or "0.95"."""
        return f"{self.factor * target:g} {self.unit}".strip()

    def level(self, mean: float, high: float, low: float) -> str:
        """Returns a mean with its interval, without the unit: "95.7 ± 0.2"."""
        return numbers.mean_text(mean, high, self.factor, low)

    def with_unit(self, level: str) -> str:
        """Returns a mean with its interval and unit: "95.7 % ± 0.2"."""
        if not self.unit:
            return level
        unit = f" {self.unit}"
        return level.replace(" ±", f"{unit} ±") if "±" in level else level + unit


ACCURACY = Score("accuracy", "accuracy", 100.0, "%", "points")
R2 = Score("r2", "R²", 1.0, "", "")


def score_of(results: Results) -> Score:
    """Returns what a run's trials are compared by."""
    return R2 if results.score == R2.column else ACCURACY
