# SPDX-License-Identifier: Apache-2.0
"""What to run and what is claimed about it, as plain validated values; no JAX.

A `Study` is all that crosses from a launch script or a notebook into the library. It is
validated when made, and `Study.to_dict` / `Study.from_dict` round-trip through JSON.
"""

import dataclasses
import hashlib
import itertools
import json
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nnlab.models import layers as layer_stack
from nnlab.models.resnet_layers import STEMS
from nnlab.study import needs
from nnlab.study.fields import Checked, FieldError, coerced, field, from_mapping, hints
from nnlab.study.needs import OWN_MODULE, Need, one_of
from nnlab.words import numbers as texts
from nnlab.words.spelling import nearest, nearest_path

TREES = ("boosted_trees", "random_forest")
"""Models that are no networks: baselines, see `nnlab.training.trees`."""
MODELS = ("mlp", "cnn", "stack", "resnet18", *TREES)
WEIGHTS = ".safetensors"
"""How the name of a file of weights ends."""
TRANSFERS = ("scratch", "probing", "tuning")
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop")
SCHEDULES = ("constant", "linear", "cosine", "step")
DTYPES = ("float32", "bfloat16")
SAMPLERS = ("tpe", "random", "qmc", "gp")
"""Of Optuna, those that keep nothing in their storage but plain values."""
WATCHED = ("validation_loss", "validation_accuracy")
RELATIONS = ("greater", "less", "same")
POOLS = ("max", "max_abs")
PARTS = {
    "curves": "validation accuracy, validation loss and training loss by epoch",
    "final": "final test accuracy against what was swept",
    "target": "epochs to the target against what was swept",
    "rates": "final training loss against the learning rate, what trains, and the edge",
    "updates": "validation accuracy against updates",
    "seconds": "validation accuracy against seconds of training",
    "gap": "training and test accuracy by epoch, side by side",
    "extremes": "training, validation and test curves of the best and the worst trial",
    "noise": "spread of the batch losses by epoch",
    "map": "final test accuracy over the two hyperparameters that were swept",
    "sizes": "final test accuracy against depth, width, parameters and training time",
    "divergence": "where members left the finite numbers, over what was swept",
    "test_sets": "accuracy on the normal, the moved and the rotated test set",
    "severity": "test accuracy against how far the images are moved or rotated",
    "active_units": "share of the activations' outputs above 0, by epoch",
    "gradients": "gradient norm of each layer by epoch, as a map and as lines",
    "costs": "time, examples/s, inferences/s, parameters and operations, side by side",
    "confusion": "which classes the best trial takes for which",
    "regions": "the plane coloured by the best and the worst trial's predictions",
    "weights": "first-layer weights of the best and the worst trial as images",
    "gallery": "test images that the best trial gets right and the worst wrong",
    "mistakes": "the best trial's most confident mistakes",
    "probabilities": "class probabilities of a few test images, before and after",
}
"""What a report can show, and in words what it is."""
PICTURES = (
    *("confusion", "regions", "weights", "gallery", "mistakes", "probabilities"),
)
"""Those of `PARTS` that look at the final members' predictions and weights."""
REDUCTIONS = (
    "final",
    "best",
    "at_epoch",
    "at_step",
    "steps_to",
    "steps",
    "best_minus_final",
    "drop_from_test",
    "diverged_share",
    "at_chance_share",
    "seconds",
)
COMPARABLE = ("final", "best", "at_epoch", "at_step")
"""Reductions whose values may be compared with those of another of them."""
OF_TRIAL = ("label", "num_seeds", "combinations")
"""What an item of a sweep may say beside the fields that it sets."""
MOST_TRIALS = 10_000
"""Trials of a study. It takes seconds to check so many."""
MOST_LAYERS = 10_000
"""Hidden dense layers of a network."""


def _model(*names: str) -> tuple[Need, ...]:
    """That the model is one of these, and no module of one's own is."""
    return _BUILT_IN, one_of("model.name", *names)


def _has_dropout(layers: Sequence[Any]) -> bool:
    return any(layer["layer"] == "dropout" for layer in layer_stack.normalise(layers))


