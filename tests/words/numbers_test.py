# SPDX-License-Identifier: Apache-2.0
"""Numbers as text show the digits that their intervals support."""

import pytest

from nnlab.words import numbers


@pytest.mark.parametrize(
    ("mean", "high", "text"),
    [
        (0.97531, 0.97651, "97.53 ± 0.12"),
        (0.97531, 0.97571, "97.53 ± 0.04"),
        (0.97531, 0.98, "97.5 ± 0.5"),
        (0.6, 0.82, "60 ± 22"),
        (-0.0051, -0.0031, "−0.5 ± 0.2"),  # noqa: RUF001
        (0.97531, None, "97.5"),
        (None, None, "–"),  # noqa: RUF001
        (-1e-9, 0.001, "0.00 ± 0.10"),
        (0.952778, 0.952778 + 1e-16, "95.3 ± 0.0"),
    ],
)
def test_digits_are_those_that_the_interval_supports(mean, high, text):
    assert numbers.mean_text(mean, high) == text


@pytest.mark.parametrize(
    ("values", "at", "digits"),
    [
        ((0.02, 1.3), 0.0, 2),
        ((-0.0006, 1.3), 0.0, 3),
        ((0.0, 1.3), 0.0, 1),
        ((1e-12, float("nan")), 0.0, 1),
        ((95.0, 95.04), 95.0, 2),
    ],
)
def test_what_differs_from_a_number_does_not_read_like_it(values, at, digits):
    assert numbers.told_apart(numbers.fixed, 1, values, at) == digits


STEERING = (
    *("\x1b[2J", "\a", "\b", "\r", "\0", "\x9b31m", "\x85", "\u202e", "\u2066"),
    *("\u200b", "\ufeff", "\u2028", "\ud800", "\uffff", "\U000e0001"),
)


@pytest.mark.parametrize("text", STEERING)
def test_what_steers_a_terminal_is_shown(text):
    told = numbers.visible(f"a{text}z")
    assert told == f"a{ascii(text)[1:-1]}z"
    assert told.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "é",
        "e\u0301",
        "中文",
        "שלום",
        "نمی\u200cشود",
        "👩\u200d👧",
        "❤\ufe0f",
        "a\u00a0b\n\tc",
    ],
)
def test_letters_stay(text):
    assert numbers.visible(text) == text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://key:pass@bucket/x", "s3://key:***@bucket/x"),
        ("ftp://me:pa@ss@host/x", "ftp://me:***@host/x"),
        ("ftp://me:pa/ss@host/x", "ftp://me:***@host/x"),
        ("sftp://me:pa%40ss%2F@host:22/x", "sftp://me:***@host:22/x"),
        ("https://pass@host/x", "https://***@host/x"),
        ("https://host/x?sig=pass&se=1", "https://host/x?sig=***&se=***"),
        ("simplecache::ftp://me:pass@host/x", "simplecache::ftp://me:***@host/x"),
        ("a::ftp://b:pass@c::ftp://d:pass@e", "a::ftp://b:***@c::ftp://d:***@e"),
        ("me:pass@host", "me:***@host"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("file:///a/b:c@d", "file:///a/b:c@d"),
        ("ftp://me@host:21/x", "ftp://me@host:21/x"),
    ],
)
def test_passwords_of_urls_are_masked(url, shown):
    assert numbers.masked(url) == shown


def test_what_a_library_says_of_a_password_is_masked():
    url = "ftp://me:Pa%40ss/word@host/x"
    said = (
        f"{url}: Pa@ss/word, pa%40ss%2fword, port 'word'; see s3://a:secret@b?c=token"
    )
    told = numbers.without_secrets(said, url)
    assert told == ("ftp://me:***@host/x: ***, ***, port '***'; see s3://a:***@b?c=***")
