# SPDX-License-Identifier: Apache-2.0
"""Messages about unknown names: each offers the nearest and lists the allowed ones."""

import difflib
import os
import pathlib
import re
from collections.abc import Collection, Iterable, Mapping

_ALSO: Mapping[str, tuple[str, ...]] = {
    "cfg": ("config",),
    "conv": ("conv", "cnn", "channels"),
    "convnet": ("cnn",),
    "convolution": ("conv", "cnn"),
    "dense": ("mlp",),
    "fc": ("dense",),
    "features": ("units",),
    "filters": ("channels",),
    "finetuning": ("tuning",),
    "fmnist": ("fashion_mnist",),
    "fully": ("dense", "mlp"),
    "gaussian": ("normal",),
    "huggingface": ("hf:NAME",),
    "iterations": ("max_steps",),
    "kaiming": ("he",),
    "linear": ("dense", "identity"),
    "logdir": ("workdir",),
    "logistic": ("sigmoid",),
    "lrelu": ("leaky_relu",),
    "momentum": ("sgd",),
    "none": ("identity", "scratch"),
    "out": ("workdir",),
    "output": ("workdir", "out"),
    "pool": ("max_pool", "max_abs_pool"),
    "precision": ("dtype",),
    "prelu": ("leaky_relu",),
    "range": ("linspace",),
    "seed": ("seeds", "num_seeds", "root_seed"),
    "units": ("hidden",),
    "width": ("hidden",),
    "xavier": ("glorot",),
    "xgboost": ("boosted_trees",),
}
"""Names that other libraries or people use -> the name here."""
_NEAR, _LIKELY = 0.75, 0.65
"""Shares of letters in common from which names are near. The second is for names that
begin alike: "probe" and "probing" are near, "loss" and "costs" are not."""


def nearest(name: object, allowed: Iterable[str]) -> str:
    """Returns the end of a message about an unknown name.

    >>> nearest("relau", ["relu", "elu"])
    "; did you mean 'relu'? allowed: relu, elu"
    >>> nearest("xyz", ["relu", "elu"])
    '; allowed: relu, elu'
    """
    names = tuple(allowed)
    return _hint(near(str(name), names)) + (", ".join(names) or "none")


def near(name: str, allowed: Collection[str]) -> str | None:
    """Returns the allowed name that was most likely meant; None if none is near.

    Capitals and separators do not count. "lr" is near to "learning_rate", "epochs" to
    "num_epochs", "he" to "he_normal", "filters" to "channels".
    """
    words = _words(name)
    plain = {_plain(one): one for one in allowed}
    for meant in (name, *(m for word in words for m in _ALSO.get(word, ()))):
        if found := plain.get(_plain(meant)):
            return found
    of_here = "_".join(_ALSO.get(word, (word,))[0] for word in words)
    return (of_here != name and _near(of_here, plain)) or _near(name, plain)


def _near(name: str, plain: Mapping[str, str]) -> str | None:
    """Finds the nearest name by letters alone, the surest rules first."""
    given, allowed = _plain(name), plain.values()
    if not given:
        return None
    for one in allowed:
        if len(given) > 1 and given == "".join(word[0] for word in _words(one)):
            return one
    if found := _close(given, plain, 0.8):
        return plain[found]
    stems = set(map(_stem, _words(name)))
    held = [one for one in allowed if stems <= set(map(_stem, _words(one)))]
    if held:
        return min(held, key=lambda one: len(_words(one)))
    if found := _close(given, plain, _NEAR):
        return plain[found]
    alike = [one for one in plain if one[:1] == given[0]]
    if found := _close(given, alike, _LIKELY):
        return plain[found]
    started = [one for one in allowed if _plain(one).startswith(given)]
    return started[0] if started and len(given) > 2 else None