_NETWORK = one_of("model.name", *(name for name in MODELS if name not in TREES))
_BUILT_IN = Need(
    "a model of nnlab's own, not a module of yours",
    lambda s: not s[OWN_MODULE] or s["model.name"] in TREES,
)
_DENSE = _model("mlp", "cnn")
_HIDDEN = Need(
    "of at least one layer",
    lambda s: bool(s["model.hidden"]) or s["model.name"] == "stack",
    "model.hidden",
)
_ACTIVATED = Need(
    "of at least one layer",
    lambda s: bool(
        s["model.hidden"] or (s["model.name"] == "cnn" and s["model.channels"])
    ),
    "model.hidden",
)
_CONVOLVES = Need(
    "of at least one layer", lambda s: bool(s["model.channels"]), "model.channels"
)
_DROPS = Need(
    "with a dropout layer",
    lambda s: s["model.name"] != "stack" or _has_dropout(s["model.layers"]),
    "model.layers",
)
_WHOLE = one_of("transfer.mode", "scratch", "tuning")
_MOMENTUM = one_of("optimizer.name", "sgd", "rmsprop")
_TRANSFERRED = one_of("transfer.mode", "probing", "tuning")
_TRAINED_SOURCE = Need(
    "that is a data set",
    lambda s: not s["transfer.source"].endswith(WEIGHTS),
    "transfer.source",
)
_PRETRAINING = (_TRANSFERRED, _TRAINED_SOURCE)
_SCALED = Need(
    "of images: a table always is, column by column",
    lambda s: (
        s["dataset"].removeprefix("real_or_generated:") != "map"
        and not s["dataset"].startswith("csv:")
    ),
    "dataset",
)
_TABLE = Need("csv:PATH", lambda s: s["dataset"].startswith("csv:"), "dataset")
_OWN_SCALE = Need(
    f"that is no file of weights ({WEIGHTS}), which has a scale of its own",
    lambda s: s["transfer.mode"] == "scratch" or _TRAINED_SOURCE.holds(s),
    "transfer.source",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(Checked):
    """The network. `hidden` holds units, `channels` the convolutions' channels.

    Attributes:
      name: "mlp", "cnn", "stack" (then `layers` lists every layer), "resnet18", or of
        the baselines "boosted_trees" and "random_forest".
      hidden: units of each hidden dense layer (mlp, cnn).
      depth: how often the layers of `hidden` are repeated: hidden=(64,) with depth=6 is
        six layers of 64 (mlp, cnn).
      channels: channels of each convolution, each followed by 2x2 pooling (cnn).
      kernel: height and width of the convolutions' kernels, in pixels (cnn).
      pool: what a pooling window keeps: "max" or "max_abs", the value that is largest
        without its sign (cnn).
      layers: layer dicts such as {"layer": "dense", "units": 64} (stack).
      stem: how the network begins: "imagenet" with a 7x7 convolution and a pool that
        leave a sixteenth of the pixels, "small" with a 3x3 convolution that leaves all
        (resnet18).
      num_trees: most trees for each class (boosted) or in all (forest); how many are
        kept is chosen by validation (boosted_trees, random_forest).
      tree_depths: largest depths of a tree to choose from by validation (likewise).
      activation: name of the hidden layers' activation (mlp, cnn).
      init: name of the kernels' initialiser.
      init_scale: traced factor on every initial kernel.
      bias: which layers have one: "all", "first" or "none" (mlp, cnn).
      batch_norm: normalise before each hidden activation (mlp, cnn).
      dropout_rate: traced share of hidden units dropped in training, in [0, 1) (mlp,
        cnn, stack).
    """

    name: str = field("mlp", choices=MODELS, needs=(_BUILT_IN,))
    hidden: tuple[int, ...] = field((64,), minimum=1, needs=_DENSE)
    depth: int = field(1, minimum=1, maximum=MOST_LAYERS, needs=(*_DENSE, _HIDDEN))
    channels: tuple[int, ...] = field((32, 64), minimum=1, needs=_model("cnn"))
    kernel: int = field(3, minimum=1, needs=(*_model("cnn"), _CONVOLVES))
    pool: str = field("max", choices=POOLS, needs=(*_model("cnn"), _CONVOLVES))
    layers: tuple[Any, ...] = field((), needs=_model("stack"))
    stem: str = field("imagenet", choices=STEMS, needs=_model("resnet18"))
    num_trees: int = field(200, minimum=1, maximum=10_000, needs=_model(*TREES))
    tree_depths: tuple[int, ...] = field(
        (3, 6, 9), minimum=1, maximum=50, needs=_model(*TREES)
    )
    activation: str = field(
        "relu", choices=layer_stack.ACTIVATIONS, needs=(*_DENSE, _ACTIVATED)
    )
    init: str = field(
        "lecun_normal", choices=layer_stack.INITIALIZERS, needs=(_BUILT_IN, _NETWORK)
    )
    init_scale: float = field(1.0, minimum=0.0, traced=True, needs=(_NETWORK,))
    bias: str = field("all", choices=layer_stack.BIASES, needs=_DENSE)
    batch_norm: bool = field(False, needs=(*_DENSE, _ACTIVATED))
    dropout_rate: float = field(
        0.0,
        minimum=0.0,
        below=1.0,
        traced=True,
        needs=(*_model("mlp", "cnn", "stack"), _HIDDEN, _DROPS, _WHOLE),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (count := len(self.hidden) * self.depth) > MOST_LAYERS:
            raise FieldError(
                "depth",
                f"={self.depth} times the {len(self.hidden)} layers of hidden is "
                f"{count:,} layers; at most {MOST_LAYERS:,} are allowed",
            )
        if not self.is_network and not self.tree_depths:
            raise FieldError("tree_depths", " is empty: it needs at least one depth")
        if self.name != "stack":
            if self.layers:
                raise FieldError(
                    "layers", f" goes with name='stack', not {self.name!r}"
                )
            return
        try:
            layer_stack.normalise(self.layers)
        except ValueError as error:
            raise FieldError("layers", f": {error}") from None

    @property
    def units(self) -> tuple[int, ...]:
        """Units of each hidden layer, repetitions included (mlp, cnn)."""
        return self.hidden * self.depth

    @property
    def is_network(self) -> bool:
        """Whether it is a network, and no baseline of trees."""
        return self.name not in TREES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(Checked):
    """The update rule.

    Attributes:
      name: "sgd", "adam", "adamw" or "rmsprop".
      learning_rate: traced peak rate; the schedule multiplies it by a factor in [0, 1].
      momentum: traced momentum of sgd and rmsprop, in [0, 1).
      nesterov: Nesterov's momentum (sgd, rmsprop).
      weight_decay: traced; decoupled for adamw, added to the gradient otherwise.
    """

    name: str = field("sgd", choices=OPTIMIZERS)
    learning_rate: float = field(0.1, minimum=0.0, traced=True)
    momentum: float = field(
        0.0, minimum=0.0, below=1.0, traced=True, needs=(_MOMENTUM,)
    )
    nesterov: bool = field(
        False,
        needs=(
            _MOMENTUM,
            Need(
                "above 0", lambda s: s["optimizer.momentum"] > 0, "optimizer.momentum"
            ),
        ),
    )
    weight_decay: float = field(0.0, minimum=0.0, traced=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule(Checked):
    """The learning rate's shape over training, after a linear warm-up.

    Attributes:
      name: "constant", "linear" (to 0), "cosine" (to 0) or "step" (x 0.1 at 50 % and
        at 75 % of the steps).
      warmup_steps: updates over which the rate rises linearly to its peak.
    """

    name: str = field("constant", choices=SCHEDULES)
    warmup_steps: int = field(0, minimum=0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyStopping(Checked):
    """When a member ends before `num_epochs`.

    Attributes:
      patience: evaluations without a better metric after which a member stops and goes
        back to its best parameters; 0 for never.
      metric: "validation_loss" or "validation_accuracy".
    """

    patience: int = field(0, minimum=0)
    metric: str = field(
        "validation_loss",
        choices=WATCHED,
        needs=(
            Need(
                "above 0",
                lambda s: s["early_stopping.patience"] > 0,
                "early_stopping.patience",
            ),
        ),
    )

    def __post_init__(self) -> None:
        if self.metric not in WATCHED and str(self.metric).startswith("validation_"):
            raise FieldError(
                "metric",
                f"={self.metric!r} is not watched: early stopping knows "
                f"{' and '.join(WATCHED)}, and no metric of one's own",
            )
        super().__post_init__()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer(Checked):
    """Where the network's backbone, all but its last dense layer, begins.

    Attributes:
      mode: "scratch" (at its random initialisation), "probing" (trained on the source
        before, and frozen: only a new last layer is trained, on the backbone's
        outputs, which are computed once) or "tuning" (trained on the source before,
        then all of it on the trial's data).
      source: the data set on which the backbone is trained first, or a file of weights,
        "PATH.safetensors", in the naming of torchvision's ResNet-18.
      train_size: training examples of the source; 0 for all.
      num_epochs: passes over them.
      batch_size: examples in an update.
      learning_rate: of Adam, constant.
    """

    mode: str = field("scratch", choices=TRANSFERS)
    source: str = field("", needs=(_TRANSFERRED,))
    train_size: int = field(0, minimum=0, needs=_PRETRAINING)
    num_epochs: int = field(5, minimum=1, needs=_PRETRAINING)
    batch_size: int = field(64, minimum=1, needs=_PRETRAINING)
    learning_rate: float = field(0.001, minimum=0.0, needs=_PRETRAINING)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode != "scratch" and not self.source:
            raise FieldError("mode", f"={self.mode!r} needs a source")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Csv(Checked):
    """How a table is read; see `nnlab.data.tabular`.

    Attributes:
      missing: what becomes of rows that lack a value: "refuse"; "drop" leaves them out;
        "mean" puts the column's mean over the training examples there.
      ignore: names of columns that are left out.
    """

    missing: str = field("refuse", choices=("refuse", "drop", "mean"), later=True)
    ignore: tuple[str, ...] = field((), later=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hyperparameters(Checked):
    """Everything that a trial sets.

    Attributes:
      dataset: "digits", "map", "mnist", "fashion_mnist", "cifar10", "csv:PATH",
        "folder:PATH" or "real_or_generated:NAME"; see `nnlab.data.load`.
      train_size: training examples used, after validation is set aside; 0 for all.
      standardize: whether the network sees inputs less their mean over the training
        examples, divided by their standard deviation: one number each, or of examples
        (F,) one for each column. Tables always are.
      augment_pixels: largest shift, in pixels, of each training image along both axes,
        drawn anew for each batch; 0 for none.
      model: the network.
      optimizer: the update rule.
      schedule: the learning rate's shape.
      transfer: where the network's backbone begins.
      batch_size: examples in an update. The short batch at the end of an epoch is
        dropped; the order changes each epoch, so no example is left out for good.
      num_epochs: passes over the training examples.
      max_steps: updates after which training ends though epochs remain; 0 for no limit.
      eval_every_epochs: epochs between two evaluations; 0.2 is five times an epoch.
      early_stopping: for each member on its own.
      dtype: of the activations and products; parameters are float32.
      csv: how a table is read.
    """

    dataset: str = "digits"
    train_size: int = field(0, minimum=0)
    standardize: bool = field(False, needs=(_NETWORK, _SCALED, _OWN_SCALE))
    augment_pixels: int = field(0, minimum=0, maximum=10_000, needs=(_NETWORK,))
    model: Model = Model()
    optimizer: Optimizer = field(Optimizer(), needs=(_NETWORK,))
    schedule: Schedule = field(Schedule(), needs=(_NETWORK,))
    transfer: Transfer = field(Transfer(), needs=(_NETWORK,))
    batch_size: int = field(32, minimum=1, needs=(_NETWORK,))
    num_epochs: int = field(10, minimum=1, needs=(_NETWORK,))
    max_steps: int = field(0, minimum=0, needs=(_NETWORK,))
    eval_every_epochs: float = field(1.0, above=0.0, needs=(_NETWORK,))
    early_stopping: EarlyStopping = field(EarlyStopping(), needs=(_NETWORK,))
    dtype: str = field("float32", choices=DTYPES, needs=(_BUILT_IN, _NETWORK))
    csv: Csv = field(Csv(), needs=(_TABLE,))

    def replace(self, overrides: Mapping[str, Any]) -> "Hyperparameters":
        """A copy with flat overrides such as ``{"optimizer.learning_rate": 0.1}``.

        Raises:
          ValueError: an unknown path, or a value of the wrong type or range.
        """
        values = dataclasses.asdict(self)
        for path, value in overrides.items():
            if path not in PATHS:
                hint = nearest_path(path, PATHS)
                raise ValueError(f"unknown field {path!r}{hint}")
            *parents, leaf = path.split(".")
            target = values
            for parent in parents:
                target = target[parent]
            target[leaf] = value
        return from_mapping(Hyperparameters, values, "")

    @property
    def data(self) -> str:
        """What tells the data from others: `dataset`, and how a table is read."""
        values = self.identity() if self.dataset.startswith("csv:") else {}
        how = [
            f"{path}={','.join(v) if isinstance(v, tuple) else v}"
            for path, v in values.items()
            if path.startswith("csv.")
        ]
        return f"{self.dataset} ({', '.join(how)})" if how else self.dataset

    def identity(self) -> dict[str, Any]:
        """Likewise `flat`, but for fields added later that have their default.

        What is known by it, such as a trial by its id, stays so with a new field.
        """
        return {
            path: value
            for path, value in self.flat().items()
            if "later" not in _FIELDS[path][1] or value != _DEFAULTS[path]
        }

    def flat(self) -> dict[str, Any]:
        """``{path: value}`` for every hyperparameter, in the order of `PATHS`."""
        values = {}
        for path in PATHS:
            value: Any = self
            for name in path.split("."):
                value = getattr(value, name)
            values[path] = value
        return values


def _paths(
    cls: type, prefix: str = "", of_group: tuple[Need, ...] = ()
) -> dict[str, tuple[Any, Mapping[str, Any]]]:
    """``{path: (type, rules)}`` of all fields below a dataclass."""
    found: dict[str, tuple[Any, Mapping[str, Any]]] = {}
    for one in dataclasses.fields(typing.cast(Any, cls)):
        hint, path = hints(cls)[one.name], prefix + one.name
        its = (*of_group, *one.metadata.get("needs", ()))
        if dataclasses.is_dataclass(hint):
            found |= _paths(typing.cast(type, hint), path + ".", its)
        else:
            found[path] = hint, {**one.metadata, "needs": its}
    return found


_FIELDS = _paths(Hyperparameters)
PATHS = tuple(_FIELDS)
NEEDS: Mapping[str, tuple[Need, ...]] = {
    path: rules["needs"] for path, (_, rules) in _FIELDS.items()
}
"""What has to hold for each field to be read; see `nnlab.study.needs`."""
TRACED = tuple(p for p, (_, rules) in _FIELDS.items() if "traced" in rules)
TUPLES = (
    *(path for path, (hint, _) in _FIELDS.items() if typing.get_origin(hint)),
    "figures",
    "looks",
)
"""Fields that hold a tuple: those of `PATHS`, and the study's own."""
_DEFAULTS = Hyperparameters().flat()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quantity(Checked):
    """A number for each member: a column of the curves and how to reduce it.

    Attributes:
      metric: a column such as "validation_accuracy" ("" for steps, shares, seconds).
      reduction: "final", "best", "at_epoch", "at_step" (between two evaluations on the
        straight line), "steps_to" (updates until `target`),
        "steps" (updates until training ended),
        "best_minus_final", "drop_from_test" (test_accuracy minus `metric`, at the end),
        "diverged_share", "at_chance_share", or "seconds" (a member's training time
        for an epoch).
      epoch: for "at_epoch".
      step: for "at_step".
      target: for "steps_to".
    """

    metric: str = ""
    reduction: str = field("final", choices=REDUCTIONS)
    epoch: float | None = None
    step: float | None = None
    target: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        needs = {"at_epoch": "epoch", "at_step": "step", "steps_to": "target"}
        needed = needs.get(self.reduction)
        if needed and getattr(self, needed) is None:
            raise FieldError("reduction", f"={self.reduction!r} needs {needed}")
        bare = ("steps", "diverged_share", "at_chance_share", "seconds")
        if not self.metric and self.reduction not in bare:
            raise FieldError("reduction", f"={self.reduction!r} needs metric")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim(Checked):
    """What people believe, in words and as a comparison that the data can decide.

    Attributes:
      text: the claim in words.
      quantity: what is compared.
      left: the trials meant, as ``{path: value}`` that their hyperparameters match (or
        ``{"label": ...}``).
      right: likewise, or a number, or "chance" (the share of the largest class).
      right_quantity: what is measured of the trials on the right, where it is not what
        is measured on the left: another column, or the same at another epoch.
      among: what stands for several matching trials: their "mean", seed by seed, or
        the "best" of them by validation accuracy, as when each side's learning rate is
        tuned.
      relation: left is "greater" or "less" than right, or the "same" within `margin`.
      margin: half-width of "same", in units of the quantity.
    """

    text: str
    quantity: Quantity
    left: dict[str, Any]
    right: dict[str, Any] | float | str
    right_quantity: Quantity | None = None
    among: str = field("mean", choices=("mean", "best"))
    relation: str = field("greater", choices=RELATIONS)
    margin: float = field(0.0, minimum=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.right, str) and self.right != "chance":
            raise FieldError(
                "right", f"={self.right!r} must be trials, a number or 'chance'"
            )
        if self.relation == "same" and self.margin == 0.0:
            raise FieldError("relation", "='same' needs a margin above 0")
        if self.right_quantity is not None:
            if not isinstance(self.right, dict):
                raise FieldError("right_quantity", " goes with trials on the right")
            for quantity in (self.quantity, self.right_quantity):
                if quantity.reduction not in COMPARABLE:
                    raise FieldError(
                        "right_quantity",
                        f" does not go with reduction={quantity.reduction!r}; allowed: "
                        f"{', '.join(COMPARABLE)}",
                    )
        for side in (self.left, self.right):
            for path in side if isinstance(side, dict) else ():
                if path != "label" and path not in PATHS:
                    raise ValueError(
                        f"unknown field {path!r} in the claim {self.text!r}"
                        f"{nearest_path(path, (*PATHS, 'label'))}"
                    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class MovedSets(Checked):
    """Test sets of moved and of rotated images, evaluated for every member.

    Attributes:
      moved_pixels: largest shift along both axes; 0 for no moved set.
      rotated_degrees: largest rotation to both sides; 0 for no rotated set.
      along_curve: whether at every evaluation, not only at the end.
      severity: whether the final members also get all severities from 0 to 6 pixels
        and from 0 to 60 degrees.
    """

    moved_pixels: int = field(0, minimum=0, maximum=10_000)
    rotated_degrees: float = field(0.0, minimum=0.0, maximum=180.0)
    along_curve: bool = False
    severity: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Halving(Checked):
    """Successive halving: who is behind leaves, so that others can be tried.

    At each rung, the first evaluation at or after `min_epochs`, `factor` times it, its
    square times it and so on, the best 1/factor of the trials that share a program
    go on, by mean validation accuracy over the seeds; the others end there.

    Attributes:
      factor: of that many trials one goes on; 0 for no halving, all train to the end.
      min_epochs: epochs that every trial gets.
    """

    factor: int = field(0, minimum=0)
    min_epochs: float = field(1.0, above=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor == 1:
            raise FieldError("factor", "=1 drops no trial; choose 2 or more, 0 for off")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Checked):
    """What Optuna chooses trials from; see `nnlab.runs.search`.

    Attributes:
      space: what is searched, such as "optimizer.learning_rate=log(1e-3,1)",
        "optimizer.momentum=uniform(0,0.9)", "batch_size=int(8,64)" or
        "model.hidden=(32,),(64,)"; () for no search.
      sampler: how they are chosen: "tpe" (tree-structured Parzen estimators), "random",
        "qmc" (a Sobol sequence) or "gp" (a Gaussian process; needs PyTorch).
      trials: how many, in all.
      batch: how many are chosen at once and train together.
    """

    space: tuple[str, ...] = ()
    sampler: str = field("tpe", choices=SAMPLERS)
    trials: int = field(64, minimum=1, maximum=MOST_TRIALS)
    batch: int = field(16, minimum=1)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One assignment of all hyperparameters.

    Attributes:
      index: position in the sweep; never renumbered.
      id: digest of the hyperparameters, 12 hexadecimal digits.
      label: what plots and tables call it.
      overrides: ``{path: value}`` in which it differs from the study's base.
      hyperparameters: the full assignment.
      num_seeds: its repetitions: seeds 0 up to, without, that number.
      combinations: how many of the sweep are equal to it in effect, itself among them.
      unread: where it stands for several, the paths that were swept and that it does
        not read.
    """

    index: int
    id: str
    label: str
    overrides: Mapping[str, Any]
    hyperparameters: Hyperparameters
    num_seeds: int
    combinations: int = 1
    unread: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Its hyperparameters by path; None where several values are one to it."""
        return {**self.hyperparameters.flat(), **dict.fromkeys(self.unread)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnModule(Checked):
    """What a module of a user's own is; see `nnlab.training.own`.

    Attributes:
      name: of its class.
      attributes: ``{field: value as a text}``.
      parameters: ``{path: shape}``.
      code: a digest, and the versions that it is by; "" where it cannot be known.
    """

    name: str
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    code: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(Checked):
    """What a study has that is handed in from Python, by what it is.

    A study does not run without what it has here: nothing else takes its place.

    Attributes:
      module: what stands in the place of `Hyperparameters.model`; None for nothing.
      metrics: ``{name: digest of its code}``, as of a module's.
      datasets: ``{name in the study: digest}`` of data that are no source's.
    """

    module: OwnModule | None = None
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    datasets: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(Checked):
    """A question, the trials that answer it, and what is claimed about them.

    Attributes:
      question: in words; the report opens with it.
      claims: what people believe, tested on the results.
      base: the hyperparameters that the trials start from.
      own: what is handed in from Python when it runs.
      sweep: one flat override dict for each trial, e.g.
        ``{"optimizer.learning_rate": 0.1, "label": "slow"}``; ``({},)`` runs the base.
        A trial with fewer repetitions than the others has its own "num_seeds". Those
        that are equal in effect become the first of them, which has their number as
        "combinations".
      num_seeds: repetitions of every trial, at most.
      looks: repetitions at which the trials are compared, such as (4, 8, 16, 32): those
        told from the best go no further, the others get the seeds of the next look; ()
        for one look at all; see `nnlab.runs.sequential`.
      halving: whether the worst trials end before the others.
      search: from where the trials are chosen, if not from `sweep` alone.
      eval_size: validation and test examples that are used, the first of each; 0 for
        all.
      root_seed: the root of every random key.
      target: validation accuracy that "steps to target" in tables and answer refers to;
        0 picks it from the data (see `targets.default_target`).
      test_sets: further test sets, beside the normal one.
      figures: what the report shows beside answer and tables, some of `PARTS`.
      notes: what the reader must know to judge the answer, in words.
    """

    question: str = "How does training go?"
    claims: tuple[Claim, ...] = ()
    base: Hyperparameters = Hyperparameters()
    own: Own = Own()
    sweep: tuple[dict[str, Any], ...] = ({},)
    num_seeds: int = field(8, minimum=1)
    looks: tuple[int, ...] = field((), minimum=1)
    halving: Halving = Halving()
    search: Search = Search()
    eval_size: int = field(0, minimum=0)
    root_seed: int = field(0, minimum=0, below=2**31)
    target: float = field(0.0, minimum=0.0, below=1.0)
    test_sets: MovedSets = MovedSets()
    figures: tuple[str, ...] = field(("curves", "final", "target"), among=tuple(PARTS))
    notes: tuple[str, ...] = ()
    recorded: dataclasses.InitVar[bool] = False

    def __post_init__(self, recorded: bool) -> None:
        super().__post_init__()
        if not self.sweep:
            raise ValueError("the sweep is empty: it needs at least one trial")
        if len(self.sweep) > MOST_TRIALS:
            raise ValueError(
                f"the sweep has {len(self.sweep):,} trials; at most {MOST_TRIALS:,} "
                "are allowed"
            )
        if any(b <= a for a, b in itertools.pairwise(self.looks)):
            raise ValueError(
                f"looks={self.looks}: each takes more seeds than the one before"
            )
        # A bad override is refused when the study is made.
        self._settle(recorded)
        for seeds in {self.num_seeds, *(t.num_seeds for t in self.trials())}:
            if self.looks and seeds not in self.looks:
                raise ValueError(f"num_seeds={seeds} is none of looks={self.looks}")
        if self.looks and (self.search.space or self.halving.factor):
            other = "search.space" if self.search.space else "halving.factor"
            raise ValueError(
                f"looks={self.looks} does not go with {other}: trials that are chosen "
                "or dropped on the way are not compared look by look"
            )
        if self.halving.factor and not any(map(self._has_rung, self.trials())):
            h = self.base
            raise ValueError(
                f"halving.min_epochs={self.halving.min_epochs:g} leaves no evaluation "
                f"before the end to drop a trial at (num_epochs={h.num_epochs}, "
                f"eval_every_epochs={h.eval_every_epochs:g})"
            )

    def _has_rung(self, trial: Trial) -> bool:
        h = trial.hyperparameters
        first = math.ceil(self.halving.min_epochs / h.eval_every_epochs)
        return first * h.eval_every_epochs < h.num_epochs

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the study's canonical JSON."""
        return digest_json(self.to_dict())

    def size(self) -> str:
        """The population in words: "8 trials x 16 seeds = 128 networks"."""
        trials = self.trials()
        networks = all(t.hyperparameters.model.is_network for t in trials)
        count = sum(t.num_seeds for t in trials)
        return (
            f"{texts.count(len(trials), 'trial')} x {self.seeds()} = "
            f"{texts.count(count, 'network' if networks else 'model')}"
        )

    def seeds(self) -> str:
        """The repetitions in words: "8 seeds", or "4 to 32 seeds"."""
        least = min(t.num_seeds for t in self.trials())
        text = texts.count(self.num_seeds, "seed")
        return text if least == self.num_seeds else f"{least:,} to {text}"

    def with_seeds(self, seeds: Sequence[int]) -> "Study":
        """The same study with so many repetitions of each trial, in their order."""
        sweep = tuple(
            {k: v for k, v in item.items() if k != "num_seeds"}
            | ({"num_seeds": number} if number < max(seeds) else {})
            for item, number in zip(self.sweep, seeds, strict=True)
        )
        return dataclasses.replace(self, sweep=sweep, num_seeds=max(seeds))

    def swept(self) -> tuple[str, ...]:
        """Paths whose values differ between trials, in the order of `PATHS`."""
        flats = [trial.hyperparameters.flat() for trial in self.trials()]
        return _differing(flats)

    def datasets(self) -> dict[str, Hyperparameters]:
        """What the trials' data sets are called, and of each the first trial."""
        found: dict[str, Hyperparameters] = {}
        for trial in self.trials():
            found.setdefault(trial.hyperparameters.data, trial.hyperparameters)
        return found

    def trials(self) -> tuple[Trial, ...]:
        """The trials, in the order of the sweep."""
        made: tuple[Trial, ...] = self.__dict__["_trials"]
        return made

    def indices_of(self, items: Iterable[Mapping[str, Any]]) -> list[int]:
        """The index of the trial to which each of the overrides is equal in effect."""
        known = {
            digest_json(self.effect(trial.hyperparameters)): trial.index
            for trial in self.trials()
        }
        made = (self.effect(self.base.replace(item)) for item in items)
        return [known[digest_json(effect)] for effect in made]

    def effect(self, hyperparameters: Hyperparameters) -> dict[str, Any]:
        """What is read of a trial's hyperparameters, by path."""
        settings = self.settings(hyperparameters)
        return {p: settings[p] for p in PATHS if not needs.lacking(NEEDS[p], settings)}

    def idle(self) -> dict[str, str]:
        """The paths that no trial reads, and of each why: what it goes with."""
        trials = [self.settings(trial.hyperparameters) for trial in self.trials()]
        found = {path: needs.idle(NEEDS[path], trials) for path in PATHS}
        return {path: why for path, why in found.items() if why}

    def remarks(self) -> tuple[str, ...]:
        """What of the settings changes nothing, in sentences."""
        said = []
        asked = sum(trial.combinations for trial in self.trials())
        if equal := asked - len(self.trials()):
            left = texts.count(len(self.trials()), "trial")
            verb = "is" if len(self.trials()) == 1 else "are"
            said.append(
                f"{equal} of {asked} combinations {'is' if equal == 1 else 'are'} "
                f"equal in effect to another: {left} {verb} left."
            )
        values = self.trials()[0].hyperparameters.flat()
        groups: dict[str, list[str]] = {}
        for path, why in self.idle().items():
            if values[path] != _DEFAULTS[path]:
                groups.setdefault(why, []).append(path)
        for why, paths in groups.items():
            verbs = ("is", "changes", "it goes")
            if len(paths) > 1:
                verbs = ("are", "change", "they go")
            said.append(
                f"{texts.joined(paths)} {verbs[0]} set, but {verbs[1]} nothing: "
                f"{verbs[2]} with {why}."
            )
        return tuple(said)

    def settings(self, hyperparameters: Hyperparameters) -> dict[str, Any]:
        """A trial's settings, as `nnlab.study.needs` takes them."""
        return {**hyperparameters.flat(), OWN_MODULE: self.own.module is not None}

    def _settle(self, recorded: bool) -> None:
        """Makes the trials, and of those that are equal in effect the first.

        Args:
          recorded: whether it is the study of a run, whose trials are as they were.
        """
        resolved, overrides, counts = [], [], []
        for index, item in enumerate(self.sweep):
            overrides.append({k: v for k, v in item.items() if k not in OF_TRIAL})
            try:
                coerced(item.get("label", ""), str, "label")
                number = item.get("num_seeds", self.num_seeds)
                number = coerced(number, int, "num_seeds")
                if not 1 <= number <= self.num_seeds:
                    raise FieldError(
                        "num_seeds",
                        f"={number} must be from 1 to the study's {self.num_seeds}",
                    )
                several = item.get("combinations", 1)
                counts.append((number, coerced(several, int, "combinations")))
                resolved.append(self.base.replace(overrides[-1]))
            except ValueError as error:
                raise ValueError(f"trial {index} of the sweep: {error}") from None
        settings = [self.settings(hyperparameters) for hyperparameters in resolved]
        swept = _differing(settings)
        if not (recorded or self.search.space):  # which has its own check
            check_read(swept, settings)
        first: dict[str, int] = {}
        alike: dict[str, list[int]] = {}
        ids, unread = [], []
        for index, of in enumerate(settings):
            ids.append(digest_json(resolved[index].identity())[:12])
            if (same := first.setdefault(ids[index], index)) != index:
                raise ValueError(
                    f"trials {same} and {index} of the sweep are equal: "
                    f"{overrides[index]}"
                )
            unread.append(tuple(p for p in swept if needs.lacking(NEEDS[p], of)))
            key = ids[index]
            if unread[index] and not recorded:
                key = digest_json({p: of[p] for p in swept if p not in unread[index]})
            alike.setdefault(key, []).append(index)
        kept = [group[0] for group in alike.values()]
        swept = _differing([settings[i] for i in kept])
        sweep, trials = [], []
        for index, (place, group) in enumerate(zip(kept, alike.values())):
            seeds = max(counts[i][0] for i in group)
            several = sum(counts[i][1] for i in group)
            item = {k: v for k, v in self.sweep[place].items() if k not in OF_TRIAL[1:]}
            item |= {"num_seeds": seeds} if seeds < self.num_seeds else {}
            item |= {"combinations": several} if several > 1 else {}
            sweep.append(item)
            gone = tuple(p for p in swept if several > 1 and p in unread[place])
            trials.append(
                Trial(
                    index=index,
                    id=ids[place],
                    label=item.get("label", ""),
                    overrides=overrides[place],
                    hyperparameters=resolved[place],
                    num_seeds=seeds,
                    combinations=several,
                    unread=gone,
                )
            )
        names = _labels([trial.settings() for trial in trials], swept)
        labels: dict[str, int] = {}
        for index, (trial, automatic) in enumerate(zip(trials, names)):
            label = trial.label or automatic
            if (same := labels.setdefault(label, index)) != index:
                raise ValueError(
                    f"trials {same} and {index} of the sweep share the label {label!r}"
                )
            trials[index] = dataclasses.replace(trial, label=label)
        object.__setattr__(self, "sweep", tuple(sweep))
        object.__setattr__(self, "_trials", tuple(trials))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: hyperparameters at the top level, `own` if any."""
        values = dataclasses.asdict(self)
        base = values.pop("base")
        if self.own == Own():
            del values["own"]
        return json.loads(json.dumps({**values, **base}))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, recorded: bool = False) -> "Study":
        """The inverse of `to_dict`; hyperparameters stand at the top level.

        Args:
          values: ``{"question": ..., "dataset": ..., "model": {...}, "sweep": [...]}``.
          recorded: whether it is the study of a run, whose trials are as they were.

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
        made = from_mapping(Hyperparameters, base, "")
        return cls(base=made, recorded=recorded, **rest)


def _differing(flats: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(p for p in PATHS if any(f[p] != flats[0][p] for f in flats))


def check_read(
    swept: Iterable[str], trials: Sequence[needs.Settings], what: str = "sweep"
) -> None:
    """Refuses to sweep, or to search, a field that no trial reads.

    Args:
      swept: the paths.
      trials: their settings, with `needs.OWN_MODULE`.
      what: "sweep" or "search".

    Raises:
      ValueError: names the field and what it goes with.
    """
    for path in swept:
        if why := needs.idle(NEEDS[path], trials):
            raise ValueError(
                f"the {what} over {path!r} changes nothing: it goes with {why}"
            )


def _labels(flats: list[dict[str, Any]], swept: tuple[str, ...]) -> list[str]:
    """``"learning_rate=0.1, hidden=(64, 64)"`` for each trial.

    Numbers have six digits, or all of theirs where six do not tell them apart; a leaf
    name that two paths share stays whole.
    """
    if not swept:
        return ["base"] * len(flats)
    leaves = [path.rpartition(".")[2] for path in swept]
    parts = []
    for path, leaf in zip(swept, leaves):
        values = [flat[path] for flat in flats]
        texts = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
        if len(set(texts)) < len(set(map(repr, values))):
            texts = [repr(v) for v in values]
        name = leaf if leaves.count(leaf) == 1 else path
        parts.append(
            ["" if v is None else f"{name}={t}" for v, t in zip(values, texts)]
        )
    # A module of one's own reads nothing of the models that it is swept beside.
    return [", ".join(filter(None, labels)) or OWN_MODULE for labels in zip(*parts)]


def digest_json(value: Any) -> str:
    """SHA-256 (hexadecimal) of a plain value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
