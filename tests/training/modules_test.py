# SPDX-License-Identifier: Apache-2.0
"""Networks of one's own, of every kind: how they are called, and what they keep."""

import collections
import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax import nnx

from nnlab.study.hyperparameters import Module
from nnlab.training import modules, own
from nnlab.training.handed import Handed
from nnlab.training.population import Population
from nnlab.training.prepare import networks

X = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)


def begun(given):
    """Returns a network of one's own, and its variables of seed 0."""
    module = modules.called(given)
    return module, module.init(jax.random.key(0), X)


def trained(given, seed=1):
    """Returns logits in training, and what is kept then."""
    module, variables = begun(given)
    rngs = {"dropout": jax.random.key(seed)}
    logits, kept = module.apply(variables, X, True, rngs, ["batch_stats"])
    return logits, kept["batch_stats"]


def population(given):
    """Returns two networks in training."""
    of = tiny.program(tiny.study(), module=given)
    return Population(of.recipe, of.plan.lanes, of.members, 0, of.dataset.train)


# ---- Linen.


def calls(body: str, arguments: str = "self, x") -> nn.Module:
    """Makes a module whose ``__call__`` returns an expression."""
    names = {"nn": nn, "jax": jax, "jnp": jnp}
    exec(f"def call({arguments}):\n    return {body}", names)  # scan: allowed
    return type("Made", (nn.Module,), {"__call__": nn.compact(names["call"])})()


STILL = "deterministic"
NOISE = "nn.Dense(3)(x) + jax.random.normal(self.make_rng('noise'), (len(x), 3))"


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(3)]),
        calls("nn.Dense(3)(x)"),
        calls(f"nn.Dense(3)(nn.Dropout(0.5)(x, {STILL}))", f"self, x, {STILL}"),
        calls("nn.Dense(3)(x) * (2 if training else 1)", "self, x, *, training"),
        calls("nn.Dense(3)(x) * (2 if more['train'] else 1)", "self, x, **more"),
        calls(f"{NOISE} if train else nn.Dense(3)(x)", "self, x, train=False"),
        calls("nn.Dense(3, dtype='bfloat16')(x)"),
    ],
)
def test_a_module_is_called_as_it_takes_it(module):
    program = tiny.program(tiny.study(), module=module)
    assert own.of_module(program.recipe.module, (6,)).code  # in training
    variables = program.recipe.module.init(jax.random.key(0), X)
    logits = program.recipe.module.apply(variables, X, train=False)
    assert (logits.shape, logits.dtype) == ((5, 3), np.float32)


class Reads(nnx.Module):
    """Reads tokens, as `calls("nn.Embed(...)")` does in Linen."""

    def __init__(self, rngs):
        self.embed = nnx.Embed(12, 4, rngs=rngs)
        self.head = nnx.Linear(4, 7, rngs=rngs)

    def __call__(self, x):
        return self.head(self.embed(x).mean(1))


@pytest.mark.parametrize(
    "module",
    [calls("nn.Dense(7)(nn.Embed(12, 4)(x).mean(1))"), Reads],
)
def test_a_module_of_ones_own_reads_tokens(module):
    study = tiny.study(dataset="modular_addition:7", batch_size=8)
    (program,) = networks(study, module=module)
    assert own.record(program.recipe.module, {}, program.dataset).module.code


class Counts(nn.Module):
    """Counts its steps in a collection of its own, beside batch norm's."""

    @nn.compact
    def __call__(self, x, train):
        count = self.variable("memory", "steps", lambda: jnp.int32(0))
        if train and not self.is_initializing():
            count.value += 1
        return nn.Dense(3)(nn.BatchNorm(not train)(x))


def test_further_collections_are_kept_through_training():
    kept = tiny.trained(population(Counts())).batch_stats
    assert set(kept) == {"BatchNorm_0", "collection memory"}
    assert np.all(kept["collection memory"]["steps"] == tiny.NUM_STEPS)
    alone = tiny.trained(population(tiny.Plain(batch_norm=True))).batch_stats
    assert set(alone) == {"batch_norm_0"}


# ---- Pairs of functions.


def init(key, x):
    return [(0.1 * jax.random.normal(key, (x.shape[-1], 3)), jnp.zeros(3))]


def apply(params, x):
    ((kernel, bias),) = params
    return x @ kernel + bias[None]


