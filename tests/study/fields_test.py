# SPDX-License-Identifier: Apache-2.0
"""Fields get their annotated types, or the error names their path."""

import dataclasses
import decimal
import enum
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.study.fields import Checked, FieldError, field, from_mapping


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner(Checked):
    share: float = field(0.0, minimum=0.0, below=1.0)
    names: tuple[str, ...] = field((), among=("left", "right"))
    traced: float = field(0.0, below=1.0, traced=True)
    any: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer(Checked):
    count: int
    inner: Inner = Inner()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice(Checked):
    dtype: str = field("float32", choices=("float32", "float64"))


def test_values_are_cast_as_annotated():
    made = Outer(count=3.0, inner={"share": -0.0, "names": np.array(["left"])})
    assert (made.count, type(made.count)) == (3, int)
    assert made.inner == Inner(share=0.0, names=("left",))
    assert str(made.inner.share) == "0.0"  # one setting, and one digest of it


class Count(enum.Enum):
    THREE = 3


@pytest.mark.parametrize(
    "three",
    [np.int64(3), np.array(3), jnp.int32(3), Count.THREE, decimal.Decimal(3)],
    ids=str,
)
def test_a_number_of_another_kind_is_taken(three):
    made = Outer(count=three, inner={"any": [three]})
    assert (made.count, type(made.count)) == (3, int)
    assert made.inner.any == (3,)


@pytest.mark.parametrize(
    "value", [np.float32, np.dtype("float32"), jnp.bfloat16, None, ["a"], {}], ids=str
)
def test_what_is_no_plain_value_is_refused_with_what_is_allowed(value):
    with pytest.raises(FieldError, match=r"is not known.*allowed: float32, float64"):
        Choice(dtype=value)
    with pytest.raises(FieldError, match=r"count=.* is not a whole number"):
        Outer(count=value)


DEEP: list = []
for _ in range(21):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 2.5}, "x.count=2.5 is not a whole number"),
        ({"count": True}, "x.count=True is not a whole number"),
        ({}, "x lacks count"),
        ({"count": 1, "cuont": 1}, "unknown field 'x.cuont'; did you mean 'count'"),
        ({"count": 1, "inner": {"share": 1}}, "x.inner.share=1.0 must be below 1"),
        ({"count": 2**31}, "x.count=2147483648 is too large: at most 2,147,483,647"),
        ({"count": 10**5000}, "x.count is too large"),
        ({"count": 1, "inner": {"traced": 1 - 1e-12}}, "below 1 in float32 too"),
        ({"count": 1, "inner": {"any": {"a": np.inf}}}, "x.inner.any holds inf, which"),
        ({"count": 1, "inner": {"any": [b"a"]}}, "any holds b'a', which is no number"),
        ({"count": 1, "inner": {"any": DEEP}}, "any is nested too deeply: at most 20"),
        ({"count": 1, "inner": {"any": "\x1b[2J"}}, r"holds '\x1b', which cannot be"),
        ({"count": 1, "inner": {"names": ["\ud800"]}}, r"[0] holds '\ud800', which"),
        ({"count": 1, "inner": {"share": np.nan}}, "x.inner.share=nan is not finite"),
        ({"count": 1, "inner": {"names": ["up"]}}, "x.inner.names holds 'up'"),
    ],
)
def test_a_bad_value_is_named_by_its_path(values, message):
    with pytest.raises(FieldError) as caught:
        from_mapping(Outer, values, "x")
    assert message in str(caught.value)
