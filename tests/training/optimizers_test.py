# SPDX-License-Identifier: Apache-2.0
"""Optimizers with traced hyperparameters."""

import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
import tiny

import nnlab
from nnlab.study import Hyperparameters, Optimizer
from nnlab.training import optimizers
from nnlab.training.optimizers import optimizer
from nnlab.training.prepare import networks
from nnlab.training.schedules import factor

NAMES = ("sgd", "adam", "adamw", "rmsprop")
SUPPORTED = [name for name in optimizers.names() if name not in optimizers.REFUSED]
START = np.array([1.0, -2.0, 0.5, 0.0], np.float32)
CURVATURE = np.array([1.0, 0.3, 2.0, 5.0], np.float32)


def gradient(params):
    return CURVATURE * params - 0.1


def train(name, rates, momentum, weight_decay, nesterov=None, zeros=()):
    """Returns parameters after a step at each rate, each with a new optimizer."""
    traced = {"momentum": momentum, "weight_decay": weight_decay}
    of = Optimizer(name=name, nesterov=nesterov)

    def build(rate):
        return optimizer(of, learning_rate=rate, traced=traced, zeros=zeros)

    def step(carry, rate):
        params, state = carry
        updates, state = build(rate).update(gradient(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    params = jnp.asarray(START)
    return jax.lax.scan(step, (params, build(rates[0]).init(params)), rates)[0][0]


@functools.partial(jax.jit, static_argnums=0)
def train_with(make_rule):
    """Does the same with a rule of Optax with its own schedule or constant rate."""
    rule, params = make_rule(), jnp.asarray(START)
    state = rule.init(params)
    for _ in range(5):
        updates, state = rule.update(gradient(params), state, params)
        params = optax.apply_updates(params, updates)
    return params


def test_two_steps_of_sgd_are_the_arithmetic():
    rates = np.array([0.1, 0.05], np.float32)
    got = train("sgd", rates, 0.9, 0.01)
    velocity = gradient(START) + 0.01 * START
    params = START - 0.1 * velocity
    velocity = 0.9 * velocity + gradient(params) + 0.01 * params
    np.testing.assert_allclose(got, params - 0.05 * velocity, rtol=1e-6)


def decayed(weight_decay, rule):
    return optax.chain(optax.add_decayed_weights(weight_decay), rule)


def rmsprop(rate, momentum):
    """Returns PyTorch's: epsilon outside the root, the rate outside the velocity."""
    return optax.chain(
        optax.scale_by_rms(0.9, eps_in_sqrt=False),
        optax.trace(momentum),
        optax.scale_by_learning_rate(rate),
    )


OPTAX = {
    "sgd": lambda rate, m, w: decayed(w, optax.sgd(rate, m)),
    "adam": lambda rate, m, w: decayed(w, optax.adam(rate)),
    "adamw": lambda rate, m, w: optax.adamw(rate, weight_decay=w),
    "rmsprop": lambda rate, m, w: decayed(w, rmsprop(rate, m)),
}


@pytest.mark.parametrize("name", NAMES)
def test_members_of_one_program_equal_runs_at_constant_rates(name):
    rates, momenta, decays = np.float32([[0.01, 0.3], [0.0, 0.9], [0.1, 0.0]])
    together = jax.jit(
        jax.vmap(lambda rate, m, w: train(name, jnp.full(5, rate), m, w))
    )(rates, momenta, decays)
    for got, rate, m, w in zip(together, rates, momenta, decays):
        alone = train_with(lambda rate=rate, m=m, w=w: OPTAX[name](rate, m, w))
        np.testing.assert_allclose(got, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_a_scheduled_rate_equals_optaxs_schedule(name):
    factors = [factor("cosine", step, {}, total_steps=5) for step in range(5)]
    got = jax.jit(lambda peak: train(name, peak * jnp.stack(factors), 0.9, 0.01))(0.1)
    rate = optax.cosine_decay_schedule(0.1, 5)
    alone = train_with(lambda: OPTAX[name](rate, 0.9, 0.01))
    np.testing.assert_allclose(got, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_rate_0_moves_nothing(name):
    run = jax.jit(lambda m: train(name, jnp.zeros(3), m, 0.1, nesterov=True))
    np.testing.assert_array_equal(run(0.9), START)


@pytest.mark.parametrize("name", NAMES)
def test_parts_left_out_are_no_loss_to_a_member_that_has_them_at_0(name):
    """Equal to a unit or two in the last place: the compiler fuses differently.

    On an AMD EPYC all are equal bit for bit, on an Intel Xeon rmsprop is not.
    """

    def run(zeros):
        rates = jnp.full(5, 0.1)
        return jax.jit(lambda z: train(name, rates, z, z, zeros=zeros))

    without = run(["momentum", "weight_decay"])(0.0)
    np.testing.assert_array_max_ulp(run([])(0.0), without, maxulp=4)
    assert not np.array_equal(without, START)


@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_momentum_left_out_frees_its_state(name):
    def floats(zeros):
        of = Optimizer(name=name, momentum=0.0)
        rule = optimizer(of, learning_rate=0.1, zeros=zeros)
        return sum(leaf.size for leaf in jax.tree.leaves(rule.init(START)))

    assert floats([]) - floats(["momentum"]) == START.size


def test_adamw_decays_apart_from_the_gradient_and_adam_through_it():
    def moved(name):
        rule = optimizer(Optimizer(name=name, weight_decay=0.01), learning_rate=0.1)
        return rule.update(jnp.zeros(4), rule.init(START), START)[0]

    np.testing.assert_allclose(moved("adamw"), -0.1 * 0.01 * START, rtol=1e-6)
    # Adam's first step has the size of the rate, whatever the gradient's.
    np.testing.assert_allclose(moved("adam"), -0.1 * np.sign(START), rtol=1e-4)


def test_every_optimizer_of_optax_is_traced_static_or_refused(capsys):
    """Prints the table: `pytest -s`."""
    rows = []
    for name, make in optimizers.names().items():
        if why := optimizers.REFUSED.get(name):
            rows.append(f"{name:28} refused: {why}")
            continue
        known = optimizers.parameters(make)
        traced = [k for k, p in known.items() if isinstance(p.default, float)]
        traced += [k for k in ("momentum", "weight_decay") if k in {*known} - {*traced}]
        static = [k for k in known if k not in traced]
        rows.append(
            f"{name:28} traced: {', '.join(traced) or '-'}; "
            f"static: {', '.join(static) or '-'}"
        )
    with capsys.disabled():
        print("", *rows, sep="\n")
    assert len(SUPPORTED) >= 40


DRAW = np.random.default_rng(0)
PARAMS = {
    "dense": {"kernel": DRAW.normal(size=(4, 3)).astype("f4")},
    "conv": {
        "kernel": DRAW.normal(size=(3, 3, 2, 4)).astype("f4"),
        "bias": np.array([0.1, 0.0, -0.1, 0.2], "f4"),
    },
}
LOSS = 1.3  # of those that read it
ROUNDING = {"muon": 2e-5}  # powers of matrices magnify it
QUICK = ("lion", "adagrad", "polyak_sgd", "optimistic_gradient_descent")
DECLARED = ("momentum", "weight_decay")


def two_steps(make_rule):
    """Trains `PARAMS` for two steps; returns them and the state."""

    def step(carry, _):
        params, state = carry
        gradients = jax.tree.map(lambda p: 0.3 * p + 0.05, params)
        rule = optax.with_extra_args_support(make_rule())
        value = jnp.float32(LOSS)
        updates, state = rule.update(gradients, state, params, value=value)
        return (optax.apply_updates(params, updates), state), None

    start = jax.tree.map(jnp.asarray, PARAMS)
    return jax.lax.scan(step, (start, make_rule().init(start)), None, length=2)[0]


def further_of(name):
    """Returns each number of an optimizer at two values, of which one is optax's."""
    make = optimizers.names()[name]
    defaults = {k: p.default for k, p in optimizers.parameters(make).items()}
    numbers = {k: v for k, v in defaults.items() if isinstance(v, float)}
    if "momentum" in defaults:
        numbers["momentum"] = numbers.get("momentum", 0.5)
    if "weight_decay" in defaults:
        numbers["weight_decay"] = numbers.get("weight_decay") or 0.01
    return {k: (v, 0.9 * v + (v == 0) * 0.01) for k, v in numbers.items()}


def ours(name, values):
    declared = {k: v for k, v in values.items() if k in DECLARED}
    return Optimizer(
        name=name,
        further=tuple((k, v) for k, v in values.items() if k not in DECLARED),
        **declared,
    )


def of_optax(name, rate, values):
    """Makes the rule with optax alone."""
    values = dict(values)
    if name == "polyak_sgd":
        return optax.polyak_sgd(rate, **values)
    if name == "rmsprop":
        momentum = values.pop("momentum")
        rest = optax.scale_by_rms(**values, eps_in_sqrt=False)
        return optax.chain(
            rest, optax.trace(momentum), optax.scale_by_learning_rate(rate)
        )
    if name == "muon":
        one = optax.contrib.MuonDimensionNumbers
        numbers = {
            "dense": {"kernel": one((0,), 1)},
            "conv": {"kernel": one((0, 1, 2), 3), "bias": None},
        }
        values["muon_weight_dimension_numbers"] = numbers
    return optimizers.names()[name](rate, **values)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of optax's own
@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n not in QUICK)) for n in SUPPORTED],
)
def test_all_its_numbers_are_traced_and_the_steps_are_those_of_optax(name):
    both = further_of(name)
    made = ours(name, {k: first for k, (first, _) in both.items()})
    optimizers.check([Hyperparameters(optimizer=made)])
    traced = {
        k if k in DECLARED else f"optimizer.{k}": jnp.array(some)
        for k, some in both.items()
    }
    rates = jnp.array([0.1, 0.02])
    together, state = jax.jit(
        jax.vmap(
            lambda rate, traced: two_steps(
                lambda: optimizer(made, learning_rate=rate, traced=traced)
            )
        )
    )(rates, traced)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((together, state)))
    for i, rate in enumerate((0.1, 0.02)):
        values = {k: jnp.float32(some[i]) for k, some in both.items()}
        with jax.disable_jit():
            make = functools.partial(of_optax, name, rate, values)
            alone, _ = two_steps(make)
        got = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        for mine, its in zip(jax.tree.leaves(got), jax.tree.leaves(alone)):
            np.testing.assert_allclose(
                mine, its, rtol=2e-5, atol=ROUNDING.get(name, 2e-6)
            )


