# SPDX-License-Identifier: Apache-2.0
"""A network of a population equals the network that trains alone."""

import math
import types

import jax
import numpy as np
import optax
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlab.data import Split
from nnlab.training import member
from nnlab.training.lanes import Batches, Lanes
from nnlab.training.place import Order
from nnlab.training.population import SAMPLE_EVERY, Population

ONE_LANE = Lanes(2, 2, 2, 1, 2)
ONE_LANE_OF_TWO = Lanes(1, 2, 1, 2, 1)
RATES = (0.1, 0.3)


def at(tree, trial, seed):
    return jax.tree.map(lambda leaf: leaf[trial, seed], tree)


def equal(tree, other):
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def distance(tree, other):
    """Returns the norm of the difference over the norm, all leaves together."""

    def flat(tree):
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])

    return np.linalg.norm(flat(tree) - flat(other)) / np.linalg.norm(flat(other))


# ---- A network equals a plain Flax and Optax loop.

VARIANTS = {
    "momentum": (
        {"optimizer.momentum": 0.9, "optimizer.nesterov": True},
        tiny.Plain(),
        lambda rate: optax.sgd(rate, 0.9, nesterov=True),
    ),
    "batch_norm": ({"model.batch_norm": True}, tiny.Plain(batch_norm=True), optax.sgd),
    "adam and dropout": (
        {"model.dropout_rate": 0.3, "optimizer.name": "adam"},
        tiny.Plain(dropout_rate=0.3),
        optax.adam,
    ),
}


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request):
    """A population after 20 steps; (trial 0, seed 0) and (1, 1) trained plainly."""
    overrides, module, optimizer = VARIANTS[request.param]
    of = tiny.study(tiny.rates(*RATES), **overrides)
    population = tiny.population(of, ONE_LANE)
    state = population.gather(tiny.trained(population))
    plain = [tiny.loop(module, optimizer(rate), i) for i, rate in enumerate(RATES)]
    return types.SimpleNamespace(
        population=population, state=state, module=module, plain=plain
    )


@pytest.mark.slow
def test_a_member_is_the_plain_loop(variant):
    for i, plain in enumerate(variant.plain):
        member = at(variant.state, i, i)
        assert distance(member.params, plain.params) < 1e-5
        if plain.batch_stats:
            assert distance(member.batch_stats, plain.batch_stats) < 1e-5
        np.testing.assert_allclose(member.loss_sum, plain.losses.sum(), rtol=1e-5)


def test_the_sampled_norms_are_those_of_the_plain_loop(variant):
    """Norms of the last step of each stretch: here the 16th and the 20th."""
    norms, member = variant.plain[1].norms, at(variant.state, 1, 1)
    # Layers are in the order of the network, in the loop in that of names.
    order = [1, 0, 2] if norms.shape[1] == 3 else [0, 1]
    sampled = norms[[SAMPLE_EVERY - 1, 19]][:, order]
    np.testing.assert_allclose(member.norm_sum, sampled.sum(axis=0), rtol=1e-4)
    np.testing.assert_allclose(member.last_norms, sampled[-1], rtol=1e-4)


def evaluate(population, state, size):
    splits = {
        name: Batches.cut(split, size)
        for name, split in vars(tiny.dataset()).items()
        if name in tiny.SIZES
    }
    after, measured = population.evaluate(state, population.put(splits))
    return population.gather(after), population.gather(measured)


def test_every_example_is_scored_once_as_numpy_scores_it(variant):
    """Batch norm uses the running statistics; no split is a multiple of the batch."""
    population = variant.population
    batches = {n: Batches.cut(getattr(tiny.dataset(), n), 7) for n in tiny.SIZES}
    batches = population.put(batches)
    state, measured = population.evaluate(tiny.trained(population), batches)
    measured, before = population.gather((measured, state))
    judged = population.gather(population.judge(state, batches))
    assert equal(before, population.gather(state))
    plain = variant.plain[1]
    for name in tiny.SIZES:
        split = getattr(tiny.dataset(), name)
        logits = np.asarray(
            variant.module.apply(
                {"params": plain.params, "batch_stats": plain.batch_stats},
                split.inputs,
                train=False,
            ),
            np.float64,
        )
        chosen = logits[np.arange(len(logits)), split.labels]
        losses = np.log(np.exp(logits).sum(axis=1)) - chosen
        sums = at(measured["sums"][name], 1, 1)
        np.testing.assert_allclose(sums["loss"], losses.sum(), rtol=1e-5)
        right = np.argmax(logits, axis=1) == split.labels
        assert sums["accuracy"] == np.sum(right)
        if name != "train":
            said = at(judged[name]["accuracy"], 1, 1)[: len(right)]  # then padding
            np.testing.assert_array_equal(said, right)


