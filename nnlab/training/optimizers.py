# SPDX-License-Identifier: Apache-2.0
"""Optimizers of optax by their names, with traced hyperparameters.

An optimizer is built *inside* the traced training step from the learning rate of that
step, `peak * schedule(step)`, and the trial's other numbers. So one compiled program
serves all rates, momenta, betas and weight decays, with optax's own update rules. Names
and hyperparameters are those that optax has; nothing here lists them.
"""

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from nnlab.study import Hyperparameters, Optimizer
from nnlab.study.hyperparameters import OfLayers
from nnlab.training import own as own_code
from nnlab.words.spelling import nearest, nearest_path

Scalar = jax.Array | float
Make = Callable[..., optax.GradientTransformation]
"""A function that makes an update rule from a learning rate and hyperparameters."""

REFUSED: Mapping[str, str] = {
    "lbfgs": "its line search computes the loss at further points",
    "sophia": "it estimates second derivatives from the loss as a function",
    "dpsgd": "it needs the gradient of each example",
    "noisy_sgd": "no checkpoint can keep the random key in its state",
    **dict.fromkeys(
        ("schedule_free", "schedule_free_adamw", "schedule_free_sgd"),
        "it is evaluated at weights of its own; average_decay evaluates an average of "
        "the weights beside those of any other optimizer",
    ),
}
"""Optimizers that a training step cannot feed, and why."""

BY_LAYER = frozenset(
    ("adafactor", "fromage", "galore", "lamb", "lars", "muon", "novograd", "sm3")
)
"""Optimizers that treat each array as a whole, so that layers may not be stacked."""

_RATES = {"polyak_sgd": "max_learning_rate"}
"""What the learning rate is called, where it is not called so."""
_DEFAULTS = {"eps_in_sqrt": False}
"""Of rmsprop, as in PyTorch."""
_NO_VALUES = frozenset(
    (
        *("mask", "weight_decay_mask", "trust_ratio_mask"),
        *("base_optimizer", "clip_value_fn"),
        *("weight_dimension_numbers", "muon_weight_dimension_numbers"),
    )
)
"""Parameters that are functions, arrays or trees."""
_DECLARED = ("momentum", "nesterov", "weight_decay")
_KINDS: Mapping[type, tuple[tuple[type, ...], str]] = {
    bool: ((bool,), "true or false"),
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    str: ((str,), "a text"),
    tuple: ((tuple,), "numbers in parentheses"),
}
"""Types of a parameter's values by that of its default, and their words."""
_NO_MOMENTUM = ("adam", "adamw")
"""Where the study itself says that momentum is not read."""


@functools.cache
def names() -> dict[str, Make]:
    """Returns the optimizers of optax and optax.contrib, by name, sorted.

    They are the public functions that take a learning rate and are no mere part of an
    optimizer.

    >>> "lion" in names(), "scale_by_rprop" in names()
    (True, False)
    """
    found: dict[str, Make] = {}
    for module in (optax.contrib, optax):
        for name, one in inspect.getmembers(module, inspect.isfunction):
            rate = _RATES.get(name, "learning_rate")
            is_part = name.startswith(("_", "scale_"))
            if not is_part and rate in inspect.signature(one).parameters:
                found[name] = one
    return dict(sorted(found.items()))


def find(name: str) -> Make:
    """Returns the function of optax or optax.contrib that makes an optimizer.

    Raises:
      ValueError: there is none of that name, or nnlab cannot feed it.

    >>> find("lion") is optax.lion
    True
    """
    if name in REFUSED:
        raise ValueError(f"optimizer.name={name!r} is not supported: {REFUSED[name]}")
    if name not in names():
        hint = nearest(name, (one for one in names() if one not in REFUSED))
        raise ValueError(f"optimizer.name={name!r} is not known{hint}")
    return names()[name]