BAD = {
    "name='adamm' is not known; did you mean 'adam'": {"name": "adamm"},
    "'lbfgs' is not supported: its line search": {"name": "lbfgs"},
    "unknown field 'optimizer.beta' of optimizer 'lion'; .*optimizer.b1": {
        "name": "lion",
        "beta": 0.9,
    },
    "learning_rte' .*did you mean 'optimizer.learning_rate'": {"learning_rte": 0.1},
    "momentum=0.9: optimizer 'lion' has no momentum; it has b1, b2": {
        "name": "lion",
        "momentum": 0.9,
    },
    "ns_steps=2.5 is not a whole number": {"name": "muon", "ns_steps": 2.5},
    "b1='x' is not a number": {"name": "lion", "b1": "x"},
    "nesterov=1 is not true or false": {"nesterov": 1},
    "decay of optimizer 'novograd' acts on everything": {
        "name": "novograd",
        "decay_on": "kernels",
    },
    "optimizer 'muon' fails: ValueError: Unknown preconditioning foo": {
        "name": "muon",
        "preconditioning": "foo",
    },
}


@pytest.mark.parametrize("message", BAD)
def test_what_optax_does_not_have_is_refused_before_data_are_loaded(message):
    settings = {f"optimizer.{k}": v for k, v in BAD[message].items()}
    with pytest.raises(ValueError, match=message):
        networks(tiny.study(dataset="csv:no", **settings))