def test_an_evaluation_resets_the_sums_and_nothing_else(variant):
    before, population = variant.state, variant.population
    after, measured = evaluate(population, tiny.trained(population), 7)
    assert not after.loss_sum.any()
    assert not after.norm_sum.any()
    for name in ("params", "batch_stats", "opt_state", "step", "alive"):
        assert equal(getattr(before, name), getattr(after, name))
    assert equal(measured["loss_sum"], before.loss_sum)
    assert equal(measured["norm_sum"], before.norm_sum)


# ---- Neighbours change nothing.


CROWD = tiny.study(tiny.rates(0.1, 0.2, 0.3), num_seeds=3, root_seed=5)


@pytest.fixture(scope="module")
def crowd():
    """Nine networks in lanes of two by two, which leave places empty."""
    return tiny.population(CROWD, Lanes(3, 3, 2, 2, 2))


def after(population, calls=(tiny.NUM_STEPS,)):
    return population.gather(tiny.trained(population, calls, root_seed=5))


@pytest.mark.slow
def test_neighbours_change_no_bit(crowd):
    """Neither their number nor empty places matter."""
    of = tiny.study(num_seeds=1, root_seed=5)
    alone = after(tiny.population(of, Lanes(1, 1, 2, 2, 1)))
    assert equal(at(after(crowd), 0, 0), at(alone, 0, 0))


@pytest.mark.slow
@pytest.mark.parametrize(("trials", "seeds"), [(1, 1), (3, 3)])
def test_the_lane_width_changes_rounding_only(crowd, trials, seeds):
    """Measured after one step, since training amplifies any difference."""
    other = tiny.population(CROWD, Lanes(3, 3, trials, seeds, 1))
    state, wanted = after(other, (1,)), after(crowd, (1,))
    for place in np.ndindex(3, 3):
        assert distance(at(state, *place).params, at(wanted, *place).params) < 1e-5


@pytest.mark.parametrize("calls", [(16, 4), (7, 7, 6)])
def test_calls_change_no_bit(variant, calls):
    """The number of steps between two visits of the host does not matter."""
    whole, population = variant.state, variant.population
    parts = population.gather(tiny.trained(population, calls))
    for name in ("params", "batch_stats", "opt_state", "step", "loss_sum"):
        assert equal(getattr(whole, name), getattr(parts, name))


# ---- Common random numbers.


def test_trials_share_what_a_seed_draws_and_seeds_share_nothing(variant):
    """Common initialisation, batch and noise: first losses are equal in all bits."""
    population = variant.population
    start = population.gather(population.init())
    assert equal(at(start, 0, 1), at(start, 1, 1))
    kernels = start.params["dense_0"]["kernel"]
    assert not np.intersect1d(kernels[0, 0], kernels[0, 1]).size
    losses = population.gather(tiny.trained(population, (1,))).loss_sum
    assert losses[0, 1] == losses[1, 1] != losses[0, 0]


@pytest.mark.parametrize("vary", [("init",), ("noise",), ("order",), ()])
def test_seeds_differ_in_what_varies_alone(vary):
    """By the weights at the start, and by the first losses under dropout."""
    of = tiny.study(num_seeds=2, **{"model.dropout_rate": 0.5})
    found = tiny.program(of)
    population = Population(
        found.recipe, ONE_LANE_OF_TWO, found.members, 0, found.dataset.train, vary
    )
    order = Order(0, range(2), tiny.SIZES["train"], tiny.BATCH_SIZE, vary=vary)
    examples = order.take(0, 1, 1)
    assert np.array_equal(examples[0], examples[1]) == ("order" not in vary)
    start = population.gather(population.init())
    assert equal(at(start, 0, 0).params, at(start, 0, 1).params) == ("init" not in vary)
    placed = population.put(examples)
    state = population.train(population.init(), placed, first_step=0, num_steps=1)
    losses = population.gather(state).loss_sum[0]
    assert (losses[0] == losses[1]) == (not vary)


