# SPDX-License-Identifier: Apache-2.0
"""Results made up for tests, in the tables' true schema, without training anything."""

import dataclasses
import itertools
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nnlab import results as tables
from nnlab.results.answers import CORRECT, Answers
from nnlab.statistics.findings import Findings
from nnlab.study import Claim, Hyperparameters, Study, Trial
from nnlab.study.members import by_program

EXAMPLES = {"train": 1149, "validation": 288, "test": 360}
CHANCE = 0.11
TREES = (1, 10, 50, 200)  # numbers of trees at which a baseline has rows
LAYERS = ("dense_0", "dense_1")
KEYS = ("trial", "seed")
Member = tuple[int, int]


def results(
    values: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None = None,
    *,
    sweep: Sequence[Mapping[str, Any]] | None = None,
    num_trials: int = 4,
    num_seeds: int = 8,
    num_evaluations: int = 10,
    diverged: Mapping[Member, int] | None = None,
    stopped: Mapping[Member, int] | None = None,
    unfinished: Mapping[Member, int] | None = None,
    dropped: Mapping[int, int] | None = None,
    at_chance: Collection[Member] = (),
    never_ran: Collection[int] = (),
    claims: Sequence[Claim] = (),
    target: float = 0.0,
    seconds: Mapping[int, Sequence[float]] | None = None,
    severity: Collection[str] = (),
    base: Hyperparameters | None = None,
    question: str = "How does the learning rate change training?",
    fields: Mapping[str, Any] | None = None,
    failures: Mapping[int, str] | None = None,
    layers: Sequence[str] = LAYERS,
    features: Sequence[str] = (),
    correct: Mapping[str, np.ndarray] | None = None,
    workdir: pathlib.Path | None = None,
) -> tables.Results:
    """Makes a study's results with chosen or plausible curves.

    Trials of trees have a row for each number in `TREES`, and no gradients.

    Args:
      values: None for plausible learning curves; an array (T, S, E) or (T, S), the same
        at every evaluation, for all three accuracies; or ``{column: array}``.
      sweep: the trials; a log-spaced learning rate when None.
      num_trials, num_seeds, num_evaluations: T, S and E (one an epoch), where neither
        `sweep` nor an array sets them.
      diverged: ``{(trial, seed): evaluation}``: the network has rows before that one.
      stopped: likewise; its best step is that of its best validation accuracy.
      unfinished: likewise; the study is then "interrupted".
      dropped: ``{trial: evaluation}``: halving dropped its networks, likewise.
      at_chance: networks whose accuracies always lie at chance.
      never_ran: trials without rows; the study is then "interrupted".
      seconds: ``{program: (a network's training seconds an epoch, one a segment)}``.
      severity: transforms, "moved" or "rotated", of the final networks' test images.
      base: the hyperparameters that the trials start from; `num_epochs` is set to E.
      claims, target, question, fields: fields of the study.
      failures: ``{program: message}`` of those that failed; the study is then "failed".
      layers: of all networks, in their order.
      features: names of the data set's two features; its examples are images if empty.
      correct: ``{split: bool (T, S, N)}``: what each network said of each example; the
        accuracies of such splits are its means. Not written into a workdir.
      workdir: where the results are written and loaded again, if given.
    """
    given = dict(values) if isinstance(values, Mapping) else {}
    given |= {f"{of}_accuracy": a.mean(axis=2) for of, a in (correct or {}).items()}
    if values is not None and not isinstance(values, Mapping):
        given = {f"{part}_accuracy": values for part in EXAMPLES}
    arrays = {name: np.asarray(array, float) for name, array in given.items()}
    for array in arrays.values():
        num_trials, num_seeds = array.shape[:2]
        num_evaluations = array.shape[2] if array.ndim == 3 else num_evaluations
    if sweep is None:
        rates = np.logspace(-3, 0.5, num_trials)
        sweep = [{"optimizer.learning_rate": float(f"{r:.2g}")} for r in rates]
    study = Study(
        question=question,
        claims=tuple(claims),
        base=(base or Hyperparameters()).replace({"num_epochs": num_evaluations}),
        sweep=tuple(dict(s) for s in sweep),
        num_seeds=num_seeds,
        target=target,
        **(fields or {}),
    )
    trials = study.trials()
    columns = _plausible(trials, num_seeds, num_evaluations, layers)
    for name, array in arrays.items():
        spread = array if array.ndim == 3 else array[:, :, None]
        columns[name] = np.broadcast_to(spread, columns["batch_loss"].shape).copy()
    for member in at_chance:
        for part in EXAMPLES:
            columns[f"{part}_accuracy"][member] = CHANCE
            columns[f"{part}_loss"][member] = np.log(10)

    seeds = range(num_seeds)
    of_trials = {(t, s): end for t, end in (dropped or {}).items() for s in seeds}
    ends = {
        tables.DIVERGED: diverged or {},
        tables.STOPPED: stopped or {},
        tables.UNFINISHED: unfinished or {},
        tables.DROPPED: of_trials,
    }
    programs = _programs(trials, layers)
    program_of = {t: p for p in reversed(programs) for t in p["trials"]}
    curve_rows, member_rows = [], []
    ran = [t for t in range(len(trials)) if t not in never_ran]
    for trial, seed in itertools.product(ran, seeds):
        status = next((s for s in ends if (trial, seed) in ends[s]), tables.FINISHED)
        count = ends.get(status, {}).get((trial, seed), num_evaluations)
        epochs = np.arange(1, num_evaluations + 1)
        own = {}
        if not trials[trial].hyperparameters.model.is_network:
            epochs = np.array(TREES)
            count = min(count, len(epochs))
            own = dict.fromkeys(c for c in columns if c.startswith(("grad", "batch")))
        step = epochs * program_of[trial]["steps_per_epoch"]
        batch = _examples_a_step(trials[trial])
        for e in range(count):
            where = {"trial": trial, "seed": seed, "step": int(step[e])}
            passed = {"epoch": float(epochs[e]), "examples": int(step[e]) * batch}
            measured = {c: float(v[trial, seed, e]) for c, v in columns.items()}
            curve_rows.append({**where, **passed, **measured, **own})
        accuracy = columns["validation_accuracy"][trial, seed, :count]
        ended = status == tables.DIVERGED
        member_rows.append(
            {
                "trial": trial,
                "seed": seed,
                "status": status,
                "at_chance": (trial, seed) in at_chance,
                "steps": int(step[count - 1]) if count else 0,
                "best_step": int(step[accuracy.argmax()]) if count else 0,
                "diverged_step": int(step[count]) - 1 if ended else None,
                "diverged_layer": layers[-1] if ended else None,
                "last_grad_norm_dense_0": 0.1,
                "last_grad_norm_dense_1": 1e8 if ended else 0.2,
            }
        )
    complete = not (unfinished or never_ran)
    status = "complete" if complete else "interrupted"
    timing_rows = _timing_rows(trials, num_seeds, programs, seconds or {})
    datasets = sorted({t.hyperparameters.dataset for t in trials})
    found = tables.Results(
        workdir=workdir or pathlib.Path("."),
        config={
            "study": study.to_dict(),
            "study_digest": study.digest(),
            "status": "failed" if failures else status,
            "failures": {str(c): text for c, text in (failures or {}).items()},
            "trials": [
                {"index": t.index, "id": t.id, "label": t.label}
                | {"overrides": {**t.overrides}, "cohort": program_of[t.index]["index"]}
                for t in trials
            ],
            "cohorts": programs,
            "finished": [program["index"] for program in programs] if complete else [],
            "begun_otherwise": [],
            "datasets": {name: _dataset_record(features) for name in datasets},
            "versions": {"nnlab": "0.1.0", "jax": "0.10.2"},
            "devices": {"platform": "cpu", "kind": "cpu", "count": 2},
            "git_commit": "0" * 40,
        },
        study=study,
        curves=tables.table(curve_rows, tables.CURVES),
        members=tables.table(member_rows, tables.MEMBERS),
        timings=tables.table(timing_rows, tables.TIMINGS),
        severity=tables.table(_severity_rows(member_rows, severity), tables.SEVERITY),
    )
    if correct:
        ended = np.ones((len(trials), num_seeds), bool)
        sizes = {split: of.shape[2] for split, of in correct.items()}
        each = {CORRECT: Answers.of_program(correct, sizes, ended)}
        found = dataclasses.replace(found, each=each)
    return found if workdir is None else _written(found, workdir)


