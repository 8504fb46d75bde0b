# SPDX-License-Identifier: Apache-2.0
"""Numbers and phrases as text, the same in every sentence and table.

`visible` and `masked` make texts of unknown origin safe to show.
"""

import html
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from urllib import parse

NONE = "\u2013"  # an en dash: no value
ROUNDING = 1e-9  # half-widths below it are those of equal values

MASK = "***"
"""Replaces a password."""
_JOINERS = "\u200c\u200d"  # of Persian and Indic letters, and of emoji
_URL = re.compile(r"\w[\w+.-]*://\S+")
_SECRETS = (
    re.compile(r"(https?://)((?:(?!://)[^/])*)(?=@)", re.DOTALL),  # a token's name, too
    re.compile(r"(://[^/:@]*:|^[^/:@]*:(?!/))((?:(?!://).)*)(?=@)", re.DOTALL),
    re.compile(r"([?&](?:[^=&]*=)?)([^&]+)"),
)
"""Where a URL has secrets: before the last @ of its host, and in its query."""
_SHORTEST = 4  # characters of a part of a secret that is told from others' words


def visible(text: str) -> str:
    r"""Returns a text with control characters replaced by "\x1b" and the like.

    Replaced are characters that drive a terminal, turn the direction of writing, have
    no meaning or cannot be encoded. Letters of all scripts, marks, emoji, spaces, tabs
    and line ends stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_seen(c) else ascii(c)[1:-1] for c in text)


def _is_seen(character: str) -> bool:
    if character.isprintable() or character in "\t\n" or character in _JOINERS:
        return True
    return unicodedata.category(character) in ("Zs", "Co")


def escaped(text: str) -> str:
    """Returns a text of unknown origin for HTML, `visible`."""
    return html.escape(visible(text))


def masked(url: str) -> str:
    """Returns a URL with `MASK` for its passwords and the values of its query."""
    for pattern in _SECRETS:
        url = pattern.sub(rf"\g<1>{MASK}", url)
    return url


def without_secrets(text: str, url: str = "") -> str:
    """Masks all URLs in a text, and the secrets of `url` however they are encoded."""
    found = {match[2] for pattern in _SECRETS for match in pattern.finditer(url)}
    parts = {part for secret in found for part in re.split(r"[/@:?#=]", secret)}
    found |= {part for part in parts if len(part) >= _SHORTEST}
    plain = found | {parse.unquote(secret) for secret in found}
    forms = plain | {parse.quote(s, safe="") for s in plain}
    forms |= {repr(s)[1:-1] for s in plain}
    for form in sorted(forms - {""}, key=len, reverse=True):
        text = re.sub(re.escape(form), MASK, text, flags=re.IGNORECASE)
    return _URL.sub(lambda match: masked(match[0]), text)


def percent(share: float, decimals: int = 1) -> str:
    """Returns a share as a percentage, such as "97.5 %"."""
    return f"{fixed(100 * share, decimals)} %"


def fixed(value: float, decimals: int) -> str:
    """Returns a number with that many decimals; never "-0.0"."""
    text = f"{value:,.{decimals}f}"
    return (
        "0" + text[2:] if float(text.replace(",", "")) == 0 and text[0] == "-" else text
    )


def supported_decimals(half_width: float) -> int:
    """Returns the decimals that an interval supports: two up to 0.19, else one."""
    if not half_width > ROUNDING or not math.isfinite(half_width):
        return 1
    power = math.floor(math.log10(half_width))
    return min(max(-power + (half_width < 1.95 * 10.0**power), 0), 4)


def told_apart(
    write: Callable[[float, int], str],
    digits: int,
    values: Iterable[float],
    at: float = 0.0,
) -> int:
    """Returns so many digits, or more, that values which are not `at` do not read so.

    An interval that ends near 0 and beside it must not look as if it held 0.

    >>> told_apart(fixed, 1, [0.02, 1.3]), told_apart(fixed, 1, [0.0, 1.3])
    (2, 1)
    """
    others = [v for v in values if abs(v - at) > ROUNDING]
    while any(write(v, digits) == write(at, digits) for v in others):
        digits += 1
    return digits


def mean_text(
    mean: float | None,
    high: float | None,
    factor: float = 100.0,
    low: float | None = None,
) -> str:
    """Returns a mean and the half-width of its interval, such as "97.53 ± 0.12".

    Args:
      mean: None for no value.
      high: upper end of the interval; None for no interval, which gives one decimal.
      factor: 100 for shares in percent.
      low: its lower end, where it may be further from the mean; the longer side counts.

    >>> mean_text(0.9753, 0.9765)
    '97.53 ± 0.12'
    """
    if mean is None or math.isnan(mean):
        return NONE
    if high is None or math.isnan(high):
        return true_minus(fixed(factor * mean, 1 if factor == 100 else 3))
    half = factor * max(high - mean, 0.0 if low is None else mean - low)
    decimals = supported_decimals(half)
    return f"{true_minus(fixed(factor * mean, decimals))} ± {fixed(half, decimals)}"


def true_minus(text: str) -> str:
    """Returns the text with minus signs in place of hyphens."""
    return text.replace("-", "−")  # noqa: RUF001


def p_text(p: float | None) -> str:
    """Returns a p-value, such as "0.031" or "< 0.001"."""
    if p is None or math.isnan(p):
        return NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.0995 else f"{p:.2f}"


def count(number: int, noun: str) -> str:
    """Returns a number with its noun, such as "1 seed" or "1,200 seeds"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def joined(names: Sequence[str]) -> str:
    """Joins names as in "a, b and c"; with semicolons where a name has a comma."""
    comma = "; " if any("," in n for n in names) else ", "
    return " and ".join(filter(None, (comma.join(names[:-1]), *names[-1:])))


def median_text(epochs: float) -> str:
    """Returns a median in epochs with two digits: few seeds support no more."""
    return f"{epochs:.2g}" if epochs < 100 else f"{epochs:,.0f}"


def capital(text: str) -> str:
    """Returns the text with its first letter as a capital, if that is ASCII."""
    return text[:1].upper() + text[1:] if text[:1].isascii() else text


def lower_first(text: str) -> str:
    """Returns the text with a small first letter, but for names such as ReLU or MLP.

    >>> lower_first("Depth helps"), lower_first("ReLU is better"), lower_first("A b")
    ('depth helps', 'ReLU is better', 'a b')
    """
    first = text.split(" ", 1)[0]
    is_name = any(c.isupper() or c.isdigit() for c in first[1:])
    return text if is_name else text[:1].lower() + text[1:]
