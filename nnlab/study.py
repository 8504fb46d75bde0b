# SPDX-License-Identifier: Apache-2.0
"""What to run and what is claimed about it, as plain validated values; no JAX.

A `Study` is all that crosses from a launch script or a notebook into the library. It is
validated when made, and `Study.to_dict` / `Study.from_dict` round-trip through JSON.
"""

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any

MODELS = ("mlp", "cnn", "stack")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("constant", "linear", "cosine", "step")
DTYPES = ("float32", "bfloat16")
RELATIONS = ("greater", "less", "same")
REDUCTIONS = (
    "final",
    "best",
    "at_epoch",
    "steps_to",
    "best_minus_final",
    "drop_from_test",
    "diverged_share",
    "at_chance_share",
    "seconds",
)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Returns ``", did you mean 'x'? (allowed: ...)"`` for an error message."""
    names = [str(a) for a in allowed]
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} allowed: {', '.join(names)}"


def _field(default: Any = dataclasses.MISSING, **rules: Any) -> Any:
    """A dataclass field with rules: choices, minimum, above, below, traced."""
    return dataclasses.field(default=default, metadata=rules)


class _Checked:
    """Casts and checks each field of a dataclass by its annotation and its rules."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self))
        for field in dataclasses.fields(typing.cast(Any, self)):
            value = _cast(getattr(self, field.name), hints[field.name], field.name)
            _check_rules(value, field.metadata, field.name)
            object.__setattr__(self, field.name, value)


def _cast(value: Any, hint: Any, name: str) -> Any:
    """Returns `value` as `hint` says, or raises ValueError naming the field."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        for option in args:
            try:
                return _cast(value, option, name)
            except ValueError:
                continue
        wanted = " or ".join(_type_name(a) for a in args)
        raise ValueError(f"{name}={value!r} is not {wanted}")
    if hint is Any:
        return value
    if hint is type(None):
        if value is None:
            return None
    elif dataclasses.is_dataclass(hint):
        if isinstance(value, typing.cast(type, hint)):
            return value
        if isinstance(value, Mapping):
            return _from_mapping(typing.cast(type, hint), value, name)
    elif origin is tuple:
        if isinstance(value, list | tuple):
            return tuple(_cast(v, args[0], name) for v in value)
    elif origin is dict or hint is dict:
        if isinstance(value, Mapping):
            return _plain(value)
    elif hint is bool:
        if isinstance(value, bool):
            return value
    elif hint is int:
        if _is_number(value) and float(value).is_integer():
            return int(value)
    elif hint is float:
        if _is_number(value):
            return float(value)
    elif hint is str and isinstance(value, str):
        return value
    raise ValueError(f"{name}={value!r} is not {_type_name(hint)}")


def _is_number(value: Any) -> bool:
    """True for ints, floats and NumPy scalars (anything with `item`), not for bools."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()
    return isinstance(value, int | float) and not isinstance(value, bool)


def _type_name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or"}
    names[bool] = "True or False"
    if typing.get_origin(hint) is tuple:
        inner = typing.get_args(hint)[0]
        of = {int: "whole numbers", float: "numbers", str: "texts"}
        return f"a tuple of {of.get(inner, 'values')}"
    if dataclasses.is_dataclass(hint) or hint is dict or typing.get_origin(hint):
        return "a mapping of fields"
    return names.get(hint, str(hint))


def _check_rules(value: Any, rules: Mapping[str, Any], name: str) -> None:
    if "choices" in rules and value not in rules["choices"]:
        allowed = rules["choices"]
        raise ValueError(f"{name}={value!r} is not known{nearest(value, allowed)}")
    values = value if isinstance(value, tuple) else (value,)
    for v in values:
        if not isinstance(v, int | float):
            continue
        if not math.isfinite(v):
            raise ValueError(f"{name}={value!r} is not finite")
        if "minimum" in rules and v < rules["minimum"]:
            raise ValueError(f"{name}={value!r} must be at least {rules['minimum']}")
        if "above" in rules and v <= rules["above"]:
            raise ValueError(f"{name}={value!r} must be above {rules['above']}")
        if "below" in rules and v >= rules["below"]:
            raise ValueError(f"{name}={value!r} must be below {rules['below']}")