def findings(*args: Any, **options: Any) -> Findings:
    """Makes the findings of made-up results, see `results`."""
    return Findings(results(*args, **options))


def labelled(n: int, **more: Any) -> list[dict[str, Any]]:
    """Makes a sweep of `n` trials with the labels "0", "1", ..."""
    return [
        {"optimizer.learning_rate": 0.1 * (i + 1), "label": str(i), **more}
        for i in range(n)
    ]


def beside_trees(*networks: float, trees: float, **options: Any) -> tables.Results:
    """Makes networks at these accuracies, and boosted trees, (4 seeds)."""
    sweep = [*labelled(len(networks)), {"model.name": "boosted_trees", "label": "t"}]
    levels = np.array([*networks, trees])[:, None, None] + np.zeros((1, 4, 6))
    return results(levels, sweep=sweep, **options)


def _plausible(
    trials: Sequence[Trial],
    num_seeds: int,
    num_evaluations: int,
    layers: Sequence[str],
) -> dict[str, np.ndarray]:
    """Draws learning curves (T, S, E): best near rate 0.3, with seeds in common.

    Gradients shrink by a fifth from each layer to the one before.
    """
    rng = np.random.default_rng(0)
    rates = [t.hyperparameters.optimizer.learning_rate for t in trials]
    distance = np.log10(np.maximum(rates, 1e-6) / 0.3)
    order = np.arange(len(rates))
    final = 0.97 - 0.02 * distance**2 - 0.003 * order
    final = final[:, None] + 0.004 * rng.standard_normal(num_seeds)
    final = final + 0.002 * rng.standard_normal(final.shape)
    final = np.clip(final, CHANCE, 1.0)[:, :, None]
    speed = np.exp(-0.5 * distance**2)[:, None, None] + 0.05
    time = np.arange(1, num_evaluations + 1)
    wobble = 0.003 * rng.standard_normal((*final.shape[:2], num_evaluations))
    learnt = (final - CHANCE) * (1 - np.exp(-speed * time)) + wobble
    columns = {}
    for part, gap in (("train", 0.01), ("validation", 0.0), ("test", -0.002)):
        accuracy = np.clip(CHANCE + learnt + gap, 0.0, 1.0)
        columns[f"{part}_loss"] = -2 * np.log(np.maximum(accuracy, 0.1)) + 0.01
        columns[f"{part}_accuracy"] = accuracy
    columns = {"batch_loss": columns["train_loss"] * 1.1, **columns}
    for above, layer in enumerate(reversed(layers)):
        columns[f"grad_norm_{layer}"] = columns["train_loss"] * 0.5 * 0.8**above
    return columns