def parameters(make: Make) -> dict[str, inspect.Parameter]:
    """Returns what a trial may set of an optimizer beside its rate, by name.

    >>> list(parameters(optax.lion))
    ['b1', 'b2', 'mu_dtype', 'weight_decay']
    """
    rates = {"learning_rate", *_RATES.values()} - {"max_learning_rate"}
    rates.add(_RATES.get(getattr(make, "__name__", ""), "learning_rate"))
    taken = inspect.signature(make).parameters.values()
    return {
        p.name: p
        for p in taken
        if p.name not in {*rates, *_NO_VALUES}
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and (p.default is p.empty or not callable(p.default))
        and not isinstance(p.default, optax.GradientTransformation)
    }


def check(every: Iterable[Hyperparameters], own: Make | None = None) -> str:
    """Refuses an optimizer or a hyperparameter that does not exist, or does not fit.

    Returns the digest of what the first trial's computes, see `own.of_function`.

    Args:
      every: what each trial sets.
      own: a function of the user's, in the place of those that trials name.

    Raises:
      ValueError: with what exists instead.
    """
    codes: dict[str, str] = {}
    for h in every:
        if h.model.is_network:
            _check(h.optimizer, own)
            static = _without_numbers(h.optimizer)
            if repr(static) not in codes:
                codes[repr(static)] = _try(static, own)
    return next(iter(codes.values()), "")


def joined(every: Iterable[Optimizer]) -> Optimizer:
    """Returns what trials of one program set, which differ only in what is traced.

    A number that any of them sets, it has.
    """
    first, *others = every
    set_ = {
        k: getattr(of, k)
        for of in others
        for k in ("momentum", "weight_decay")
        if getattr(of, k) is not None
    }
    return dataclasses.replace(first, **set_)


def _without_numbers(of: Optimizer) -> Optimizer:
    """Returns the same with 0.5 for all that is traced."""
    further = ((k, 0.5 if isinstance(v, float) else v) for k, v in of.further)
    set_: dict[str, Any] = {
        k: 0.5 for k in _DECLARED if isinstance(getattr(of, k), float)
    }
    return dataclasses.replace(
        of, learning_rate=0.5, further=tuple(further), rate_of=OfLayers(), **set_
    )


def _check(of: Optimizer, own: Make | None) -> None:
    make, name = own or find(of.name), _words(of, own)
    known = parameters(make)
    further = dict(of.further)
    if not _takes_all(make):
        declared = [
            field
            for field in Optimizer.__dataclass_fields__
            if field not in ("momentum", "nesterov", "further") or field in known
        ]
        paths = [f"optimizer.{one}" for one in dict.fromkeys((*declared, *known))]
        for one in further:
            if one not in known:
                hint = nearest_path(f"optimizer.{one}", paths)
                raise ValueError(f"unknown field 'optimizer.{one}' of {name}{hint}")
        for one in ("momentum", "nesterov"):
            if getattr(of, one) and one not in known and of.name not in _NO_MOMENTUM:
                raise ValueError(
                    f"optimizer.{one}={getattr(of, one)!r}: {name} has no {one}; "
                    f"it has {', '.join(known) or 'only a learning rate'}"
                )
    for one, value in further.items():
        if one in known:
            _check_kind(one, value, known[one].default)
    masks = of.decay_as != "auto" or not _takes(make, "weight_decay") or _mask(make)
    if of.decay_on != "all" and not masks:
        raise ValueError(
            f"optimizer.decay_on={of.decay_on!r}: the weight decay of {name} acts on "
            "everything; set optimizer.decay_as to coupled or decoupled"
        )


def _words(of: Optimizer, own: Make | None) -> str:
    return "your optimizer" if own else f"optimizer {of.name!r}"


def _check_kind(name: str, value: Any, default: Any) -> None:
    kinds, words = _KINDS.get(type(default), ((object,), ""))
    is_bool = isinstance(value, bool) and bool not in kinds
    if not isinstance(value, kinds) or (is_bool and kinds != (object,)):
        raise ValueError(f"optimizer.{name}={value!r} is not {words}")