def _close(given: str, plain: Collection[str], share: float) -> str | None:
    """Returns the closest name; one with the same letters counts as close."""
    if close := difflib.get_close_matches(given, plain, n=1, cutoff=share):
        return close[0]
    return next((one for one in plain if sorted(one) == sorted(given)), None)


def nearest_path(path: str, allowed: Iterable[str]) -> str:
    """Returns the end of a message about an unknown dotted path.

    It lists the allowed paths that begin like the given one, or else the top level,
    with ``optimizer.*`` for all paths that begin so.
    """
    paths = tuple(allowed)
    group = path.rpartition(".")[0]
    listed = [p for p in paths if group and p.startswith(group + ".")]
    hint = _hint(near_path(path, paths))
    if not listed:
        tops = (p.partition(".") for p in paths)
        listed = list(dict.fromkeys(top + (dot and ".*") for top, dot, _ in tops))
    return hint + ", ".join(listed)


def near_path(path: str, allowed: Iterable[str]) -> str | None:
    """Returns the dotted path that was most likely meant; None if none is near."""
    paths = tuple(allowed)
    group = path.rpartition(".")[0]
    listed = [p for p in paths if group and p.startswith(group + ".")]
    plain = {_plain(p): p for p in paths}
    if same := plain.get(_plain(path)):  # optimizer/learning-rate
        return same
    groups = dict.fromkeys(p.partition(".")[0] for p in paths if "." in p)
    parts = re.split(r"[./:]", path)
    for count in range(len(parts) - 1, 0, -1):
        if ".".join(parts[:count]) in paths:  # dataset.name
            return ".".join(parts[:count])
    by_leaf: dict[str, list[str]] = {}
    for p in paths:
        by_leaf.setdefault(p.rpartition(".")[2], []).append(p)
    leaf = parts[-1] if parts[-1] in by_leaf else None
    if leaf is None and listed:  # what they have in common would make all near
        found = near(parts[-1], [p.rpartition(".")[2] for p in listed])
        if found:
            return next(p for p in listed if p.rpartition(".")[2] == found)
    tops_first = sorted(
        by_leaf, key=lambda one: min(p.count(".") for p in by_leaf[one])
    )
    leaf = leaf or near(parts[-1], tops_first)
    group = path if path in groups else ""
    if leaf is None and len(parts) == 1:
        group = near(path, groups) or ""
    if group:
        inside = [p for p in paths if p.startswith(group + ".")]
        return next((p for p in inside if p.endswith(".name")), inside[0])
    if leaf is None:
        return None
    if len(parts) == 1:
        return min(by_leaf[leaf], key=lambda p: p.count("."))
    wanted = ".".join([*parts[:-1], leaf])
    return difflib.get_close_matches(wanted, by_leaf[leaf], n=1, cutoff=0.0)[0]


def nearest_file(path: str | os.PathLike[str]) -> str:
    """Returns the end of a message about a file or folder that does not exist.

    It is ``"; did you mean 'runs/quickstart'?"`` if a neighbour has a near name, else
    "".
    """
    missing = pathlib.Path(path)
    below: list[str] = []
    try:
        while not missing.parent.is_dir() and missing.parent != missing:
            below.insert(0, missing.name)  # the name of a folder above is mistaken
            missing = missing.parent
        beside = [p.name for p in missing.parent.iterdir() if p.name[0] != "."]
        found = near(missing.name, sorted(beside))
        meant = missing.parent.joinpath(found or "", *below)
        return f"; did you mean {str(meant)!r}?" if found and meant.exists() else ""
    except OSError:  # a folder that may not be read, a name that is too long
        return ""


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


def _stem(word: str) -> str:
    return word.removesuffix("s") if len(word) > 3 else word


def _words(name: str) -> list[str]:
    words = re.findall(r"[^\W_]+", name.casefold())
    return [re.sub(r"(?<=[a-z])[123]d$", "", word) for word in words]


def _hint(close: str | None) -> str:
    return f"; did you mean {close!r}? allowed: " if close else "; allowed: "
