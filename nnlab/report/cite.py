# SPDX-License-Identifier: Apache-2.0
"""A run in one paragraph of plain text, methods and result, for citing; no JAX."""

import math
import pathlib
import textwrap
from collections import Counter
from collections.abc import Iterator
from typing import Any

from nnlab.machine.files import write_atomic
from nnlab.report import answer, decided
from nnlab.report.figures.drawing import captions
from nnlab.report.sections import Section
from nnlab.report.trials import sweep_of
from nnlab.results import DIVERGED, DROPPED, STOPPED, UNFINISHED, Results, seal
from nnlab.statistics.examples import DATA, EXAMPLES, SEEDS
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import MIN_SEEDS
from nnlab.statistics.ranking import Comparison, num_families
from nnlab.statistics.verdicts import VERDICTS, Verdict
from nnlab.study import DIFFERENCE, digest_json
from nnlab.study.hyperparameters import DEFAULTS
from nnlab.words import numbers
from nnlab.words.settings import setting_text, value_text, words

FILE = "cite.txt"
WIDTH = 80
_MOST = 6  # claims with their numbers; of more, the rest is counted
_DIGITS = 12  # of a digest, as elsewhere in a report
_TOLD = (
    *("model.name", "model.hidden", "model.activation", "optimizer.name"),
    *("optimizer.learning_rate", "batch_size", "num_epochs"),
)
"""Settings that are told also where they are the default."""
_ENDED = {
    STOPPED: "stopped early",
    DIVERGED: "diverged (left out of means)",
    DROPPED: "were dropped by halving",
    UNFINISHED: "did not finish",
    "at_chance": "ended at chance",
}
_METHODS = {
    EXAMPLES: "final accuracies, drops and losses for new seeds and new examples "
    "(crossed design of seeds and examples, Satterthwaite's degrees of freedom)",
    DATA: "final accuracies and drops for new data of the same kind (corrected "
    "resampled t test of Nadeau and Bengio, 2003)",
    SEEDS: "all else for new seeds on the same examples (paired t test; exact tests of "
    "shares and of orders)",
}
"""What is tested how, by what p speaks of."""


def paragraph(findings: Findings) -> str:
    """Returns what was trained, how it was tested, what came out, and versions."""
    return numbers.visible(" ".join(" ".join(_sentences(findings)).split()))


def write(findings: Findings) -> pathlib.Path:
    """Writes the paragraph beside the report, in lines of 80 characters at most."""
    lines = textwrap.fill(paragraph(findings), WIDTH, break_on_hyphens=False)
    path = findings.results.workdir / FILE
    write_atomic(path, (lines + "\n").encode(), durable=False)
    return path


def section(findings: Findings) -> Section:
    """Makes the report's section with the paragraph."""
    return Section("cite", "To cite", items=(paragraph(findings),))


def _sentences(findings: Findings) -> Iterator[str]:
    results = findings.results
    study, config = results.study, results.config
    yield study.question
    which = f", which differ in {_difference(results)}," if study.swept() else ""
    yield f"{study.size()}{which} were trained on {_data(results)}"
    yield f"with {', '.join(_settings(results))}."
    if study.search.space:
        yield f"Optuna ({study.search.sampler}) chose the trials."
    yield _seeds(results)
    if fates := ", ".join(_fates(findings)):
        yield f"Of the networks, {fates}."
    yield from _tests(findings)
    told, claims = answer.sentences(findings)[0], findings.verdicts
    if not any(v.claim.main and v.claim.text.rstrip(" .") in told for v in claims):
        yield told  # else it is one of those below
    if not seal.is_closed(study, config["status"]):
        yield from _claims(findings)
    made, digest = captions.versions(config["versions"]), digest_json(config["study"])
    yield f"Made with {made} on {captions.device(results)}; study {digest[:_DIGITS]}."


def _difference(results: Results) -> str:
    """Returns what was swept, with the range of a single number."""
    swept, sweep = results.study.swept(), sweep_of(results)
    text = numbers.joined([words(path) for path in swept])
    if len(swept) > 1 or sweep.scale == "categories":
        return text
    return f"{text} ({sweep.places[0]:g} to {sweep.places[-1]:g})"