def noisy(params, x, *, train, rng=None):
    return apply(params, x) + (jax.random.normal(rng, (len(x), 3)) if train else 0)


def counting(params, state, x):
    return apply(params, x), {"steps": state["steps"] + 1}


Transformed = collections.namedtuple("Transformed", "init apply")
HAIKU = Transformed(
    lambda rng, *x: {"mlp/~/linear": dict(zip("wb", init(rng, *x)[0]))},
    lambda params, rng, *x: apply([[params["mlp/~/linear"][k] for k in "wb"]], *x),
)


def test_a_pair_of_functions_is_a_network():
    module, variables = begun((init, apply))
    assert module.name == "apply"
    params = init(jax.random.key(0), X)
    np.testing.assert_array_equal(variables["params"]["0"]["1"], params[0][1])
    np.testing.assert_array_equal(module.apply(variables, X, False), apply(params, X))
    of_haiku, variables = begun(HAIKU)
    assert set(variables["params"]["mlp"]["~"]["linear"]) == {"w", "b"}
    logits = of_haiku.apply(variables, X, False)
    np.testing.assert_allclose(logits, apply(params, X), rtol=1e-5)


def test_a_pair_is_told_what_it_asks_for_by_name():
    module, variables = begun((init, noisy))
    still = module.apply(variables, X, False)
    np.testing.assert_array_equal(still, begun((init, apply))[0].apply(variables, X, 0))
    noise = trained((init, noisy))[0] - still
    drawn = jax.random.normal(jax.random.key(1), (5, 3))
    np.testing.assert_allclose(noise, drawn, atol=1e-6)
    pair = lambda key: (init(key, X), {"steps": jnp.int32(0)}), counting
    assert trained(pair)[1] == {"steps": 1}


# ---- NNX.


class Net(nnx.Module):
    """Batch norm, and a random stream of its own."""

    def __init__(self, width=4, *, rngs):
        self.first = nnx.Linear(6, width, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.last = nnx.Linear(width, 3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.rngs = rngs

    def __call__(self, x, train):
        x = self.drop(self.norm(self.first(x)))
        shape = (len(x), 3)
        noise = jax.random.normal(self.rngs.noise(), shape) if train else 0.0
        return self.last(x) + noise


class Twin(nn.Module):
    """What `Net` is without dropout and noise."""

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(not train, momentum=0.99, name="norm")(
            nn.Dense(4, name="first")(x)
        )
        return nn.Dense(3, name="last")(x)


def test_an_nnx_module_is_equal_to_its_linen_twin():
    module, variables = begun(lambda rngs: Net(rngs=rngs))
    twin, _ = begun(Twin())
    assert set(variables["params"]) == {"first", "norm", "last"}
    logits = module.apply(variables, X, False)
    np.testing.assert_allclose(logits, twin.apply(variables, X, False), rtol=1e-6)
    (_, kept), (_, of_twin) = trained(Net), trained(Twin())
    assert jax.tree.structure(kept) == jax.tree.structure(of_twin)


def test_its_random_streams_follow_the_key_of_a_step():
    one, again, other = (trained(Net, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.all(one != other)


def test_every_seed_of_an_nnx_module_begins_anew():
    networks = population(Net)
    state = networks.gather(tiny.trained(networks))
    one, two = state.params["first"]["kernel"][0]
    assert np.all(one != two)
    assert not np.any(state.batch_stats["norm"]["mean"] == 0)


# ---- Several, and their attributes.


class Wide(nn.Module):
    width: int = 4

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.Dense(self.width)(x))


def test_several_are_known_by_name():
    assert [*modules.by_name(Wide())] == [""]
    assert [*modules.by_name((init, apply))] == [""]
    assert [*modules.by_name([Wide(), Net, (init, apply)])] == ["Wide", "Net", "apply"]
    assert [*modules.by_name([Wide(), Wide(8)])] == ["Wide_4", "Wide_8"]
    assert [*modules.by_name({"a": Wide(), 2: Wide()})] == ["a", "2"]


@pytest.mark.parametrize("given", [Wide(), Net], ids=["linen", "nnx"])
def test_their_attributes_are_set_by_a_trial(given):
    named = {"one": modules.called(given), "other": modules.called(HAIKU)}
    by = Module(attributes=(("name", "one"), ("width", 7)))
    found = modules.chosen(named, by)
    params = jax.tree.leaves(found.init(jax.random.key(0), X)["params"])
    assert found.attributes == {"width": 7}
    assert {7} <= {size for leaf in params for size in leaf.shape}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "A", "widht": 7}, "'Wide' has no attribute 'widht'; did you mean 'w"),
        ({"name": "B", "width": 7}, "'apply' has no attribute 'width'"),
        ({"name": "C"}, r"no module 'C' \(module.name\); allowed: A, B"),
        ({"width": 7}, r"which module is not said \(module.name\); allowed: A, B"),
    ],
)
def test_what_a_trial_cannot_set_is_one_line(values, message):
    named = modules.by_name({"A": Wide(), "B": (init, apply)})
    with pytest.raises(ValueError, match=message):
        modules.chosen(named, Module(attributes=tuple(values.items())))