# ---- Divergence.

UNSTABLE = (0.1, 0.45, 0.6, 4.0, 100.0)
"""Rates at which the deep linear stack of `tiny` never diverges, up to at once."""


@pytest.fixture(scope="module")
def unstable():
    """Networks after 40 steps at `UNSTABLE` rates: three stretches."""
    of = tiny.study(tiny.rates(*UNSTABLE), num_seeds=3, **tiny.DEEP)
    population = tiny.population(of, Lanes(5, 3, 2, 1, 2))
    return population.gather(tiny.trained(population, (40,), room=40))


@pytest.mark.slow
def test_a_member_freezes_at_the_first_step_that_is_not_finite(unstable):
    """In the first stretch and in the second; some networks of a trial, and all."""
    for trial, rate in enumerate(UNSTABLE):
        rule = optax.sgd(rate)
        plain = [tiny.loop(tiny.DeepLinear(), rule, seed, 40) for seed in range(3)]
        steps = [40 if p.diverged_step is None else p.diverged_step for p in plain]
        assert unstable.step[trial].tolist() == steps
        alive = [p.diverged_step is None for p in plain]
        assert unstable.alive[trial].tolist() == alive
        for seed in np.flatnonzero(~unstable.alive[trial]):
            last = unstable.last_norms[trial, seed]
            # Differences grow as the norms do, by up to 1e14 in a step.
            np.testing.assert_allclose(last, plain[seed].norms[-1], rtol=0.1)
    assert np.all(unstable.step[0] == 40)
    assert 0 < np.sum(~unstable.alive[1]) < 3
    assert np.any((unstable.step > SAMPLE_EVERY) & (unstable.step < 40))
    assert np.all(unstable.step[4] < 4)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(unstable))


@pytest.fixture(scope="module")
def beside():
    """Networks at rates 0.1, 0 and one in one lane: 100 diverges, 0.2 does not."""

    def trained(rate):
        of = tiny.study(tiny.rates(0.1, 0.0, rate), **tiny.DEEP)
        population = tiny.population(of, Lanes(3, 2, 3, 1, 2))
        start = population.gather(population.init())
        return start, population.gather(tiny.trained(population))

    return {rate: trained(rate) for rate in (0.2, 100.0)}


def test_a_diverging_neighbour_changes_no_bit(beside):
    (_, healthy), (_, state) = beside[0.2], beside[100.0]
    assert not state.alive[2].any()
    for place in np.ndindex(2, 2):
        assert equal(at(healthy, *place), at(state, *place))


def test_rate_0_moves_nothing(beside):
    """Nor does it matter that the lane repeats a stretch for a diverged network."""
    start, state = beside[100.0]
    for seed in range(2):
        assert equal(at(start, 1, seed).params, at(state, 1, seed).params)
    assert state.step[1].tolist() == [20, 20]


