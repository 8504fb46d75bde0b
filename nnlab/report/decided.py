# SPDX-License-Identifier: Apache-2.0
"""What became of the claims, for programs: ``verdicts.json``, and a line each."""

import dataclasses
import json
import math
import pathlib
from typing import Any

from nnlab.machine.files import write_atomic
from nnlab.report.answering import remark
from nnlab.report.sections import effect_text
from nnlab.results import seal
from nnlab.statistics.examples import SEEDS
from nnlab.statistics.findings import Findings
from nnlab.statistics.verdicts import Verdict
from nnlab.words import numbers

FILE = "verdicts.json"


def write(findings: Findings) -> pathlib.Path | None:
    """Writes the verdicts of a run beside its report, as finite JSON: a list.

    There is no file of a study without claims, nor before a sealed plan is done. An
    entry has the claim's text, its other fields, and those of `Verdict`; null stands
    for what is not known or not finite.
    """
    results = findings.results
    path = results.workdir / FILE
    if not findings.verdicts or seal.is_closed(results.study, results.config["status"]):
        path.unlink(missing_ok=True)
        return None
    entries = [entry(verdict) for verdict in findings.verdicts]
    text = json.dumps(entries, indent=1, allow_nan=False)
    write_atomic(path, (text + "\n").encode(), durable=False)
    return path


def entry(verdict: Verdict) -> dict[str, Any]:
    """Returns a verdict as plain values."""
    values = dataclasses.asdict(verdict)
    fields = values.pop("claim")
    values["interval"] = [values.pop("low"), values.pop("high")]
    return {"claim": fields.pop("text"), **_finite(values), "fields": fields}


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(of) for name, of in value.items()}
    return [_finite(of) for of in value] if isinstance(value, list) else value


def line(verdict: Verdict) -> str:
    """Returns a verdict in a line: the verdict, the claim, its facts and remarks."""
    told = "; ".join(filter(None, (*facts(verdict), verdict.reason)))
    shown = f" [{told}]" if told else ""
    return numbers.visible(f"{verdict.verdict}: {verdict.claim.text}{shown}")


def facts(verdict: Verdict) -> list[str]:
    """Returns effect, n and adjusted p, as far as they are known."""
    p, over = numbers.p_text(verdict.p_holm), verdict.over
    if verdict.claim.quantity.reduction == "seconds":
        over = "segments"
    elif over != SEEDS:
        over = f"over {over}"
    known = {
        effect_text(verdict): math.isfinite(verdict.effect),
        f"n = {verdict.n} {over}": verdict.n > 0,
        f"p {p}" if p.startswith("<") else f"p = {p}": math.isfinite(verdict.p_holm),
        remark(verdict): bool(remark(verdict)),
    }
    return [text for text, is_known in known.items() if is_known]
