# SPDX-License-Identifier: Apache-2.0
"""Trains one network, as pure functions without a member axis.

`population` lifts these to many members. A `Recipe` is static for the compiler; the
traced hyperparameters are arguments, so that members can differ in them at no cost.
"""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from nnlab.models import stack
from nnlab.training import disturbances, groups, losses, metrics, modules
from nnlab.training.disturbances import Drawn

RATE_OF, SCALE_OF = "optimizer.rate_of.", "model.scale_of."
"""Beginnings of the names of traced factors on single layers."""

Traced = Mapping[str, jax.Array]
"""The traced hyperparameters, float32 scalars, by the names of `Members.traced`."""


Schedule = Callable[[jax.Array, Traced], jax.Array]
"""From the step, int32 (), and the traced hyperparameters to a factor on the rate."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The static part of a member.

    Attributes:
      module: its ``__call__(self, x, train)`` returns logits (B, C).
      layers: names of the layers with parameters, in the order of the network.
      runs: layers whose parameters are stacked, see `models.stack.Stack.runs`.
      optimizer: makes an optax transformation from the keywords learning_rate (traced
        scalar) and traced, as `optimizers.optimizer`.
      schedule: factor on the learning rate.
      rates, scales: factors on the rate and on the initial kernels, see `groups`.
      input_scale, input_shift: the network sees inputs * scale - shift; numbers, or
        float32 (1, values of an example).
      tokens: whether it sees int32 inputs as they are.
      augment_pixels: largest shift of a training image; 0 for none.
      augment_flip: whether half of the training images are mirrored.
      class_weights: of the training loss, one for each class; none for 1.
      min_delta: least change of the `watched` metric's sum that is better.
      full_batch: whether all training examples are in every step.
      relabels: number of classes from which random labels are drawn; 0 for none.
      activity: whether `judge` measures the share of active units.
      example_losses: whether the losses of each example are kept of the final members,
        beside whether it was right.
      every_norm: whether `norm_sum` takes the gradient norms of all steps, not only of
        sampled ones.
      patience: evaluations without a better `watched` metric, "loss" or "accuracy" on
        the validation set, after which a member stops early; 0 for never.
      averages: whether a moving average of the weights is kept and evaluated.
      loss: of each example, see `losses`; also evaluated, then without smoothing.
      probes: functions that measure a network along training, see `probes`.
      probe_batch: most examples in a batch of the loss that they see.
      target_mean, target_unit: of a regression, float32 (1, C), see
        `nnlab.data.Dataset`; else None.
    """

    module: nn.Module | modules.Called
    layers: tuple[str, ...]
    optimizer: Callable[..., optax.GradientTransformation]
    schedule: Schedule
    input_shape: tuple[int, ...]
    input_scale: float | np.ndarray
    runs: Mapping[str, Mapping[str, Sequence[str]]] = dataclasses.field(
        default_factory=dict
    )
    input_shift: float | np.ndarray = 0.0
    tokens: bool = False
    augment_pixels: int = 0
    augment_flip: bool = False
    class_weights: tuple[float, ...] = ()
    min_delta: float = 0.0
    full_batch: bool = False
    relabels: int = 0
    activity: bool = False
    example_losses: bool = False
    own_metrics: Mapping[str, metrics.Metric] = dataclasses.field(default_factory=dict)
    every_norm: bool = False
    patience: int = 0
    watched: str = "loss"
    averages: bool = False
    rates: groups.Factors = dataclasses.field(default_factory=dict)
    scales: groups.Factors = dataclasses.field(default_factory=dict)
    loss: losses.Loss = losses.softmax_cross_entropy
    probes: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    probe_batch: int = 0
    target_mean: np.ndarray | None = None
    target_unit: np.ndarray | None = None


@flax.struct.dataclass
class Best:
    """A member at its best evaluation so far, which was `waited` evaluations ago."""

    params: Any
    batch_stats: Any
    value: jax.Array  # sum of the watched metric; negated where more is better
    step: jax.Array
    waited: jax.Array
    average: Any = None


