# SPDX-License-Identifier: Apache-2.0
"""Everything that a trial sets, as checked plain values; no JAX."""

import dataclasses
import typing
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nnlab.data.targets import AUTO, TASKS
from nnlab.models import layers as layer_stack
from nnlab.models.resnet_layers import STEMS
from nnlab.study.fields import (
    Checked,
    FieldError,
    checked,
    field,
    from_mapping,
    hints,
    to_mapping,
)
from nnlab.study.needs import OWN_MODULE, Need, one_of
from nnlab.words.spelling import nearest_path

TREES = ("boosted_trees", "random_forest")
"""The baselines, which are no networks; see `nnlab.training.trees`."""
MODELS = (
    *("mlp", "cnn", "stack", "resnet18", "resmlp", "vgg", "transformer"),
    *TREES,
)
WEIGHTS = ".safetensors"
"""The ending of a file of weights."""
TRANSFERS = ("scratch", "probing", "tuning")
DTYPES = ("float32", "bfloat16")
PARAMETRIZATIONS = ("standard", "mup")
DECAYS = ("auto", "coupled", "decoupled")
DECAYED = ("all", "kernels")
WATCHED = ("validation_loss", "validation_accuracy")
MODULE = "module.name"
"""The path that says which of several modules of one's own a trial trains."""
POOLS = ("max", "max_abs")

SET = "where set"
"""Of a traced field: it is an argument of programs in which a trial sets it."""
MOST_LAYERS = 10_000
"""The most hidden dense layers of a network."""


def _model(*names: str) -> tuple[Need, ...]:
    """Needs one of these models, and no module of one's own."""
    return _BUILT_IN, one_of("model.name", *names)


def _shape(*names: str) -> Need:
    return one_of("schedule.name", *names)


def _no_shape(*names: str) -> Need:
    words = f"other than {' and '.join(map(repr, names))}"
    return Need(words, lambda s: s["schedule.name"] not in names, "schedule.name")


_UNSET: Mapping[str, Mapping[str, Any]] = {
    name: {
        "optimizer.momentum": 0.0,
        "optimizer.nesterov": False,
        "optimizer.weight_decay": 1e-4 if name == "adamw" else 0.0,
    }
    for name in ("sgd", "adam", "adamw", "rmsprop")
}
"""What some optimizers do where a trial sets nothing. Ids of trials, older than the
choice of all others, are digests of it."""


def _above_0(path: str) -> Need:
    return Need("above 0", lambda s: s[path] > 0, path)


