# SPDX-License-Identifier: Apache-2.0
"""Sections of a report about its programs: what they cost, and how they ran."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.report.figures.drawing import captions
from nnlab.report.figures.test_sets import moved_sets
from nnlab.report.sections import Columns, Section, Table, notes, number, tabulated
from nnlab.report.trials import several, sweep_of, trial_name
from nnlab.results import Results
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import mean_interval
from nnlab.study import Own, digest_json
from nnlab.words import numbers
from nnlab.words.settings import value_text, words

REPLAY = "python -m launch.train --config_json=config.json --workdir=again"


def costs(findings: Findings) -> Section:
    """Makes the table of what each program costs and what its best trial achieves."""
    results = findings.results
    programs = [
        c for c in results.config["cohorts"] if {*c["trials"]} & {*findings.ran}
    ]
    if "costs" not in results.study.figures or not programs:
        return Section("costs", "Costs")
    shares = any(len(c["trials"]) > 1 for c in programs)
    columns: dict[str, Callable[[Any], str]] = {
        "program": lambda c: _program(results, c["trials"]),
        "parameters": lambda c: number(c["parameters"]),
        "operations an example": lambda c: _operations(c.get("flops", 0)),
        **_speed_columns(findings),
        **_accuracy_columns(findings, shares),
    }
    batches = {c["plan"].get("evaluation_batch") for c in programs if c.get("plan")}
    batches -= {None, 0}
    sizes = numbers.joined([f"{b:,}" for b in sorted(batches)] or ["one size"])
    said = notes("costs", batches=sizes, shares=shares)
    return Section("costs", "Costs", said, tables=(tabulated(programs, columns),))


def _speed_columns(findings: Findings) -> Columns:
    """Columns of examples/s, seconds, and inferences/s in batches and singly."""
    results = findings.results

    def an_epoch(program: Mapping[str, Any]) -> str:
        seconds = findings.seconds_per_epoch(program["index"])
        return _seconds_text(float(seconds.mean()) if seconds.size else 0.0)

    def in_all(program: Mapping[str, Any]) -> str:
        seeds = program.get("num_seeds", results.study.num_seeds)
        seconds = total(findings.timings(program["index"]), "train_seconds")
        return _seconds_text(seconds / (len(program["trials"]) * seeds))

    def median(column: str) -> Callable[[Any], str]:
        def cell(program: Mapping[str, Any]) -> str:
            rows = findings.timings(program["index"])
            values = [row[column] for row in rows if row.get(column)]
            return rate(float(np.median(values)) if values else 0.0)

        return cell

    return {
        "training examples/s": lambda c: examples_per_second(
            findings.timings(c["index"])
        ),
        "training, s an epoch": an_epoch,
        "training, s in all": in_all,
        "inferences/s": median("inferences_per_second"),
        "inferences/s, batch 1": median("inferences_per_second_batch_1"),
    }


def _accuracy_columns(findings: Findings, shares: bool) -> Columns:
    results = findings.results

    def best(program: Mapping[str, Any]) -> int | None:
        return findings.best_of(program["trials"])

    def accuracy(metric: str) -> Callable[[Any], str]:
        def cell(program: Mapping[str, Any]) -> str:
            trial = best(program)
            values = np.empty(0) if trial is None else findings.final(trial, metric)
            mean, _, high = (float(v) for v in mean_interval(values))
            return numbers.mean_text(mean, high)

        return cell

    def seeds(program: Mapping[str, Any]) -> str:
        trial = best(program)
        return "0" if trial is None else str(findings.alive(trial).sum())

    def name(program: Mapping[str, Any]) -> str:
        trial = best(program)
        return numbers.NONE if trial is None else trial_name(results, trial)

    sets = (f"test_{name}_accuracy" for name in moved_sets(findings))
    return {
        **{f"{words(m)}, %": accuracy(m) for m in ("test_accuracy", *sets)},
        "seeds": seeds,
        **({"accuracies of": name} if shares else {}),
    }


def total(rows: Sequence[Mapping[str, Any]], *columns: str) -> float:
    """Returns the sum of columns; what was not timed counts 0."""
    return sum(sum(row.get(column) or 0.0 for row in rows) for column in columns)


def peak(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the peak memory in MB; a dash where it is not known."""
    most = max((row.get("peak_bytes") or 0 for row in rows), default=0)
    return f"{most / 1e6:,.0f}" if most else numbers.NONE


def _program(results: Results, trials: Sequence[int]) -> str:
    if len(trials) == 1:
        return trial_name(results, trials[0])
    groups = {sweep_of(results).groups[t] for t in trials}
    shared = groups.pop() if len(groups) == 1 else ""
    if shared:
        return f"{shared} ({len(trials)} trials)"
    return several(results, trials)


def _operations(count: int) -> str:
    """Returns a number of operations with three digits: "814", "102 k", "2.1 M"."""
    if not count:
        return numbers.NONE
    for factor, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= factor:
            return f"{float(f'{count / factor:.3g}'):g}{unit}"
    return f"{count}"