def step_of(settings, traced=None, rate=0.1, gradient_of=0.0):
    """Returns the first update of a kernel and a bias of ones."""
    of = Hyperparameters().replace(settings).optimizer
    params = {"layer": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}}
    gradients = jax.tree.map(lambda p: gradient_of * p, params)
    rule = optimizer(of, learning_rate=rate, traced=traced or {})
    updates = rule.update(gradients, rule.init(params), params)[0]["layer"]
    return updates["kernel"][0, 0], updates["bias"][0]


@pytest.mark.parametrize("name", ["sgd", "adamw", "lion"])
@pytest.mark.parametrize("on", ["all", "kernels"])
def test_decoupled_decay_shrinks_by_the_rate_what_it_acts_on(name, on):
    settings = {"name": name, "weight_decay": 0.5, "decay_on": on}
    settings["decay_as"] = "decoupled" if name == "sgd" else "auto"
    kernel, bias = step_of({f"optimizer.{k}": v for k, v in settings.items()})
    np.testing.assert_allclose(kernel, -0.1 * 0.5, rtol=1e-6)
    np.testing.assert_allclose(bias, -0.1 * 0.5 * (on == "all"), rtol=1e-6)


def test_coupled_decay_passes_through_the_rule():
    settings = {"optimizer.name": "lion", "optimizer.weight_decay": 0.5}
    kernel, _ = step_of(settings | {"optimizer.decay_as": "coupled"})
    np.testing.assert_allclose(kernel, -0.1, rtol=1e-6)  # the sign of the penalty


@pytest.mark.parametrize(
    ("norm", "wanted"), [(0.0, 3.0), (1.0, 1 / 6**0.5), (9.0, 3.0)]
)
def test_gradients_are_clipped_by_their_norm_unless_it_is_0(norm, wanted):
    kernel, bias = step_of({}, {"clip_norm": norm}, rate=1.0, gradient_of=3.0)
    np.testing.assert_allclose([-kernel, -bias], wanted, rtol=1e-6)


