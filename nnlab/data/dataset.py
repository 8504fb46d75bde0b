# SPDX-License-Identifier: Apache-2.0
"""A dataset in memory: three splits in an order that depends on the content alone.

Sources deliver the same examples in different orders: the published MNIST files, a
prepared TFDS directory and a user's table each have their own. The same seed would then
train differently on each. So every dataset is sorted by a hash of its examples before
it is split. Equal content gives equal arrays, and the order is as good as random.
"""

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nnlab.data import labels as classes
from nnlab.data import numbers, targets
from nnlab.data.splits import divided, strata
from nnlab.data.targets import AUTO, CLASSIFICATION, REGRESSION

R2 = "r2"
"""The share of the targets' variance that a regression explains."""

# From 8-bit images to [0, 1].
IMAGE_SCALE = 1 / 255

MOST_TOKENS = 2**24 - 1
"""The largest token: float32 holds all whole numbers up to it."""

# Values of each example that are sorted at a time.
_SORTED_AT_ONCE = 64

# Validation takes a sixth of the training examples, as is customary for MNIST (10,000
# of 60,000). More than 10,000 would only make evaluation slower.
_VALIDATION_SHARE = 6
_MAX_VALIDATION = 10_000
# A dataset without a test set gives up a fifth (rounded up).
_TEST_SHARE = 5