def examples_per_second(rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns the mean rate over the time of training; a dash for no timings."""
    seconds = [row["train_seconds"] or 0.0 for row in rows]
    rates = [row["examples_per_second"] or 0.0 for row in rows]
    examples = sum(r * s for r, s in zip(rates, seconds))
    return rate(examples / sum(seconds) if sum(seconds) else 0.0)


def rate(value: float) -> str:
    """Returns a rate with three digits; a dash for none."""
    return f"{float(f'{value:.3g}'):,.0f}" if value else numbers.NONE


def _seconds_text(value: float) -> str:
    return (
        f"{value:.2g}" if 0 < value < 10 else f"{value:,.0f}" if value else numbers.NONE
    )


def how(findings: Findings) -> Section:
    """Makes the section on device, versions, data, program and times."""
    results = findings.results
    facts = Table(("what", "value"), tuple(_facts(results)), caption="Device and data")
    columns = _cohort_columns(findings)
    caption = "Programs and their times"
    times = tabulated(results.config["cohorts"], columns, caption=caption)
    grown = any("library" in program for program in results.config["cohorts"])
    own = results.study.own
    handed = {
        "module": own.module,
        "own_metrics": own.metrics,
        "dataset": own.datasets,
    }
    more = [f"{keyword}=..." for keyword, known in handed.items() if known]
    code = REPLAY
    if more:
        code = f'nnlab.run("config.json", workdir="again", {", ".join(more)})'
    said = notes("how", trees=grown, more=more)
    return Section("how", "How it was run", said, tables=(facts, times), code=code)


def _facts(results: Results) -> Iterator[tuple[str, str]]:
    config, study = results.config, results.study
    yield "device", captions.device(results)
    yield "versions", captions.versions(config["versions"])
    trials = numbers.count(len(results.trials), "trial")
    yield "population", f"{trials} x {study.seeds()}, root seed {study.root_seed}"
    if (search := study.search).space:
        most = f"{numbers.count(search.trials, 'trial')}, {search.batch} at once"
        space = "; ".join(search.space)
        yield "search", f"Optuna, {search.sampler}, {most}; {space}"
    unread = {*study.swept(), *study.idle()}
    for key, data in config["datasets"].items():
        name = data.get("name", key)
        sizes = ", ".join(f"{data[p]:,} {p}" for p in ("validation", "test"))
        chance = f"chance {numbers.percent(data['chance'])}"
        digest = f"digest {str(data['digest'])[:12]}"
        told = (sizes, chance, digest, *data.get("notes", ()))
        yield f"data set {name}", "; ".join(told)
        unread |= {"dataset"} if name != key else set()
    for backbone in config.get("backbones", ()):
        yield "backbone", _backbone(backbone)
    yield from own_facts(study.own)
    fixed = [
        f"{path}={value_text(value)}"
        for path, value in study.base.flat().items()
        if path not in unread and value != ()
    ]
    yield "held fixed", ", ".join(fixed)
    for remark in study.remarks():
        yield "without effect", remark
    yield "study", f"digest {digest_json(config['study'])[:12]}"
    if config.get("git_commit"):
        yield "git commit", str(config["git_commit"])


def own_facts(own: Own) -> list[tuple[str, str]]:
    """Returns names and texts of the study's own module and metrics."""
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
    if "dataset" not in about:
        return f"weights of {about['key']}"
    return (
        f"trained on {about['train_examples']:,} examples of {about['dataset']}, "
        f"{numbers.count(about['num_epochs'], 'epoch')} of Adam at rate "
        f"{about['learning_rate']:g}, batch {about['batch_size']}; there it has a test "
        f"accuracy of {numbers.percent(about['test_accuracy'])}. All seeds begin at it"
    )


def _cohort_columns(findings: Findings) -> Columns:
    def lanes(program: Mapping[str, Any]) -> str:
        if not (plan := program.get("plan")):
            return f"trees by {program['library']}"
        trials = numbers.count(plan["lane_trials"], "trial")
        seeds = numbers.count(plan["lane_seeds"], "seed")
        return f"{plan['lanes']} of {trials} x {seeds}"

    def of_timings(text: Callable[[Any], str]) -> Callable[[Any], str]:
        return lambda program: text(findings.timings(program["index"]))

    def seconds(*columns: str) -> Callable[[Any], str]:
        return of_timings(lambda rows: f"{total(rows, *columns):.1f}")

    return {
        "program": lambda c: str(c["index"]),
        "trials": lambda c: str(len(c["trials"])),
        "training examples": lambda c: f"{c['train_examples']:,}",
        "parameters": lambda c: number(c["parameters"]),
        "lanes": lanes,
        "steps an epoch": lambda c: f"{c['steps_per_epoch']:,}",
        "compiling, s": seconds("compile_seconds"),
        "training, s": seconds("train_seconds"),
        "evaluating, s": seconds("evaluation_seconds", "scoring_seconds"),
        "examples/s": of_timings(examples_per_second),
        "peak, MB": of_timings(peak),
    }