def test_adamw_decays_as_optax_does_unless_it_is_told():
    none, zero = (
        Hyperparameters().replace({"optimizer.name": "adamw", **of})
        for of in ({}, {"optimizer.weight_decay": 0.0})
    )
    assert none.flat()["optimizer.weight_decay"] == 1e-4
    assert none.identity() != zero.identity()
    lion = Hyperparameters().replace({"optimizer.name": "lion"})
    assert lion.flat()["optimizer.weight_decay"] is None  # optax knows


def test_one_of_ones_own_gets_what_is_swept_and_must_be_handed_in_again(tmp_path):
    def mine(learning_rate, b1):
        return optax.adam(learning_rate, b1)

    asked = {
        "dataset": tiny.dataset(),
        "sweep": {"optimizer.b1": [0.5, 0.9], "optimizer.learning_rate": [0.01]},
        "num_epochs": 2,
        "num_seeds": 2,
        "show": False,
    }
    found = nnlab.run(optimizer=mine, workdir=tmp_path / "mine", **asked)
    named = {"optimizer": {"name": "adam"}, **asked}
    wanted = nnlab.run(workdir=tmp_path / "adam", **named)
    losses = [of.findings.results.curves["train_loss"] for of in (found, wanted)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert found.study.own.functions["optimizer"]
    with pytest.raises(
        ValueError, match="the study has an optimizer of its own, and a data"
    ):
        nnlab.run(tmp_path / "mine", workdir=tmp_path / "again", show=False)
    with pytest.raises(ValueError, match="name='lion' does not go with an optimizer"):
        nnlab.run(optimizer=mine, **{"optimizer.name": "lion"}, show=False)
    with pytest.raises(ValueError, match=r"no optax\.GradientTransformation"):
        nnlab.run(optimizer=lambda learning_rate: 1, show=False)


@pytest.mark.parametrize("own", [optax.rmsprop, optax.contrib.muon])
def test_optaxs_own_function_handed_in_stays_optaxs(own):
    got, _ = two_steps(lambda: optimizer(Optimizer(), learning_rate=0.1, own=own))
    wanted, _ = two_steps(lambda: own(0.1))
    jax.tree.map(np.testing.assert_array_equal, got, wanted)


def test_muon_reads_queries_keys_and_values_as_matrices_from_features_to_heads():
    def step(name, shape):
        grown = jax.random.normal(jax.random.key(0), (6, 12)).reshape(shape)
        params = {"attention": {name: {"kernel": grown}}}
        rule = optimizer(Optimizer(name="muon"), learning_rate=0.1)
        update = rule.update(params, rule.init(params), params)[0]
        return update["attention"][name]["kernel"].reshape(6, 12)

    wanted = step("dense", (6, 12))
    for name in ("query", "key", "value"):
        got = step(name, (6, 3, 4))
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    got = step("out", (2, 3, 12))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_reports_know_no_optax(tmp_path):
    lion = tiny.study(**{"optimizer.name": "lion", "optimizer.b1": 0.8})
    nnlab.run(lion, workdir=tmp_path / "lion", dataset=tiny.dataset(), show=False)
    lines = (
        "import sys, nnlab",
        f"found = nnlab.load({str(tmp_path / 'lion')!r})",
        "found.answer",
        "assert found.study.base.flat()['optimizer.b1'] == 0.8",
        "assert not {'optax', 'jax'} & set(sys.modules)",
    )
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True)


def test_100_steps_of_lion_with_clipping_are_those_of_optax():
    numbers = {"b1": 0.8, "b2": 0.95, "weight_decay": 0.02}
    further = (("b1", 0.8), ("b2", 0.95))
    of = Optimizer(name="lion", weight_decay=0.02, further=further)
    traced = {"optimizer.b1": 0.8, "optimizer.b2": 0.95, "weight_decay": 0.02}
    mine = optimizer(of, learning_rate=0.01, traced={**traced, "clip_norm": 0.5})
    its = optax.chain(optax.clip_by_global_norm(0.5), optax.lion(0.01, **numbers))

    def losses(rule):
        def step(carry, _):
            params, state = carry
            updates, state = rule.update(gradient(params), state, params)
            params = optax.apply_updates(params, updates)
            return (params, state), jnp.sum(CURVATURE * params**2)

        start = jnp.asarray(START)
        return jax.lax.scan(step, (start, rule.init(start)), None, length=100)[1]

    np.testing.assert_allclose(
        *map(jax.jit(losses, static_argnums=0), (mine, its)), 1e-5
    )