def validation_size(examples: int) -> int:
    """Returns how many of the training examples become the validation set.

    Raises:
      ValueError: too few to set one aside.

    >>> validation_size(60_000), validation_size(600)
    (10000, 100)
    """
    count = min(_MAX_VALIDATION, examples // _VALIDATION_SHARE)
    if count == 0:
        raise ValueError(
            f"{examples} training examples are too few: at least {_VALIDATION_SHARE} "
            "are needed to set one aside for validation"
        )
    return count


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Examples that serve one purpose; both arrays are read-only.

    Attributes:
      inputs: (N, *input_shape), uint8, float32 or, for tokens, int32; C-contiguous.
      labels: (N,), int32 in [0, C); of a regression the targets, (N, C), float32.
    """

    inputs: np.ndarray
    labels: np.ndarray

    @property
    def size(self) -> int:
        """N, the number of examples."""
        return len(self.labels)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Train, validation and test examples, and what a network must know about them.

    Attributes:
      name: its name in tables and captions.
      train: the examples to learn from, in canonical order.
      validation: the examples to choose by, taken from the training examples.
      test: the examples to report on.
      class_names: C names; label i means class_names[i]. Of a regression the names of
        its C targets.
      scale: the network's input is inputs * scale: 1/255 for 8-bit images, 1/16 for
        digits, 1.0 for data that is float already.
      digest: sha256 (hex) of all arrays of the whole dataset, their shapes and dtypes;
        `limit` keeps it.
      feature_names: names of a table's F columns; empty for everything else.
      class_values: (C,), the user's own labels, which a network predicts: label i
        means class_values[i]. None where they are 0..C-1.
      origin: what was subtracted from the user's inputs so that float32 can tell them
        apart: float64, (F,) for a table, else (). None for nothing.
      target_mean, target_unit: (C,), float64, of a regression: a stored target times
        its unit plus its mean is the user's number. They are mean and standard
        deviation of the training examples. None for classes.
      notes: what the user must know about how the data were read.
      vocabulary: number of different tokens, of which inputs are indices; 0 for inputs
        that are numbers.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    class_names: tuple[str, ...]
    scale: float
    digest: str
    feature_names: tuple[str, ...] = ()
    class_values: np.ndarray | None = None
    origin: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    vocabulary: int = 0
    target_mean: np.ndarray | None = None
    target_unit: np.ndarray | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, without the example axis."""
        return self.train.inputs.shape[1:]

    @property
    def num_classes(self) -> int:
        """C, the number of classes, or of a regression's targets."""
        return len(self.class_names)

    @property
    def is_regression(self) -> bool:
        """Whether the labels are numbers, not classes."""
        return self.target_unit is not None

    @property
    def score(self) -> str:
        """The metric, 1 at best, by which networks are compared."""
        return R2 if self.is_regression else "accuracy"

    @property
    def is_table(self) -> bool:
        """Whether an example is a row of named columns, each with its own unit."""
        return bool(self.feature_names)

    def values_of_classes(self) -> np.ndarray:
        """The user's label of each class, (C,)."""
        given = self.class_values
        return np.arange(self.num_classes) if given is None else given

    def in_units(self, inputs: np.ndarray) -> np.ndarray:
        """Converts stored examples (N, *input_shape) to the user's units."""
        return inputs if self.origin is None else inputs + self.origin

    def limit(self, train_size: int) -> "Dataset":
        """Returns a dataset with the first `train_size` training examples; 0 keeps all.

        Validation and test stay whole. Memory is shared with this dataset.

        Raises:
          ValueError: train_size is negative or larger than the training split.
        """
        available = len(self.train.labels)
        if not 0 <= train_size <= available:
            raise ValueError(
                f"train_size {train_size} is out of range: {self.name} has {available} "
                f"training examples; allowed: 0 (all) to {available}"
            )
        if train_size == 0:
            return self
        train = Split(self.train.inputs[:train_size], self.train.labels[:train_size])
        return dataclasses.replace(self, train=train)

    @classmethod
    def from_arrays(
        cls,
        inputs: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        test_inputs: npt.ArrayLike | None = None,
        test_labels: npt.ArrayLike | None = None,
        validation_inputs: npt.ArrayLike | None = None,
        validation_labels: npt.ArrayLike | None = None,
        name: str = "arrays",
        class_names: Sequence[str] | None = None,
        scale: float | None = None,
        feature_names: Sequence[str] = (),
        class_values: npt.ArrayLike | None = None,
        task: str = AUTO,
        tokens: bool = False,
        copy: bool = True,
    ) -> "Dataset":
        """Makes a dataset from your own arrays.

        The examples are put into canonical order. Without test arrays a fifth of them,
        the last ones of each class, becomes the test set. Then min(10,000, a sixth) of
        the remaining examples, the last ones of each class, become the validation set,
        unless it is given, too.
        Each set has every class in its share of the examples, and at least one example
        of it. Copied arrays share no memory with the dataset.

        Args:
          inputs: (N, ...), N >= 6 (8 without test arrays), and 2 (3) or more of each
            class: uint8 (images), or numbers
            that become float32, less an `origin` where needed. (N, H, W) becomes (N, H,
            W, 1). The columns of a data frame name the features.
          labels: (N,), integers, booleans, whole-numbered floats or strings. They
            become 0..C-1, strings in the order of `labels.in_order`. Class names and
            class values keep what they were. Floats with fractions, (N,) or (N, C), are
            the targets of a regression, see `task`.
          test_inputs: (M, ...), with the dtype and example shape of inputs. The columns
            of two tables are matched by name.
          test_labels: (M,), as labels.
          validation_inputs, validation_labels: likewise; they need test inputs.
          name: its name in tables and captions.
          class_names: names of classes 0..C-1, where the labels are integers in [0, C)
            already; then a class may be absent from the data.
          scale: factor from inputs to what the network sees; by default 1/255 for uint8
            and 1.0 for floats.
          feature_names: F names for the columns of inputs of shape (N, F).
          class_values: (C,), the user's labels of class_names, if not integers.
          task: "classification", or "regression", also of whole numbers; "auto" tells
            by the labels. The targets of a regression are stored less their mean and
            divided by their standard deviation over the training examples. They are
            named by the columns of a data frame, or by class_names.
          tokens: whether inputs, (N, length), are whole numbers from 0 that stand for
            words, letters or other things; they stay int32.
          copy: False, for float32 without a test set, sorts the inputs in place.

        Raises:
          ValueError: the arrays are empty, of a wrong dtype, not finite, of lengths or
            shapes that do not fit together, or hold fewer than two classes; a class has
            too few examples for one in each set; a column is beyond float32; or names
            do not fit the inputs.

        >>> flowers = Dataset.from_arrays([[5.1, 3], [6.2, 2]] * 6, ["a", "b"] * 6)
        >>> flowers.class_names, flowers.train.inputs.shape, flowers.test.labels.shape
        (('a', 'b'), (7, 2), (3,))
        """
        if (test_inputs is None) != (test_labels is None):
            raise ValueError("test_inputs and test_labels must be given together")
        own = [one is not None for one in (validation_inputs, validation_labels)]
        if any(own) and not (all(own) and test_inputs is not None):
            raise ValueError(
                "validation_inputs, validation_labels and test_inputs must be given "
                "together"
            )
        if tokens:
            inputs = _checked_tokens(inputs)
            test_inputs, validation_inputs = (
                None if some is None else _checked_tokens(some)
                for some in (test_inputs, validation_inputs)
            )
        feature_names = tuple(feature_names) or numbers.columns_of(inputs)
        x, y = _checked(inputs, labels, "", task=task)
        task = REGRESSION if y.dtype.kind == "f" else CLASSIFICATION
        x, origin = _stored(x, feature_names)
        if test_inputs is None or test_labels is None:
            encoded = _encode(y, labels, class_names)
            parts = _cut(x, encoded, len(y), ("train", "validation", "test"), copy)
            train, validation, test = parts
        else:
            names = feature_names
            of = names, x.dtype, task
            test_x, test_y = _checked(test_inputs, test_labels, "test_", *of)
            end = len(y) + len(test_y)
            every, further = classes.joined(y, test_y), x[:0]
            if validation_inputs is not None and validation_labels is not None:
                further, more = _checked(
                    validation_inputs, validation_labels, "validation_", *of
                )
                every = classes.joined(every, more)
            encoded = _encode(every, labels, class_names)
            codes = np.split(encoded.codes, [len(y), end])
            if len(further):
                train = Split(*canonical(x, codes[0]))
                further = _like(further, x, origin, "validation_")
                validation = Split(*canonical(further, codes[2]))
            else:
                train, validation = _cut(x, encoded, len(y), ("train", "validation"))
            test = Split(*canonical(_like(test_x, x, origin), codes[1]))
        values = encoded.values if class_values is None else np.array(class_values)
        moments: dict[str, Any] = {}
        if task == REGRESSION:
            (train, validation, test), moments = _standardized(train, validation, test)
        vocabulary = 0
        if tokens:
            splits = [_as_tokens(one, origin) for one in (train, validation, test)]
            vocabulary = 1 + max(int(one.inputs.max()) for one in splits)
            (train, validation, test), origin = splits, None
        return cls(
            name=name,
            train=train,
            validation=validation,
            test=test,
            class_names=encoded.names,
            vocabulary=vocabulary,
            scale=_scale(scale, x.dtype),
            digest=digest_of(train, validation, test, origin, **moments),
            feature_names=feature_names,
            class_values=None if values is None else read_only(values),
            origin=origin,
            **moments,
        )


def _standardized(*splits: Split) -> tuple[list[Split], dict[str, np.ndarray]]:
    """Returns a regression's splits with targets in units of the training examples'.

    The second result has these units and the means, as fields of a `Dataset`.
    """
    known = splits[0].labels
    mean, unit = known.mean(axis=0), known.std(axis=0)
    if not np.ptp(known, axis=0).all():  # rounding makes a deviation of equal ones
        raise ValueError(
            f"all training targets are {known[0, int(unit.argmin())]:g}: a regression "
            "needs targets that differ"
        )
    found = [
        Split(split.inputs, read_only(((split.labels - mean) / unit).astype("f4")))
        for split in splits
    ]
    return found, {"target_mean": read_only(mean), "target_unit": read_only(unit)}


def _checked_tokens(inputs: npt.ArrayLike) -> np.ndarray:
    """Returns tokens as floats, which hold them exactly."""
    array = np.asarray(inputs)
    if array.dtype.kind not in "iu" or array.ndim != 2 or not array.size:
        raise ValueError(
            f"tokens are whole numbers of shape (N, length); got {array.dtype} of "
            f"shape {array.shape}"
        )
    if array.min() < 0 or array.max() > MOST_TOKENS:
        raise ValueError(
            f"tokens must be from 0 to {MOST_TOKENS:,}; got {array.min()} to "
            f"{array.max()}"
        )
    return array.astype(np.float32)


def _as_tokens(split: Split, origin: np.ndarray | None) -> Split:
    whole = split.inputs if origin is None else split.inputs + origin
    return Split(read_only(np.rint(whole).astype(np.int32)), split.labels)


def digest_of(
    train: Split,
    validation: Split,
    test: Split,
    origin: np.ndarray | None = None,
    **more: np.ndarray | None,
) -> str:
    """Returns the sha256 (hex) of all arrays of a dataset.

    It covers names, dtypes, shapes and bytes of the six arrays, of `origin`, which was
    subtracted from the inputs, and of `more` arrays, where there are any.
    """
    arrays: dict[str, np.ndarray] = {}
    splits = {"train": train, "validation": validation, "test": test}
    for name, split in splits.items():
        arrays |= {f"{name}.inputs": split.inputs, f"{name}.labels": split.labels}
    further = {"origin": origin, **more}
    arrays |= {name: one for name, one in further.items() if one is not None}
    digest = hashlib.sha256()
    for name, array in arrays.items():
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {little_endian.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(little_endian).data)
    return digest.hexdigest()


def read_only(array: np.ndarray) -> np.ndarray:
    """Marks an array read-only and returns it: its digest must stay true."""
    array.flags.writeable = False
    return array


def canonical(
    inputs: np.ndarray, labels: np.ndarray, copy: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Sorts examples by the sha256 of their bytes and label; returns them read-only.

    Inputs are (N, ...), of any dtype, labels (N,), integers, or (N, C), float64.
    copy=False sorts the inputs in place.
    """
    return _arranged(inputs, labels, _canonical_order(inputs, labels), copy)


def _canonical_order(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    examples = inputs.astype(inputs.dtype.newbyteorder("<"), order="C", copy=False)
    codes = labels.astype("<i4" if labels.dtype.kind in "iu" else "<f8")
    digests = b"".join(
        hashlib.sha256(example.tobytes() + code.tobytes()).digest()
        for example, code in zip(examples, codes, strict=True)
    )
    return np.argsort(np.frombuffer(digests, dtype="S32"), kind="stable")


def _arranged(
    inputs: np.ndarray, labels: np.ndarray, order: np.ndarray, copy: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Puts examples into an order, read-only; in place if they are not copied."""
    if copy:
        return read_only(inputs[order]), read_only(labels[order])
    inputs = np.ascontiguousarray(inputs)
    rows = inputs.reshape(len(inputs), -1)
    for start in range(0, rows.shape[1], _SORTED_AT_ONCE):
        some = slice(start, start + _SORTED_AT_ONCE)
        rows[:, some] = rows[order, some]
    return read_only(inputs), read_only(labels[order])


def _cut(
    inputs: np.ndarray,
    encoded: classes.Encoded,
    count: int,
    names: Sequence[str],
    copy: bool = True,
) -> list[Split]:
    """Cuts the first `count` examples into stratified sets, in canonical order.

    One array holds all sets, so that nothing is copied twice.
    """
    codes = encoded.codes[:count]
    classes = strata(codes)
    order, there = _canonical_order(inputs, codes), len(np.unique(classes))
    share = -(-count // _TEST_SHARE) if "test" in names else 0
    # Of few examples a fifth or a sixth may be less than one of each class.
    validation = max(validation_size(count - share), there)
    test = max(share, there) if share else 0
    sizes = dict(zip(names, (count - test - validation, validation, test)))
    parts = divided(classes[order], sizes, encoded.names)
    x, y = _arranged(inputs, codes, order[np.concatenate([*parts.values()])], copy)
    ends = np.cumsum([*sizes.values()])[:-1]
    return [Split(*part) for part in zip(np.split(x, ends), np.split(y, ends))]


def _scale(given: float | None, dtype: np.dtype) -> float:
    if given is None:
        return IMAGE_SCALE if dtype == np.uint8 else 1.0
    if not (math.isfinite(given) and given > 0):
        raise ValueError(f"scale {given} is not a positive finite number")
    return float(given)


def _checked(
    inputs: npt.ArrayLike,
    labels: npt.ArrayLike,
    part: str,
    names: Sequence[str] = (),
    like: np.dtype | None = None,
    task: str = AUTO,
) -> tuple[np.ndarray, np.ndarray]:
    """Checks inputs and labels; `part` is "test_" or "". See `_as_inputs`."""
    x = _as_inputs(inputs, f"{part}inputs", like, names)
    y = targets.check(labels, f"{part}labels", task)
    if len(x) != len(y):
        raise ValueError(
            f"{len(x)} {part}inputs but {len(y)} {part}labels: there must be one label "
            "for each example"
        )
    return x, y


def _stored(
    x: np.ndarray, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Keeps images; converts other inputs to float32 less an origin, also returned."""
    if names and x.shape[1:] != (len(names),):
        raise ValueError(
            f"{len(names)} feature_names do not fit examples of shape {x.shape[1:]}: a "
            f"table has shape (N, {len(names)})"
        )
    if x.dtype == np.uint8:
        return x, None
    origin = numbers.origin_of(x, names, "inputs")
    return numbers.stored(x, origin, "inputs"), origin


def _like(
    test_x: np.ndarray, x: np.ndarray, origin: np.ndarray | None, part: str = "test_"
) -> np.ndarray:
    if test_x.dtype != np.uint8:
        test_x = numbers.stored(test_x, origin, f"{part}inputs")
    if (test_x.dtype, test_x.shape[1:]) != (x.dtype, x.shape[1:]):
        raise ValueError(
            f"{part}inputs hold examples of {test_x.dtype} {test_x.shape[1:]}, "
            f"inputs of {x.dtype} {x.shape[1:]}: they must agree"
        )
    return test_x


def _as_inputs(
    inputs: npt.ArrayLike,
    what: str,
    like: np.dtype | None = None,
    names: Sequence[str] = (),
) -> np.ndarray:
    """Checks inputs (N, ...) of uint8 or other numbers; gives images a channel axis.

    Whole numbers may be pixels, which are scaled. `like`, the dtype of the training
    inputs, or their range decides; otherwise the user has to say it.
    """
    array = numbers.check(inputs, what, names)
    if array.size == 0 or array.ndim < 2:
        raise ValueError(
            f"{what} have shape {array.shape}; needed: (N, ...) with at least one "
            "example and two axes"
        )
    pixels = array.dtype == np.uint8 or numbers.columns_of(inputs)
    if array.dtype.kind in "iu" and not pixels:
        low, high = int(array.min()), int(array.max())
        within = low >= 0 and high <= 255
        if within and (like == np.uint8 or (array.ndim > 2 and high > 127)):
            array = array.astype(np.uint8)
        elif within and high > 1 and like is None:
            raise ValueError(
                f"{what} have dtype {array.dtype} and are {low} to {high}; allowed: "
                "uint8, .astype(np.uint8), for pixels of 0 to 255, and a floating "
                "type, .astype(float), for other numbers"
            )
    return array[..., np.newaxis] if array.ndim == 3 else array


def _encode(
    labels: np.ndarray, given: npt.ArrayLike, class_names: Sequence[str] | None
) -> classes.Encoded:
    """Turns labels into codes, and checks those that are codes already."""
    if labels.dtype.kind == "f":
        return targets.encode(labels, given, class_names)
    encoded = classes.encode(labels, getattr(given, "dtype", None))
    values = encoded.values
    if len(values) < 2:
        raise ValueError(
            f"the only label is {values[0]}: at least 2 classes are needed"
        )
    if class_names is None:
        if 2 * len(values) > len(labels):
            raise ValueError(
                f"{len(values):,} different labels of {len(labels):,} examples: a "
                "class needs two on average; task='regression' takes them as numbers"
            )
        return encoded
    names = tuple(class_names)
    if labels.dtype.kind != "i" or values[0] < 0 or values[-1] >= len(names):
        wrong = values[0] if labels.dtype.kind != "i" or values[0] < 0 else values[-1]
        raise ValueError(
            f"label {wrong} is out of range: with {len(names)} class_names the labels "
            f"must be integers from 0 to {len(names) - 1}"
        )
    return classes.Encoded(labels.astype(np.int32), names, np.arange(len(names)))
