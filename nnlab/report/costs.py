# SPDX-License-Identifier: Apache-2.0
"""Sections of a report about its programs: what they cost, and how they ran."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.report.figures.drawing import captions
from nnlab.report.figures.test_sets import moved_sets
from nnlab.report.scores import score_of
from nnlab.report.sections import Section, Table, in_width, notes, number, tabulated
from nnlab.report.trials import several, sweep_of, trial_name
from nnlab.results import Results
from nnlab.statistics.findings import Findings
from nnlab.study import Own, OwnModule, Quantity, digest_json
from nnlab.words import numbers
from nnlab.words.settings import value_text, words

REPLAY = "nnlab train --config_json=config.json --workdir=again"


def costs(findings: Findings) -> Section:
    """Makes the table of what each program costs and what its best trial achieves."""
    results = findings.results
    programs = [
        c for c in results.config["cohorts"] if {*c["trials"]} & {*findings.ran}
    ]
    if "costs" not in results.study.figures or not programs:
        return Section("costs", "Costs")
    shares = any(len(c["trials"]) > 1 for c in programs)
    table = tabulated(_cells(findings, program, shares) for program in programs)
    batches = {c["plan"].get("evaluation_batch") for c in programs if c.get("plan")}
    batches -= {None, 0}
    sizes = numbers.joined([f"{b:,}" for b in sorted(batches)] or ["one size"])
    said = notes("costs", batches=sizes, shares=shares)
    return Section("costs", "Costs", said, tables=in_width(table))


def _cells(
    findings: Findings, program: Mapping[str, Any], shares: bool
) -> dict[str, str]:
    """Returns cells of what a program costs and what its best trial achieves."""
    results, rows = findings.results, findings.timings(program["index"])
    epochs = findings.seconds_per_epoch(program["index"])
    seeds = program.get("num_seeds", results.study.num_seeds)
    in_all = total(rows, "train_seconds") / (len(program["trials"]) * seeds)
    best = findings.best_of(program["trials"])
    name = numbers.NONE if best is None else trial_name(results, best)

    def median(column: str) -> str:
        values = [row[column] for row in rows if row.get(column)]
        return rate(float(np.median(values)) if values else 0.0)

    score = score_of(results)

    def level(metric: str) -> str:
        if best is None:
            return numbers.NONE
        mean, low, high = findings.level(best, Quantity(metric=metric))
        return score.level(mean, high, low)

    sets = (score.of(f"test_{name}") for name in moved_sets(findings))
    return {
        "program": _program(results, program["trials"]),
        "parameters": number(program["parameters"]),
        "operations an example": _operations(program.get("flops", 0)),
        "training examples/s": examples_per_second(rows),
        "training, s an epoch": _seconds_text(epochs.mean() if epochs.size else 0.0),
        "training, s in all": _seconds_text(in_all),
        "inferences/s": median("inferences_per_second"),
        "inferences/s, batch 1": median("inferences_per_second_batch_1"),
        score.header("test"): level(score.of("test")),
        **{f"{words(m)}{', ' * bool(score.unit)}{score.unit}": level(m) for m in sets},
        "seeds": "0" if best is None else str(findings.alive(best).sum()),
        **({"accuracies of" if score.unit else "R² of": name} if shares else {}),
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
    programs = results.config["cohorts"]
    times = tabulated(
        (_times(program, findings.timings(program["index"])) for program in programs),
        caption="Programs and their times",
    )
    grown = any("library" in program for program in programs)
    own = results.study.own
    handed = {
        "module": own.module,
        "own_metrics": own.metrics,
        **{what.partition(":")[0]: code for what, code in own.functions.items()},
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
    if varying := study.varying():
        yield "from seed to seed", varying
    if (search := study.search).space:
        most = f"{numbers.count(search.trials, 'trial')}, {search.batch} at once"
        space = "; ".join(search.space)
        yield "search", f"Optuna, {search.sampler}, {most}; {space}"
    unread = {*study.swept(), *results.idle()}
    for key, data in config["datasets"].items():
        name = data.get("name", key)
        sizes = ", ".join(f"{data[p]:,} {p}" for p in ("validation", "test"))
        chance = f"chance {score_of(results).text(data['chance'])}"
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
    """Returns names and texts of the study's own modules, metrics and functions."""
    found, others = [], {text: OwnModule(**one) for text, one in own.modules.items()}
    for text, module in {"": own.module, **others}.items() if own.module else ():
        values = [f"{k}={v}" for k, v in module.attributes.items()]
        shapes = module.parameters.values()
        parameters = numbers.count(sum(map(math.prod, shapes)), "parameter")
        about = f"{module.name}({', '.join(values)}); {parameters}"
        found.append((f"module {text}".strip(), f"{about}; {_code(module.code)}"))
    found += [(f"metric {name}", _code(code)) for name, code in own.metrics.items()]
    found += [(f"{what} of one's own", _code(c)) for what, c in own.functions.items()]
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


def _times(
    program: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    if plan := program.get("plan"):
        trials = numbers.count(plan["lane_trials"], "trial")
        seeds = numbers.count(plan["lane_seeds"], "seed")
        lanes = f"{plan['lanes']} of {trials} x {seeds}"
    else:
        lanes = f"trees by {program['library']}"
    evaluating = total(rows, "evaluation_seconds", "scoring_seconds")
    return {
        "program": str(program["index"]),
        "trials": str(len(program["trials"])),
        "training examples": f"{program['train_examples']:,}",
        "parameters": number(program["parameters"]),
        "lanes": lanes,
        "steps an epoch": f"{program['steps_per_epoch']:,}",
        "compiling, s": f"{total(rows, 'compile_seconds'):.1f}",
        "training, s": f"{total(rows, 'train_seconds'):.1f}",
        "evaluating, s": f"{evaluating:.1f}",
        "examples/s": examples_per_second(rows),
        "peak, MB": peak(rows),
    }