def test_each_of_them_is_recorded_and_trained():
    sweep = [{"module.width": width} for width in (4, 9)]
    study = tiny.study(sweep)
    found = Handed(module=Wide(), dataset=tiny.dataset()).own(study)
    assert found.module.attributes == {"width": "4"}
    assert found.modules["width=9"]["parameters"]["Dense_1/kernel"] == (6, 9)
    own_of = [found.record_of(t.hyperparameters.module) for t in study.trials()]
    assert own_of[0]["code"] != own_of[1]["code"]


# ---- Mistakes.


class Later(nnx.Module):
    """A module without weights."""


class Draws(Net):
    """Draws random numbers where it does not train."""

    def __call__(self, x):
        return super().__call__(x, True)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Wide, r"module is the class 'Wide': hand in an instance, such as Wide\(\)"),
        (Later(), r"drawn already: .*, such as lambda rngs: Later\(..., rngs=rngs\)"),
        (lambda x, train: x, "module is a function: it must be a flax.linen.Module"),
        ("mlp", "module is a str: it must be a flax.linen.Module"),
        (lambda rngs: 3, "'<lambda>' returns no flax.nnx.Module"),
        (lambda rngs, width: Net(), "'<lambda>' also needs 'width': it is called with"),
        ((init, lambda params, x, mask: x), "also needs 'mask': it is called with p"),
        ((init, lambda params: 1), "takes no x: it is called with params, x"),
        ((Wide().init, Wide().apply), "of a Linen module: hand in that"),
        ((1, 2), "a pair of no functions"),
        ([], "holds no network"),
        ([Wide(), Wide()], "two modules are called 'Wide': name them"),
        ({"width": 8}, "'width': module is a int"),
        (calls("x", "self, x, mask, train"), "'Made' also needs 'mask': it is called"),
        (calls("x", "self"), "'Made' takes no x: it is called with x and train"),
        (calls(NOISE), "only where train is True"),
        (Draws, "only where train is True"),
        (
            calls("(self.sow('seen', 'x', 1.0), nn.Dense(3)(x))[1]"),
            "keeps collection seen/x/0 .*, and after a step collection seen/x/0 .*/x/1",
        ),
        (
            calls("nn.Dense(3)(x @ jnp.ones(7))"),
            r"'Made' fails: TypeError: dot_general",
        ),
        (calls("nn.Dense(3)(x).astype(int)"), "returns int32; logits are floats"),
        (calls("{'logits': nn.Dense(3)(x)}"), "return nothing but the logits"),
    ],
)
def test_a_module_that_cannot_be_trained_is_one_line(module, message):
    with pytest.raises(ValueError, match=message) as caught:
        tiny.program(tiny.study(), module=module)
    assert "\n" not in str(caught.value)


def test_a_scale_without_a_kernel_is_refused():
    scaled = tiny.study([{"model.init_scale": 2.0}])
    assert tiny.program(scaled, module=Net)
    with pytest.raises(ValueError, match="'apply' has none"):
        tiny.program(scaled, module=(init, apply))


class Breaks(nn.Module):
    """A module with a mistake in it."""

    @nn.compact
    def __call__(self, x, train):
        sizes = {"hidden": 3}
        return nn.Dense(sizes["hiden"])(x)


def test_a_mistake_in_it_is_told_with_its_line():
    line = inspect.getsourcelines(Breaks.__call__.__wrapped__)[1] + 3
    with pytest.raises(
        ValueError, match=rf"KeyError: 'hiden' \(modules_test.py, line {line}"
    ):
        tiny.program(tiny.study(), module=Breaks())