@flax.struct.dataclass
class TrainState:
    """All that changes in training; arrays only.

    Attributes:
      step: updates done, int32 (). A diverged member stays at the step that failed.
      alive: False from the first step whose loss, gradient or update is not finite.
      loss_sum, loss_square_sum: over the batches since the last evaluation, float32 ().
      norm_sum: sum of the sampled gradient norms since then, float32 (layers,).
      last_norms: the last finite gradient norms, float32 (layers,); -1 before the
        first.
      stopped: True from the evaluation at which patience ended or halving dropped the
        member.
      best: what early stopping keeps, see `kept`; None without early stopping.
      average: exponential moving average of the parameters; None without.
    """

    params: Any
    batch_stats: Any
    opt_state: Any
    step: jax.Array
    alive: jax.Array
    loss_sum: jax.Array
    loss_square_sum: jax.Array
    norm_sum: jax.Array
    last_norms: jax.Array
    stopped: jax.Array
    best: Best | None
    average: Any = None


def key(seed: int) -> jax.Array:
    """Returns the random key of a whole number below 2**31, equal on every machine."""
    words = jnp.array([0, seed], jnp.uint32)
    return jax.random.wrap_key_data(words, impl="threefry2x32")


def stream_key(root_seed: int, seed: jax.Array, stream: str) -> jax.Array:
    """Returns the random key of one stream ("init", "noise") of one seed.

    A key depends on what it is for, never on a position. So a member's draws do not
    depend on the members beside it.
    """
    of_seed = jax.random.fold_in(key(root_seed), seed)
    return jax.random.fold_in(of_seed, zlib.crc32(stream.encode()))


def epoch_order(root_seed: int, seed: int, epoch: int, size: int) -> np.ndarray:
    """Returns the order of the training examples in an epoch of a seed, int32 (size,).

    All trials have it, so that they can be compared in pairs. It is made on the host,
    because ``jax.random.permutation`` is slow on CPU.
    """
    stream = zlib.crc32(b"order")
    generator = np.random.default_rng([root_seed, seed, stream, epoch])
    return generator.permutation(size).astype(np.int32)


def init_state(recipe: Recipe, traced: Traced, key: jax.Array) -> TrainState:
    """Initialises a member; `key` is that of the seed's "init" stream."""
    sample = jnp.zeros((1, *recipe.input_shape), input_type(recipe))
    variables = stack.init_variables(recipe.module, key, sample, traced["init_scale"])
    factors = {**recipe.scales, **_below(traced, SCALE_OF)}
    variables["params"] = groups.scaled(
        variables["params"], recipe.layers, recipe.runs, factors, only="kernels"
    )
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    zeros = jnp.zeros((len(recipe.layers),), jnp.float32)
    average = params if recipe.averages else None
    best = Best(
        params,
        batch_stats,
        jnp.float32(jnp.inf),
        jnp.int32(0),
        jnp.int32(0),
        average,
    )
    return TrainState(
        params=params,
        batch_stats=batch_stats,
        opt_state=_optimizer(recipe, traced, jnp.int32(0)).init(params),
        step=jnp.int32(0),
        alive=jnp.bool_(True),
        loss_sum=jnp.float32(0.0),
        loss_square_sum=jnp.float32(0.0),
        norm_sum=zeros,
        last_norms=zeros - 1.0,
        stopped=jnp.bool_(False),
        best=best if recipe.patience else None,
        average=average,
    )


def shapes(
    recipe: Recipe, names: Iterable[str]
) -> tuple[TrainState, dict[str, Any], jax.Array]:
    """Returns the shapes and types of a member, its traced values and its key."""
    traced = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in names}
    a_key = jax.eval_shape(lambda: key(0))
    state = jax.eval_shape(functools.partial(init_state, recipe), traced, a_key)
    return state, traced, a_key


