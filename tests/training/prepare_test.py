# SPDX-License-Identifier: Apache-2.0
"""From a study to programs ready to train, and refusals on the way."""

import dataclasses

import flax.linen as nn
import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlab.data import Dataset
from nnlab.models import resnet_layers
from nnlab.training import member as train
from nnlab.training.prepare import networks, prepare


def prepared(**overrides):
    return tiny.program(tiny.study(**overrides))


def images():
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(60, 8, 8)).astype(np.uint8)
    return Dataset.from_arrays(pixels, rng.integers(3, size=60))


# ---- Times of evaluations.


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 130), st.integers(1, 9), st.floats(0.01, 20))
def test_evaluations_go_from_0_to_the_last_step(batch_size, num_epochs, eval_every):
    program = prepared(
        batch_size=batch_size, num_epochs=num_epochs, eval_every_epochs=eval_every
    )
    steps = num_epochs * (130 // batch_size)
    assert (program.boundaries[0], program.boundaries[-1]) == (0, steps)
    assert np.all(np.diff(program.boundaries) > 0)
    assert program.num_steps == steps
    assert program.num_examples == 2 * steps * batch_size


@pytest.mark.parametrize(
    ("batch_size", "num_epochs", "every", "wanted"),
    [
        (13, 2, 0.2, range(0, 21, 2)),
        (16, 5, 2.0, (0, 16, 32, 40)),  # a whole number of epochs ends on epochs
        (16, 2, 9.0, (0, 16)),  # beyond the end
        (16, 1, 1e-12, range(9)),  # below a step
        (50, 1, 1.0, (0, 2)),  # the short batch is dropped
    ],
)
def test_evaluations_come_at_equal_intervals(batch_size, num_epochs, every, wanted):
    program = prepared(
        batch_size=batch_size, num_epochs=num_epochs, eval_every_epochs=every
    )
    assert program.boundaries == tuple(wanted)


@pytest.mark.parametrize(
    ("max_steps", "wanted"), [(0, 24), (20, 20), (3, 3), (10**9, 24)]
)
def test_training_may_end_before_its_epochs_do(max_steps, wanted):
    program = prepared(max_steps=max_steps, **{"schedule.name": "linear"})
    assert (program.num_steps, program.num_epochs) == (wanted, wanted / 8)
    factors = [float(program.recipe.schedule(wanted - left, {})) for left in (1, 0)]
    assert factors == pytest.approx([1 / wanted, 0])  # it ends where training does
    assert program.boundaries == (*(b for b in (0, 8, 16) if b < wanted), wanted)
    assert program.num_examples == 2 * wanted * tiny.BATCH_SIZE


# ---- Data.


def test_sizes_limit_their_own_splits_to_the_first_examples():
    study = dataclasses.replace(tiny.study(train_size=50), eval_size=20)
    (program,) = networks(study, dataset=tiny.dataset())
    assert program.steps_per_epoch == 3
    for name, size in {"train": 50, "validation": 20, "test": 20}.items():
        few, whole = (getattr(d, name) for d in (program.dataset, tiny.dataset()))
        assert len(few.labels) == size
        np.testing.assert_array_equal(few.inputs, whole.inputs[:size])
        np.testing.assert_array_equal(few.labels, whole.labels[:size])


def test_further_test_sets_are_of_the_examples_that_eval_size_leaves():
    asked = {"moved_pixels": 1, "severity": True}
    study = dataclasses.replace(tiny.study(), eval_size=5, test_sets=asked)
    (program,) = networks(study, dataset=images())
    sets = program.test_sets
    for split in (*sets.splits.values(), *sets.severities.values()):
        np.testing.assert_array_equal(split.labels, program.dataset.test.labels)
    still = sets.severities["moved", 0.0].inputs
    np.testing.assert_array_equal(still, program.dataset.test.inputs)


def test_tables_are_standardized_column_by_column():
    """Mean and deviation are those of the used training examples."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 3)) * [1, 1000, 0] + [5, -3000, 7]
    names = ("small", "large", "constant")
    table = Dataset.from_arrays(points, rng.integers(2, size=60), feature_names=names)
    (program,) = networks(tiny.study(train_size=30), dataset=table)
    inputs = program.dataset.train.inputs
    assert len(inputs) == 30
    seen = np.asarray(train.scaled(program.recipe, inputs))
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std(axis=0), [1, 1, 0], rtol=1e-5)


@pytest.mark.parametrize(("dataset", "axis"), [(tiny.dataset(), 0), (images(), None)])
def test_inputs_that_are_no_table_are_standardized_where_asked(dataset, axis):
    """Points column by column, images as a whole."""
    (program,) = networks(tiny.study(standardize=True), dataset=dataset)
    seen = np.asarray(train.scaled(program.recipe, program.dataset.train.inputs))
    np.testing.assert_allclose(seen.mean(axis=axis), 0, atol=1e-5)
    np.testing.assert_allclose(seen.std(axis=axis), 1, rtol=1e-5)


def test_centred_inputs_keep_their_scale_and_lose_their_mean_example():
    study = tiny.study(center=True, dataset="digits", train_size=100)
    (program,) = networks(study)
    inputs, scale = program.dataset.train.inputs, program.dataset.scale
    seen = np.asarray(train.scaled(program.recipe, inputs))
    np.testing.assert_allclose(seen.mean(axis=0), 0, atol=1e-6)
    apart = scale * (np.float32(inputs[1]) - np.float32(inputs[0]))
    np.testing.assert_allclose(seen[1] - seen[0], apart, atol=1e-6)


def test_what_does_not_change_cannot_be_standardized():
    flat = Dataset.from_arrays(np.ones((12, 2)), np.arange(12) % 2)
    with pytest.raises(ValueError, match="no column of the training inputs changes"):
        networks(tiny.study(standardize=True, batch_size=2), dataset=flat)


@pytest.mark.parametrize("standardize", [False, True])
def test_large_inputs_that_nothing_scales_are_pointed_out(caplog, standardize):
    pixels = images().train.inputs.astype(float)
    dataset = Dataset.from_arrays(pixels, np.arange(len(pixels)) % 2, name="mine")
    networks(tiny.study(standardize=standardize), dataset=dataset)
    pointed = [r.getMessage() for r in caplog.records if ".astype" in r.getMessage()]
    assert len(pointed) == (not standardize)
    assert all("mine" in line and "uint8" in line for line in pointed)


# ---- Programs.


def test_the_message_names_the_trial():
    sweep = [{"batch_size": 16}, {"batch_size": 500, "label": "huge"}]
    with pytest.raises(ValueError, match="trial 'huge': batch_size=500"):
        prepare(tiny.study(sweep), dataset=tiny.dataset())


# ---- Models.


def test_repeated_hidden_layers_are_as_written_out():
    short = prepared(**{"model.hidden": (8, 4), "model.depth": 3})
    assert short.rows == prepared(**{"model.hidden": (8, 4) * 3}).rows


def test_a_resnet_has_the_rows_of_its_table():
    small = {"model.name": "resnet18", "model.stem": "small"}
    (program,) = networks(tiny.study(**small), dataset=images())
    assert program.rows == resnet_layers.table((8, 8, 1), 3, "small")
    assert program.recipe.layers[0] == "conv1"
    assert program.recipe.layers[-1] == "fc"
    assert program.demand.parameters == sum(row.parameters for row in program.rows)


SMALL_CNN = {"model.name": "cnn", "model.channels": (2, 4)}
ONE_DENSE = {
    "model.name": "stack",
    "model.layers": ["flatten", {"layer": "dense", "units": 3}],
}


@pytest.mark.parametrize(
    ("overrides", "dataset", "names", "parameters"),
    [
        (
            {"model.hidden": (8, 4), "model.batch_norm": True},
            tiny.dataset(),
            ("dense_0", "batch_norm_0", "dense_1", "batch_norm_1", "dense_2"),
            7 * 8 + 16 + 9 * 4 + 8 + 5 * 3,
        ),
        (
            SMALL_CNN,
            images(),
            ("conv_0", "conv_1", "dense_0", "dense_1"),
            20 + 76 + 136 + 27,
        ),
        (ONE_DENSE, images(), ("dense_0",), 65 * 3),
    ],
)
def test_layers_are_in_the_order_of_the_network(overrides, dataset, names, parameters):
    (program,) = networks(tiny.study(**overrides), dataset=dataset)
    assert program.recipe.layers == names
    assert program.demand.parameters == parameters


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"batch_size": 131}, r"batch_size=131 .* 130 training examples"),
        ({"train_size": 131}, "131 is out of range"),
        ({"model.activation": "rulu"}, "'rulu'.*did you mean 'relu'"),
        ({"model.init": "henormal"}, "'henormal'.*did you mean 'he_normal'"),
        ({"model.name": "cnn"}, r"conv.*\(6,\)"),
        ({"model.name": "stack"}, "model.layers"),
        ({"model.name": "stack", "model.layers": ["relu"]}, r"gives .*\(6,\), needs"),
        ({"model.name": "stack", "model.layers": ["dens"]}, "did you mean 'dense'"),
        ({"schedule.warmup_steps": 24}, "24 steps"),
    ],
)
def test_a_model_that_cannot_be_is_refused_in_one_line(overrides, message):
    with pytest.raises(ValueError, match=message) as caught:
        prepared(**overrides)
    assert "\n" not in str(caught.value)


# ---- A module of one's own.


class Own(nn.Module):
    """Layers whose names sort differently as texts and as numbers."""

    outputs: int = 3

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(4, name="dense_10")(nn.Dense(4, name="dense_2")(x))
        return self.param("gain", nn.initializers.ones, ()) * nn.Dense(self.outputs)(x)


class TwoHeads(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(3)(x), nn.Dense(3)(x)


class Fixed(nn.Module):
    def __call__(self, x, train):
        return x[:, :3]


def test_a_module_of_ones_own_stands_in():
    program = tiny.program(tiny.study(), module=Own())
    assert program.recipe.layers == ("Dense_0", "dense_2", "dense_10", "gain")
    assert program.rows == ()
    assert program.demand.parameters == 7 * 4 + 5 * 4 + 5 * 3 + 1


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Own(outputs=4), r"returns shape \(2, 4\) for 2 examples of .* need \(2, 3\)"),
        (TwoHeads(), r"returns shape \(\(2, 3\), \(2, 3\)\)"),
        (Fixed(), "no parameters"),
    ],
)
def test_a_module_that_cannot_be_trained_is_refused(module, message):
    with pytest.raises(ValueError, match=message):
        tiny.program(tiny.study(), module=module)
