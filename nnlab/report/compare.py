# SPDX-License-Identifier: Apache-2.0
"""A report on several runs: which best trial is better, and how the studies differ.

It has a folder of its own, with the report, its figures, and two tables: `TRIALS` has a
row for each trial of each run, `BESTS` one for each pair of runs.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from nnlab import results
from nnlab.machine.files import absolute, write_atomic
from nnlab.report import answer, trials
from nnlab.report.costs import examples_per_second, own_facts, peak, total
from nnlab.report.figures import catalog, several_runs
from nnlab.report.figures.drawing import captions, chart, style
from nnlab.report.figures.drawing.levels import Level
from nnlab.report.page import Content, filled, folder_of_figures, lay_out
from nnlab.report.scores import Score, score_of
from nnlab.report.sections import (
    Section,
    Table,
    notes,
    number,
    tabulated,
    yes_or_no,
)
from nnlab.results import Results, cells
from nnlab.results.listing import RUNNING, status_of
from nnlab.statistics.between_runs import Difference, compare_bests, test_data
from nnlab.statistics.examples import SEEDS
from nnlab.statistics.findings import Findings
from nnlab.statistics.ranking import expected_score
from nnlab.study import Quantity, digest_json, every_path
from nnlab.words import numbers as texts
from nnlab.words import settings

TRIALS, BESTS = "comparison.csv", "differences.csv"
CURVES = ("validation_accuracy", "validation_r2", "validation_loss")
FEW = 6  # up to here names, values and fields are gone through


@dataclasses.dataclass(frozen=True)
class Run:
    """One of the runs that are compared, under a name of its own.

    `status` is as `listing.status_of` has it.
    """

    name: str
    findings: Findings
    status: str

    @property
    def results(self) -> Results:
        """The stored results."""
        return self.findings.results

    @property
    def best(self) -> int | None:
        """Index of its best trial by validation; None if it has none."""
        return self.findings.best

    @property
    def trial(self) -> str:
        """Name of the best trial, such as "learning rate 0.1"; "" for a single one."""
        if self.best is None or len(self.results.trials) == 1:
            return ""
        return trials.named(self.results, self.best)

    @property
    def full(self) -> str:
        """The run with its best trial: "quickstart (learning rate 0.1)"."""
        return f"{self.name} ({self.trial})" if self.trial else self.name

    @property
    def data(self) -> tuple[str, int, bool]:
        """What it shares with runs whose best trial has the same test examples."""
        assert self.best is not None
        return test_data(self.results, self.best)

    @property
    def num_alive(self) -> int:
        """Number of networks of the best trial that finished or stopped early."""
        return 0 if self.best is None else int(self.findings.alive(self.best).sum())

    @property
    def of(self) -> Score:
        """What its trials are compared by."""
        return score_of(self.results)

    @property
    def score(self) -> str:
        """The best trial's test score: "95.2 % ± 0.3 (n = 8)"."""
        few = ", no interval" if self.num_alive < 3 else ""
        return f"{self.of.with_unit(self.level_text())} (n = {self.num_alive}{few})"

    def level(self, metric: str) -> Level | None:
        """Returns the best trial's final mean, as its report has it; None for none."""
        if self.best is None or metric not in self.results.metrics:
            return None
        level = Level(*self.findings.level(self.best, Quantity(metric=metric)))
        return None if np.isnan(level.mean) else level

    def level_text(self, split: str = "test") -> str:
        """Returns the best trial's final score with its interval, without the unit."""
        level = self.level(self.of.of(split))
        if level is None:
            return texts.NONE
        return self.of.level(level.mean, level.high, level.low)


class Runs(tuple[Run, ...]):
    """The runs that are compared, as `load` gives them."""

    @functools.cached_property
    def differences(self) -> tuple[Difference, ...]:
        """The differences between the best trials of each pair, computed once."""
        return compare_bests([run.findings for run in self])


def write(runs: Runs, folder: str | os.PathLike[str]) -> pathlib.Path:
    """Compares runs, and writes the report, its figures and its tables.

    `folder` is missing, empty, or has an earlier comparison, which is overwritten.
    Returns the path of report.html.

    Raises:
      FileExistsError: `folder` holds something else.
      ValueError: its ``figures`` are a link.
    """
    target = absolute(folder, "workdir")
    _check_folder(target)
    figures = folder_of_figures(target)
    target.mkdir(parents=True, exist_ok=True)
    rows = {TRIALS: _trial_rows(runs), BESTS: _best_rows(runs)}
    for name, some in rows.items():
        content_of = cells.encoded(results.table(some))
        write_atomic(target / name, content_of, durable=False)
    return lay_out(target, content(runs, draw(runs, figures)))


