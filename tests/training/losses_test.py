# SPDX-License-Identifier: Apache-2.0
"""Losses by name, from Python, and with smoothed labels, against optax."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

import nnlab
from nnlab.training import losses, member
from nnlab.training.prepare import networks

RNG = np.random.default_rng(0)
OUTPUTS = (3 * RNG.normal(size=(11, 4))).astype(np.float32)
LABELS = RNG.integers(4, size=11).astype(np.int32)
ONE_HOT = np.eye(4, dtype=np.float32)[LABELS]
RIVALS = {
    "softmax_cross_entropy": optax.softmax_cross_entropy_with_integer_labels,
    "squared_error": lambda o, t: optax.l2_loss(o, ONE_HOT).sum(axis=1),
    "hinge": optax.losses.multiclass_hinge_loss,
}


@pytest.mark.parametrize("name", RIVALS)
def test_losses_are_those_of_optax(name):
    got = losses.find(name)(OUTPUTS, LABELS)
    np.testing.assert_allclose(got, RIVALS[name](OUTPUTS, LABELS), rtol=2e-6, atol=1e-6)
    shares = losses.find(name)(OUTPUTS, ONE_HOT)
    np.testing.assert_allclose(shares, got, rtol=2e-6, atol=1e-6)


def test_large_logits_do_not_overflow():
    logits = np.array([[0.0, 1e4], [1e30, 0.0]], np.float32)
    got = losses.softmax_cross_entropy(jnp.asarray(logits), jnp.array([0, 0]))
    np.testing.assert_allclose(got, [1e4, 0.0])


def test_smoothed_labels_are_those_of_optax():
    got = losses.smoothed(LABELS, 4, jnp.float32(0.1))
    np.testing.assert_allclose(got, optax.smooth_labels(ONE_HOT, 0.1), rtol=1e-6)
    assert losses.smoothed(LABELS, 4, jnp.float32(0)).tolist() == ONE_HOT.tolist()


def test_an_unknown_loss_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"loss.name='squared_eror'.*'squared_error'"):
        losses.find("squared_eror")
    with pytest.raises(ValueError, match="needs classes"):
        losses.find("hinge", regression=True)


def test_smoothing_is_traced_and_costs_nothing_where_it_is_not_set():
    plain = tiny.study()
    rates = [{"loss.label_smoothing": share} for share in (0.0, 0.1)]
    (swept,) = networks(dataclasses.replace(plain, sweep=rates), dataset=tiny.dataset())
    assert "label_smoothing" in swept.members.traced()
    named = plain.base.replace({"loss.name": "softmax_cross_entropy"})
    one, other = (
        networks(study, dataset=tiny.dataset())[0]
        for study in (plain, dataclasses.replace(plain, base=named))
    )
    assert one.jaxpr == other.jaxpr


def own_loss(outputs, targets):
    right = jax.nn.one_hot(targets, outputs.shape[1])
    return jnp.sum((outputs - right) ** 2, axis=1) / 2


def twice(outputs, targets):
    return 2 * own_loss(outputs, targets)


@pytest.mark.slow
def test_a_loss_of_ones_own_trains_as_the_same_one_by_name(tmp_path):
    study = tiny.study(num_seeds=2)
    mine = nnlab.run(
        study,
        dataset=tiny.dataset(),
        loss=own_loss,
        workdir=tmp_path / "own",
        show=False,
    )
    named = nnlab.run(
        study,
        dataset=tiny.dataset(),
        workdir=tmp_path / "named",
        show=False,
        **{"loss.name": "squared_error"},
    )
    names = ["train_loss", "validation_loss", "test_accuracy"]
    got, wanted = (of.curves()[names].to_numpy() for of in (mine, named))
    np.testing.assert_allclose(got, wanted, rtol=1e-5)
    again = {"workdir": tmp_path / "own", "dataset": tiny.dataset(), "show": False}
    with pytest.raises(ValueError, match="loss of its own: hand in the same"):
        nnlab.run(mine.study, resume=True, **again)
    with pytest.raises(ValueError, match="code of loss has changed"):
        nnlab.run(mine.study, resume=True, loss=twice, **again)
    nnlab.run(mine.study, resume=True, loss=own_loss, **again)


def test_what_is_no_loss_is_refused():
    study = tiny.study()
    for loss, said in [
        (3, "loss=3 is no function"),
        (lambda o, t: own_loss(o, t).mean(), r"returns shape \(\) for 2 examples"),
    ]:
        with pytest.raises(ValueError, match=said):
            nnlab.run(study, dataset=tiny.dataset(), loss=loss, show=False)


def test_class_weights_and_l1_are_in_the_training_loss_alone():
    plain = tiny.study().base
    asked = {"loss.class_weights": (1, 2, 0), "loss.l1": 0.5}
    recipes = []
    for overrides in ({}, asked):
        study = dataclasses.replace(tiny.study(), base=plain.replace(overrides))
        (program,) = networks(study, dataset=tiny.dataset())
        recipes.append(program.recipe)
        names = program.members.traced()
    traced = {name: jnp.float32(values[0]) for name, values in names.items()}
    some = tiny.dataset().train
    inputs, labels = some.inputs[:9], some.labels[:9]
    state = member.init_state(recipes[0], traced, member.key(0))
    rest = (state.params, {}, traced, inputs, labels, member.key(1))
    unlike = {name: value for name, value in traced.items() if name != "l1"}
    alone, _ = member.batch_loss(recipes[1], *rest[:2], unlike, *rest[3:])
    each = member.judge(recipes[1], state, inputs, labels)["loss"]
    weighted = np.mean(np.asarray(each) * np.array([1, 2, 0])[labels])
    np.testing.assert_allclose(alone, weighted, rtol=1e-5)
    added = member.batch_loss(recipes[1], *rest)[0] - alone
    kernels = [of["kernel"] for of in state.params.values()]
    want = 0.5 * sum(np.abs(kernel).sum() for kernel in kernels)
    np.testing.assert_allclose(added, want, rtol=1e-5)


def test_class_weights_fit_the_classes():
    base = tiny.study().base.replace({"loss.class_weights": (1, 2)})
    with pytest.raises(ValueError, match="needs a weight for each class; arrays has 3"):
        networks(dataclasses.replace(tiny.study(), base=base), dataset=tiny.dataset())


def test_smoothing_of_any_trial_is_refused_where_it_does_not_go():
    sweep = ({"loss.label_smoothing": 0.0}, {"loss.label_smoothing": 0.1})
    study = dataclasses.replace(tiny.study(), sweep=sweep)
    mine = {"loss": lambda outputs, targets: outputs.sum(axis=1)}
    with pytest.raises(ValueError, match="a loss of your own"):
        networks(study, dataset=tiny.dataset(), functions=mine)
    hinge = tiny.study(**{"loss.name": "hinge", "loss.label_smoothing": 0.1})
    with pytest.raises(ValueError, match="one right class"):
        networks(hinge, dataset=tiny.dataset())
