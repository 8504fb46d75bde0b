# SPDX-License-Identifier: Apache-2.0
"""Networks of the user's own, of every kind, called in one way.

All that such a network keeps beside its parameters is one tree, "batch_stats": the
running statistics of batch norm and, under names of their own, all further collections.
"""

import contextlib
import dataclasses
import functools
import inspect
import pathlib
import re
import sysconfig
import traceback
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import errors, nnx, traverse_util

import nnlab
from nnlab.study.hyperparameters import Module
from nnlab.words.spelling import nearest

WANTED = (
    "a flax.linen.Module, a pair of functions init(key, x) and apply(params, x), or a "
    "function of rngs that returns a flax.nnx.Module"
)

_BASES = ("Module", "Model")
"""Class names of networks in other libraries."""
_FLAGS: Mapping[str, Callable[[bool], bool]] = {
    "train": bool,
    "training": bool,
    "is_training": bool,
    "deterministic": lambda train: not train,
}
"""Arguments by which modules learn whether they train, and the value of each."""
_KEYS = ("rng", "rngs", "key")
"""Arguments of `apply` that take a random key in training, and None elsewhere."""
_COLLECTION = "collection "
"""Before the names of collections but "params" and "batch_stats": no module has it."""
_STILL = "draw random numbers, and change what is kept, only where train is True"
_NO_KEY = "NoneType|ShapeDtypeStruct"
"""What errors say of a random key where there is none."""
_HINTS: Mapping[type[Exception] | tuple[type[Exception], ...], str] = {
    (errors.InvalidRngError, errors.ModifyScopeVariableError): _STILL,
    (errors.ScopeCollectionNotFound, errors.ScopeVariableNotFoundError): (
        "make every variable in the first call, too, which has no training"
    ),
}
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


@dataclasses.dataclass(frozen=True, eq=False)
class Called:
    """A network of the user's own, called as nnlab calls modules.

    Attributes:
      name: that of its class, or of its function.
      attributes: what `with_attributes` may set, ``{name: value}``.
      begin: parameters and what is kept beside them, from a key and examples.
      compute: logits and what is then kept, from ``{"params", "batch_stats",
        "hyperparameters"}``, examples, whether it trains, and a key or None.
      remade: what the user would have handed in with other attributes.
    """

    name: str
    attributes: Mapping[str, Any]
    begin: Callable[[jax.Array, Any], tuple[Any, Any]]
    compute: Callable[[Any, Any, bool, Any], tuple[Any, Any]]
    remade: Callable[..., Any]

    def init(self, rngs: Any, x: Any, train: bool = False) -> dict[str, Any]:
        """Initialises its variables; see `flax.linen.Module.init`."""
        key = rngs["params"] if isinstance(rngs, Mapping) else rngs
        with naming(f"module {self.name!r}"):
            params, kept = self.begin(key, x)
        return {"params": params, **({"batch_stats": kept} if kept else {})}

    def apply(
        self,
        variables: Any,
        x: Any,
        train: bool,
        rngs: Mapping[str, jax.Array] | None = None,
        mutable: Sequence[str] = (),
    ) -> Any:
        """Computes its logits, at least float32; see `flax.linen.Module.apply`.

        The key of "dropout" is that from which all random streams are drawn.
        """
        key = rngs["dropout"] if rngs else None
        with naming(f"module {self.name!r}", lacks_key=not rngs):
            logits, kept = self.compute(variables, x, train, key)
        if hasattr(logits, "dtype") and jnp.issubdtype(logits.dtype, jnp.floating):
            logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        return (logits, {"batch_stats": kept}) if mutable else logits

    def with_attributes(self, values: Mapping[str, Any]) -> "Called":
        """Returns it with other attributes.

        Raises:
          ValueError: it has no such attribute, or refuses the value.
        """
        for name in values:
            if name not in self.attributes:
                raise ValueError(
                    f"module {self.name!r} has no attribute {name!r}"
                    f"{nearest(name, self.attributes) if self.attributes else ''}"
                )
        if not values:
            return self
        with naming(f"module {self.name!r}"):
            return called(self.remade(**values))


