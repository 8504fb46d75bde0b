# SPDX-License-Identifier: Apache-2.0
"""Sections of a report on its programs: what they cost, and how they were run."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.report.figures.drawing import captions
from nnlab.report.figures.test_sets import moved_sets
from nnlab.report.sections import Section, Table, number
from nnlab.report.trials import several, sweep_of, trial_name
from nnlab.results import Results
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.members import alive, final, seconds_per_epoch
from nnlab.statistics.ranking import best_trial
from nnlab.study import Own, digest_json
from nnlab.words import numbers
from nnlab.words.settings import value_text, words

REPLAY = "python -m launch.train --config_json=config.json --workdir=again"


def costs(results: Results) -> Section:
    """What each program costs and what its best trial achieves."""
    programs = [
        c
        for c in results.config["cohorts"]
        if any(results.has_run(t) for t in c["trials"])
    ]
    if "costs" not in results.study.figures or not programs:
        return Section("costs", "Costs")
    metrics = [
        "test_accuracy",
        *(f"test_{s}_accuracy" for s in moved_sets(results)),
    ]
    header = [
        "program",
        "parameters",
        "operations an example",
        "training examples/s",
        "training, s an epoch",
        "training, s in all",
        "inferences/s",
        "inferences/s, batch 1",
        *(f"{words(m)}, %" for m in metrics),
        "seeds",
    ]
    shares = any(len(c["trials"]) > 1 for c in programs)
    header += ["accuracies of"] if shares else []
    rows = []
    for program in programs:
        best = best_trial(results, program["trials"])
        cells = [
            _program(results, program["trials"]),
            number(program["parameters"]),
            _operations(program.get("flops", 0)),
            *_speeds(results, program),
        ]
        for metric in metrics:
            values = np.empty(0) if best is None else final(results, best, metric)
            mean, _, high = (float(v) for v in mean_interval(values))
            cells.append(numbers.mean_text(mean, high))
        cells.append("0" if best is None else str(alive(results, best).sum()))
        if shares:
            cells.append(numbers.NONE if best is None else trial_name(results, best))
        rows.append(tuple(cells))
    of_best = ", for the program's best trial by validation" if shares else ""
    plans = [c["plan"] for c in programs if c.get("plan")]
    batches = sorted({plan.get("evaluation_batch", 0) for plan in plans})
    sizes = numbers.joined([f"{b:,}" for b in batches if b]) or "one size"
    notes = (
        "A program is compiled for the trials that share all settings but those that "
        "enter it as numbers, such as the learning rate. Operations are those of a "
        "forward pass over one example; a multiplication with its addition counts two.",
        "Training examples/s and inferences/s are of all networks of the program "
        f"together, the latter in batches of {sizes}. At batch 1, one network answers "
        "one example at a time inside a compiled program. Seconds of training are a "
        "network's share of the program's time, without compilation and evaluation; in "
        "all, they are a mean over its networks, which may have ended early.",
        "Accuracies are of the final networks, mean and half-width of the 95 % "
        f"interval over the seeds that finished or stopped{of_best}.",
    )
    return Section("costs", "Costs", notes, tables=(Table(tuple(header), tuple(rows)),))


def _program(results: Results, trials: Sequence[int]) -> str:
    """What the trials of a program are called together."""
    if len(trials) == 1:
        return trial_name(results, trials[0])
    groups = {sweep_of(results).groups[t] for t in trials}
    shared = groups.pop() if len(groups) == 1 else ""
    if shared:
        return f"{shared} ({len(trials)} trials)"
    return several(results, trials)


def _operations(count: int) -> str:
    """A number of operations with three digits: "814", "102 k", "2.1 M"."""
    if not count:
        return numbers.NONE
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= factor:
            return f"{float(f'{count / factor:.3g}'):g}{unit}"
    return f"{count}"


def _speeds(results: Results, program: Mapping[str, Any]) -> list[str]:
    """Examples/s, seconds an epoch and in all, inferences/s in batches and singly."""
    index = program["index"]
    timings = [r for r in results.timings.to_pylist() if r["cohort"] == index]
    members = len(program["trials"]) * program.get("num_seeds", results.study.num_seeds)
    training = sum(row["train_seconds"] or 0.0 for row in timings)
    an_epoch = seconds_per_epoch(results, index)

    def median(column: str) -> float:
        values = [row[column] for row in timings if row.get(column)]
        return float(np.median(values)) if values else 0.0

    return [
        rate(examples_per_second(timings)),
        _seconds_text(float(an_epoch.mean()) if an_epoch.size else 0.0),
        _seconds_text(training / members),
        rate(median("inferences_per_second")),
        rate(median("inferences_per_second_batch_1")),
    ]


def examples_per_second(timings: Sequence[Mapping[str, Any]]) -> float:
    """Mean rate over the time of training; 0 where nothing was timed."""
    seconds = sum(row["train_seconds"] or 0.0 for row in timings)
    examples = sum(
        (row["examples_per_second"] or 0.0) * (row["train_seconds"] or 0.0)
        for row in timings
    )
    return examples / seconds if seconds else 0.0


def rate(value: float) -> str:
    """A rate with three digits; a dash for none."""
    return f"{float(f'{value:.3g}'):,.0f}" if value else numbers.NONE


def _seconds_text(value: float) -> str:
    return (
        f"{value:.2g}" if 0 < value < 10 else f"{value:,.0f}" if value else numbers.NONE
    )


def how(results: Results) -> Section:
    """Device, versions, data, program and times."""
    config = results.config
    study = results.study
    facts = [
        ("device", captions.device(results)),
        ("versions", captions.versions(config["versions"])),
        (
            "population",
            f"{numbers.count(len(results.trials), 'trial')} x "
            f"{study.seeds()}, root seed {study.root_seed}",
        ),
    ]
    if (search := study.search).space:
        most = f"{numbers.count(search.trials, 'trial')}, {search.batch} at once"
        space = "; ".join(search.space)
        facts.append(("search", f"Optuna, {search.sampler}, {most}; {space}"))
    for name, data in config["datasets"].items():
        sizes = ", ".join(f"{data[p]:,} {p}" for p in ("validation", "test"))
        chance = f"chance {numbers.percent(data['chance'])}"
        digest = f"digest {str(data['digest'])[:12]}"
        name = data.get("name", name)
        told = (sizes, chance, digest, *data.get("notes", ()))
        facts.append((f"data set {name}", "; ".join(told)))
    for backbone in config.get("backbones", ()):
        facts.append(("backbone", _backbone(backbone)))
    unread = {*study.swept(), *study.idle()}
    facts += own_facts(study.own)
    if any(data.get("name", name) != name for name, data in config["datasets"].items()):
        unread.add("dataset")
    fixed = [
        f"{path}={value_text(value)}"
        for path, value in study.base.flat().items()
        if path not in unread and value != ()
    ]
    facts.append(("held fixed", ", ".join(fixed)))
    facts += [("without effect", remark) for remark in study.remarks()]
    facts.append(("study", f"digest {digest_json(config['study'])[:12]}"))
    if config.get("git_commit"):
        facts.append(("git commit", str(config["git_commit"])))
    tables = [Table(("what", "value"), tuple(facts), caption="Device and data")]
    programs = tuple(_program_row(results, program) for program in config["cohorts"])
    header = (
        "program",
        "trials",
        "training examples",
        "parameters",
        "lanes",
        "steps an epoch",
        "compiling, s",
        "training, s",
        "evaluating, s",
        "examples/s",
        "peak, MB",
    )
    tables.append(Table(header, programs, caption="Programs and their times"))
    grown = any("library" in program for program in config["cohorts"])
    trees = (
        "Of trees an epoch is a round that grows one for each class (of a forest, one "
        "tree); depth and number are chosen by validation, seed by seed, and training "
        "is the time of all depths. "
    )
    note = (
        "A program is trials that are compiled together; a lane is the members that "
        "run at once on a device. Examples a second are training examples of all its "
        "members together, without compilation and "
        f"evaluation. {trees if grown else ''}The same study again, from the stored "
    )
    own = {
        "module": study.own.module,
        "own_metrics": study.own.metrics,
        "dataset": study.own.datasets,
    }
    code = REPLAY
    if handed := [f"{keyword}=..." for keyword, known in own.items() if known]:
        note += "settings and what is not in them:"
        code = f'nnlab.run("config.json", workdir="again", {", ".join(handed)})'
    else:
        note += "settings alone:"
    return Section("how", "How it was run", (note,), tables=tuple(tables), code=code)


def own_facts(own: Own) -> list[tuple[str, str]]:
    """What module and metrics a study has of its own, as names and texts."""
    found = []
    if own.module:
        values = [f"{k}={v}" for k, v in own.module.attributes.items()]
        shapes = own.module.parameters.values()
        parameters = numbers.count(sum(map(math.prod, shapes)), "parameter")
        about = f"{own.module.name}({', '.join(values)}); {parameters}"
        found.append(("module", f"{about}; {_code(own.module.code)}"))
    found += [(f"metric {name}", _code(code)) for name, code in own.metrics.items()]
    return found


def _code(code: str) -> str:
    return f"digest of its code {code.partition(' ')[0] or 'unknown'}"


def _backbone(about: Mapping[str, Any]) -> str:
    """How a backbone came about."""
    if "dataset" not in about:
        return f"weights of {about['key']}"
    return (
        f"trained on {about['train_examples']:,} examples of {about['dataset']}, "
        f"{numbers.count(about['num_epochs'], 'epoch')} of Adam at rate "
        f"{about['learning_rate']:g}, batch {about['batch_size']}; there it has a test "
        f"accuracy of {numbers.percent(about['test_accuracy'])}. All seeds begin at it"
    )


def _program_row(results: Results, program: Mapping[str, Any]) -> tuple[str, ...]:
    timings = [
        row for row in results.timings.to_pylist() if row["cohort"] == program["index"]
    ]

    def total(column: str) -> float:
        return sum(row.get(column) or 0.0 for row in timings)

    peak = max((row.get("peak_bytes") or 0 for row in timings), default=0)
    if lanes := program.get("plan"):
        plan = (
            f"{lanes['lanes']} of {numbers.count(lanes['lane_trials'], 'trial')} x "
            f"{numbers.count(lanes['lane_seeds'], 'seed')}"
        )
    else:
        plan = f"trees by {program['library']}"
    return (
        str(program["index"]),
        str(len(program["trials"])),
        f"{program['train_examples']:,}",
        number(program["parameters"]),
        plan,
        f"{program['steps_per_epoch']:,}",
        f"{total('compile_seconds'):.1f}",
        f"{total('train_seconds'):.1f}",
        f"{total('evaluation_seconds') + total('scoring_seconds'):.1f}",
        rate(examples_per_second(timings)),
        f"{peak / 1e6:,.0f}" if peak else numbers.NONE,
    )