def shapes_of_variables(
    module: Any, input_shape: Sequence[int], dtype: Any = jnp.float32
) -> Any:
    """Returns the shapes and types of a module's "params", "batch_stats" and so on."""
    return jax.eval_shape(
        lambda key, x: module.init(key, x, train=False),
        jax.eval_shape(lambda: key(0)),
        jax.ShapeDtypeStruct((1, *input_shape), dtype),
    )


def train_step(
    recipe: Recipe,
    state: TrainState,
    traced: Traced,
    key: jax.Array,
    inputs: jax.Array,
    labels: jax.Array | Drawn,
    *,
    sample: jax.Array,
    check: jax.Array,
) -> TrainState:
    """Makes one update; a member that is or becomes frozen stays as it was.

    Args:
      key: of the seed's "noise" stream, with the step folded in.
      sample: bool (); whether this step's gradient norms enter `norm_sum`.
      check: bool (); whether a step that is not finite (see `all_finite`) freezes the
        member before the update. Without the check bad numbers spread, and `population`
        repeats the steps with it.
    """
    if recipe.augment_pixels or recipe.augment_flip:
        inputs = inputs.reshape(inputs.shape[0], *recipe.input_shape)
    if recipe.augment_pixels:
        shift_key = jax.random.fold_in(key, zlib.crc32(b"augment"))
        inputs = disturbances.shifted(shift_key, inputs, recipe.augment_pixels)
    if recipe.augment_flip:
        flip_key = jax.random.fold_in(key, zlib.crc32(b"flip"))
        inputs = disturbances.flipped(flip_key, inputs)
    labels = disturbances.as_trained(labels, traced.get("label_noise"))

    (loss, batch_stats), gradients = jax.value_and_grad(
        lambda params: batch_loss(
            recipe, params, state.batch_stats, traced, inputs, labels, key
        ),
        has_aux=True,
    )(state.params)

    def updated() -> TrainState:
        updates, opt_state = update(recipe, state, traced, gradients, loss)
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if average is not None:
            kept = traced["average_decay"]
            average = jax.tree.map(
                lambda old, new: kept * old + (1 - kept) * new, average, params
            )
        return dataclasses.replace(
            state,
            params=params,
            average=average,
            batch_stats=batch_stats,
            opt_state=opt_state,
            step=state.step + 1,
            loss_sum=state.loss_sum + loss,
            # Capped, so that the square of a finite loss stays finite.
            loss_square_sum=state.loss_square_sum + jnp.minimum(loss, 1e15) ** 2,
        )

    # Norms and checks read every number once more, a tenth to a fifth of a small step's
    # time, so few steps take them; under vmap all members share these conditions, so
    # branches stay branches. The check computes its own update: a shared one would keep
    # XLA from fusing the update with the select below (a twentieth of the time).
    norms = jax.lax.cond(
        sample | check,
        lambda: metrics.gradient_norms(gradients, recipe.layers, recipe.runs),
        lambda: jnp.zeros((len(recipe.layers),), jnp.float32),
    )
    finite = jax.lax.cond(check, lambda: all_finite(updated()), lambda: jnp.bool_(True))
    new = dataclasses.replace(
        updated(),
        norm_sum=jnp.where(sample, state.norm_sum + norms, state.norm_sum),
        last_norms=jnp.where(sample | check, norms, state.last_norms),
    )
    alive = state.alive & (finite | ~check | state.stopped)
    return _where(
        alive & ~state.stopped,
        dataclasses.replace(new, alive=alive),
        dataclasses.replace(state, alive=alive),
    )