def name_of(module: nn.Module | Called) -> str:
    """Returns the name of a module's class."""
    return module.name if isinstance(module, Called) else type(module).__name__


def called(given: Any) -> Called:
    """Wraps a user's own network, ready to be called.

    Raises:
      ValueError: it is none, or needs other arguments.
    """
    if isinstance(given, Called):
        return given
    if isinstance(given, nn.Module):
        return _linen(given)
    if _is_pair(given):
        return _pair(*given)
    kind = given if inspect.isclass(given) else type(given)
    if isinstance(given, nnx.Module):
        raise ValueError(
            f"module is a {kind.__name__} whose weights are drawn already: hand in a "
            "function that makes one for each seed, such as lambda rngs: "
            f"{kind.__name__}(..., rngs=rngs)"
        )
    if inspect.isclass(given) and issubclass(given, nn.Module):
        name = given.__name__
        raise ValueError(
            f"module is the class {name!r}: hand in an instance, such as {name}()"
        )
    if callable(given) and "rngs" in _parameters(given):
        return _nnx(given)
    base = next((c for c in kind.__mro__ if c.__name__ in _BASES), None)
    of = f", a {base.__module__}.{base.__name__}" if base else ""
    raise ValueError(f"module is a {kind.__name__}{of}: it must be {WANTED}")


def _parameters(function: Any) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a function, a class, or a `functools.partial`."""
    given = function if isinstance(function, functools.partial) else None
    made = given.func if given else function
    if inspect.isclass(made):  # the signature of an NNX class itself says nothing
        args, keywords = (given.args, given.keywords) if given else ((), {})
        function = functools.partial(made.__init__, None, *args, **keywords)
    return dict(inspect.signature(function).parameters)


def _is_pair(given: Any) -> bool:
    """Whether it is (init, apply), also as a named tuple."""
    is_two = isinstance(given, tuple) and len(given) == 2
    return is_two and not any(isinstance(one, nn.Module) for one in given)


def by_name(given: Any) -> dict[str, Called]:
    """Returns the networks that a user handed in, by name.

    The name of a single one is "". Those in a list have the names of their classes,
    followed by the attributes in which several of a class differ.

    Raises:
      ValueError: one of them is none, or two share a name.
    """
    if isinstance(given, Mapping):
        found = {}
        for name, one in given.items():
            try:
                found[str(name)] = called(one)
            except ValueError as error:
                raise ValueError(f"{name!r}: {error}") from None
    elif isinstance(given, list | tuple) and not _is_pair(given):
        some = [called(one) for one in given]
        names = [_told_apart(one, some) for one in some]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(
                f"two modules are called {twice[0]!r}: name them, module={{'first': "
                "..., 'second': ...}"
            )
        found = dict(zip(names, some))
    else:
        return {} if given is None else {"": called(given)}
    if not all(found) or not found:
        raise ValueError("module holds no network, or one without a name: name each")
    return found


def _told_apart(one: Called, among: Sequence[Called]) -> str:
    alike = [other.attributes for other in among if other.name == one.name]
    values = [
        str(value)
        for name, value in one.attributes.items()
        if any(repr(other.get(name)) != repr(value) for other in alike)
    ]
    return "_".join([one.name, *values])


def chosen(named: Mapping[str, Called], by: Module) -> Called:
    """Returns the network that a trial names, with the attributes that it sets.

    Raises:
      ValueError: no network of that name, or no such attribute.
    """
    values = dict(by.attributes)
    name = str(values.pop("name", ""))
    if name not in named and list(named) != [""]:
        wanted = f"no module {name!r}" if name else "which module is not said"
        raise ValueError(f"{wanted} (module.name){nearest(name, named)}")
    return named[name if name in named else ""].with_attributes(values)


def input_type(vocabulary: int) -> Any:
    """Returns the type of what a network sees: tokens, if there are any, or numbers."""
    return jnp.int32 if vocabulary else jnp.float32


def check(
    module: Called, shape: Sequence[int], is_scaled: bool, dtype: Any = jnp.float32
) -> None:
    """Refuses a network that cannot train on examples of a shape and type.

    Its parameters must be float32, and what it keeps must have the shapes and types
    with which it began. If `is_scaled`, `init_scale` must be a factor on some of them.
    """
    x = jax.ShapeDtypeStruct((2, *shape), dtype)
    key = jax.eval_shape(lambda: jax.random.key(0))
    begun = jax.eval_shape(module.init, key, x)
    what, params = f"module {module.name!r}", _leaves(begun["params"])
    if others := {p: v for p, v in params.items() if v.dtype != jnp.float32}:
        raise ValueError(
            f"{what} has parameters {_shown(others)}: they must be float32; compute "
            "in another type with copies of them"
        )
    if is_scaled and not any(path[-1].key == "kernel" for path in params):
        raise ValueError(
            "model.init_scale is a factor on parameters that are called 'kernel': "
            f"{what} has none"
        )

    def trained(variables: Any, key: jax.Array, x: Any) -> Any:
        rate = {"hyperparameters": {"dropout_rate": jnp.float32(0)}}
        found = module.apply(variables | rate, x, True, {"dropout": key}, [""])
        return found[1]["batch_stats"]

    after = _shown(_leaves(jax.eval_shape(trained, begun, key, x)))
    if (before := _shown(_leaves(begun.get("batch_stats", {})))) != after:
        raise ValueError(
            f"{what} keeps {before} beside its parameters, and after a step {after}: "
            "shapes and types must stay"
        )


def _shown(leaves: Mapping[tuple[Any, ...], Any]) -> str:
    """Writes shapes and types by their paths."""
    parts = (
        f"{'/'.join(_names(path))} {leaf.dtype}{list(leaf.shape)}"
        for path, leaf in leaves.items()
    )
    return ", ".join(parts) or "nothing"


def _leaves(tree: Any) -> dict[tuple[Any, ...], Any]:
    """Returns a tree's leaves by their paths."""
    return dict(jax.tree_util.tree_leaves_with_path(tree))