def _check_folder(folder: pathlib.Path) -> None:
    """Refuses a folder in which a comparison would overwrite something else."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise FileExistsError(f"{str(folder)!r} is a file, not a folder")
    if (folder / results.CONFIG).exists():
        raise FileExistsError(
            f"workdir {str(folder)!r} holds a run's results; choose another for the "
            "comparison"
        )
    if any(folder.iterdir()) and not (folder / TRIALS).exists():
        raise FileExistsError(
            f"workdir {str(folder)!r} holds files and no earlier comparison (no "
            f"{TRIALS}); choose another"
        )


def load(workdirs: Sequence[str | os.PathLike[str]]) -> Runs:
    """Reads two or more runs, and gives them unique names.

    Raises:
      FileNotFoundError: one of them is missing or holds no results.
      ValueError: fewer than two, the same one twice, or damaged tables.
    """
    folders = [absolute(workdir, "workdir") for workdir in workdirs]
    if len(folders) < 2:
        raise ValueError(
            f"a comparison takes two workdirs or more, not {len(folders)}: "
            f"{', '.join(map(str, folders)) or 'none'}"
        )
    places = [folder.resolve() for folder in folders]
    for place, folder in zip(places, folders):
        if places.count(place) > 1:
            raise ValueError(f"workdir {str(folder)!r} is named twice")

    def run(name: str, folder: pathlib.Path) -> Run:
        found = results.load(folder)
        return Run(name, Findings(found), status_of(folder, found.config))

    return Runs(map(run, distinct_names(places), folders))


def distinct_names(places: Sequence[pathlib.Path]) -> list[str]:
    """Returns the shortest endings of absolute paths that are all different."""

    def name(place: pathlib.Path) -> str:
        others = [other.parts for other in places if other != place]
        for count in range(1, len(place.parts)):
            if all(other[-count:] != place.parts[-count:] for other in others):
                return "/".join(place.parts[-count:])
        return str(place)

    return [name(place) for place in places]


def _groups(runs: Sequence[Run]) -> list[list[Run]]:
    groups: dict[tuple[str, int, bool], list[Run]] = {}
    for run in runs:
        if run.best is not None and run.findings.is_measured(run.of.of("test")):
            groups.setdefault(run.data, []).append(run)
    return list(groups.values())


def _data_name(group: Sequence[Run]) -> str:
    """Returns a name for a group's test data, unique among groups."""
    run = group[0]
    assert run.best is not None
    data = run.results.dataset(run.best)
    name = data.get("name", run.results.trials[run.best].hyperparameters.data)
    return f"{name} ({data['test']:,} test examples, digest {run.data[0][:6]})"


# Figures.


def draw(runs: Sequence[Run], folder: pathlib.Path) -> tuple[catalog.Figure, ...]:
    """Draws and stores the figures, runs on the same test data together."""
    groups = _groups(runs)
    drawn = []
    with style.context():
        for place, group in enumerate(groups, 1):
            suffix, where = "", ""
            if len(groups) > 1:
                suffix, where = f"_{place}", f"On {_data_name(group)}: "
            for metric in CURVES:
                measured = [r for r in group if r.findings.is_measured(metric)]
                if len(measured) > 1:  # a run alone has them in its own report
                    path = folder / f"best_{metric}{suffix}"
                    drawn.append(_curves(measured, metric, path, where))
            name = f"all_{group[0].of.of('test')}{suffix}"
            drawn.append(_finals(group, folder / name, where))
    return tuple(drawn)


def _curves(
    runs: Sequence[Run], metric: str, path: pathlib.Path, where: str
) -> catalog.Figure:
    canvas = style.canvas(3.9)
    several_runs.best_curves(canvas.add_subplot(), _chosen(runs), metric)
    style.save(canvas, path)
    what = f"{where}{settings.words(metric)} of each run's best trial against epochs"
    what = texts.capital(what)
    seeds = texts.joined([f"{run.num_alive} of {run.name}" for run in runs])
    scale = captions.error_scale(canvas)
    bands = captions.band_text([run.findings.results.study.bands for run in runs])
    (caption,) = notes("best_curves", what=what, scale=scale, seeds=seeds, bands=bands)
    alt = f"{what}. {_ends(runs, metric)}"
    return catalog.Figure("curves", path.name, alt, caption, chart.data_of(canvas))


