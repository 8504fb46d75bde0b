# SPDX-License-Identifier: Apache-2.0
"""Axes are read from texts, and trials are grouped into compiled programs."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from nnlab.study import Study
from nnlab.study.members import Members, by_program, lacking
from nnlab.study.sweep import parse_axis, product
from nnlab.study.values import parse_value

RATE = "optimizer.learning_rate"
AXES = {
    f"{RATE}=0.1,1,1e-3": (0.1, 1, 1e-3),
    f" {RATE} = 0.1 , 0.2 ": (0.1, 0.2),
    "model.hidden=(64,),(64,32),(),16": ((64,), (64, 32), (), (16,)),
    "model.batch_norm=true,False": (True, False),
    "optimizer.name=sgd,adam": ("sgd", "adam"),
    f"{RATE}=linspace(0, 0.9, 4)": (0.0, 0.3, 0.6, 0.9),
    f"{RATE}=logspace(1e-3,1,4)": (0.001, 0.01, 0.1, 1.0),
    f"{RATE}=logspace(1,0.01,3)": (1.0, 0.1, 0.01),
    f"{RATE}=linspace(3,4,1)": (3.0,),
    "dataset='csv:a, b.csv',digits": ("csv:a, b.csv", "digits"),
    'dataset="csv:a, b.csv" , "x]y(\'"': ("csv:a, b.csv", "x]y('"),
    "dataset=csv:it's.csv,digits": ("csv:it's.csv", "digits"),
    "dataset=csv:a's, b's": ("csv:a's", "b's"),
    "model.layers=['a,b', {'c': '[,'}],relu": (["a,b", {"c": "[,"}], ("relu",)),
    'model.layers=("flatten",{"layer":"dense","units":3}),relu': (
        ("flatten", {"layer": "dense", "units": 3}),
        ("relu",),
    ),
}


@pytest.mark.parametrize(("text", "values"), AXES.items(), ids=AXES)
def test_an_axis_is_read_as_it_is_written(text, values):
    path, found = parse_axis(text)
    assert path == text.partition("=")[0].strip()
    assert found == values
    assert [type(v) for v in found] == [type(v) for v in values]


MALFORMED = {
    "no values": (f"{RATE}=", "has no values"),
    "no axis": (RATE, "not of the form path=v1,v2"),
    "quote": ("dataset='csv:a, b.csv", "the quote ' does not close"),
    "unknown": ("learning_rte=1", "'learning_rte' in the sweep; did you mean"),
    "empty value": (f"{RATE}=1,,2", "has an empty value"),
    "trailing comma": (f"{RATE}=1,", "has an empty value"),
    "two bounds": (f"{RATE}=logspace(1,2)", "a range is logspace"),
    "unknown range": (f"{RATE}=geospace(1,2,3)", "a range is logspace"),
    "range and value": (f"{RATE}=logspace(1,2,3),4", "and stands alone"),
    "bound": (f"{RATE}=logspace(a,2,3)", "bounds must be numbers"),
    "count": (f"{RATE}=linspace(1,2,2.5)", "the count a whole number"),
    "no count": (f"{RATE}=linspace(1,2,0)", "a count from 1 to 10000"),
    "infinite": (f"{RATE}=linspace(1,inf,3)", "finite bounds"),
    "log of 0": (f"{RATE}=logspace(0,1,3)", "bounds above 0"),
}


@pytest.mark.parametrize(("text", "message"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_axis_is_quoted(text, message):
    with pytest.raises(ValueError, match=message) as error:
        parse_axis(text)
    assert text.partition("=")[0] in str(error.value)


@hypothesis.given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1)
)
def test_numbers_survive_the_command_line(numbers):
    assert parse_axis(f"{RATE}={','.join(map(repr, numbers))}")[1] == tuple(numbers)


@hypothesis.given(
    st.sampled_from(["logspace", "linspace"]),
    st.floats(1e-6, 1e6),
    st.floats(1e-6, 1e6),
    st.integers(2, 50),
)
def test_a_ranges_bounds_are_its_ends(kind, first, last, count):
    _, values = parse_axis(f"{RATE}={kind}({first!r},{last!r},{count})")
    assert len(values) == count
    np.testing.assert_allclose(values[:: count - 1], (first, last), rtol=5e-6)


def test_a_text_that_is_no_literal_stays_a_text():
    for text in ("fast", "csv:data/my.csv", "1/3", "__import__('os')"):
        assert parse_value("dataset", text) == text


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("figures", "curves,map", ("curves", "map")),
        ("figures", "curves", ("curves",)),
        ("model.layers", "flatten, relu", ("flatten", "relu")),
        ("model.hidden", "64", (64,)),
        ("model.hidden", "64,32", (64, 32)),
        ("question", "which, and why", "which, and why"),
    ],
)
def test_where_a_tuple_is_wanted_words_are_parted_by_commas(path, text, value):
    assert parse_value(path, text) == value


def test_a_product_has_every_combination_and_its_last_axis_is_fastest():
    axes = {"batch_size": (8, 16), RATE: (0.1, 0.2, 0.3)}
    found = product(axes)
    assert len(found) == 6
    first = [tuple(f.values()) for f in found[:4]]
    assert first == [(8, 0.1), (8, 0.2), (8, 0.3), (16, 0.1)]


@pytest.mark.parametrize("axes", [{}, {"batch_size": ()}])
def test_an_empty_product_is_refused(axes):
    with pytest.raises(ValueError, match=r"the sweep is empty|has no values"):
        product(axes)


@hypothesis.given(
    st.lists(
        st.fixed_dictionaries(
            {
                RATE: st.sampled_from([0.1, 0.2]),
                "model.init_scale": st.sampled_from([1.0, 2.0]),
                "batch_size": st.sampled_from([8, 16]),
                "model.hidden": st.sampled_from([(), (4,)]),
            }
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda d: tuple(sorted(d.items())),
    )
)
@hypothesis.settings(deadline=None)
def test_trials_share_a_program_when_only_traced_settings_differ(sweep):
    study = Study(sweep=tuple(sweep))
    found = by_program(study.trials(), study.num_seeds)
    assert [c.index for c in found] == list(range(len(found)))
    static = {(d["batch_size"], d["model.hidden"]) for d in sweep}
    assert len(found) == len(static)
    assert sorted(t.index for c in found for t in c.trials) == list(range(len(sweep)))
    for members in found:
        indices = [t.index for t in members.trials]
        assert indices == sorted(indices)
        assert len({sweep[i]["batch_size"] for i in indices}) == 1
        rates = np.float32([sweep[i][RATE] for i in indices])
        np.testing.assert_array_equal(members.traced()["learning_rate"], rates)


def test_what_no_trial_sets_is_no_argument():
    sweep = ({"average_decay": 0.0}, {"average_decay": 0.9})
    for some, there in ((sweep, True), (sweep[:1], False), (sweep[1:], True)):
        (members,) = by_program(Study(sweep=some).trials(), 3)
        assert ("average_decay" in members.traced()) == there


def test_every_traced_setting_has_an_array():
    (members,) = by_program(Study(sweep=({RATE: 0.1}, {RATE: 0.2})).trials(), 3)
    traced = members.traced()
    always = ["learning_rate", "momentum", "weight_decay", "init_scale", "dropout_rate"]
    assert set(traced) == {*always}
    assert all(a.shape == (2,) and a.dtype == np.float32 for a in traced.values())


TWO = Study.from_dict(
    {"sweep": [{RATE: 0.1}, {RATE: 0.2}, {"batch_size": 8}], "num_seeds": 4}
).trials()
RECORD = {"index": 0, "trials": [0, 1], "first_seed": 0, "num_seeds": 4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": [0, 99]}, "program 1 has trial 99, which the study has not"),
        ({"trials": [-1]}, "program 1 has trial -1"),
        ({"trials": []}, "which are not one program"),
        ({"trials": [0, 2]}, "which are not one program"),
        ({"trials": [0, 0]}, "which are not one program"),
        ({"trials": 0}, "trials=0 is not a tuple"),
        ({"index": "x"}, "index='x' is not a whole number"),
        ({"first_seed": -1}, "program 1 has 4 seeds from -1 on; its trials have 4"),
        ({"num_seeds": 0}, "program 1 has 0 seeds"),
        ({"num_seeds": 10**18}, "num_seeds=1000000000000000000 is too large"),
        ({"whole": [2]}, r"program 1 is no chunk of \(2,\)"),
        ({"whole": [1, 4]}, "no chunk of"),
        ({"whole": [2, 10**9]}, "no chunk of"),
    ],
)
def test_a_record_of_no_program_of_the_study_is_refused(change, message):
    assert Members.from_dict(RECORD, TWO).to_dict() == RECORD
    with pytest.raises(ValueError, match=message):
        Members.from_dict(RECORD | change, TWO)
    for name in RECORD:
        with pytest.raises(ValueError, match=f"lacks '{name}'"):
            Members.from_dict({k: v for k, v in RECORD.items() if k != name}, TWO)


def test_what_programs_lack_and_what_two_have():
    some = [
        Members.from_dict(
            RECORD | {"index": i, "first_seed": first, "num_seeds": 1}, TWO
        )
        for i, first in enumerate((0, 2))
    ]
    assert lacking(TWO, some) == {
        **{trial: [range(1, 2), range(3, 4)] for trial in (0, 1)},
        2: [range(4)],
    }
    with pytest.raises(ValueError, match="two programs have trial 0 with seed 0"):
        lacking(TWO, [*some, Members.from_dict(RECORD | {"index": 2}, TWO)])
    with pytest.raises(ValueError, match="two programs are number 1"):
        lacking(TWO, [some[0], some[0]])
