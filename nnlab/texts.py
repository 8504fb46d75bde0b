# SPDX-License-Identifier: Apache-2.0
"""Numbers and phrases as text, the same in every sentence and table."""

import math
from collections.abc import Sequence

NONE = "\u2013"  # an en dash: no value
ROUNDING = 1e-9  # half-widths below it are those of equal values


def percent(share: float, decimals: int = 1) -> str:
    """A share as a percentage, such as "97.5 %"."""
    return f"{fixed(100 * share, decimals)} %"


def fixed(value: float, decimals: int) -> str:
    """A number with so many decimals; never "-0.0"."""
    text = f"{value:,.{decimals}f}"
    return (
        "0" + text[2:] if float(text.replace(",", "")) == 0 and text[0] == "-" else text
    )


def supported_decimals(half_width: float) -> int:
    """Decimals that an interval supports: two of its digits up to 0.19, else one."""
    if not half_width > ROUNDING or not math.isfinite(half_width):
        return 1
    power = math.floor(math.log10(half_width))
    return min(max(-power + (half_width < 1.95 * 10.0**power), 0), 4)


def mean_text(mean: float | None, high: float | None, factor: float = 100.0) -> str:
    """A mean and the half-width of its interval, such as "97.53 ± 0.12".

    Args:
      mean: None for no value.
      high: upper end of the interval; None for no interval, and then one decimal.
      factor: 100 for shares in percent.
    """
    if mean is None or math.isnan(mean):
        return NONE
    if high is None or math.isnan(high):
        return true_minus(fixed(factor * mean, 1 if factor == 100 else 3))
    half = factor * (high - mean)
    decimals = supported_decimals(half)
    return f"{true_minus(fixed(factor * mean, decimals))} ± {fixed(half, decimals)}"


def true_minus(text: str) -> str:
    """The text with minus signs in place of hyphens."""
    return text.replace("-", "−")  # noqa: RUF001


def p_text(p: float | None) -> str:
    """A p-value, such as "0.031" or "< 0.001"."""
    if p is None or math.isnan(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def count(number: int, noun: str) -> str:
    """A number with its noun, such as "1 seed" or "1,200 seeds"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def joined(names: Sequence[str]) -> str:
    """ "a, b and c"; semicolons where a name has a comma."""
    comma = "; " if any("," in n for n in names) else ", "
    return " and ".join(filter(None, (comma.join(names[:-1]), names[-1])))


def median_text(epochs: float) -> str:
    """A median in epochs: two digits, since so few seeds support no more."""
    return f"{epochs:.2g}" if epochs < 100 else f"{epochs:,.0f}"


def capital(text: str) -> str:
    """The text with a capital at its start, if that is a letter of ASCII."""
    return text[:1].upper() + text[1:] if text[:1].isascii() else text
