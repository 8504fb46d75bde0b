# SPDX-License-Identifier: Apache-2.0
"""Reads values of fields as users write them; runs nothing of theirs; no JAX."""

import ast
import warnings
from typing import Any

from nnlab.study.hyperparameters import TUPLES


def parse_value(path: str, text: str) -> Any:
    """Reads a value from the command line; the study then checks it.

    Args:
      path: path of its field. Where the field holds a tuple, ``64`` means ``(64,)``,
        and words are separated by commas: ``curves,map``.
      text: a number, true or false, a tuple in parentheses, or any other text.

    >>> parse_value("model.hidden", "64"), parse_value("batch_size", "32")
    ((64,), 32)
    """
    value: Any
    if text.lower() in ("true", "false"):
        value = text.lower() == "true"
    else:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the parser, about "1if" or "'\\d'"
                value = ast.literal_eval(text)
        # The last three: {[]: 1}, a hundred brackets, a thousand minus signs.
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            value = text
    if path not in TUPLES or isinstance(value, list | tuple):
        return value
    return tuple(split(value, f"{path}=")) if isinstance(value, str) else (value,)


def split(text: str, of: str = "") -> list[str]:
    """Splits at commas outside of brackets and quotes, and strips the parts.

    `of` is what stands before the text in a message about it.

    >>> split("(32,),(64,), 'a, b'")
    ['(32,)', '(64,)', "'a, b'"]

    Raises:
      ValueError: a quote that does not close.
    """
    parts, start = [], 0
    for part in masked(text, of).split(","):
        parts.append(text[start : start + len(part)].strip())
        start += len(part) + 1
    return parts


def masked(text: str, of: str = "") -> str:
    """Returns a text with "_" for each character in brackets or quotes.

    A quote opens only at the start of a value; within a word it is an apostrophe.

    >>> masked("best(64, 'a>b') > 3")
    'best__________) > 3'

    Raises:
      ValueError: a quote that does not close.
    """
    shown, depth, quote, before = "", 0, "", ","
    for character in text:
        if quote:
            quote = quote.strip(character)
        elif character in "'\"" and before in (",=([{:" if depth else ",="):
            quote = character
        else:
            depth += (character in "([{") - (depth > 0 and character in ")]}")
        shown += "_" if depth or quote else character
        before = character if character.strip() else before
    if quote:
        raise ValueError(f"{of}{text}: the quote {quote} does not close")
    return shown