def _programs(trials: Sequence[Trial], layers: Sequence[str]) -> list[dict[str, Any]]:
    """Groups the trials by their static hyperparameters."""
    programs = []
    for members in by_program(trials, max(trial.num_seeds for trial in trials)):
        setting = members.trials[0].hyperparameters
        examples = {"train_examples": setting.train_size or EXAMPLES["train"]}
        own = {"steps_per_epoch": 1, "num_steps": TREES[-1], "library": "xgboost"}
        own |= {"parameters": None, "flops": 0, "layers": []}
        if setting.model.is_network:
            units = sum(setting.model.units)
            steps = EXAMPLES["train"] // setting.batch_size
            own = {"parameters": 65 * units + 10, "flops": 128 * units}
            lanes = {"lane_width": 8, "lane_trials": 4, "lane_seeds": 2, "lanes": 3}
            own |= {"layers": list(layers), "plan": {**lanes, "evaluation_batch": 1024}}
            own |= {"steps_per_epoch": steps, "num_steps": steps * setting.num_epochs}
            if setting.early_stopping.patience:
                own["keeps_best"] = True
        programs.append({**members.to_dict(), **examples, **own})
    return programs


def _severity_rows(
    members: Sequence[Mapping[str, Any]], transforms: Collection[str]
) -> list[dict[str, Any]]:
    """Makes accuracies that fall by trial, by seed and with severity."""
    amounts = {"moved": range(7), "rotated": range(0, 61, 10)}
    rows = []
    for transform, member in itertools.product(transforms, members):
        if member["status"] == tables.DIVERGED:
            continue
        for place, amount in enumerate(amounts[transform]):
            where = {"trial": member["trial"], "seed": member["seed"]}
            high = 0.95 - 0.02 * member["trial"] - 0.01 * member["seed"]
            accuracy = max(high - 0.1 * place, CHANCE)
            found = {"accuracy": accuracy, "loss": -float(np.log(accuracy))}
            rows.append(where | {"transform": transform, "amount": amount} | found)
    return rows


def _timing_rows(
    trials: Sequence[Trial],
    num_seeds: int,
    programs: Sequence[Mapping[str, Any]],
    seconds: Mapping[int, Sequence[float]],
) -> list[dict[str, Any]]:
    """Makes a segment an epoch; `seconds` are a network's training seconds in each.

    A segment of trees is a fit.
    """
    rows = []
    for program in programs:
        first = trials[program["trials"][0]]
        network = first.hyperparameters.model.is_network
        members = len(program["trials"]) * num_seeds if network else 1
        examples = program["steps_per_epoch"] * _examples_a_step(first)
        for segment, each in enumerate(seconds.get(program["index"], (0.01,) * 3)):
            rows.append(
                {
                    "cohort": program["index"],
                    "segment": segment,
                    "step": (segment + 1) * program["steps_per_epoch"],
                    "members": members,
                    "compile_seconds": 1.5 if segment == 0 else 0.0,
                    "train_seconds": each * members,
                    "evaluation_seconds": 0.01,
                    "examples_per_second": examples / each,
                    "inferences_per_second": 4e6,
                    "inferences_per_second_batch_1": 5e4 if segment == 2 else None,
                    "peak_bytes": 200_000_000,
                }
            )
    return rows


def _examples_a_step(trial: Trial) -> int:
    """Returns the examples in an update, or those from which a tree is grown."""
    network = trial.hyperparameters.model.is_network
    return trial.hyperparameters.batch_size if network else EXAMPLES["train"]


def _dataset_record(features: Sequence[str]) -> dict[str, Any]:
    classes = [str(i) for i in range(10)]
    record = {**EXAMPLES, "classes": classes, "chance": CHANCE, "digest": "0" * 64}
    if features:
        return {**record, "input_shape": [2], "features": list(features)}
    return {**record, "input_shape": [8, 8, 1]}


def _written(found: tables.Results, workdir: pathlib.Path) -> tables.Results:
    content = {
        "curves.parquet": found.curves,
        "members.csv": found.members,
        "summary.csv": Findings(found).summary,
        "timings.csv": found.timings,
    }
    if found.severity.num_rows:
        content["severity.csv"] = found.severity
    tables.write(workdir, found.config, content)
    return tables.load(workdir)
