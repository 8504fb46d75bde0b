# SPDX-License-Identifier: Apache-2.0
"""Digests of a user's own modules and metrics.

A module or metric is identified by what it computes: a digest of the jaxprs of its
initialisation, loss and prediction with their constants. The digest is the same in
every process; it does not contain function names, source lines or addresses. Only a
host function behind a callback is identified by its source.
"""

import dataclasses
import functools
import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax.extend import core

from nnlab.data import Dataset
from nnlab.study import Own, OwnModule
from nnlab.training.modules import Called, attributes_of, input_type, naming

_MOST_TEXT = 200
"""Most characters of an attribute's value."""


def check_metric(name: str, metric: Any, dataset: Dataset) -> None:
    """Refuses a metric that does not give a number for each example."""
    found, _ = _of_metric(name, metric, dataset)
    if (shape := jax.tree.map(jnp.shape, found)) != (2,):
        raise ValueError(
            f"metric {name!r} returns shape {shape} for 2 examples; it needs (2,), "
            "a value for each, of which the mean is reported: a number of a whole "
            "split, such as F1, is none"
        )


def _of_metric(name: str, metric: Any, dataset: Dataset) -> tuple[Any, str]:
    """Returns the shape of what a metric returns, and the digest of its code."""
    return of_function(f"metric {name!r}", metric, *_two_examples(dataset))


def _two_examples(dataset: Dataset) -> tuple[Any, Any]:
    """Returns the shapes of the outputs and the labels of two examples."""
    labels = dataset.train.labels
    outputs = jax.ShapeDtypeStruct((2, dataset.num_classes), np.float32)
    return outputs, jax.ShapeDtypeStruct((2, *labels.shape[1:]), labels.dtype)


def of_function(what: str, function: Any, *args: Any) -> tuple[Any, str]:
    """Returns the shape of what a function returns, and the digest of its code.

    The arguments are shapes and types. An error in the function names `what` it is.
    """
    with naming(what):
        traced, shape = _trace(function, *args)
    return shape, _digest([traced])


def check_loss(loss: Any, dataset: Dataset) -> str:
    """Returns the digest of a loss; refuses one without a number for each example."""
    found, code = of_function("loss", loss, *_two_examples(dataset))
    if (shape := jax.tree.map(jnp.shape, found)) != (2,):
        raise ValueError(
            f"loss returns shape {shape} for 2 examples; it needs (2,), a value for "
            "each, of which training minimises the mean"
        )
    return code


def check_schedule(schedule: Any, dataset: Dataset) -> str:
    """Returns the digest of a schedule; refuses one that gives no single number."""
    del dataset
    done = jax.ShapeDtypeStruct((), np.float32)
    found, code = of_function("schedule", schedule, done)
    if (shape := jax.tree.map(jnp.shape, found)) != ():
        raise ValueError(
            f"schedule returns shape {shape}; it needs (), the factor on the learning "
            "rate at that share of training"
        )
    return code


def record(
    module: Called | None,
    metrics: Mapping[str, Any],
    dataset: Dataset,
) -> Own:
    """Records what a module and metrics compute on examples of a data set.

    Raises:
      ValueError: one of them fails.
    """
    dtype = input_type(dataset.vocabulary)
    return Own(
        module=of_module(module, dataset.input_shape, dtype) if module else None,
        metrics={
            name: _of_metric(name, metric, dataset)[1]
            for name, metric in metrics.items()
        },
    )


