# SPDX-License-Identifier: Apache-2.0
"""Decides which study may continue a run: the same, or an extension of it; no JAX.

Each checkpoint says what it belongs to, see `identity`; any other one is refused.

A study may get further trials, further seeds, and, under a constant learning rate, more
epochs. Only what is new is then trained. Its texts may change too (question, claims,
notes, target). With any other change it is another study. A study with ``looks``, which
adds seeds until its differences are significant, continues with the seeds it has. Under
successive halving only trials may be added; the new ones compete among themselves.
"""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from nnlab.study import (
    METRIC,
    Hyperparameters,
    Own,
    OwnModule,
    Study,
    Trial,
    digest_json,
    is_path,
    is_traced,
)
from nnlab.study.members import Members, alike, lacking, numbered

WORDS = ("question", "claims", "notes", "target", "bands", "compare_trials")
"""Fields of a study that do not affect training."""

MAY_DIFFER = (
    *WORDS,
    "own",
    "seal",
    "sweep",
    "num_seeds",
    "num_epochs",
    "search.trials",
)
"""Fields of a study that may change when a run continues, some within limits.

The user's own module and metrics are compared by `check_own`.
"""

PACKAGES = ("nnlab", "jax", "jaxlib", "flax", "optax")
"""Packages whose version may change the numbers."""

UNDER_HALVING = "trials have been dropped by it (halving.factor)"

FOLLOWS = "where it is not set, it follows the claims; set it to what it was"

OWN = "hand in the run's own"

MOST_TEXT = 60

_ONCE_STATIC = ("schedule.warmup_steps",)
"""Traced fields that were not so in earlier versions, whose checkpoints stay valid."""

_NAMED = ("datasets", "modules")
"""Parts of the record of what is the user's own that name what other programs have."""


