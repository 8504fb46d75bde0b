# SPDX-License-Identifier: Apache-2.0
"""Data for pictures: confusion, chosen test images, first-layer kernels.

`choose` selects them from what was collected of each trial's final members; the workdir
stores them as `FILE`. In every part, ``images`` are float32 (N, H, W, D) in [0, 1] with
D channels, ``labels`` their true classes, integers (N,), and ``taken_for`` the wrong
classes that most seeds predict, int64 (N,).
"""

import dataclasses
import io
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.data import Dataset

FILE = "artifacts/pictures.npz"
NUM_EXAMPLES = 6  # test images whose class probabilities are kept
MOST_IMAGES = 10  # of the gallery, and of the mistakes
MOST_UNITS = 64  # kernels kept of a layer, its first ones
MOST_POINTS = 20_000  # examples kept for a plane


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What was collected of one trial's final members.

    Attributes:
      prediction: predicted class of each test example, int32 (S, N).
      confidence: the probability of that class, float32 (S, N); NaN for members that
        diverged or did not finish.
      before: class probabilities of the first E = `NUM_EXAMPLES` test examples at the
        start, float32 (S, E, C).
      after: the same of the final members, float32 (S, E, C).
      kernel: first layer of the first living seed, float32: (values, units) of a dense
        layer, (height, width, channels, units) of a convolution; None without one.
      regions: class that the first living seed predicts in each cell of a `Plane`,
        int32 (G, G): rows from low to high second feature, columns from low to high
        first feature; None for other data.
      labels: true class of each test example, int32 (S, N), where seeds have test
        examples of their own; None where all have the same.
    """

    prediction: np.ndarray
    confidence: np.ndarray
    before: np.ndarray
    after: np.ndarray
    kernel: np.ndarray | None
    regions: np.ndarray | None = None
    labels: np.ndarray | None = None

    @property
    def living(self) -> np.ndarray:
        """Which members have predictions, bool (S,)."""
        return np.isfinite(self.confidence).all(axis=1)


def together(parts: Sequence[Seen]) -> Seen:
    """Joins what was collected of a trial's seeds, in the order of the parts."""
    if len(parts) == 1:
        return parts[0]
    alive = next((part for part in parts if part.living.any()), parts[0])
    fields = ["prediction", "confidence", "before", "after"]
    fields += ["labels"] if parts[0].labels is not None else []
    joined = {
        field: np.concatenate([getattr(part, field) for part in parts])
        for field in fields
    }
    return dataclasses.replace(alive, **joined)


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """Test images that most seeds of the best trial get right and of the worst wrong.

    Attributes:
      best_right, worst_right: seeds of the best and of the worst trial that are right
        about each image, int64 (N,).
      best_seeds, worst_seeds: living seeds of these trials, int64 ().
    """

    images: np.ndarray
    labels: np.ndarray
    taken_for: np.ndarray
    best_right: np.ndarray
    worst_right: np.ndarray
    best_seeds: np.ndarray
    worst_seeds: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Mistakes:
    """Test images that most seeds of the best trial get wrong, most confident first.

    Attributes:
      confidence: mean over the living seeds of the probability of `taken_for`, 0 for
        seeds that predict another class; float64 (N,).
      wrong: seeds that are wrong, int64 (N,).
      seeds: living seeds, int64 ().
    """

    images: np.ndarray
    labels: np.ndarray
    taken_for: np.ndarray
    confidence: np.ndarray
    wrong: np.ndarray
    seeds: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """A few test images with the best trial's class probabilities.

    Attributes:
      before, after: probabilities at the start and of the final members, float32
        (L, N, C), of the L living seeds.
    """

    images: np.ndarray
    labels: np.ndarray
    before: np.ndarray
    after: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Plane:
    """Data with two features, and the part of their plane that pictures show.

    Attributes:
      extent: from and to of the first feature, then of the second, float64 (4,), in
        units of the data: the outer edges of a grid of G x G equal cells, in whose
        centres `Seen.regions` are predicted.
      points: features of all examples, float (N, 2).
    """

    extent: np.ndarray
    points: np.ndarray
    labels: np.ndarray


def plane_of(dataset: Dataset) -> Plane | None:
    """Returns all examples of a table of two features, in its units; else None."""
    if not dataset.is_table or dataset.input_shape != (2,):
        return None
    splits = (dataset.train, dataset.validation, dataset.test)
    points = dataset.in_units(np.concatenate([split.inputs for split in splits]))
    labels = np.concatenate([split.labels for split in splits])
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return Plane(np.array([x0, x1, y0, y1], np.float64), points, labels)