def _data(results: Results) -> str:
    parts = []
    for key, data in results.config["datasets"].items():
        of = {t.index for t in results.trials if t.hyperparameters.data == key}
        programs = (p for p in results.config["cohorts"] if of & {*p["trials"]})
        sizes = sorted({program["train_examples"] for program in programs})
        some = numbers.joined([f"{size:,}" for size in sizes or [data["train"]]])
        held = f"{data['validation']:,} validation and {data['test']:,} test examples"
        digest = f"SHA-256 {str(data['digest'])[:_DIGITS]}"
        parts.append(f"{data.get('name', key)} ({some} training, {held}; {digest})")
    return numbers.joined(parts)


def _settings(results: Results) -> Iterator[str]:
    """Yields what all trials share: what matters, and what is not the default."""
    study = results.study
    if own := study.own.module:
        names = [own.name, *(one["name"] for one in study.own.modules.values())]
        yield f"module {numbers.joined([*dict.fromkeys(names)])}"
    unread = {*study.swept(), *results.idle(), "dataset", "train_size"}
    for path, value in study.base.flat().items():
        if path not in unread and (path in _TOLD or value != DEFAULTS.get(path)):
            yield _setting(path, value)
    sizes = {p["parameters"] for p in results.config["cohorts"]} - {None}
    if sizes:
        ends = dict.fromkeys(f"{size:,}" for size in (min(sizes), max(sizes)))
        yield f"{' to '.join(ends)} parameters"


def _setting(path: str, value: Any) -> str:
    if isinstance(value, bool):
        return setting_text(path, value)
    return f"{words(path)} {value_text(value)}"


def _seeds(results: Results) -> str:
    study = results.study
    root = f"all trials have the same seeds (root seed {study.root_seed})"
    if varying := study.varying():
        return f"From seed to seed change: {varying}; {root}."
    return (
        "A seed decides the initial weights, the order of the examples and the noise; "
        f"{root}."
    )


def _fates(findings: Findings) -> Iterator[str]:
    """Says how many networks ended otherwise than at their last epoch."""
    for status, text in _ENDED.items():
        if count := sum(int(findings.counts(t)[status]) for t in findings.ran):
            yield f"{count:,} {text}"


def _tests(findings: Findings) -> Iterator[str]:
    """Says how differences were tested, if any were, and whether that was planned."""
    study, status = findings.results.study, findings.results.config["status"]
    if study.num_seeds < MIN_SEEDS:
        yield f"With fewer than {MIN_SEEDS} seeds nothing was tested."
        return
    tested: list[Verdict | Comparison] = [*findings.verdicts]
    tested += findings.compared if study.compares else ()
    if overs := {one.over for one in tested if not math.isnan(one.p_holm)}:
        how = "; ".join(text for over, text in _METHODS.items() if over in overs)
        if len(overs) == 1:
            how = how.replace("all else", "differences")
        made = []
        if study.claims:
            made.append(numbers.count(len(study.claims), "claim"))
        if study.compares:
            made.append("all comparisons of two trials")
        half = ", each with half of the 5 %" if num_families(study) > 1 else ""
        half += f", and for {len(study.looks)} looks" if study.looks else ""
        yield (
            f"Differences are paired by seed and tested two-sided: {how}; p-values and "
            "intervals are adjusted by Holm's procedure over "
            f"{numbers.joined(made)}{half}."
        )
    if any(claim.relation == "same" for claim in study.claims):
        yield "That two are the same within a margin is shown by two one-sided tests."
    if any(v.scale != DIFFERENCE for v in findings.verdicts):
        yield "Norms, losses, times and steps are compared by their logarithms."
    if study.seal and not seal.is_closed(study, status):
        digest, changes = seal.deviations(findings.results)
        kept = "with deviations, which the report lists" if changes else "and kept"
        yield f"The plan was sealed before training ({digest}) {kept}."


def _claims(findings: Findings) -> Iterator[str]:
    """Yields the verdicts, those that carry the answer first."""
    verdicts = sorted(findings.verdicts, key=lambda v: not v.claim.main)
    for verdict in verdicts[:_MOST]:
        facts = decided.facts(verdict)
        facts += ["asked after the run"] * verdict.asked_after
        told = f" ({'; '.join(facts)})" if facts else ""
        yield f"“{verdict.claim.text}” is {verdict.verdict}{told}."
    counts = Counter(v.verdict for v in verdicts[_MOST:])
    rest = [f"{counts[v]} {v}" for v in VERDICTS if counts[v]]
    if rest:
        yield f"The other verdicts are: {numbers.joined(rest)}."