def _finals(runs: Sequence[Run], path: pathlib.Path, where: str) -> catalog.Figure:
    canvas = style.canvas(1.0 + 0.42 * len(runs))
    score = runs[0].of
    metric = score.of("test")
    several_runs.all_finals(canvas.add_subplot(), _chosen(runs), metric)
    style.save(canvas, path)
    what = f"{where}final test {score.name} of all trials, a row for each run"
    what = texts.capital(what)
    scale = captions.error_scale(canvas)
    (caption,) = notes("all_finals", what=what, scale=scale)
    alt = f"{what}. Of the best trials: {_ends(runs, metric)}"
    return catalog.Figure("final", path.name, alt, caption)


def _chosen(runs: Sequence[Run]) -> list[several_runs.Chosen]:
    chosen = ((run.name, run.findings, run.best) for run in runs)
    return [several_runs.Chosen(n, f, b) for n, f, b in chosen if b is not None]


def _ends(runs: Sequence[Run], metric: str) -> str:
    levels = [(run, run.level(metric)) for run in runs]
    parts = [
        f"{captions.value_text(metric, level.mean)} for {run.full}"
        for run, level in levels
        if level is not None
    ]
    return f"At the end: {'; '.join(parts)}."


# What is said.


def content(runs: Runs, drawn: Sequence[catalog.Figure] = ()) -> Content:
    """Gathers what the report says; `drawn` are its stored figures."""
    title = f"Which of {len(runs)} runs is best?"
    if len(runs) <= FEW:
        listed = texts.joined([run.name for run in runs]).replace(" and ", " or ")
        title = f"Which is {'better' if len(runs) == 2 else 'best'}: {listed}?"
    networks = sum(t.num_seeds for run in runs for t in run.results.trials)
    about = f"{len(runs)} runs, {networks:,} networks"

    lead = next((f for f in drawn if f.part == "final"), None)

    def figures(part: str, heading: str) -> Section:
        figures = tuple(f for f in drawn if f.part == part and f != lead)
        return Section(part, heading, figures=figures)

    sections = (
        _bests(runs),
        figures("curves", "Learning curves of the best trials"),
        figures("final", "All trials"),
        _studies(runs),
        _runs(runs),
        _costs(runs),
    )
    return Content(title, about, tuple(sentences(runs)), filled(sections), lead)


def sentences(runs: Runs) -> list[str]:
    """Says in sentences which run is best, how surely, and how the runs differ."""
    said = []
    groups = _groups(runs)
    for group in groups:
        on = f"On {_data_name(group)}, " if len(groups) > 1 else ""
        if len(group) > 1:
            said += _leader(runs, group, on)
        else:
            run = group[0]
            said.append(f"{on}{run.full} has a test {run.of.name} of {run.score}.")
    if len(groups) > 1:
        said.append("Results on different test data are not compared.")
    for run in runs:
        if not any(run in group for group in groups):
            why = "no best trial" if run.best is None else "no test scores"
            said.append(f"{run.name} has {why}, and is not compared.")
    fields = [name for name, _ in differing(runs)]
    if fields:
        more = [f"{len(fields) - FEW} more"] if len(fields) > FEW + 1 else fields[FEW:]
        said.append(f"The runs differ in {texts.joined([*fields[:FEW], *more])}.")
    else:
        said.append("Studies, data, versions and devices are the same.")
    said += _copies(runs)
    for run in runs:
        if run.status == RUNNING:
            gaps = ["The run is still training; this is what it has found so far."]
        else:
            gaps = [*answer.crashes(run.results), *answer.interruption(run.findings)]
        said += [f"{run.name}: {text}" for text in gaps]
    return said


def _leader(runs: Runs, group: Sequence[Run], on: str) -> list[str]:
    def worth(run: Run) -> float:
        assert run.best is not None
        return expected_score(run.results, run.best) or 0.0

    lead = max(group, key=worth)
    said = [
        f"{on}{'best' if on else 'Best'} by validation {lead.of.name} is {lead.full}, "
        f"with a test {lead.of.name} of {lead.score}."
    ]
    others = [run for run in group if run is not lead]
    said += [f"{_against(runs, lead, run)}." for run in others[:FEW]]
    if len(others) > FEW:
        said.append(f"{len(others) - FEW} more stand in the table.")
    return said