def _from_mapping(cls: type, values: Mapping[str, Any], name: str) -> Any:
    allowed = [f.name for f in dataclasses.fields(typing.cast(Any, cls))]
    for key in values:
        if key not in allowed:
            where = f"{name}.{key}" if name else key
            raise ValueError(f"unknown field {where!r}{nearest(key, allowed)}")
    try:
        return cls(**values)
    except ValueError as error:
        prefix = f"{name}." if name else ""
        raise ValueError(f"{prefix}{error}") from None
    except TypeError:
        missing = [
            f.name
            for f in dataclasses.fields(typing.cast(Any, cls))
            if f.default is f.default_factory is dataclasses.MISSING
            and f.name not in values
        ]
        raise ValueError(
            f"{name or cls.__name__.lower()} lacks {', '.join(missing)}"
        ) from None


def _plain(value: Any) -> Any:
    """Mappings to dicts, tuples and lists to tuples, NumPy scalars to Python's."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_plain(v) for v in value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return value.item()
    return value


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(_Checked):
    """The network. `hidden` holds units, `channels` the convolutions' channels.

    Attributes:
      name: "mlp", "cnn", or "stack" (then `layers` lists every layer).
      hidden: units of each hidden dense layer (mlp, cnn).
      channels: channels of each convolution, each followed by 2x2 pooling (cnn).
      layers: layer dicts such as {"layer": "dense", "units": 64} (stack).
      activation: name of the hidden layers' activation (mlp, cnn).
      init: name of the kernels' initialiser.
      init_scale: traced factor on every initial kernel.
      bias: which layers have one: "all", "first" or "none" (mlp, cnn).
      batch_norm: normalise before each hidden activation (mlp, cnn).
      dropout_rate: traced share of hidden units dropped in training, in [0, 1).
    """

    name: str = _field("mlp", choices=MODELS)
    hidden: tuple[int, ...] = _field((64,), minimum=1)
    channels: tuple[int, ...] = _field((32, 64), minimum=1)
    layers: tuple[Any, ...] = ()
    activation: str = "relu"
    init: str = "lecun_normal"
    init_scale: float = _field(1.0, minimum=0.0, traced=True)
    bias: str = _field("all", choices=("all", "first", "none"))
    batch_norm: bool = False
    dropout_rate: float = _field(0.0, minimum=0.0, below=1.0, traced=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "layers", _plain(self.layers))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(_Checked):
    """The update rule.

    Attributes:
      name: "sgd", "adam", "adamw" or "rmsprop".
      learning_rate: traced peak rate; the schedule multiplies it by a factor in [0, 1].
      momentum: traced momentum of sgd and rmsprop, in [0, 1).
      nesterov: Nesterov's momentum (sgd, rmsprop).
      weight_decay: traced; decoupled for adamw, added to the gradient otherwise.
    """

    name: str = _field("sgd", choices=OPTIMIZERS)
    learning_rate: float = _field(0.1, minimum=0.0, traced=True)
    momentum: float = _field(0.0, minimum=0.0, below=1.0, traced=True)
    nesterov: bool = False
    weight_decay: float = _field(0.0, minimum=0.0, traced=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name in ("adam", "adamw") and (self.momentum or self.nesterov):
            raise ValueError(
                f"momentum={self.momentum!r} does not apply to {self.name} (its first "
                "moment decays by 0.9); momentum and nesterov go with sgd and rmsprop"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule(_Checked):
    """The learning rate's shape over training, after a linear warm-up.

    Attributes:
      name: "constant", "linear" (to 0), "cosine" (to 0) or "step" (x 0.1 at 50 % and
        at 75 % of the steps).
      warmup_steps: updates over which the rate rises linearly to its peak.
    """

    name: str = _field("constant", choices=SCHEDULES)
    warmup_steps: int = _field(0, minimum=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hyperparameters(_Checked):
    """Everything that a trial sets.

    Attributes:
      dataset: "digits", "mnist" or "fashion_mnist".
      train_size: training examples used, after validation is set aside; 0 for all.
      model: the network.
      optimizer: the update rule.
      schedule: the learning rate's shape.
      batch_size: examples in an update. The short batch at the end of an epoch is
        dropped; the order changes each epoch, so no example is left out for good.
      num_epochs: passes over the training examples.
      eval_every_epochs: epochs between two evaluations; 0.2 is five times an epoch.
      dtype: of the activations and products; parameters are float32.
    """

    dataset: str = "digits"
    train_size: int = _field(0, minimum=0)
    model: Model = Model()
    optimizer: Optimizer = Optimizer()
    schedule: Schedule = Schedule()
    batch_size: int = _field(32, minimum=1)
    num_epochs: int = _field(10, minimum=1)
    eval_every_epochs: float = _field(1.0, above=0.0)
    dtype: str = _field("float32", choices=DTYPES)

    def replace(self, overrides: Mapping[str, Any]) -> "Hyperparameters":
        """A copy with flat overrides such as ``{"optimizer.learning_rate": 0.1}``.

        Raises:
          ValueError: an unknown path, or a value of the wrong type or range.
        """
        values = dataclasses.asdict(self)
        for path, value in overrides.items():
            if path not in PATHS:
                raise ValueError(f"unknown field {path!r}{nearest(path, PATHS)}")
            *parents, leaf = path.split(".")
            target = values
            for parent in parents:
                target = target[parent]
            target[leaf] = value
        return _from_mapping(Hyperparameters, values, "")

    def flat(self) -> dict[str, Any]:
        """``{path: value}`` for every hyperparameter, in the order of `PATHS`."""
        values = {}
        for path in PATHS:
            value: Any = self
            for name in path.split("."):
                value = getattr(value, name)
            values[path] = value
        return values


def _paths(cls: type, prefix: str = "") -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(typing.cast(Any, cls)):
        path = prefix + field.name
        if dataclasses.is_dataclass(hints[field.name]):
            found |= _paths(hints[field.name], path + ".")
        else:
            found[path] = field.metadata
    return found


PATHS = tuple(_paths(Hyperparameters))
TRACED = tuple(p for p, rules in _paths(Hyperparameters).items() if "traced" in rules)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity(_Checked):
    """A number for each member: a column of the curves and how to reduce it.

    Attributes:
      metric: a column such as "validation_accuracy" ("" for shares and seconds).
      reduction: "final", "best", "at_epoch", "steps_to" (updates until `target`),
        "best_minus_final", "drop_from_test" (test_accuracy minus `metric`, at the end),
        "diverged_share", "at_chance_share", or "seconds" (a member's training time
        for an epoch).
      epoch: for "at_epoch".
      target: for "steps_to".
    """

    metric: str = ""
    reduction: str = _field("final", choices=REDUCTIONS)
    epoch: float | None = None
    target: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        needs = {"at_epoch": "epoch", "steps_to": "target"}.get(self.reduction)
        if needs and getattr(self, needs) is None:
            raise ValueError(f"reduction={self.reduction!r} needs {needs}")
        bare = ("diverged_share", "at_chance_share", "seconds")
        if not self.metric and self.reduction not in bare:
            raise ValueError(f"reduction={self.reduction!r} needs metric")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim(_Checked):
    """What people believe, in words and as a comparison that the data can decide.

    Attributes:
      text: the claim in words.
      quantity: what is compared.
      left: the trials meant, as ``{path: value}`` that their hyperparameters match (or
        ``{"label": ...}``); several matching trials are averaged seed by seed.
      right: likewise, or a number, or "chance" (the share of the largest class).
      relation: left is "greater" or "less" than right, or the "same" within `margin`.
      margin: half-width of "same", in units of the quantity.
    """

    text: str
    quantity: Quantity
    left: dict[str, Any]
    right: dict[str, Any] | float | str
    relation: str = _field("greater", choices=RELATIONS)
    margin: float = _field(0.0, minimum=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.right, str) and self.right != "chance":
            raise ValueError(
                f"right={self.right!r} must be trials, a number or 'chance'"
            )
        if self.relation == "same" and self.margin == 0.0:
            raise ValueError("relation='same' needs a margin above 0")
        for side in (self.left, self.right):
            for path in side if isinstance(side, dict) else ():
                if path != "label" and path not in PATHS:
                    raise ValueError(
                        f"unknown field {path!r} in claim {self.text!r}"
                        f"{nearest(path, PATHS)}"
                    )


@dataclasses.dataclass(frozen=True)
class Trial:
    """One assignment of all hyperparameters.

    Attributes:
      index: position in the sweep; never renumbered.
      id: digest of the hyperparameters, 12 hexadecimal digits.
      label: what plots and tables call it.
      overrides: ``{path: value}`` in which it differs from the study's base.
      hyperparameters: the full assignment.
    """

    index: int
    id: str
    label: str
    overrides: Mapping[str, Any]
    hyperparameters: Hyperparameters


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(_Checked):
    """A question, the trials that answer it, and what is claimed about them.

    Attributes:
      question: in words; the report opens with it.
      claims: what people believe, tested on the results.
      base: the hyperparameters that the trials start from.
      sweep: one flat override dict for each trial, e.g.
        ``{"optimizer.learning_rate": 0.1, "label": "slow"}``; ``({},)`` runs the base.
      num_seeds: repetitions of every trial.
      root_seed: the root of every random key.
      target: validation accuracy that "steps to target" in tables and answer refers to;
        0 picks it from the data (see `statistics.default_target`).
    """

    question: str = "How does training go?"
    claims: tuple[Claim, ...] = ()
    base: Hyperparameters = Hyperparameters()
    sweep: tuple[dict[str, Any], ...] = ({},)
    num_seeds: int = _field(8, minimum=1)
    root_seed: int = _field(0, minimum=0, below=2**31)
    target: float = _field(0.0, minimum=0.0, below=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sweep:
            raise ValueError("the sweep is empty: it needs at least one trial")
        self.trials()  # a bad override is refused when the study is made

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the study's canonical JSON."""
        return digest_json(self.to_dict())

    def swept(self) -> tuple[str, ...]:
        """Paths whose values differ between trials, in the order of `PATHS`."""
        flats = [trial.hyperparameters.flat() for trial in self._trials]
        return _differing(flats)

    def trials(self) -> tuple[Trial, ...]:
        """The trials, in the order of the sweep."""
        return self._trials

    @functools.cached_property
    def _trials(self) -> tuple[Trial, ...]:
        found: dict[str, Trial] = {}
        labels: dict[str, int] = {}
        resolved = []
        for index, item in enumerate(self.sweep):
            try:
                resolved.append(self.base.replace(_overrides(item)))
            except ValueError as error:
                raise ValueError(f"trial {index} of the sweep: {error}") from None
        flats = [hyperparameters.flat() for hyperparameters in resolved]
        swept = _differing(flats)
        for index, (item, flat) in enumerate(zip(self.sweep, flats)):
            digest = digest_json(flat)[:12]
            if digest in found:
                raise ValueError(
                    f"trials {found[digest].index} and {index} of the sweep are equal: "
                    f"{_label(_overrides(item), tuple(_overrides(item)))}"
                )
            label = str(item.get("label") or _label(flat, swept) or "base")
            if label in labels:
                raise ValueError(
                    f"trials {labels[label]} and {index} share the label {label!r}"
                )
            labels[label] = index
            found[digest] = Trial(
                index, digest, label, _overrides(item), resolved[index]
            )
        return tuple(found.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: base hyperparameters at the top level."""
        values = dataclasses.asdict(self)
        base = values.pop("base")
        return json.loads(json.dumps({**values, **base}))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Study":
        """The inverse of `to_dict`; hyperparameters stand at the top level.

        Args:
          values: ``{"question": ..., "dataset": ..., "model": {...}, "sweep": [...]}``.

        Raises:
          ValueError: an unknown field (the nearest name is offered) or a bad value.
        """
        own = {f.name for f in dataclasses.fields(cls)} - {"base"}
        below = {f.name for f in dataclasses.fields(Hyperparameters)}
        for key in values:
            if key not in own | below:
                names = sorted(own | below)
                raise ValueError(f"unknown field {key!r}{nearest(key, names)}")
        base = {k: v for k, v in values.items() if k in below}
        rest = {k: v for k, v in values.items() if k in own}
        return cls(base=_from_mapping(Hyperparameters, base, ""), **rest)


def _differing(flats: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(p for p in PATHS if any(f[p] != flats[0][p] for f in flats))


def _overrides(item: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in item.items() if k != "label"}


def _label(values: Mapping[str, Any], paths: tuple[str, ...]) -> str:
    """``"learning_rate=0.1, hidden=(64, 64)"``; a name shared by paths stays whole."""
    leaves = [p.rpartition(".")[2] for p in paths]
    names = [n if leaves.count(n) == 1 else p for n, p in zip(leaves, paths)]
    return ", ".join(
        f"{name}={values[path]:g}"
        if isinstance(values[path], float)
        else f"{name}={values[path]}"
        for name, path in zip(names, paths)
    )


def digest_json(value: Any) -> str:
    """SHA-256 (hexadecimal) of a plain value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
