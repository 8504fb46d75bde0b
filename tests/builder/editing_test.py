# SPDX-License-Identifier: Apache-2.0
"""A stack that is being edited."""

import pytest

from nnlab.builder import editing
from nnlab.models import layers

STACK = editing.stack_of(["flatten", {"layer": "dense", "units": 3}, "relu"])


def kinds(stack):
    return [layer["layer"] for layer in stack]


def test_layers_go_in_move_and_go_out_and_the_stack_given_stays():
    before = [dict(layer) for layer in STACK]
    longer = editing.insert(STACK, 1, editing.fresh("tanh"))
    assert kinds(longer) == ["flatten", "tanh", "dense", "relu"]
    assert editing.remove(longer, 1) == STACK
    assert kinds(editing.move(STACK, 0, 1)) == ["dense", "flatten", "relu"]
    assert kinds(editing.move(STACK, 2, -1)) == ["flatten", "relu", "dense"]
    assert editing.move(editing.move(STACK, 1, 1), 2, -1) == STACK
    assert editing.edit(STACK, 1, "units", 7)[1] == {"layer": "dense", "units": 7}
    assert list(STACK) == before


@pytest.mark.parametrize(("position", "by"), [(0, -1), (2, 1), (1, 0)])
def test_the_ends_are_ends(position, by):
    assert editing.move(STACK, position, by) == STACK


def test_a_new_layer_of_any_kind_is_one_that_may_be():
    for kind in layers.FIELDS:
        layers.normalise([editing.fresh(kind)])


def test_another_kind_keeps_the_fields_that_both_have():
    dense = {"layer": "dense", "units": 3, "bias": False}
    (conv,) = editing.turn((dense,), 0, "conv")
    assert conv == {**editing.fresh("conv"), "bias": False}
    assert editing.turn((conv,), 0, "relu") == ({"layer": "relu"},)


def test_a_stack_in_a_line():
    stack = editing.stack_of(layers.cnn([8], [5], 10))
    assert editing.summary(stack) == (
        "conv 8, max_pool 2, relu, flatten, dense 5, relu, dense 10"
    )
    six = editing.stack_of(editing.PRESETS["six linear layers"](10))
    assert editing.summary(six) == "flatten, 5 x dense 100, dense 10"


@pytest.mark.parametrize("layer", ["flaten", 7, {"units": 3}])
def test_what_is_no_layer_is_refused(layer):
    with pytest.raises(ValueError, match=r"layer|is not a layer"):
        editing.stack_of([layer])


@pytest.mark.parametrize("name", editing.PRESETS)
def test_what_to_begin_with_is_valid_on_images_unless_it_says_otherwise(name):
    found = layers.inspect(editing.PRESETS[name](10), (28, 28, 1), 10)
    assert bool(found.message) == ("invalid" in name)


def test_six_linear_layers_are_linear_and_six():
    stack = editing.PRESETS["six linear layers"](10)
    assert kinds(stack) == ["flatten", *["dense"] * 6]