@contextlib.contextmanager
def refusing(folder: pathlib.Path) -> Iterator[None]:
    """Names the workdir in the message of a refusal."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"cannot resume {str(folder)!r}: {error}") from None


def moved(
    old: Study,
    new: Study,
    datasets: Mapping[str, Mapping[str, Any]],
    digest_of: Callable[[Hyperparameters], str],
) -> Study:
    """Returns the run's study `old` with the current names of its data.

    Data sets of `new` give the names, by their digests: those of `old` are in
    `datasets`, from ``config.json``; `digest_of` finds that of a new trial's data.
    """
    before, after = old.datasets(), new.datasets()
    gone = [name for name in before if name not in after]
    come = [h for name, h in after.items() if name not in before]
    there = {digest_of(h): h.dataset for h in come} if gone else {}
    found = {}
    for name in gone:
        called = before[name].dataset
        found[called] = there.get(datasets[name]["digest"], called)

    def renamed(flat: Mapping[str, Any]) -> dict[str, Any]:
        return {k: found.get(v, v) if k == "dataset" else v for k, v in flat.items()}

    own = {found.get(name, name): digest for name, digest in old.own.datasets.items()}
    return dataclasses.replace(
        old,
        base=dataclasses.replace(old.base, **renamed({"dataset": old.base.dataset})),
        sweep=tuple(map(renamed, old.sweep)),
        own=dataclasses.replace(old.own, datasets=own),
    )


def merge(old: Study, new: Study) -> Study:
    """Returns the study with which a run of `old` continues as `new`.

    It is `new` with its trials in the order of `old`, so that no trial's index changes;
    new trials follow. The record of the user's own module and metrics is that of `old`.

    Raises:
      ValueError: says what differs.
    """
    before, after = _flat(old), _flat(new)
    for path in before:
        if before[path] != after[path]:
            why = {METRIC: FOLLOWS}.get(path, "another study")
            raise _another(path, before[path], after[path], why)
    if new.seal and not old.seal:
        raise _another("seal", False, True, "a plan is sealed before it is run")
    if new.halving.factor and new.num_seeds != old.num_seeds:
        raise _another("num_seeds", old.num_seeds, new.num_seeds, UNDER_HALVING)
    if new.num_seeds < old.num_seeds and not new.looks:
        raise _another("num_seeds", old.num_seeds, new.num_seeds, "may only grow")
    rest = {index: trial for index, trial in enumerate(new.trials())}
    effects = [_without_epochs(new, trial) for trial in new.trials()]
    kept, seeds = [], []
    for trial in old.trials():
        wanted = _without_epochs(new, trial)
        found = [i for i in rest if effects[i] == wanted]
        if not found:
            raise ValueError(
                f"it has a trial {trial.label!r} that the study does not have any "
                "more; trials may only be added"
            )
        own = trial.hyperparameters
        same = (
            i for i in found if rest[i].hyperparameters.num_epochs == own.num_epochs
        )
        match = next(same, found[0])
        there, asked = rest[match].hyperparameters, rest[match].num_seeds
        del rest[match]
        _check_epochs(own, there, new)
        kept.append({**new.sweep[match], **_unread(own, there)})
        if asked < trial.num_seeds and not new.looks:
            raise _another(
                f"num_seeds of {trial.label!r}", trial.num_seeds, asked, "may only grow"
            )
        seeds.append(max(asked, trial.num_seeds))
    seeds += [new.trials()[i].num_seeds for i in rest]
    sweep = (*kept, *(new.sweep[i] for i in rest))
    most = max(new.num_seeds, old.num_seeds)
    merged = dataclasses.replace(new, sweep=sweep, num_seeds=most)
    merged = dataclasses.replace(merged, own=old.own, seal=old.seal)
    return merged.with_seeds(seeds)


def _check_epochs(old: Hyperparameters, new: Hyperparameters, study: Study) -> None:
    before, after, why = old.num_epochs, new.num_epochs, ""
    if study.halving.factor:
        why = UNDER_HALVING
    elif after < before:
        why = "may only grow"
    elif "schedule" in study.own.functions:
        why = "may not change: the schedule of your own depends on the end"
    elif new.schedule.name != "constant":
        why = (
            "may only grow under a constant learning rate: schedule.name="
            f"{new.schedule.name!r} depends on the end"
        )
    if why and before != after:
        raise _another("num_epochs", before, after, why)


def _another(path: str, old: Any, new: Any, why: str) -> ValueError:
    def text(value: Any) -> str:
        shown = repr(value)
        half = MOST_TEXT // 2 - 2  # two paths differ at their ends
        cut = f"{shown[:half]}...{shown[-half:]}"
        return shown if len(shown) <= MOST_TEXT else cut

    return ValueError(f"{path} was {text(old)} and is {text(new)} now: {why}")


def _flat(study: Study) -> dict[str, Any]:
    """Returns the fields of a study by path, as plain values, without `MAY_DIFFER`."""

    def leaves(of: Any, prefix: str) -> Iterable[tuple[str, Any]]:
        for field in dataclasses.fields(of):
            value, path = getattr(of, field.name), prefix + field.name
            if path in MAY_DIFFER:
                continue
            if dataclasses.is_dataclass(value):
                yield from leaves(value, "" if path == "base" else f"{path}.")
            else:
                yield path, json.loads(json.dumps(value))

    return dict(leaves(study, ""))


def _without_epochs(study: Study, trial: Trial) -> dict[str, Any]:
    return {**study.effect(trial.hyperparameters), "num_epochs": 0}


def _unread(own: Hyperparameters, equal: Hyperparameters) -> dict[str, Any]:
    """Returns the settings, to be kept, that differ from others of equal effect."""
    other = equal.flat()
    return {
        path: value
        for path, value in own.flat().items()
        if value != other[path] and path != "num_epochs"
    }


def continued(
    study: Study, records: Sequence[Mapping[str, Any]]
) -> tuple[Members, ...]:
    """Returns the programs of a study, from `merge`, that has been run in part.

    The run's programs, by their records in ``config.json``, keep their indices. Those
    of members without a program follow.
    """
    trials = study.trials()
    found = tuple(Members.from_dict(record, trials) for record in records)
    left, more = lacking(trials, found), []
    for group in alike(trials):
        runs: dict[int, list[tuple[Trial, int]]] = {}
        for trial in group:
            for seeds in left[trial.index]:
                runs.setdefault(seeds.start, []).append((trial, seeds.stop))
        for first, some in sorted(runs.items()):
            for end in sorted({end for _, end in some}):
                of = tuple(trial for trial, last in some if last >= end)
                more.append(Members(0, of, first, end - first))
                first = end
    return (*found, *numbered(more, {members.index for members in found}))


def identity(
    study: Study, record: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns the identity of a program's checkpoints: all that decides their content.

    It is the same for every study that may continue the run, see `merge`. It has no
    versions: see `differences`. The names of its plain values appear in messages.
    `record` is the program's in ``config.json``, of which `config` has the rest.
    """
    trials = [study.trials()[index] for index in record["trials"]]
    flats = [trial.hyperparameters.identity() for trial in trials]
    shared = {p for p in _ONCE_STATIC if len({flat[p] for flat in flats}) == 1}

    def differs(path: str, value: Any) -> bool:
        return is_traced(path, value) and path not in shared

    static = {p: v for p, v in flats[0].items() if not differs(p, v)}
    ends = study.halving.factor or "schedule" in study.own.functions
    if static["schedule.name"] == "constant" and not ends:
        del static["num_epochs"]  # may grow
    del static["dataset"]  # a path, which may change
    data = config["datasets"][trials[0].hyperparameters.data]
    always = Hyperparameters().identity()  # others are there only where they are set
    own = [
        (
            t.index,
            *(v if p in always else (p, v) for p, v in f.items() if differs(p, v)),
        )
        for t, f in zip(trials, flats)
    ]
    added = {f.name for f in dataclasses.fields(Study) if "later" in f.metadata}
    fields, plain = _flat(study), _flat(Study())
    same = {path for path in fields if path in added and fields[path] == plain[path]}
    found = {
        "program": record["index"] + 1,
        "first_seed": record["first_seed"],
        "num_seeds": record["num_seeds"],
        **{p: v for p, v in fields.items() if not is_path(p) and p not in same},
        **static,
        "the digest of its trials' settings": digest_json(own)[:12],
        "the digest of its data": data["digest"][:12],
        "the digest of its backbone's source": record.get("source", "")[:12],
        "own": {
            **{k: v for k, v in study.own.plain().items() if k not in _NAMED},
            "module": study.own.record_of(trials[0].hyperparameters.module),
        },
    }
    return dict(json.loads(json.dumps(found)))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Lists what differs from an earlier run's versions, devices and JAX settings."""
    found = []
    for name, before in old.get("settings", {}).items():
        if before != (after := new["settings"].get(name)):
            found.append(f"{name} was {before!r} and is {after!r} now")
    for name in PACKAGES:
        before, after = old["versions"].get(name), new["versions"].get(name)
        if before != after:
            found.append(f"{name} was {before} and is {after} now")
    for name in ("platform", "kind"):
        before, after = old["devices"].get(name), new["devices"].get(name)
        if before != after:
            found.append(f"the device was {before} and is {after} now")
    # Numbers depend on the device count only below two: `devices.LEAST_CPU_DEVICES`.
    count = {True: "one device", False: "several"}
    before, after = (count[of["devices"]["count"] == 1] for of in (old, new))
    if before != after:
        found.append(f"programs were compiled for {before} and are for {after} now")
    return found