def test_a_member_may_diverge_at_once_or_by_its_update():
    """By logits that overflow; or by a decay of 1e10 at rate 1, which multiplies the
    parameters by -1e10, so that loss and gradient are finite still at the fourth step.
    """
    sweep = (
        {"model.init_scale": 2e38},
        {"optimizer.weight_decay": 1e10, tiny.RATE: 1.0},
        {},
    )
    of = tiny.study(sweep, **{"model.hidden": ()})
    population = tiny.population(of, Lanes(3, 2, 3, 1, 2))
    start = population.gather(population.init())
    state = population.gather(tiny.trained(population))
    assert state.step.tolist() == [[0, 0], [3, 3], [20, 20]]
    assert state.alive.tolist() == [[False] * 2, [False] * 2, [True] * 2]
    assert np.all(state.last_norms[0] == -1)
    assert equal(at(start, 0, 0).params, at(state, 0, 0).params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


# ---- Programs and layout.


def test_a_population_compiles_three_programs(crowd):
    """Steps, their number and their start are arguments."""
    for calls in ((20,), (3, 1, 16), (5, 10)):
        evaluate(crowd, tiny.trained(crowd, calls), 64)
    assert crowd.compile_count == 3


def test_splits_of_one_size_are_told_apart_by_their_names(crowd):
    state, split = crowd.init(), tiny.dataset().test
    cut = Batches.cut(split, 64)
    names = "moved", "still"
    found = [crowd.score(state, crowd.put({name: cut}))[0] for name in names]
    assert [list(sums) for sums in found] == [["moved"], ["still"]]
    assert equal(found[0]["moved"], found[1]["still"])


SIZES = st.integers(1, 7)


@st.composite
def ended(draw):
    """Returns a program's lanes, and which of its networks still train."""
    t, s = draw(SIZES), draw(SIZES)
    width, devices = draw(st.integers(1, t * s)), draw(st.integers(1, 4))
    lanes = Lanes.of_width(t, s, width, devices, shared=draw(st.booleans()))
    training = st.lists(st.booleans(), min_size=t * s, max_size=t * s)
    return lanes, np.array(draw(training)).reshape(t, s)


@given(ended())
def test_who_still_trains_has_a_place_in_as_few_busy_lanes_as_there_can_be(case):
    lanes, training = case
    placed = lanes.place(training)
    assert len(np.unique(placed.home)) == training.size
    members = np.moveaxis(np.indices(training.shape), 0, -1)
    assert np.array_equal(placed.gather(placed.scatter(members)), members)
    trial, seed = np.nonzero(training)
    assert np.array_equal(placed.gather(placed.trial)[training], trial)
    seeds = np.broadcast_to(placed.seed[..., None], placed.trial.shape)
    assert np.array_equal(placed.gather(seeds)[training], seed)
    busy = np.broadcast_to(placed.busy[:, None, None], placed.trial.shape)
    assert placed.gather(busy)[training].all()
    of_devices = placed.busy.reshape(lanes.devices, -1).sum(axis=1)
    rows = sum(math.ceil(live / lanes.trials) for live in training.sum(axis=0))
    assert of_devices.sum() == math.ceil(rows / lanes.seeds)
    assert of_devices.max() - of_devices.min() <= 1


@given(SIZES, SIZES, st.integers(1, 49), st.integers(1, 4))
def test_lanes_are_as_wide_as_asked_on_any_number_of_devices(t, s, width, devices):
    lanes = Lanes.of_width(t, s, min(width, t * s), devices)
    assert lanes.width <= width
    assert (lanes.trials == t) or lanes.seeds == 1
    assert 0 <= lanes.count - lanes.used < devices
    one = Lanes.of_width(t, s, min(width, t * s), 1)
    assert (one.trials, one.seeds) == (lanes.trials, lanes.seeds)


# ---- Ended networks.


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 2])
def test_moving_members_together_changes_no_bit(width):
    """Networks at unstable rates, moved at step 20, against those that stay."""
    of = tiny.study(tiny.rates(*UNSTABLE), num_seeds=3, **tiny.DEEP)
    order = tiny.order(of, 40)

    def trained(compact):
        population = tiny.population(of, Lanes.of_width(5, 3, width, 2))
        state = population.init()
        for start in (0, 20):
            examples = population.put(order[:, start : start + 20])
            state = population.train(state, examples, first_step=start, num_steps=20)
            if compact:
                state = population.compact(state, population.gather(state.alive))
        return population.gather(state)

    moved, stayed = trained(True), trained(False)
    assert 0 < np.sum(~stayed.alive) < stayed.alive.size
    assert equal(moved, stayed)