def batch_loss(
    recipe: Recipe,
    params: Any,
    batch_stats: Any,
    traced: Traced,
    inputs: jax.Array,
    labels: jax.Array,
    key: jax.Array,
) -> tuple[jax.Array, Any]:
    """Returns the loss that training minimises, float32 (), and new batch statistics.

    It is the mean over stored inputs (B, values), with dropout and noise drawn from
    `key`.
    """
    x = scaled(recipe, inputs)
    if "blur" in traced:
        x = disturbances.blurred(x, traced["blur"])
    if "input_noise" in traced:
        noise_key = jax.random.fold_in(key, zlib.crc32(b"input_noise"))
        x = disturbances.noisy(noise_key, x, traced["input_noise"])
    logits, updated = recipe.module.apply(
        {
            "params": params,
            "batch_stats": batch_stats,
            "hyperparameters": {"dropout_rate": traced["dropout_rate"]},
        },
        x,
        train=True,
        rngs={"dropout": key},
        mutable=["batch_stats"],
    )
    targets = labels
    if "label_smoothing" in traced:
        share = traced["label_smoothing"]
        targets = losses.smoothed(labels, logits.shape[1], share)
    each = recipe.loss(logits, targets)
    if recipe.class_weights:
        each *= jnp.array(recipe.class_weights)[labels]
    loss = jnp.mean(each)
    if "l1" in traced:
        loss += traced["l1"] * sum(jnp.sum(jnp.abs(k)) for k in stack.kernels(params))
    return loss, updated.get("batch_stats", {})


def _where(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda n, o: jnp.where(condition, n, o), new, old)


def all_finite(state: TrainState) -> jax.Array:
    """Returns whether all numbers are finite that a bad step would spoil for good.

    A loss that is not finite stays in `loss_sum`, a gradient in the parameters (at
    learning rate 0 too: 0 times infinity is NaN). The sampled norms are left out, so
    that the choice of sampled steps changes nothing. Leading axes of members are
    allowed; the result is a single bool ().
    """
    changed = (state.params, state.batch_stats, state.opt_state, state.loss_sum)
    checks = [
        jnp.all(jnp.isfinite(leaf))
        for leaf in jax.tree.leaves(changed)
        if jnp.issubdtype(leaf.dtype, jnp.floating)
    ]
    return jnp.all(jnp.stack(checks))


def evaluate(
    recipe: Recipe,
    state: TrainState,
    inputs: jax.Array,
    labels: jax.Array,
    mask: jax.Array,
) -> dict[str, jax.Array]:
    """Sums what `judge` says of a batch; the mask, bool (B,), is False for padding."""
    return metrics.sums(judge(recipe, state, inputs, labels), mask)


def judge(
    recipe: Recipe, state: TrainState, inputs: jax.Array, labels: jax.Array
) -> dict[str, jax.Array]:
    """Returns metrics of each example, with the running statistics of batch norm.

    They are "loss" and "accuracy", see `metrics.judged`, or those of a regression, see
    `metrics.measured`; the recipe's own metrics; and, if the recipe asks for it,
    "active_share": the share of the activations' outputs that are above 0; and
    "averaged_loss" and so on: those of the averaged weights, with the same running
    statistics. All are (B,).
    """
    judge = functools.partial(metrics.judged, recipe.loss)
    if recipe.target_unit is not None:
        judge = functools.partial(metrics.measured, recipe.loss, recipe.target_unit)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    x = scaled(recipe, inputs)
    logits: Any
    if recipe.activity:
        logits, seen = recipe.module.apply(
            variables, x, train=False, mutable=["activity"]
        )
        of_example = {"active_share": stack.active_share(seen.get("activity", {}))}
    else:
        logits, of_example = recipe.module.apply(variables, x, train=False), {}
    seen_by_own = in_units(recipe, logits), in_units(recipe, labels)
    of_example |= {name: of(*seen_by_own) for name, of in recipe.own_metrics.items()}
    judged = judge(logits, labels)
    if state.average is not None:
        variables["params"] = state.average
        logits = recipe.module.apply(variables, x, train=False)
        averaged = judge(logits, labels)
        of_example |= {f"averaged_{name}": each for name, each in averaged.items()}
    return judged | of_example


def predict(recipe: Recipe, state: TrainState, inputs: jax.Array) -> jax.Array:
    """Returns what a member says of stored inputs (B, values), float32 (B, C).

    That is class probabilities, or of a regression the numbers in the user's units.
    """
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    logits: Any = recipe.module.apply(variables, scaled(recipe, inputs), train=False)
    if recipe.target_unit is not None:
        return in_units(recipe, logits)
    return jax.nn.softmax(logits)