# ---- Linen.


def _linen(module: nn.Module) -> Called:
    name, told = type(module).__name__, _told_of(module)

    def begin(key: jax.Array, x: Any) -> tuple[Any, Any]:
        variables = dict(module.init({"params": key}, x, **told(False)))
        return variables.pop("params", {}), _joined(variables)

    def compute(variables: Any, x: Any, train: bool, key: Any) -> tuple[Any, Any]:
        kept = variables.get("batch_stats", {})
        given = {**variables, **_parted(kept)}
        if not train:
            return module.apply(given, x, **told(False)), kept
        # Streams without a key take that of "params": flax.linen.Module.make_rng.
        others = jax.random.fold_in(key, zlib.crc32(b"others"))
        found: Any = module.apply(
            given,
            x,
            **told(True),
            rngs={"params": others, "dropout": key},
            mutable=list(_parted(kept)),
        )
        return found[0], _joined(found[1])

    return Called(name, attributes_of(module), begin, compute, module.clone)


def attributes_of(module: nn.Module) -> dict[str, Any]:
    """Returns the attributes of a Linen module, without those that all have."""
    return {
        field.name: getattr(module, field.name)
        for field in dataclasses.fields(module)
        if field.init and field.name not in ("parent", "name")
    }


def _told_of(module: nn.Module) -> Callable[[bool], dict[str, Any]]:
    """Returns how a Linen module is told whether it trains."""
    taken = list(inspect.signature(type(module).__call__).parameters.values())[1:]
    flag = next((p.name for p in taken if p.name in _FLAGS), "")
    if not flag and any(p.kind is p.VAR_KEYWORD for p in taken):
        # nn.Sequential passes keywords on to its first layer.
        flag = "" if isinstance(module, nn.Sequential) else "train"
    others = [p for p in taken[1:] if p.name not in _FLAGS]
    _check_call(type(module).__name__, "x and train", others, taken[:1])
    return lambda train: {flag: _FLAGS[flag](train)} if flag else {}