@dataclasses.dataclass(frozen=True, eq=False)
class Regions:
    """The plane of two features as the best and the worst trial classify it.

    Attributes:
      extent: as that of `Plane`, float64 (4,).
      points: features of up to `MOST_POINTS` examples, float (N, 2).
      best: class that the best trial's first living seed predicts in each cell of a
        grid, int64 (G, G), rows from low to high second feature.
      worst: likewise of the worst trial; None if there is none, or it has no grid.
    """

    extent: np.ndarray
    points: np.ndarray
    labels: np.ndarray
    best: np.ndarray
    worst: np.ndarray | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Kernel:
    """The first units of a first layer.

    Attributes:
      values: float32 (V, U) or (H, W, D, U), U at most `MOST_UNITS`.
      units: number of units of the layer.
    """

    values: np.ndarray
    units: int


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """The pictures of a workdir.

    Attributes:
      best, worst: indices of the best and of the worst trial by validation, or None.
      confusion: for each trial that ran, examples by [seed, true class, predicted
        class], int64 (S, C, C); 0 for a member that diverged or did not finish.
      kernels: of "best" and of "worst", where their first layer has a kernel.
      gallery: None unless data are images and there are two trials to compare.
      mistakes: None unless data are images and there is a best trial.
      examples: likewise.
      regions: None unless data are a plane and there is a best trial.
    """

    best: int | None
    worst: int | None
    confusion: Mapping[int, np.ndarray]
    gallery: Gallery | None
    mistakes: Mistakes | None
    examples: Examples | None
    kernels: Mapping[str, Kernel]
    regions: Regions | None = None


_PARTS = {
    "gallery": Gallery,
    "mistakes": Mistakes,
    "examples": Examples,
    "regions": Regions,
}
_SIZES = {"X": 2, "Y": 4}  # axes of fixed size
_FIELDS = {
    **dict.fromkeys(("best_seeds", "worst_seeds", "seeds"), ("", "count")),
    **dict.fromkeys(("best_right", "worst_right", "wrong"), ("N", "count")),
    **dict.fromkeys(("labels", "taken_for"), ("N", "class")),
    **dict.fromkeys(("best", "worst"), ("GG", "class")),
    **dict.fromkeys(("before", "after"), ("LNC", "real")),
    "confidence": ("N", "real"),
    "images": ("NHWD", "real"),
    "extent": ("Y", "real"),
    "points": ("NX", "real"),
}
"""Fields of the parts: a letter for each axis, the same for the same size within a
part, and the kind of the elements, see `_checked`."""


def choose(
    seen: Mapping[int, Seen],
    best: int | None,
    worst: int | None,
    images: np.ndarray | None,
    labels: np.ndarray,
    num_classes: int,
    plane: Plane | None = None,
) -> dict[str, np.ndarray]:
    """Selects what is stored, ``{name: array}`` for `encode`.

    A trial is right or wrong about an image if more than half of its living seeds are.
    The gallery starts with the images for which the two trials' shares of right seeds
    differ most, the mistakes with the most confident. Among equals, the first wins.

    Args:
      seen: for each trial that ran, what was collected; all on the same test examples.
      best: the best trial, with its entry in `seen`; None if there is none.
      worst: likewise the worst trial.
      images: the test images, float32 (N, H, W, D) in [0, 1]; None for other data, and
        where seeds have test examples of their own.
      labels: their true classes, (N,), integers in [0, C).
      num_classes: C.
      plane: of data with two features; None for others.
    """
    labels = np.asarray(labels, np.int64)
    named = {"best": best, "worst": worst}
    arrays = {n: np.array(-1 if t is None else t, np.int64) for n, t in named.items()}
    for trial in sorted(seen):
        arrays[f"confusion_{trial}"] = _confusion(seen[trial], labels, num_classes)
    for name, one in named.items():
        if one is not None and (kernel := seen[one].kernel) is not None:
            arrays[f"{name}_kernel"] = kernel[..., :MOST_UNITS].astype(np.float32)
            arrays[f"{name}_units"] = np.array(kernel.shape[-1], np.int64)
    if best is None:
        return arrays
    other = None if worst in (None, best) else seen[worst]
    parts: dict[str, Any] = {}
    if images is not None:
        parts["mistakes"] = _mistakes(seen[best], images, labels, num_classes)
        if other is not None:
            parts["gallery"] = _gallery(seen[best], other, images, labels, num_classes)
        parts["examples"] = _examples(seen[best], images, labels)
    if plane is not None:
        parts["regions"] = _regions(seen[best], other, plane, num_classes)
    for name, part in parts.items():
        for field, value in vars(part).items() if part is not None else ():
            if value is not None:
                arrays[f"{name}_{field}"] = value
    return arrays