def in_units(recipe: Recipe, stored: Any) -> Any:
    """Returns a regression's targets (B, C) in the user's units; all else as it is."""
    if recipe.target_unit is None or recipe.target_mean is None:
        return stored
    return stored * recipe.target_unit + recipe.target_mean


def note_best(
    recipe: Recipe, state: TrainState, sums: Mapping[str, jax.Array]
) -> TrainState:
    """Notes a member's best evaluation, and stops it when its patience is used up.

    The recipe's `patience` is at least 1, and `sums` come from `evaluate` on the
    validation set.
    """
    best, training = state.best, state.alive & ~state.stopped
    assert best is not None
    value = sums["loss"] if recipe.watched == "loss" else -sums["accuracy"]
    found = Best(
        *(state.params, state.batch_stats, value, state.step, jnp.int32(0)),
        average=state.average,
    )
    least = best.value - recipe.min_delta if recipe.min_delta else best.value
    better = training & (value < least)
    best = _where(
        better, found, dataclasses.replace(best, waited=best.waited + training)
    )
    stops = training & (best.waited >= recipe.patience)
    return dataclasses.replace(state, stopped=state.stopped | stops, best=best)


def kept(state: TrainState) -> TrainState:
    """Returns an ended member, or many, with the parameters that are kept.

    With early stopping they are the best, also of a member that reached the last epoch.
    The state itself holds the last ones, with which a longer training goes on.
    """
    best = state.best
    if best is None:
        return state
    return dataclasses.replace(
        state,
        params=best.params,
        batch_stats=best.batch_stats,
        average=best.average,
    )


def input_type(recipe: Recipe) -> Any:
    """Returns the type of what the network sees."""
    return jnp.int32 if recipe.tokens else jnp.float32


def scaled(recipe: Recipe, inputs: jax.Array) -> jax.Array:
    """Returns the network's inputs, float32 (B, *input_shape), of stored inputs.

    Tokens stay int32.
    """
    if recipe.tokens:
        return inputs.reshape(inputs.shape[0], *recipe.input_shape)
    return rescaled(inputs, recipe.input_scale, recipe.input_shift, recipe.input_shape)


def rescaled(
    inputs: jax.Array, scale: Any, shift: Any, shape: Sequence[int]
) -> jax.Array:
    """Returns inputs (B, values) * `scale` - `shift`, float32 (B, *shape)."""
    flat = inputs.reshape(inputs.shape[0], -1).astype(jnp.float32)
    floats = flat * scale - shift
    return floats.reshape(inputs.shape[0], *shape)


def update(
    recipe: Recipe,
    state: TrainState,
    traced: Traced,
    gradients: Any,
    loss: jax.Array | float,
) -> tuple[Any, Any]:
    """Returns what gradients add to the parameters, and the optimizer's new state.

    Few optimizers read the loss, float32 ().
    """
    rule = optax.with_extra_args_support(_optimizer(recipe, traced, state.step))
    updates, opt_state = rule.update(
        gradients, state.opt_state, state.params, value=loss
    )
    factors = {**recipe.rates, **_below(traced, RATE_OF)}
    return groups.scaled(updates, recipe.layers, recipe.runs, factors), opt_state


def _below(traced: Traced, path: str) -> dict[str, jax.Array]:
    """Returns the traced values below a path, by the rest of theirs."""
    return {
        name.removeprefix(path): value
        for name, value in traced.items()
        if name.startswith(path)
    }


def learning_rate(recipe: Recipe, traced: Traced, step: jax.Array) -> jax.Array:
    """Returns the learning rate of the update after a step, float32 ()."""
    return traced["learning_rate"] * recipe.schedule(step, traced)


def _optimizer(
    recipe: Recipe, traced: Traced, step: jax.Array
) -> optax.GradientTransformation:
    rate = learning_rate(recipe, traced, step)
    return recipe.optimizer(learning_rate=rate, traced=traced)