def _try(of: Optimizer, own: Make | None) -> str:
    """Traces an update of a tiny network, as training does; returns its digest."""

    def update(traced: Any, params: Any) -> Any:
        rule = optimizer(of, learning_rate=traced["rate"], traced=traced, own=own)
        if not isinstance(rule, optax.GradientTransformation):
            raise ValueError(
                f"it returns {rule!r:.60}, no optax.GradientTransformation"
            )
        rule = optax.with_extra_args_support(rule)
        return rule.update(params, rule.init(params), params, value=traced["rate"])

    floats = {f"optimizer.{k}" for k, v in of.further if isinstance(v, float)}
    floats |= {k for k in _DECLARED if isinstance(getattr(of, k), float)}
    number = jax.ShapeDtypeStruct((), jnp.float32)
    params = {"layer": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}}
    traced = dict.fromkeys(sorted({*floats, "rate"}), number)
    return own_code.of_function(_words(of, own), update, traced, params)[1]


def optimizer(
    of: Optimizer,
    *,
    learning_rate: Scalar,
    traced: Mapping[str, Scalar] = types.MappingProxyType({}),
    zeros: Collection[str] = (),
    own: Make | None = None,
) -> optax.GradientTransformation:
    """Makes an optax optimizer from a trial's static and traced hyperparameters.

    What is not set keeps optax's default. Coupled weight decay adds the gradient of an
    L2 penalty, ``weight_decay / 2 * |params|**2``, to the gradient; decoupled decay
    subtracts ``learning_rate * weight_decay * params`` in each step. Clipping comes
    before either.

    "rmsprop" is PyTorch's: epsilon stands outside the root, and the learning rate
    outside the velocity.

    Args:
      of: what the trial sets; its own values of traced hyperparameters are not read.
      learning_rate: rate of this step.
      traced: the traced hyperparameters by the names of `Members.traced`.
      zeros: those of "momentum" and "weight_decay" that are 0 in the whole population,
        and so are left out. The steps are the same except for rounding.
      own: makes the rule in the place of optax's function.

    It is made anew at every step, whose rate may be another. Numbers that begin its
    state, such as adagrad's `initial_accumulator_value`, are those of the first step.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep
    learning" (2013), for sgd; Kingma and Ba, "Adam" (2015); Loshchilov and Hutter,
    "Decoupled weight decay regularization" (2019); Tieleman and Hinton, "RMSProp"
    (2012); Pascanu et al., "On the difficulty of training recurrent neural networks"
    (2013), for the clipping; for others see optax.

    >>> rule = optimizer(Optimizer(name="lion"), learning_rate=0.1)
    >>> updates, _ = rule.update(jnp.ones(2), rule.init(jnp.ones(2)), jnp.zeros(2))
    >>> updates.tolist()
    [-0.10000000149011612, -0.10000000149011612]
    """
    make = own or find(of.name)
    numbers = {k: traced.get(k, getattr(of, k)) for k in ("momentum", "weight_decay")}
    if own:  # of the study's defaults it knows nothing
        numbers = {k: v for k, v in numbers.items() if getattr(of, k) is not None}
    given = {k: traced.get(f"optimizer.{k}", v) for k, v in of.further}
    momentum = numbers.get("momentum")
    # Where None is the default, it leaves the velocity out of the state.
    left_out = "momentum" in zeros and _default(make, "momentum") is None
    if momentum is not None and _takes(make, "momentum") and not left_out:
        given["momentum"] = momentum
    if of.nesterov is not None and _takes(make, "nesterov"):
        given["nesterov"] = of.nesterov
    decay = numbers.get("weight_decay")
    decays = "weight_decay" not in zeros
    mask = _kernels if of.decay_on == "kernels" else None
    before, after = [], []
    if "clip_norm" in traced:
        before.append(_clipped(traced["clip_norm"]))
    if of.decay_as == "auto" and _takes(make, "weight_decay"):
        if decay is not None:
            given["weight_decay"] = decay if decays else 0.0
        if mask:
            given[_mask(make)] = mask
    else:
        decay = _default(make, "weight_decay") if decay is None else decay
        if "weight_decay" in inspect.signature(make).parameters:
            given["weight_decay"] = 0.0
        if decay is not None and decays and of.decay_as == "decoupled":
            after.append(optax.add_decayed_weights(-learning_rate * decay, mask))
        elif decay is not None and decays:
            before.append(optax.add_decayed_weights(decay, mask))
    rule = (_plain if own else _made)(make, learning_rate, given)
    return optax.chain(*before, rule, *after) if before or after else rule