@pytest.mark.slow
def test_lanes_of_ended_members_take_no_steps_and_are_not_evaluated():
    population = tiny.population(CROWD, Lanes.of_width(3, 3, 1, 2))
    training = np.zeros((3, 3), bool)
    training[1, 2] = True
    state = population.compact(population.init(), training)
    examples = population.put(tiny.order(CROWD, 5))
    state = population.train(state, examples, first_step=0, num_steps=5)
    after, measured = evaluate(population, state, 64)
    assert np.array_equal(after.step, 5 * training)
    assert np.array_equal(measured["sums"]["test"]["loss"] > 0, training)


ROOM_FOR_SEEDS = [Lanes.of_width(2, s, 4, 2, room=(3, 5)) for s in range(1, 6)]
ROOM_FOR_TRIALS = [Lanes.of_width(t, 3, 4, 2, room=(7, 0)) for t in range(1, 8)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cut", "large", "small"),
    [(ROOM_FOR_SEEDS, (2, 5), (2, 2)), (ROOM_FOR_TRIALS, (5, 3), (2, 3))],
)
def test_room_for_more_gives_equal_shapes_and_changes_no_member(cut, large, small):
    """`cut` are the lanes of ever more seeds or trials; sizes are (T, S)."""
    assert len({(lanes.count, lanes.trials, lanes.seeds) for lanes in cut}) == 1

    def trained(trials, seeds):
        of = tiny.study(tiny.rates(*UNSTABLE[:trials]), num_seeds=seeds)
        size = (trials, seeds)
        (lanes,) = (c for c in cut if (c.num_trials, c.num_seeds) == size)
        return after(tiny.population(of, lanes))

    many, few = trained(*large), trained(*small)
    for place in np.ndindex(small):
        assert equal(at(many, *place), at(few, *place))


PATIENCE = 2


@pytest.fixture(scope="module", params=["loss", "accuracy"])
def stopping(request):
    """Networks with patience, evaluated every second step; and the same without."""
    of = tiny.study(tiny.rates(0.3, 3.0), num_seeds=3, num_epochs=12)
    order = tiny.order(of, 40)

    def trained(patience):
        changes = {"patience": patience, "watched": request.param}
        population = tiny.population(of, Lanes.of_width(2, 3, 2, 2), **changes)
        splits = {"validation": tiny.dataset().validation}
        batches = population.put({n: Batches.cut(s, 64) for n, s in splits.items()})
        state, states, sums = population.init(), [], []
        for start in range(0, 40, 2):
            examples = population.put(order[:, start : start + 2])
            state = population.train(state, examples, first_step=start, num_steps=2)
            state, measured = population.evaluate(state, batches)
            population.judge(state, batches)  # looks, and changes nothing
            states.append(population.gather(state))
            found = population.gather(measured)["sums"]["validation"][request.param]
            sums.append(found if request.param == "loss" else -found)
        return states, np.stack(sums, axis=-1)

    states, sums = trained(0)
    return states, sums, trained(PATIENCE)[0]


@pytest.mark.slow
def test_a_member_stops_when_its_patience_ends_and_keeps_its_best(stopping):
    free, sums, patient = stopping
    last, steps = patient[-1], set()
    for place in np.ndindex(2, 3):
        values = sums[place]
        best = [int(np.argmin(values[: i + 1])) for i in range(len(values))]
        stops = [i for i in range(len(values)) if i - best[i] >= PATIENCE]
        assert bool(last.stopped[place]) == bool(stops)
        end = stops[0] if stops else len(values) - 1
        steps.add(end)
        assert last.step[place] == 2 * (end + 1)
        assert last.best.step[place] == 2 * (best[end] + 1)
        kept = member.kept(at(last, *place))
        assert equal(kept.params, at(free[best[end]], *place).params)
        assert equal(at(last, *place).params, at(free[end], *place).params)
    assert len(steps) > 1  # each at its own time


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 45))
def test_batches_hold_every_example_once(examples, size):
    inputs = np.arange(2 * examples).reshape(examples, 2)
    split = Split(inputs, np.arange(examples, dtype=np.int32))
    cut = Batches.cut(split, size)
    count, held = cut.labels.shape
    assert count == math.ceil(examples / size)
    assert held <= size
    assert count * held < examples + count
    assert np.array_equal(cut.inputs[cut.mask], inputs)
    assert np.array_equal(cut.labels[cut.mask], np.arange(examples))