def of_module(
    module: Called, shape: Sequence[int], dtype: Any = np.float32
) -> OwnModule:
    """Records what a module computes on examples of a shape and type.

    Raises:
      ValueError: it fails.
    """
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))
    one, two = (jax.ShapeDtypeStruct((n, *shape), dtype) for n in (1, 2))
    rate = jax.ShapeDtypeStruct((), np.float32)

    def init(key: Any, x: Any) -> Any:
        return module.init({"params": key}, x, train=False)

    def loss(params: Any, stats: Any, rate: Any, key: Any, x: Any) -> Any:
        logits, updated = module.apply(
            {
                "params": params,
                "batch_stats": stats,
                "hyperparameters": {"dropout_rate": rate},
            },
            x,
            train=True,
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
        # Accepts any logits: wrong shapes are reported later.
        floats = (jnp.asarray(v, jnp.float32) for v in jax.tree.leaves(logits))
        return sum((jnp.sum(v * v) for v in floats), jnp.float32(0.0)), updated

    def predict(params: Any, stats: Any, x: Any) -> Any:
        variables = {"params": params, "batch_stats": stats}
        return module.apply(variables, x, train=False)

    with naming(f"module {module.name!r}"):
        begun, variables = _trace(init, key, one)
        params = variables.get("params", {})
        stats = variables.get("batch_stats", {})
        predicted, _ = _trace(predict, params, stats, two)
        # With its gradient, so that custom gradient rules have been applied.
        gradient = jax.value_and_grad(loss, has_aux=True)
        trained, _ = _trace(gradient, params, stats, rate, key, two)
    flat = traverse_util.flatten_dict(dict(params), sep="/")
    return OwnModule(
        name=module.name,
        attributes={k: _short(_text(v)) for k, v in module.attributes.items()},
        parameters={k: list(v.shape) for k, v in flat.items()},
        code=_digest([begun, predicted, trained]),
    )


def _short(text: str) -> str:
    if len(text) <= _MOST_TEXT:
        return text
    return f"{text[: _MOST_TEXT - 25]}... (digest {_sha(text)[:8]})"


def _text(value: Any) -> str:
    """Writes a value in a form that is the same in every process."""
    if isinstance(value, nn.Module):
        some = (f"{k}={_text(v)}" for k, v in attributes_of(value).items())
        return f"{type(value).__name__}({', '.join(some)})"
    if isinstance(value, jax.Array) and jnp.issubdtype(
        value.dtype, jax.dtypes.prng_key
    ):
        return f"key {_text(jax.random.key_data(value))}"
    if hasattr(value, "__array__"):
        array = np.asarray(value)
        digest = hashlib.sha256(array.tobytes()).hexdigest()[:16]
        return f"{array.dtype}{array.shape} {digest}" if array.shape else str(array)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k!r}: {_text(v)}' for k, v in value.items())}}}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_text, value))})"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(map(_text, value)))}}}"
    if isinstance(value, functools.partial):
        return f"{_text(value.func)}{_text(value.args)}{_text(value.keywords)}"
    if callable(value) and hasattr(value, "__name__"):
        return str(value.__name__)
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


class _UnknownError(Exception):
    """There is code whose content cannot be read."""


def _trace(function: Callable[..., Any], *args: Any) -> Any:
    """Returns the jaxpr of a function, and the shapes of what it returns."""
    with jax.disable_jit(False):  # disabled jit would inline functions
        return jax.make_jaxpr(function, return_shape=True)(*args)


def _digest(traced: Sequence[core.ClosedJaxpr]) -> str:
    """Returns a digest of the computation, with the versions; "" if unknown."""
    try:
        digest = _sha("\n".join(line for one in traced for line in _lines(one)))
    except _UnknownError:
        return ""
    return f"{digest[:16]} by jax {jax.__version__}, flax {flax.__version__}"


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()


def _lines(closed: core.ClosedJaxpr | core.Jaxpr) -> Iterator[str]:
    """Writes a jaxpr as text: variables by their place, constants by their bytes."""
    jaxpr = getattr(closed, "jaxpr", closed)
    places: dict[Any, int] = {}

    def of(atom: Any) -> str:
        if isinstance(atom, core.Literal):
            return f"{_text(atom.val)}:{atom.aval}"
        return f"{places.setdefault(atom, len(places))}:{atom.aval}"

    yield f"in {[*map(of, (*jaxpr.constvars, *jaxpr.invars))]}"
    yield from map(_text, getattr(closed, "consts", ()))
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        yield f"{name} {[*map(of, equation.invars)]} {[*map(of, equation.outvars)]}"
        # Custom gradient rules are not read here, but the gradient itself is.
        is_read = not name.startswith(("custom_", "debug_"))
        for option, value in sorted(equation.params.items()):
            if name.endswith("callback") and option == "callback":
                yield _source(value) if is_read else ""
            elif option not in ("name", "ctx_mesh"):
                yield from _option(value, is_read)
    yield f"out {[*map(of, jaxpr.outvars)]}"


def _option(value: Any, is_read: bool) -> Iterator[str]:
    """Yields the jaxprs in an equation's option, and if `is_read` all other values."""
    if isinstance(value, core.ClosedJaxpr | core.Jaxpr):
        yield from _lines(value)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _option(one, is_read)
        yield "."
    elif is_read:
        yield _text(value)


def _source(function: Any) -> str:
    """Returns the source of a host function with the values that it refers to."""
    if dataclasses.is_dataclass(function):  # JAX's wrapper around the user's function
        parts = [getattr(function, f.name) for f in dataclasses.fields(function)]
        return "\n".join(map(_source, filter(callable, parts)))
    if isinstance(function, functools.partial):
        given = _text((function.args, function.keywords))
        return f"{_source(function.func)}\n{given}"
    try:
        text = inspect.getsource(function)
        used = inspect.getclosurevars(function)
    except (OSError, TypeError) as error:
        raise _UnknownError from error
    return f"{text}\n{_text(used.nonlocals)}{_text(used.globals)}"