_NETWORK = one_of("model.name", *(name for name in MODELS if name not in TREES))
_BUILT_IN = Need(
    "a model of nnlab's own, not a module of yours",
    lambda s: not s[OWN_MODULE] or s["model.name"] in TREES,
)
_DENSE = _model("mlp", "cnn", "resmlp", "vgg")
_SIZED = _model("mlp", "cnn", "resmlp", "vgg", "transformer")
_IMAGES = _model("cnn", "vgg")
_LAYERS = "of at least one layer"
_HIDDEN = Need(
    _LAYERS, lambda s: s["model.hidden"] or s["model.name"] == "stack", "model.hidden"
)
_ACTIVATED = Need(
    _LAYERS,
    lambda s: (
        s["model.hidden"] or (s["model.name"] in ("cnn", "vgg") and s["model.channels"])
    ),
    "model.hidden",
)
_DEEP = Need(
    _LAYERS, lambda s: s["model.hidden"] or s["model.name"] == "vgg", "model.hidden"
)
_DROPPING = ("mlp", "cnn", "stack", "resmlp", "vgg", "transformer")
_CONVOLVES = Need(_LAYERS, lambda s: s["model.channels"], "model.channels")
_DROPS = Need(
    "with a dropout layer",
    lambda s: (
        s["model.name"] != "stack"
        or "dropout" in layer_stack.kinds_of(s["model.layers"])
    ),
    "model.layers",
)
_OWN = Need("a module of your own", lambda s: s[OWN_MODULE])
_IN_BATCHES = Need("false", lambda s: not s["full_batch"], "full_batch")
_WHOLE = one_of("transfer.mode", "scratch", "tuning")
_MOMENTUM = Need(
    "'sgd' or 'rmsprop'",  # or others, which `training.optimizers` knows
    lambda s: s["optimizer.name"] not in ("adam", "adamw"),
    "optimizer.name",
)
_VELOCITY = Need(
    "above 0",
    lambda s: (
        s["optimizer.name"] not in ("sgd", "rmsprop") or s["optimizer.momentum"] > 0
    ),
    "optimizer.momentum",
)
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
        and not s["dataset"].startswith("csv:")  # others may be images
    ),
    "dataset",
)
_TABLES = ("csv:", "parquet:", "hf:")
_TABLE = Need(
    "csv:PATH, parquet:PATH or hf:NAME",
    lambda s: s["dataset"].startswith(_TABLES),
    "dataset",
)
_OWN_SCALE = Need(
    f"that is no file of weights ({WEIGHTS}), which has a scale of its own",
    lambda s: s["transfer.mode"] == "scratch" or _TRAINED_SOURCE.holds(s),
    "transfer.source",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfLayers(Checked):
    """A traced factor for each layer that is named.

    Attributes:
      factors: pairs of a layer's name and its factor, sorted.
    """

    factors: tuple[tuple[str, float], ...] = field(
        (), opened=float, minimum=0.0, traced=True
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Module(Checked):
    """Attributes of a module of one's own that a trial sets.

    Attributes:
      attributes: pairs of a name and a value, sorted; the value of "name" says which of
        several modules it is.
    """

    attributes: tuple[tuple[str, Any], ...] = field(
        (), opened=Any, needs=(_OWN, _NETWORK)
    )

    @property
    def text(self) -> str:
        """What the trial sets, such as "Mine, width=8"; "" for nothing."""
        values = dict(self.attributes)
        named = [str(values.pop("name"))] if "name" in values else []
        return ", ".join([*named, *(f"{name}={v}" for name, v in values.items())])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model(Checked):
    """The network, or a baseline of trees.

    Attributes:
      name: "mlp", "cnn", "stack" (then `layers` lists every layer), "resnet18",
        "resmlp" (dense with skip connections), "vgg", "transformer", or a baseline:
        "boosted_trees" or "random_forest"; see `nnlab.models.networks`.
      hidden: units of each hidden dense layer; of a transformer its one width (mlp,
        cnn, resmlp, vgg, transformer).
      depth: how often the layers of `hidden` are repeated: hidden=(64,) with depth=6 is
        six layers of 64 (mlp, cnn, resmlp); convolutions before each pool (vgg);
        blocks (transformer).
      heads: heads of the attention, which divide its width (transformer).
      channels: channels of each convolution, each followed by 2x2 pooling (cnn), or of
        each group of convolutions (vgg).
      kernel: height and width of the convolutions' kernels, in pixels (cnn, vgg).
      pool: what a pooling window keeps: "max", the largest value, or "max_abs", the
        value of largest magnitude (cnn, vgg).
      layers: layer dicts such as {"layer": "dense", "units": 64} (stack).
      stem: how the network begins: "imagenet" with a 7x7 convolution and a pool, which
        leave a sixteenth of the pixels; "small" with a 3x3 convolution, which leaves
        all (resnet18).
      num_trees: most trees for each class (boosted) or in all (forest); validation
        chooses how many are kept (boosted_trees, random_forest).
      tree_depths: largest depths of a tree, from which validation chooses (likewise).
      activation: name of the hidden layers' activation (all but stack and resnet18).
      init: name of the kernels' initialiser.
      init_scale: traced factor on every initial kernel.
      scale_of: traced factors on the initial kernels of single layers, by name, or of
        groups: first, hidden, last.
      parametrization: "standard", or "mup": initial weights and rates change with the
        width so that what is learned does not (Yang et al. 2021), and the best rate of
        a narrow network is that of a wide one (mlp, cnn, stack).
      base_width: units of the hidden layers at which mup and standard agree.
      bias: which layers have one: "all", "first" or "none" (mlp, cnn, resmlp, vgg).
      batch_norm: normalise before each hidden activation (mlp, cnn, resmlp, vgg).
      dropout_rate: traced share of hidden units dropped in training, in [0, 1) (all but
        resnet18).
    """

    name: str = field("mlp", choices=MODELS, needs=(_BUILT_IN,))
    hidden: tuple[int, ...] = field((64,), minimum=1, needs=_SIZED)
    depth: int = field(1, minimum=1, maximum=MOST_LAYERS, needs=(*_SIZED, _DEEP))
    heads: int = field(4, minimum=1, later=True, needs=_model("transformer"))
    channels: tuple[int, ...] = field((32, 64), minimum=1, needs=_IMAGES)
    kernel: int = field(3, minimum=1, needs=(*_IMAGES, _CONVOLVES))
    pool: str = field("max", choices=POOLS, needs=(*_IMAGES, _CONVOLVES))
    layers: tuple[Any, ...] = field((), needs=_model("stack"))
    stem: str = field("imagenet", choices=STEMS, needs=_model("resnet18"))
    num_trees: int = field(200, minimum=1, maximum=10_000, needs=_model(*TREES))
    tree_depths: tuple[int, ...] = field(
        (3, 6, 9), minimum=1, maximum=50, needs=_model(*TREES)
    )
    activation: str = field(
        "relu", choices=layer_stack.ACTIVATIONS, needs=(*_SIZED, _ACTIVATED)
    )
    init: str = field(
        "lecun_normal", choices=layer_stack.INITIALIZERS, needs=(_BUILT_IN, _NETWORK)
    )
    init_scale: float = field(1.0, minimum=0.0, traced=True, needs=(_NETWORK,))
    scale_of: OfLayers = field(OfLayers(), needs=(_NETWORK,))
    parametrization: str = field(
        "standard",
        choices=PARAMETRIZATIONS,
        later=True,
        needs=_model("mlp", "cnn", "stack"),
    )
    base_width: int = field(
        64,
        minimum=1,
        later=True,
        needs=(
            *_model("mlp", "cnn", "stack"),
            one_of("model.parametrization", "mup"),
        ),
    )
    bias: str = field("all", choices=layer_stack.BIASES, needs=_DENSE)
    batch_norm: bool = field(False, needs=(*_DENSE, _ACTIVATED))
    dropout_rate: float = field(
        0.0,
        minimum=0.0,
        below=1.0,
        traced=True,
        needs=(*_model(*_DROPPING), _HIDDEN, _DROPS, _WHOLE),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if (count := len(self.hidden) * self.depth) > MOST_LAYERS:
            raise FieldError(
                "depth",
                f"={self.depth} times the {len(self.hidden)} layers of hidden is "
                f"{count:,} layers; at most {MOST_LAYERS:,} are allowed",
            )
        if self.name == "transformer" and (
            len(self.hidden) != 1 or self.hidden[0] % self.heads
        ):
            raise FieldError(
                "hidden",
                f"={self.hidden} must be one width, a multiple of heads={self.heads}, "
                "such as (64,), for name='transformer'",
            )
        if not self.is_network and not self.tree_depths:
            raise FieldError("tree_depths", " is empty: it needs at least one depth")
        if self.name != "stack" and self.layers:
            raise FieldError("layers", f" goes with name='stack', not {self.name!r}")
        try:
            if self.name == "stack":
                layer_stack.normalise(self.layers)
        except ValueError as error:
            raise FieldError("layers", f": {error}") from None

    @property
    def units(self) -> tuple[int, ...]:
        """Units of each hidden dense layer, repetitions included."""
        return self.hidden * (self.depth if self.name != "vgg" else 1)

    @property
    def is_network(self) -> bool:
        """Whether it is a network, not a baseline of trees."""
        return self.name not in TREES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss(Checked):
    """What training minimises, as the mean over the examples of a batch.

    Attributes:
      name: "softmax_cross_entropy", "squared_error" (half the sum over the outputs, of
        one-hot targets or of numbers) or "hinge" (1 + best other - right class, or 0);
        "auto" is the squared error of numbers, else the cross-entropy.
      label_smoothing: traced share of each training label that is divided among all
        classes, in [0, 1). Losses that are evaluated are without it.
      class_weights: factor on the loss of each class's training examples, none for 1.
        Losses that are evaluated are without them.
      l1: traced factor on the sum of the absolute values of all kernels, which is added
        to the training loss.
    """

    name: str = field(AUTO, later=True)
    label_smoothing: float = field(
        0.0,
        minimum=0.0,
        below=1.0,
        traced=SET,
        later=True,
        needs=(one_of("loss.name", AUTO, "softmax_cross_entropy", "squared_error"),),
    )
    class_weights: tuple[float, ...] = field((), minimum=0.0, later=True)
    l1: float = field(0.0, minimum=0.0, traced=SET, later=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optimizer(Checked):
    """The update rule, of optax.

    Attributes:
      name: a function of optax or optax.contrib, such as "sgd", "adam", "adamw",
        "rmsprop", "lion" or "muon"; each of its hyperparameters is a field beside this
        one, such as optimizer.b1.
      learning_rate: traced peak rate; the schedule multiplies it by a factor.
      momentum: traced momentum, in [0, 1); None for the optimizer's own default, which
        is 0 of sgd and rmsprop.
      nesterov: Nesterov's momentum; None for the optimizer's own default, which is
        false of sgd, rmsprop and adam.
      weight_decay: traced weight decay; None for the optimizer's own default, which is
        0 where it has none.
      decay_as: how weights decay: "coupled", added to the gradient; "decoupled", the
        rate times it subtracted from the weights; or "auto", as the optimizer itself
        does it (adamw, lion and the like), or else coupled.
      decay_on: what decays: "all", or "kernels", arrays of two or more dimensions that
        are named kernel or embedding.
      clip_norm: traced largest norm of a network's gradient, to which longer ones are
        scaled; 0 for no limit.
      further: the optimizer's other hyperparameters, as sorted pairs of a name and a
        value; a sweep of numbers with a decimal point compiles nothing.
      rate_of: traced factors on the learning rate of single layers, by name, or of
        groups: first, hidden, last, kernels, biases; an array in several has their
        product.
    """

    name: str = "sgd"
    learning_rate: float = field(0.1, minimum=0.0, traced=True)
    momentum: float | None = field(
        None, minimum=0.0, below=1.0, traced=True, needs=(_MOMENTUM,)
    )
    nesterov: bool | None = field(None, needs=(_VELOCITY,))
    weight_decay: float | None = field(None, minimum=0.0, traced=True)
    decay_as: str = field(AUTO, choices=DECAYS, later=True)
    decay_on: str = field("all", choices=DECAYED, later=True)
    clip_norm: float = field(0.0, minimum=0.0, traced=SET, later=True)
    further: tuple[tuple[str, Any], ...] = field((), opened=Any, traced=True)
    rate_of: OfLayers = OfLayers()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule(Checked):
    """The learning rate's shape over training, after a linear warm-up.

    All but the name are traced. Factors are those on `Optimizer.learning_rate`.

    Attributes:
      name: "constant"; "linear", "cosine", "polynomial" or "exponential", which fall to
        `end`; "step" (x 0.1 at 50 % and at 75 % of the steps); "warmup_stable_decay"
        (constant, then linear to `end`); "one_cycle" (along cosines from `start` to 1
        and to `end`).
      warmup_steps: updates over which the rate rises linearly to its peak.
      end: last factor; exponential needs one above 0.
      power: of the share of steps that is left (polynomial).
      cycles: how often a cosine falls, each time from 1 again (cosine).
      cooldown: share of all steps in which the rate falls (warmup_stable_decay).
      start: first factor (one_cycle).
      rise: share of all steps in which the rate rises (one_cycle).
    """

    name: str = "constant"
    warmup_steps: int = field(0, minimum=0, traced=SET, needs=(_no_shape("one_cycle"),))
    end: float = field(
        0.0,
        minimum=0.0,
        traced=SET,
        later=True,
        needs=(_no_shape("constant", "step"),),
    )
    power: float = field(
        1.0, above=0.0, traced=SET, later=True, needs=(_shape("polynomial"),)
    )
    cycles: float = field(
        1.0, minimum=1.0, traced=SET, later=True, needs=(_shape("cosine"),)
    )
    cooldown: float = field(
        0.2,
        above=0.0,
        maximum=1.0,
        traced=SET,
        later=True,
        needs=(_shape("warmup_stable_decay"),),
    )
    start: float = field(
        0.04, minimum=0.0, traced=SET, later=True, needs=(_shape("one_cycle"),)
    )
    rise: float = field(
        0.3,
        above=0.0,
        below=1.0,
        traced=SET,
        later=True,
        needs=(_shape("one_cycle"),),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name == "exponential" and self.end == 0:
            raise FieldError(
                "name", "='exponential' never reaches 0: set schedule.end, such as 0.01"
            )


@dataclasses.dataclass(frozen=True, kw_only=True)
class EarlyStopping(Checked):
    """When a network stops before `num_epochs`, and which parameters it keeps.

    Attributes:
      patience: evaluations without a better metric after which a network stops; 0 for
        never. Each keeps its best parameters, also if it reaches the last epoch.
      min_delta: least change of the metric, as the mean over the validation examples,
        that counts as better.
      metric: "validation_loss", "validation_accuracy", or "auto": what the study's
        claims are about, the loss if all of them are about losses, else the accuracy.
        A regression goes by the loss.
    """

    patience: int = field(0, minimum=0)
    min_delta: float = field(
        0.0,
        minimum=0.0,
        later=True,
        needs=(_above_0("early_stopping.patience"),),
    )
    metric: str = field(
        AUTO,
        choices=(*WATCHED, AUTO),
        needs=(_above_0("early_stopping.patience"),),
    )

    def __post_init__(self) -> None:
        own = str(self.metric).startswith("validation_")
        if own and self.metric not in WATCHED:
            raise FieldError(
                "metric",
                f"={self.metric!r} is not watched: early stopping knows "
                f"{' and '.join(WATCHED)}, and no metric of one's own",
            )
        super().__post_init__()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer(Checked):
    """Where the backbone, all layers but the last dense one, gets its first weights.

    Attributes:
      mode: "scratch" (random initialisation), "probing" (trained on the source and then
        frozen: only a new last layer is trained, on the backbone's outputs, which are
        computed once) or "tuning" (trained on the source, then all layers are trained
        on the trial's data).
      source: the data set on which the backbone is trained first, or a file of weights,
        "PATH.safetensors", with the names of torchvision's ResNet-18.
      train_size: training examples of the source; 0 for all.
      num_epochs: passes over them.
      batch_size: examples in an update.
      learning_rate: constant learning rate of Adam.
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
      missing: rows that lack a value: "refuse" is an error, "drop" leaves them out,
        "mean" fills in the column's mean over the training examples.
      ignore: names of columns that are left out.
      task: "classification" makes a class of each label, "regression" takes labels for
        numbers; "auto" is regression where many different numbers are labels.
    """

    missing: str = field("refuse", choices=("refuse", "drop", "mean"), later=True)
    ignore: tuple[str, ...] = field((), later=True)
    task: str = field(AUTO, choices=TASKS, later=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hyperparameters(Checked):
    """Everything that a trial sets.

    Attributes:
      dataset: "digits", "map", "mnist", "fashion_mnist", "cifar10", "csv:PATH",
        "parquet:PATH", "hf:NAME", "folder:PATH", "real_or_generated:NAME", or
        made by a function, such as "modular_addition:97"; see `nnlab.data.load`.
      train_size: training examples used, after validation is set aside; 0 for all.
      standardize: whether inputs are centred and divided by their standard deviation,
        both over the training examples: for each column of a table, else over all
        values. Tables always are.
      center: whether the mean training example is subtracted from inputs that are not
        standardized.
      augment_pixels: largest shift of each training image along both axes, in pixels,
        drawn anew for each batch; 0 for none.
      label_noise: traced share of the training labels that are random, drawn once for
        each seed, uniformly over all classes; 1 for random labels. `train_loss` is by
        these labels, `train_clean_loss` by the true ones.
      input_noise: traced standard deviation of Gaussian noise on what the network sees
        of a training example, drawn anew for each batch.
      blur: traced standard deviation, in pixels, of the Gaussian by which training
        images are blurred.
      augment_flip: whether training images are mirrored, left to right, each with
        probability 1/2, drawn anew for each batch.
      model: the network.
      module: attributes of a module of one's own, in the place of `model`.
      loss: what training minimises.
      optimizer: the update rule.
      schedule: the learning rate over training.
      transfer: where the network's backbone gets its first weights.
      batch_size: examples in an update. The short batch at the end of an epoch is
        dropped; the order changes each epoch, so no example is left out for good.
      full_batch: whether all training examples are in every update, so that an epoch is
        one; `batch_size` is then not read.
      num_epochs: passes over the training examples.
      max_steps: updates after which training ends early; 0 for no limit.
      eval_every_epochs: epochs between two evaluations; 0.2 is five times an epoch.
      average_decay: traced share that a moving average of the weights keeps at each
        update, in [0, 1); 0 for no average. It starts at the initial weights, and is
        evaluated beside the last weights, with the same running statistics.
      early_stopping: when a network stops early.
      dtype: type of activations and products; parameters are float32.
      csv: how a table is read, also of parquet and hf.
    """

    dataset: str = "digits"
    train_size: int = field(0, minimum=0)
    standardize: bool = field(False, needs=(_NETWORK, _SCALED, _OWN_SCALE))
    center: bool = field(
        False,
        later=True,
        needs=(
            *(_NETWORK, _SCALED, _OWN_SCALE),
            Need("off", lambda s: not s["standardize"], "standardize"),
        ),
    )
    augment_pixels: int = field(0, minimum=0, maximum=10_000, needs=(_NETWORK,))
    augment_flip: bool = field(False, later=True, needs=(_NETWORK,))
    label_noise: float = field(
        0.0, minimum=0.0, maximum=1.0, traced=SET, later=True, needs=(_NETWORK,)
    )
    input_noise: float = field(
        0.0, minimum=0.0, traced=SET, later=True, needs=(_NETWORK,)
    )
    blur: float = field(0.0, minimum=0.0, traced=SET, later=True, needs=(_NETWORK,))
    model: Model = Model()
    module: Module = Module()
    loss: Loss = field(Loss(), needs=(_NETWORK,))
    optimizer: Optimizer = field(Optimizer(), needs=(_NETWORK,))
    schedule: Schedule = field(Schedule(), needs=(_NETWORK,))
    transfer: Transfer = field(Transfer(), needs=(_NETWORK,))
    batch_size: int = field(32, minimum=1, needs=(_NETWORK, _IN_BATCHES))
    full_batch: bool = field(False, later=True, needs=(_NETWORK,))
    num_epochs: int = field(10, minimum=1, needs=(_NETWORK,))
    max_steps: int = field(0, minimum=0, needs=(_NETWORK,))
    eval_every_epochs: float = field(1.0, above=0.0, needs=(_NETWORK,))
    average_decay: float = field(
        0.0, minimum=0.0, below=1.0, traced=SET, later=True, needs=(_NETWORK,)
    )
    early_stopping: EarlyStopping = field(EarlyStopping(), needs=(_NETWORK,))
    dtype: str = field("float32", choices=DTYPES, needs=(_BUILT_IN, _NETWORK))
    csv: Csv = field(Csv(), needs=(_TABLE,))

    def replace(self, overrides: Mapping[str, Any]) -> "Hyperparameters":
        """Returns a copy with overrides such as ``{"optimizer.learning_rate": 0.1}``.

        Raises:
          ValueError: an unknown path, or a value of the wrong type or range.

        >>> Hyperparameters().replace({"model.hidden": [32]}).model.units
        (32,)
        """
        values = to_mapping(self)
        for path, value in overrides.items():
            check_path(path)
            put(values, path, value)
        return from_mapping(Hyperparameters, values, "")

    def batch_of(self, train_examples: int) -> int:
        """Returns how many of so many training examples are in an update."""
        return train_examples if self.full_batch else self.batch_size

    @property
    def augments(self) -> bool:
        """Whether training images are moved or mirrored."""
        return self.augment_pixels > 0 or self.augment_flip

    @property
    def data(self) -> str:
        """What identifies the data: `dataset`, and how a table is read."""
        values = self.identity() if self.dataset.startswith(_TABLES) else {}
        how = [
            f"{path}={','.join(v) if isinstance(v, tuple) else v}"
            for path, v in values.items()
            if path.startswith("csv.")
        ]
        return f"{self.dataset} ({', '.join(how)})" if how else self.dataset

    def identity(self) -> dict[str, Any]:
        """Returns `flat` without fields that were added later and have their default.

        Ids of trials are digests of it, so a new field does not change them.
        """
        return {
            path: value
            for path, value in self.flat().items()
            if "later" not in _rules(path)[1] or value != DEFAULTS[path]
        }

    def flat(self) -> "Flat":
        """Returns ``{path: value}`` of all hyperparameters, in the order of `PATHS`.

        Those that no dataclass declares come last. One that is not set and has a known
        default of the optimizer's own has that.
        """
        usual = _UNSET.get(self.optimizer.name, {})
        return Flat(
            {p: usual.get(p) if v is None else v for p, v in self.given().items()}
        )

    def given(self) -> "Flat":
        """Returns the same with None for all that the optimizer decides."""
        values = Flat(_leaves(to_mapping(self)))
        return Flat({path: values[path] for path in every_path([values])})


class Flat(dict[str, Any]):
    """Settings by path; None for a path that may be set and is not."""

    def __missing__(self, path: str) -> None:
        if not is_path(path):
            raise KeyError(path)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def put(values: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value at a dotted path in nested dicts, which grow as needed."""
    *parents, leaf = path.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
    values[leaf] = value


_Rules = tuple[Any, Mapping[str, Any]]
"""A field's type, and its rules."""


def _paths(
    cls: type, prefix: str = "", of_group: tuple[Need, ...] = ()
) -> dict[str, _Rules]:
    """Returns ``{path: (type, rules)}`` of all fields below a dataclass.

    That of names that it does not declare is the path of the group and "*".
    """
    found: dict[str, _Rules] = {}
    for one in dataclasses.fields(typing.cast(Any, cls)):
        hint, path = hints(cls)[one.name], prefix + one.name
        its = (*of_group, *one.metadata.get("needs", ()))
        if dataclasses.is_dataclass(hint):
            found |= _paths(typing.cast(type, hint), path + ".", its)
        elif "opened" in one.metadata:
            found[prefix + "*"] = one.metadata["opened"], {**one.metadata, "needs": its}
        else:
            found[path] = hint, {**one.metadata, "needs": its}
    return found


_FIELDS = _paths(Hyperparameters)

PATHS = tuple(path for path in _FIELDS if not path.endswith("*"))
"""The paths of all declared fields."""


def _rules(path: str) -> _Rules:
    """Returns type and rules of a field; a KeyError if there cannot be such a field."""
    group, dot, name = path.rpartition(".")
    if path not in _FIELDS and name.isidentifier():
        path = f"{group}{dot}*"
    return _FIELDS[path]


def is_path(path: str) -> bool:
    """Returns whether a path is that of a hyperparameter, declared or not.

    The optimizer's own hyperparameters, the attributes of a module of one's own and the
    factors of single layers are not declared. Whether they exist is known once the
    study is prepared.

    >>> is_path("optimizer.b1"), is_path("model.b1")
    (True, False)
    """
    group, dot, name = path.rpartition(".")
    opened = f"{group}{dot}*" in _FIELDS and f"{path}.*" not in _FIELDS
    return name.isidentifier() and (path in _FIELDS or opened)


def check_path(path: str, where: str = "") -> None:
    """Refuses what is no path of a hyperparameter, and offers the nearest one.

    Raises:
      ValueError: an unknown path; `where` says where it stood, such as "the sweep".
    """
    if not is_path(path):
        where = f" in {where}" if where else ""
        raise ValueError(f"unknown field {path!r}{where}{nearest_path(path, PATHS)}")


def needs_of(path: str) -> tuple[Need, ...]:
    """Returns when a field is read; see `nnlab.study.needs`."""
    found: tuple[Need, ...] = _rules(path)[1]["needs"]
    return found


def is_traced(path: str, value: Any) -> bool:
    """Returns whether a value is an argument of the compiled program.

    It depends on the field alone where that is declared; else numbers with a decimal
    point are.

    >>> is_traced("optimizer.b1", 0.9), is_traced("optimizer.nesterov", True)
    (True, False)
    """
    can_be = value is not None and (path in _FIELDS or isinstance(value, float))
    return can_be and "traced" in _rules(path)[1]


def is_argument(path: str, values: Collection[Any]) -> bool:
    """Returns whether a program with these values of a field takes it as an argument.

    A traced field that is one only where it is `SET` is else a constant: its default.
    """
    rule = _rules(path)[1].get("traced")
    unset = rule == SET and all(value == DEFAULTS[path] for value in values)
    return not unset and all(is_traced(path, value) for value in values)


def every_path(flats: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Returns `PATHS`, and then the undeclared ones of these settings, sorted."""
    further = {path for flat in flats for path in flat} - {*PATHS}
    return *PATHS, *sorted(filter(is_path, further))


def differing(flats: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Returns the paths in which settings differ, in the order of `every_path`."""
    return tuple(
        path
        for path in every_path(flats)
        if any(flat.get(path) != flats[0].get(path) for flat in flats)
    )


_LEAVES = {
    path.removesuffix(".name").rpartition(".")[2]: path
    for path in sorted(
        (*PATHS, MODULE), key=lambda path: not path.startswith("transfer.")
    )
}
"""The path of each last part; the fields of `Transfer` give way to others."""


def path_of(name: str) -> str:
    """Returns the path of a field by its last part, or by its path.

    Raises:
      ValueError: an unknown name; the nearest is offered.

    >>> path_of("hidden"), path_of("optimizer"), path_of("transfer.batch_size")
    ('model.hidden', 'optimizer.name', 'transfer.batch_size')
    """
    path = name if is_path(name) else _LEAVES.get(name, name)
    check_path(path)
    return path


def setting(path: str, value: Any) -> Any:
    """Returns a value as the field at a path holds it.

    Raises:
      ValueError: a value of the wrong type or range.

    >>> setting("model.hidden", [32.0])
    (32,)
    """
    return checked(value, *_rules(path), path)


TRACED = tuple(path for path in PATHS if is_traced(path, 0.0))
"""The declared fields that are traced."""

TUPLES = (
    *(path for path in PATHS if typing.get_origin(_FIELDS[path][0]) is tuple),
    "figures",
    "looks",
    "probes",
    "vary",
)
"""Fields that hold a tuple, those of the study itself included."""

DEFAULTS = Hyperparameters().flat()
