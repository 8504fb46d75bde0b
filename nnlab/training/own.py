# SPDX-License-Identifier: Apache-2.0
"""A user's own modules and metrics: how they are called, and their digests.

A module or metric is identified by what it computes: a digest of the jaxprs of its
initialisation, loss and prediction with their constants. The digest is the same in
every process; it does not contain function names, source lines or addresses. Only a
host function behind a callback is identified by its source.
"""

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import pathlib
import re
import sysconfig
import traceback
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import errors, traverse_util
from jax.extend import core

import nnlab
from nnlab.data import Dataset
from nnlab.study import Own, OwnModule

WANTED = "a flax.linen.Module whose __call__(self, x, train) returns logits (B, C)"

_BASES = ("Module", "Model")
"""Class names of networks in other libraries."""
_FLAGS: Mapping[str, Callable[[bool], bool]] = {
    "train": bool,
    "training": bool,
    "is_training": bool,
    "deterministic": lambda train: not train,
}
"""Arguments by which modules learn whether they train, and the value of each."""
_HINTS: Mapping[type[Exception] | tuple[type[Exception], ...], str] = {
    errors.InvalidRngError: "draw no random numbers where train is False",
    (
        errors.ScopeCollectionNotFound,
        errors.ScopeVariableNotFoundError,
        errors.ModifyScopeVariableError,
    ): "store it in 'params' or, if it changes in training, in 'batch_stats': no other "
    "collections are kept",
}
_MOST_TEXT = 200
"""Most characters of an attribute's value."""
_LIBRARIES = tuple(
    str(pathlib.Path(str(path)).resolve())
    for path in (
        *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
        pathlib.Path(nnlab.__file__).parent,
    )
)
"""Folders of code that is not the user's."""


class OwnError(ValueError):
    """An error in the user's own code, in one line."""


@dataclasses.dataclass(frozen=True)
class Called:
    """A user's own Linen module, called as nnlab calls modules."""

    module: nn.Module
    flag: str  # the argument of its __call__ that says whether it trains; "" for none

    def init(self, rngs: Any, x: Any, train: bool) -> Any:
        """Initialises its variables; see `flax.linen.Module.init`."""
        with _naming(f"module {name_of(self)!r}"):
            return self.module.init(rngs, x, **self._told(train))

    def apply(
        self,
        variables: Any,
        x: Any,
        train: bool,
        rngs: Mapping[str, jax.Array] | None = None,
        **options: Any,
    ) -> Any:
        """Computes its logits, at least float32; see `flax.linen.Module.apply`.

        Where "dropout" has a key, every other random stream gets one too.
        """
        if rngs:
            # Streams without a key take that of "params": flax.linen.Module.make_rng.
            others = jax.random.fold_in(rngs["dropout"], zlib.crc32(b"others"))
            options["rngs"] = {"params": others, **rngs}
        with _naming(f"module {name_of(self)!r}"):
            found: Any = self.module.apply(variables, x, **self._told(train), **options)
        logits, *rest = found if options.get("mutable") else (found,)
        if hasattr(logits, "dtype") and jnp.issubdtype(logits.dtype, jnp.floating):
            logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        return (logits, *rest) if rest else logits

    def _told(self, train: bool) -> dict[str, Any]:
        return {self.flag: _FLAGS[self.flag](train)} if self.flag else {}


def name_of(module: nn.Module | Called) -> str:
    """Returns the name of a module's class."""
    return type(module.module if isinstance(module, Called) else module).__name__