def check_own(old: Own, new: Own) -> list[str]:
    """Refuses a module or metrics of the user's own that differ from the run's.

    Returns doubts, in words, where it is unknown whether the code has changed.
    """
    doubts = _check_module(old.module, new.module)
    for text, record in old.modules.items():
        now = new.modules.get(text)
        doubts += _check_module(OwnModule(**record), now and OwnModule(**now))
    if {*old.metrics} != {*new.metrics}:
        raise _another("own_metrics", [*old.metrics], [*new.metrics], OWN)
    for name, code in old.metrics.items():
        doubts += _doubts(f"metric {name!r}", code, new.metrics[name])
    if {*old.functions} != {*new.functions}:
        raise _another("functions", [*old.functions], [*new.functions], OWN)
    for what, code in old.functions.items():
        doubts += _doubts(what, code, new.functions[what])
    return doubts


def _check_module(old: OwnModule | None, new: OwnModule | None) -> list[str]:
    if old is None or new is None:
        if old is not new:
            raise _another("module", old and old.name, new and new.name, OWN)
        return []
    if old.code and old.code == new.code:
        return []
    what = f"module {new.name!r}"
    for part in ("attributes", "parameters"):
        there = getattr(new, part)
        for name, value in getattr(old, part).items():
            if value != (now := there.get(name, "missing")):
                raise ValueError(f"{name} of {what} was {value} and is {now}: {OWN}")
    if old.name != new.name:
        raise _another("module", old.name, new.name, OWN)
    return _doubts(what, old.code, new.code)


def _doubts(what: str, old: str, new: str) -> list[str]:
    """Refuses different digests of code; returns a doubt where they say nothing."""
    (before, _, by), (after, _, now_by) = (code.partition(" ") for code in (old, new))
    if not (before and after and by == now_by):
        return [f"whether the code of {what} has changed cannot be told"]
    if before != after:
        raise ValueError(f"the code of {what} has changed: {OWN}")
    return []


def check_data(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Refuses data sets, as in ``config.json``, that differ from those of a run."""
    for name, dataset in new.items():
        before = old.get(name, dataset)
        if before["digest"] != dataset["digest"]:
            raise ValueError(
                f"the data of {name!r} are not those of the run so far: their digest "
                f"was {before['digest'][:12]} and is {dataset['digest'][:12]} now"
            )