def _against(runs: Runs, lead: Run, other: Run) -> str:
    """Says how far the best is from another run, and how sure that is."""
    places = runs.index(lead), runs.index(other)
    (found,) = (d for d in runs.differences if {d.left, d.right} == {*places})
    mean = found.mean if found.left == places[0] else -found.mean
    half = max(found.high - found.mean, found.mean - found.low)
    apart = lead.of.level(abs(mean), abs(mean) + half, abs(mean) - half)
    where = f"{lead.of.apart} {'above' if mean > 0 else 'below'}".strip()
    far = f"{apart} {where}" if mean else "equal to"
    text = f"That is {far} that of {other.full}, {other.score}"
    if np.isnan(found.p_holm):
        return f"{text}: not tested ({found.reason})"
    how = f"paired over {found.n} seeds" if found.method == "paired" else "unpaired"
    verdict = "" if found.resolved else "not "
    p = texts.p_text(found.p_holm)
    p = p if p.startswith("<") else f"= {p}"
    return f"{text}: {verdict}significant over {found.over} ({how}, p {p})"


def _copies(runs: Sequence[Run]) -> list[str]:
    same: dict[tuple[str, ...], list[str]] = {}
    for run in runs:
        manifest = run.results.config["manifest"]
        tables = manifest["curves.parquet"], manifest["members.csv"]
        same.setdefault(tables, []).append(run.name)
    return [
        f"{texts.joined(names)} found the same, to the last byte."
        for names in same.values()
        if len(names) > 1
    ]


def _bests(runs: Runs) -> Section:
    over = {d.over for d in runs.differences if d.method}
    p = "p (over seeds alone)" if over - {SEEDS} else "p (adjusted)"
    table = tabulated(
        {
            "left": runs[d.left].full,
            "right": runs[d.right].full,
            **_levels(runs[d.left], runs[d.right], d),
            "compared": d.method or "no",
            "n, over": f"{d.n} {d.over}" if d.method else "",
            p: texts.p_text(d.p_holm)
            + f" ({texts.p_text(d.p_seeds)})" * (d.over != SEEDS),
            "significant": yes_or_no(d.resolved, d.p_holm),
            "remarks": "; ".join(filter(None, (d.reason, *_shows(d, runs[d.left].of)))),
        }
        for d in runs.differences
    )
    said = notes("bests", over=over)
    return Section("bests", "Best against best", said, tables=(table,))


def _levels(left: Run, right: Run, found: Difference) -> dict[str, str]:
    score = left.of
    unit, apart = (f", {text}" * bool(text) for text in (score.unit, score.apart))
    return {
        f"left{unit}": left.level_text(),
        f"right{unit}": right.level_text(),
        f"left minus right{apart}": score.level(found.mean, found.high, found.low),
    }


def _shows(found: Difference, score: Score) -> Iterator[str]:
    if np.isfinite(found.detectable):
        far = f"{score.factor * found.detectable:.2g} {score.apart}".strip()
        yield f"a difference of {far} would show in 80 % of such comparisons"


def _studies(runs: Sequence[Run]) -> Section:
    rows = tuple((name, *values) for name, values in differing(runs))
    table = Table(("field", *(run.name for run in runs)), rows)
    tables, said = (table,) * bool(rows), notes("studies")
    return Section("studies", "How the runs differ", said, tables=tables)


def differing(runs: Sequence[Run]) -> list[tuple[str, tuple[str, ...]]]:
    """Returns exactly the settings in which runs differ, and their value in each run.

    These are fields of the study by their paths (of a hyperparameter, the values of all
    trials), then data sets, module, versions and device.
    """
    facts = [_facts(run.results) for run in runs]
    found = []
    for name in dict.fromkeys(name for some in facts for name in some):
        values = [some.get(name, (None, texts.NONE)) for some in facts]
        keys = [digest_json(key) for key, _ in values]
        if len(set(keys)) == 1:
            continue
        shown = [text for _, text in values]
        pairs = list(zip(shown, keys))
        # Where different values look alike, digests separate them.
        for place, (text, key) in enumerate(pairs):
            if any(t == text and k != key for t, k in pairs):
                shown[place] = f"{text} (digest {key[:6]})"
        found.append((name, tuple(shown)))
    return found