def _check_call(
    name: str, given: str, others: Iterable[inspect.Parameter], inputs: Any = True
) -> None:
    """Refuses a call that needs others than it is given, or does not take `inputs`."""
    loose = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL
    needed = [
        repr(p.name) for p in others if p.default is p.empty and p.kind not in loose
    ]
    if needed or not inputs:
        needs = f"also needs {', '.join(needed)}" if needed else "takes no x"
        raise ValueError(f"module {name!r} {needs}: it is called with {given}")


def _joined(collections: Mapping[str, Any]) -> dict[str, Any]:
    """Returns collections, but "params", as one tree."""
    rest = {
        f"{_COLLECTION}{name}": tree
        for name, tree in collections.items()
        if name != "batch_stats"
    }
    return {**collections.get("batch_stats", {}), **rest}


def _parted(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the collections that `_joined` made one tree of."""
    found: dict[str, Any] = {"batch_stats": {}}
    for name, tree in kept.items():
        if name.startswith(_COLLECTION):
            found[name.removeprefix(_COLLECTION)] = tree
        else:
            found["batch_stats"][name] = tree
    return found


# ---- Pairs of functions.


def _pair(init: Any, apply: Any) -> Called:
    if not (callable(init) and callable(apply)):
        raise ValueError(f"module is a pair of no functions: it must be {WANTED}")
    if isinstance(getattr(init, "__self__", None), nn.Module):
        raise ValueError("module is (init, apply) of a Linen module: hand in that")
    name = getattr(apply, "__name__", type(apply).__name__)
    taken = list(inspect.signature(apply).parameters.values())[1:]
    known = (*_FLAGS, *_KEYS, "state")
    free = [p for p in taken if p.name not in known]
    given = f"params, x and, by these names, {', '.join(known)}"
    _check_call(name, given, free[1:], free)
    keeps = any(p.name == "state" for p in taken)
    takes_x = len(inspect.signature(init).parameters) > 1

    def begun(key: Any, x: Any) -> tuple[Any, Any]:
        found = init(key, x) if takes_x else init(key)
        found = jax.tree.map(jnp.asarray, found)
        return found if keeps else (found, ())

    def begin(key: jax.Array, x: Any) -> tuple[Any, Any]:
        params, kept = begun(key, x)
        return _named(params), _named(kept)

    def compute(variables: Any, x: Any, train: bool, key: Any) -> tuple[Any, Any]:
        like = jax.eval_shape(begun, jax.random.key(0), x)
        kept = _like(like[1], variables.get("batch_stats", {}))
        values = {flag: of(train) for flag, of in _FLAGS.items()}
        values |= dict.fromkeys(_KEYS, key) | {"state": kept, free[0].name: x}
        use = [p for p in taken if p.name in values]
        named = {p.name: values[p.name] for p in use if p.kind is p.KEYWORD_ONLY}
        placed = [values[p.name] for p in use if p.name not in named]
        found = apply(_like(like[0], variables["params"]), *placed, **named)
        logits, kept = found if keeps else (found, kept)
        return logits, _named(kept)

    def refuse(**values: Any) -> Any:
        raise AssertionError(values)  # it has no attributes

    return Called(name, {}, begin, compute, refuse)


def _names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """Returns the names on a leaf's path; none holds a slash, which parts names."""
    text = jax.tree_util.keystr(path, simple=True, separator="/")
    return tuple(text.split("/")) if path else ("values",)


def _named(tree: Any) -> dict[str, Any]:
    """Returns any tree as nested dicts of arrays, such as a list's as "0", "1"."""
    flat = {_names(path): leaf for path, leaf in _leaves(tree).items()}
    return traverse_util.unflatten_dict(flat)


def _like(tree: Any, named: Mapping[str, Any]) -> Any:
    """Returns the values of `_named` in a tree of its own form."""
    flat = traverse_util.flatten_dict(dict(named))
    return jax.tree_util.tree_map_with_path(lambda path, _: flat[_names(path)], tree)


# ---- NNX.


def _nnx(make: Callable[..., Any]) -> Called:
    taken = _parameters(make)
    del taken["rngs"]
    attributes = {
        name: p.default for name, p in taken.items() if p.default is not p.empty
    }
    name = getattr(make, "__name__", type(make).__name__)
    _check_call(name, "rngs: give all else a default", taken.values())
    blank = functools.partial(nnx.eval_shape, lambda: make(rngs=nnx.Rngs(0)))
    with naming("the function handed in as module"):
        model = blank()
    if not isinstance(model, nnx.Module):
        raise ValueError(f"module {name!r} returns no flax.nnx.Module: it must")
    name = type(model).__name__
    call = list(inspect.signature(type(model).__call__).parameters.values())[1:]
    others = [p for p in call[1:] if p.name not in (*_FLAGS, "rngs")]
    _check_call(name, "x, train and rngs", others, call)

    def begin(key: jax.Array, x: Any) -> tuple[Any, Any]:
        _, params, _, kept = _split(make(rngs=nnx.Rngs(key)))
        return _named(nnx.to_pure_dict(params)), _named(nnx.to_pure_dict(kept))

    def compute(variables: Any, x: Any, train: bool, key: Any) -> tuple[Any, Any]:
        graph, params, draws, kept = _split(blank())
        _fill(params, variables["params"])
        _fill(kept, variables.get("batch_stats", {}))
        if key is not None:
            _fill(draws, _named(_keys(nnx.to_pure_dict(draws), key)))
        model = nnx.merge(graph, params, draws, kept)
        model.train() if train else model.eval()
        values: dict[str, Any] = {flag: of(train) for flag, of in _FLAGS.items()}
        values["rngs"] = None if key is None else nnx.Rngs(key)
        given = {p.name: values[p.name] for p in call if p.name in values}
        logits = model(x, **given)
        return logits, _named(nnx.to_pure_dict(_split(model)[3]))

    remade = functools.partial(functools.partial, make)
    return Called(name, attributes, begin, compute, remade)


def _split(model: Any) -> tuple[Any, Any, Any, Any]:
    """Returns a model's graph, parameters, random streams, and all else it keeps."""
    kinds = nnx.Param, nnx.RngState, nnx.Intermediate, ...
    graph, *states = nnx.split(model, *kinds)
    return graph, states[0], states[1], states[3]


def _fill(state: Any, named: Mapping[str, Any]) -> None:
    """Gives an NNX state the values of `_named`."""
    pure = nnx.to_pure_dict(state)
    nnx.replace_by_pure_dict(state, _like(pure, named))


def _keys(draws: Any, key: jax.Array) -> Any:
    """Returns a key for each random stream, by its name, and counts of 0."""

    def of(path: tuple[Any, ...], leaf: Any) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.fold_in(key, zlib.crc32("/".join(_names(path)).encode()))
        return jnp.zeros(leaf.shape, leaf.dtype)

    return jax.tree_util.tree_map_with_path(of, draws)


# ---- Mistakes.


@contextlib.contextmanager
def naming(what: str, lacks_key: bool = False) -> Iterator[None]:
    """Turns an error in the user's own code into an `OwnError` that names the line.

    `lacks_key` says that the code had no random key.
    """
    try:
        yield
    except OwnError:
        raise
    except Exception as error:
        first = str(error).partition("\n")[0].rstrip(".")
        said = [type(error).__name__, re.sub(r"\.? ?\(https://\S+\)", "", first)]
        hints = [hint for kinds, hint in _HINTS.items() if isinstance(error, kinds)]
        if lacks_key and isinstance(error, TypeError) and re.search(_NO_KEY, first):
            hints = [_STILL]
        line = "; ".join([f"{what} fails: {': '.join(filter(None, said))}", *hints])
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            path = str(pathlib.Path(frame.filename).resolve())
            if not path.startswith(_LIBRARIES):
                line += f" ({pathlib.Path(path).name}, line {frame.lineno})"
                break
        raise OwnError(line) from error