def called(module: Any) -> Called | None:
    """Wraps a user's own module, ready to be called; None stays None.

    Raises:
      ValueError: it is no Linen module, or its ``__call__`` needs other arguments.
    """
    if module is None or isinstance(module, Called):
        return module
    if inspect.isclass(module):
        name = module.__name__
        raise ValueError(
            f"module is the class {name!r}: hand in an instance, such as {name}()"
        )
    if not isinstance(module, nn.Module):
        kind = next((c for c in type(module).__mro__ if c.__name__ in _BASES), None)
        of = f", a {kind.__module__}.{kind.__name__}" if kind else ""
        raise ValueError(
            f"module is a {type(module).__name__}{of}: it must be {WANTED}"
        )
    _, *taken = inspect.signature(type(module).__call__).parameters.values()
    flag = next((p.name for p in taken if p.name in _FLAGS), "")
    if not flag and any(p.kind is p.VAR_KEYWORD for p in taken):
        # nn.Sequential passes keywords on to its first layer.
        flag = "" if isinstance(module, nn.Sequential) else "train"
    others = [
        p.name
        for p in taken[1:]
        if p.name not in _FLAGS
        and p.default is p.empty
        and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    if others or not taken:
        needs = f"also needs {', '.join(map(repr, others))}" if others else "takes no x"
        raise ValueError(
            f"module {type(module).__name__!r} {needs}: it must be {WANTED}"
        )
    return Called(module, flag)


@contextlib.contextmanager
def _naming(what: str) -> Iterator[None]:
    """Turns an error in the user's own code into an `OwnError` that names the line."""
    try:
        yield
    except OwnError:
        raise
    except Exception as error:
        first = str(error).partition("\n")[0].rstrip(".")
        said = [type(error).__name__, re.sub(r"\.? ?\(https://\S+\)", "", first)]
        hints = [hint for kinds, hint in _HINTS.items() if isinstance(error, kinds)]
        line = "; ".join([f"{what} fails: {': '.join(filter(None, said))}", *hints])
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            path = str(pathlib.Path(frame.filename).resolve())
            if not path.startswith(_LIBRARIES):
                line += f" ({pathlib.Path(path).name}, line {frame.lineno})"
                break
        raise OwnError(line) from error


def check_metric(name: str, metric: Any, num_classes: int) -> None:
    """Refuses a metric that does not give a number for each example."""
    found, _ = _of_metric(name, metric, num_classes)
    if (shape := jax.tree.map(jnp.shape, found)) != (2,):
        raise ValueError(
            f"metric {name!r} returns shape {shape} for 2 examples; it needs (2,), "
            "a value for each, of which the mean is reported: a number of a whole "
            "split, such as F1, is none"
        )


def _of_metric(name: str, metric: Any, num_classes: int) -> tuple[Any, str]:
    """Returns the shape of what a metric returns, and the digest of its code."""
    return of_function(f"metric {name!r}", metric, *_two_examples(num_classes))


def _two_examples(num_classes: int) -> tuple[Any, Any]:
    """Returns the shapes of the logits and labels of two examples."""
    logits = jax.ShapeDtypeStruct((2, num_classes), np.float32)
    return logits, jax.ShapeDtypeStruct((2,), np.int32)


def of_function(what: str, function: Any, *args: Any) -> tuple[Any, str]:
    """Returns the shape of what a function returns, and the digest of its code.

    The arguments are shapes and types. An error in the function names `what` it is.
    """
    with _naming(what):
        traced, shape = _trace(function, *args)
    return shape, _digest([traced])


def check_loss(loss: Any, dataset: Dataset) -> str:
    """Returns the digest of a loss; refuses one without a number for each example."""
    found, code = of_function("loss", loss, *_two_examples(dataset.num_classes))
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
    shape: Sequence[int],
    num_classes: int,
) -> Own:
    """Records what a module and metrics compute on examples of a shape.

    Raises:
      ValueError: one of them fails.
    """
    return Own(
        module=_of_module(module, tuple(shape)) if module else None,
        metrics={
            name: _of_metric(name, metric, num_classes)[1]
            for name, metric in metrics.items()
        },
    )


def _of_module(module: Called, shape: tuple[int, ...]) -> OwnModule:
    key = jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32"))
    one, two = (jax.ShapeDtypeStruct((n, *shape), np.float32) for n in (1, 2))
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

    with _naming(f"module {name_of(module)!r}"):
        begun, variables = _trace(init, key, one)
        params = variables.get("params", {})
        stats = variables.get("batch_stats", {})
        predicted, _ = _trace(predict, params, stats, two)
        # With its gradient, so that custom gradient rules have been applied.
        gradient = jax.value_and_grad(loss, has_aux=True)
        trained, _ = _trace(gradient, params, stats, rate, key, two)
    own = module.module
    flat = traverse_util.flatten_dict(dict(params), sep="/")
    return OwnModule(
        name=name_of(own),
        attributes={k: _short(_text(v)) for k, v in _attributes(own).items()},
        parameters={k: list(v.shape) for k, v in flat.items()},
        code=_digest([begun, predicted, trained]),
    )


def _attributes(module: nn.Module) -> dict[str, Any]:
    return {
        field.name: getattr(module, field.name)
        for field in dataclasses.fields(module)
        if field.init and field.name not in ("parent", "name")
    }


def _short(text: str) -> str:
    if len(text) <= _MOST_TEXT:
        return text
    return f"{text[: _MOST_TEXT - 25]}... (digest {_sha(text)[:8]})"


def _text(value: Any) -> str:
    """Writes a value in a form that is the same in every process."""
    if isinstance(value, nn.Module):
        some = (f"{k}={_text(v)}" for k, v in _attributes(value).items())
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