def _facts(found: Results) -> dict[str, tuple[Any, str]]:
    """Returns all in which runs may differ: ``{name: (value for JSON, text)}``."""
    study = found.study
    facts: dict[str, tuple[Any, str]] = {
        name: (value := getattr(study, name), settings.value_text(value))
        for name in (
            *("question", "num_seeds", "root_seed", "vary", "eval_size", "target"),
            *("bands", "compare_trials"),
        )
    }
    for name in ("claims", "notes"):
        values = found.config["study"].get(name, ())
        facts[name] = (values, texts.count(len(values), name.removesuffix("s")))
    for name, value in dataclasses.asdict(study.test_sets).items():
        facts[f"test_sets.{name}"] = (value, settings.value_text(value))
    facts["figures"] = (study.figures, ", ".join(study.figures))
    flats = [trial.hyperparameters.flat() for trial in found.trials]
    facts["trials"] = (sorted(t.id for t in found.trials), f"{len(flats)}")
    for path in every_path(flats):
        values = list({digest_json(flat[path]): flat[path] for flat in flats}.values())
        key = sorted(map(digest_json, values))
        facts[path] = (key, _values_text(values))
    for name, data in found.config["datasets"].items():
        sizes = ", ".join(f"{data[p]:,} {p}" for p in ("validation", "test"))
        about = f"{sizes}; digest {str(data['digest'])[:12]}"
        facts[f"data set {data.get('name', name)}"] = (about, about)
    config = found.config
    facts["module"] = (None, texts.NONE)
    for name, text in own_facts(study.own):
        facts[name] = (text, text)
    backbones = [about.get("digest") for about in config.get("backbones", ())]
    facts["backbones"] = (backbones, f"{len(backbones)}")
    for package, version in config["versions"].items():
        facts[f"version of {package}"] = (version, str(version))
    device = captions.device(found)
    facts["device"] = (device, device)
    commit = str(config.get("git_commit") or texts.NONE)
    facts["git commit"] = (commit, commit[:12] + commit[40:])
    return facts


def _values_text(values: Sequence[Any]) -> str:
    """Returns a hyperparameter's values in all trials; many of them as a range."""
    if len(values) <= FEW:
        return ", ".join(settings.value_text(v) or "none" for v in values)
    if all(settings.is_number(v) for v in values):
        ends = min(values), max(values)
        return f"{len(values)} values, {' to '.join(map(settings.value_text, ends))}"
    first = ", ".join(map(settings.value_text, values[:2]))
    return f"{first} and {len(values) - 2} others"


def _runs(runs: Sequence[Run]) -> Section:
    def parameters(run: Run) -> str:
        if run.best is None:
            return texts.NONE
        return number(run.results.program(run.best)["parameters"])

    table = tabulated(
        {
            "run": run.name,
            "question": run.results.study.question,
            "status": run.status,
            "trials": str(len(run.results.study.sweep)),
            "seeds": run.results.study.seeds().partition(" seed")[0],
            "best trial": texts.NONE if run.best is None else run.trial,
            run.of.header("validation"): run.level_text("validation"),
            run.of.header("test"): run.level_text(),
            "n": texts.NONE if run.best is None else str(run.num_alive),
            "parameters": parameters(run),
        }
        for run in runs
    )
    return Section("runs", "The runs", notes("runs"), tables=(table,))


def _costs(runs: Sequence[Run]) -> Section:
    timings = [(run, run.results.timings.to_pylist()) for run in runs]
    table = tabulated(
        {
            "run": run.name,
            "device": captions.device(run.results),
            "networks": f"{run.results.members.num_rows:,}",
            "compiling, s": f"{total(rows, 'compile_seconds'):,.1f}",
            "training, s": f"{total(rows, 'train_seconds'):,.1f}",
            "evaluating, s": f"{total(rows, 'evaluation_seconds'):,.1f}",
            "training examples/s": examples_per_second(rows),
            "peak, MB": peak(rows),
        }
        for run, rows in timings
    )
    return Section("costs", "Costs", notes("sums"), tables=(table,))


# The tables.


def _trial_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    return [
        {
            "run": run.name,
            "workdir": str(run.results.workdir),
            "status": run.status,
            "root_seed": run.results.study.root_seed,
            "num_seeds": run.results.study.num_seeds,
            "data_digest": run.results.dataset(row["index"])["digest"],
            **row,
        }
        for run in runs
        for row in run.findings.rows
    ]


def _best_rows(runs: Runs) -> list[dict[str, Any]]:
    rows = []
    for found in runs.differences:
        left, right = runs[found.left], runs[found.right]
        row: dict[str, Any] = {"left": left.name, "right": right.name}
        row |= {"left_trial": left.best, "right_trial": right.best}
        row |= {"method": found.method, "n": found.n}
        for name in ("mean", "low", "high", "p", "p_holm", "p_seeds", "detectable"):
            value = getattr(found, name)
            row[name] = value if np.isfinite(value) else None
        row["over"] = found.over
        rows.append({**row, "resolved": found.resolved, "reason": found.reason})
    return rows