def _confusion(seen: Seen, labels: np.ndarray, num_classes: int) -> np.ndarray:
    counts = np.zeros((len(seen.prediction), num_classes, num_classes), np.int64)
    for seed in np.flatnonzero(seen.living):
        true = labels if seen.labels is None else seen.labels[seed]
        np.add.at(counts[seed], (true, seen.prediction[seed]), 1)
    return counts


def _right(seen: Seen, labels: np.ndarray) -> np.ndarray:
    """Counts the living seeds that are right about each example, int64 (N,)."""
    return np.sum(seen.prediction[seen.living] == labels, axis=0)


def _taken_for(seen: Seen, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns the wrong class that most living seeds predict, the lower of equal ones.

    The true class is left out: it may have the most votes although most seeds are
    wrong, if these predict different classes. int64 (N,).
    """
    votes = np.zeros((len(labels), num_classes), np.int64)
    rows = np.arange(len(labels))
    for prediction in seen.prediction[seen.living]:
        votes[rows, prediction] += 1
    votes[rows, labels] = -1
    return votes.argmax(axis=1)


def _first(fits: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Returns the indices of those that fit and are highest by a measure (N,)."""
    found = np.flatnonzero(fits)
    return found[np.argsort(-by[found], kind="stable")][:MOST_IMAGES]


def _gallery(
    best: Seen, worst: Seen, images: np.ndarray, labels: np.ndarray, num_classes: int
) -> Gallery:
    right = [_right(one, labels) for one in (best, worst)]
    seeds = [np.array(one.living.sum(), np.int64) for one in (best, worst)]
    fits = (2 * right[0] > seeds[0]) & (2 * right[1] < seeds[1])
    # The difference of the shares times both numbers of seeds, so that ties are exact.
    chosen = _first(fits, right[0] * seeds[1] - right[1] * seeds[0])
    return Gallery(
        images=images[chosen].astype(np.float32),
        labels=labels[chosen],
        taken_for=_taken_for(worst, labels, num_classes)[chosen],
        best_right=right[0][chosen],
        worst_right=right[1][chosen],
        best_seeds=seeds[0],
        worst_seeds=seeds[1],
    )


def _mistakes(
    best: Seen, images: np.ndarray, labels: np.ndarray, num_classes: int
) -> Mistakes:
    living = best.living
    wrong = living.sum() - _right(best, labels)
    taken_for = _taken_for(best, labels, num_classes)
    said = best.prediction[living] == taken_for
    # A sum, because without a living seed there is no mean.
    confidence = np.where(said, best.confidence[living].astype(float), 0.0).sum(axis=0)
    confidence /= max(living.sum(), 1)
    chosen = _first(2 * wrong > living.sum(), confidence)
    return Mistakes(
        images=images[chosen].astype(np.float32),
        labels=labels[chosen],
        taken_for=taken_for[chosen],
        confidence=confidence[chosen],
        wrong=wrong[chosen],
        seeds=np.array(living.sum(), np.int64),
    )


def _examples(best: Seen, images: np.ndarray, labels: np.ndarray) -> Examples | None:
    """Returns the first test images; None if no seed has probabilities of them."""
    pair = np.stack([best.before, best.after])
    kept = best.living & np.isfinite(pair).all(axis=(0, 2, 3))
    if not kept.any():
        return None
    count = pair.shape[2]
    return Examples(
        images=images[:count].astype(np.float32),
        labels=labels[:count],
        before=best.before[kept].astype(np.float32),
        after=best.after[kept].astype(np.float32),
    )


def _regions(
    best: Seen, worst: Seen | None, plane: Plane, num_classes: int
) -> Regions | None:
    """Returns the plane with evenly picked points and the classes in few bytes."""
    if best.regions is None:
        return None
    few = np.min_scalar_type(num_classes - 1)
    count = len(plane.labels)
    kept = min(count, MOST_POINTS)
    picked = np.arange(kept) * count // max(kept, 1)
    beside = None if worst is None else worst.regions
    return Regions(
        extent=np.asarray(plane.extent, np.float64),
        points=plane.points[picked],
        labels=plane.labels[picked].astype(few),
        best=best.regions.astype(few),
        worst=None if beside is None else beside.astype(few),
    )


def encode(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Returns the content of a file such as `FILE`; equal arrays give equal bytes.

    It is uncompressed, so that its digest does not depend on the compressor.
    """
    buffer = io.BytesIO()
    np.savez(buffer, **dict[str, Any](arrays))
    return buffer.getvalue()


def read(path: pathlib.Path) -> dict[str, np.ndarray] | None:
    """Reads what `encode` made; returns None without a file, refuses a damaged one."""
    if not path.is_file():
        return None
    content = io.BytesIO(path.read_bytes())  # NumPy would leave a damaged file open
    try:
        with np.load(content, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except Exception:  # zipfile and NumPy raise many kinds on damaged bytes
        raise ValueError(
            f"{str(path)!r} is damaged: it cannot be read as an npz file"
        ) from None


def load(workdir: str | os.PathLike[str]) -> Stored | None:
    """Reads a workdir's `FILE`; returns None if there is none.

    A damaged one is refused (ValueError): it is no npz archive, or an array is missing
    or has a wrong type, shape or value.
    """
    path = pathlib.Path(workdir) / FILE
    arrays = read(path)
    if arrays is None:
        return None
    try:
        return _stored(arrays)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from None


def _stored(arrays: Mapping[str, np.ndarray]) -> Stored:
    """Checks the arrays; a ValueError says what is wrong with which."""
    sizes: dict[str, int] = {}
    prefix = "confusion_"
    confusion = {
        int(name.removeprefix(prefix)): _checked(arrays, name, "SCC", "count", sizes)
        for name in arrays
        if name.startswith(prefix)
    }
    trials: dict[str, Any] = {}
    kernels = {}
    for name in ("best", "worst"):
        trial = int(_checked(arrays, name, "", "trial", sizes))
        if trial not in (-1, *confusion):
            raise ValueError(f"{name} is trial {trial}, which has no confusion")
        trials[name] = None if trial < 0 else trial
        if f"{name}_kernel" in arrays:
            axes = "VU" if arrays[f"{name}_kernel"].ndim == 2 else "HWDU"
            values = _checked(arrays, f"{name}_kernel", axes, "real", {})
            units = _checked(arrays, f"{name}_units", "", "count", {})
            kernels[name] = Kernel(values, int(units))
    parts: dict[str, Any] = dict.fromkeys(_PARTS)
    for name, part in _PARTS.items():
        if any(array.startswith(f"{name}_") for array in arrays):
            known = {"C": sizes.get("C", 0), **_SIZES}
            parts[name] = part(
                **{
                    f.name: _checked(
                        arrays, f"{name}_{f.name}", *_FIELDS[f.name], known
                    )
                    for f in dataclasses.fields(part)
                    if f.default is dataclasses.MISSING or f"{name}_{f.name}" in arrays
                }
            )
    shown = parts["regions"]
    if shown is not None and not np.all(shown.extent[::2] < shown.extent[1::2]):
        raise ValueError(f"regions_extent has the value {shown.extent.tolist()}")
    return Stored(**trials, confusion=confusion, kernels=kernels, **parts)


def _checked(
    arrays: Mapping[str, np.ndarray],
    name: str,
    axes: str,
    kind: str,
    sizes: dict[str, int],
) -> np.ndarray:
    """Returns an array of the file after checking its type, shape and elements.

    There is a letter for each of the `axes`, whose `sizes` so far are known; those of
    this array are added. Its `kind` is "count" (integers from 0), "trial" (from -1),
    "class" (in [0, C), of any type of integers; returned as int64) or "real" (finite
    floats).
    """
    if name not in arrays:
        raise ValueError(f"{name} is missing")
    array = arrays[name]
    if array.ndim != len(axes) or any(
        sizes.setdefault(axis, size) != size
        for axis, size in zip(axes, array.shape)
        if axis != "S"  # trials may have different numbers of seeds
    ):
        raise ValueError(f"{name} has the shape {array.shape}")
    if array.dtype.kind not in {"real": "f", "class": "iu"}.get(kind, "i"):
        raise ValueError(f"{name} has the type {array.dtype}")
    if kind == "real":
        good = np.isfinite(array)
    else:
        good = array >= (-1 if kind == "trial" else 0)
        good &= kind != "class" or array < sizes["C"]
    if not good.all():
        raise ValueError(f"{name} has the value {array[~good].flat[0]}")
    return array.astype(np.int64, copy=False) if kind == "class" else array