def _made(
    make: Make, learning_rate: Scalar, given: dict[str, Any]
) -> optax.GradientTransformation:
    """Makes a rule that a study names: of some, nnlab's variant."""
    if make is optax.rmsprop:
        momentum, nesterov = (given.pop(k, None) for k in ("momentum", "nesterov"))
        parts = [make(1.0, **{**_DEFAULTS, **given})]
        if momentum is not None:
            parts.append(optax.trace(momentum, bool(nesterov)))
        return optax.chain(*parts, optax.scale(learning_rate))
    if make is optax.contrib.muon:
        given["muon_weight_dimension_numbers"] = _dimensions
    return _plain(make, learning_rate, given)


def _plain(
    make: Make, learning_rate: Scalar, given: dict[str, Any]
) -> optax.GradientTransformation:
    name = _RATES.get(getattr(make, "__name__", ""), "learning_rate")
    return make(**{name: learning_rate}, **given)


def _takes_all(make: Make) -> bool:
    taken = inspect.signature(make).parameters.values()
    return any(p.kind is p.VAR_KEYWORD for p in taken)


def _takes(make: Make, name: str) -> bool:
    return name in inspect.signature(make).parameters or _takes_all(make)


def _default(make: Make, name: str) -> Any:
    """Returns the default of a parameter; None without such a parameter."""
    parameter = inspect.signature(make).parameters.get(name)
    return parameter.default if parameter else None


def _mask(make: Make) -> str:
    """Returns the parameter that says which arrays decay; "" without one."""
    taken = inspect.signature(make).parameters
    return next((n for n in ("mask", "weight_decay_mask") if n in taken), "")


def _clipped(norm: Scalar) -> optax.GradientTransformation:
    """Scales gradients to a norm, if that is above 0 and they are longer."""
    return optax.clip_by_global_norm(jnp.where(norm > 0, norm, jnp.inf))


def is_kernel(path: tuple[Any, ...], leaf: Any) -> bool:
    """Returns whether an array is a kernel: of two or more dimensions, and named so."""
    return name_of(path) in ("kernel", "embedding") and leaf.ndim >= 2


def name_of(path: tuple[Any, ...]) -> str:
    """Returns the last name on the path to an array; "" without names."""
    return str(getattr(path[-1], "key", "")) if path else ""


def _kernels(tree: Any) -> Any:
    return jax.tree_util.tree_map_with_path(is_kernel, tree)


def _dimensions(params: Any) -> Any:
    """Returns how Muon reads each array as a matrix; None for those that Adam trains.

    Kernels are matrices from all their inputs to their outputs, also of convolutions;
    queries, keys and values have outputs (heads, units of a head).
    Embeddings, biases and the like are Adam's.

    Source: Jordan et al., "Muon: An optimizer for hidden layers" (2024).
    """

    def of(path: tuple[Any, ...], leaf: Any) -> Any:
        if name_of(path) != "kernel" or leaf.ndim < 2:
            return None
        to_heads = leaf.ndim == 3 and name_of(path[:-1]) in ("query", "key", "value")
        inputs = 1 if to_heads else leaf.ndim - 1
        axes = tuple(range(leaf.ndim))
        return optax.contrib.MuonDimensionNumbers(axes[:inputs], axes[inputs:])

    return jax.tree_util.tree_map_with_path(of, params)
