# SPDX-License-Identifier: Apache-2.0
"""The answer to a study's question, in sentences computed from its results; no JAX."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from nnlab.report.trials import named, several, sweep_of, trial_name
from nnlab.results import DROPPED, UNFINISHED, Results
from nnlab.statistics import rate_range as rates_lib
from nnlab.statistics import sequential as looks_lib
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.members import (
    dropped,
    final,
    has_status,
    reduce_members,
    status_counts,
)
from nnlab.statistics.ranking import best_trial, compare_to_best, mean_accuracy
from nnlab.statistics.targets import steps_to_target, target_of
from nnlab.statistics.verdicts import CONTRADICTED, VERDICTS, judge
from nnlab.study import Quantity
from nnlab.words import numbers as texts

FEW = 6  # up to here the answer goes through the trials one by one
ALIKE = 0.05  # of accuracy: trials so close to the best have as much to lose


def sentences(results: Results) -> list[str]:
    """What the data say about the question, in sentences.

    Of an interrupted run, what is best so far. Then which trials reach the target how
    soon, which is best and how sure that is, what it was chosen from, which were
    dropped, what moved and rotated images cost, what networks are before training where
    the study asks, what fails, what became of the claims, the study's own notes, and
    what is missing. Up to six trials are gone through one by one; of more, the best,
    the fastest and ranges are named.

    Returns:
      Plain sentences.
    """
    rates = _rates(results)
    found = [
        *(rates or (*_speed(results), *_best(results), *_looks(results))),
        *_search(results),
        *_halving(results),
        *_drops(results),
        *_untrained(results),
        *(() if rates else _failures(results)),
        *_claims(results),
    ]
    cut, missing = interruption(results), crashes(results)
    if not found:
        return [*cut, *missing] or ["Nothing has run yet."]
    return [*cut, *found, *results.study.notes, *missing]


def _rates(results: Results) -> list[str]:
    """Which learning rates train, where the edge is, and which rate is the fastest.

    In the place of which trial is best, where the study asks for it: after so few
    updates that is the same as being the fastest.
    """
    if "rates" not in results.study.figures or not rates_lib.is_range(results):
        return []
    found, seeds = rates_lib.find(results), results.study.num_seeds
    if not found.order:
        return []
    steps = max(results.program(t)["num_steps"] for t in found.order)
    updates = texts.count(steps, "update")
    lowest, highest = (f"{found.values[i]:g}" for i in (0, -1))
    fall = f"{100 * rates_lib.MARGIN:g} %"
    if found.stable is None or found.fastest is None:
        said = [
            f"Between {lowest} and {highest} there is no learning rate at which all "
            f"seeds lose {fall} of their training loss within {updates}."
        ]
    else:
        low, high = (f"{rate:g}" for rate in found.stable)
        every = f"all {seeds} seeds lose" if seeds > 1 else "the seed loses"
        said = [
            f"From learning rate {low} to {high}, {every} {fall} or more of their "
            f"training loss within {updates}; below, they are too slow."
        ]
    edge = found.edge
    if edge.n:
        said.append(_edge_text(edge, highest, seeds))
    if found.fastest is not None:
        loss = final(results, found.fastest, "validation_loss")
        mean, _, top = (float(v) for v in mean_interval(loss))
        value = texts.mean_text(mean, top, 1)
        spread = f"mean and 95 % interval, n = {seeds}" if seeds > 2 else f"n = {seeds}"
        rate = results.trials[found.fastest].hyperparameters.optimizer.learning_rate
        said.append(
            f"The fastest is {rate:g}, with the lowest validation loss after {updates}"
            f": {value} ({spread}). Begin there; longer training often ends better at "
            "lower rates."
        )
    return said


def _edge_text(edge: "rates_lib.Edge", highest: str, seeds: int) -> str:
    """Where the edge is, how sure that is, and what is behind it."""
    if edge.beyond == edge.n:
        return f"No seed has an edge up to {highest}: it is above."
    middle = "the geometric mean" if not edge.beyond else "the median"
    value = f"above {highest}" if math.isinf(edge.value) else f"at {edge.value:.3g}"
    if math.isnan(edge.low):
        least = "6" if edge.beyond else "3"
        sure = f"{middle} of {texts.count(edge.n, 'seed')}; fewer than {least} give "
        sure += "no interval"
    else:
        top = f"above {highest}" if math.isinf(edge.high) else f"{edge.high:.3g}"
        sure = f"{middle} and 95 % interval, {edge.low:.3g} to {top}, n = {edge.n}"
    fates = {
        ("diverges", "diverge"): edge.diverged,
        ("ends at chance", "end at chance"): edge.at_chance,
        ("loses too little", "lose too little"): edge.stuck,
        (f"trains up to {highest}", f"train up to {highest}"): edge.beyond,
    }
    parts = [f"{c} {verbs[c > 1]}" for verbs, c in fates.items() if c]
    text = f"The edge is {value} ({sure}). Right above its own, of "
    text += f"{texts.count(edge.n, 'seed')}, {texts.joined(parts)}."
    if edge.n < seeds:
        text += f" {seeds - edge.n} of {seeds} seeds train at no rate."
    return text


def _speed(results: Results) -> list[str]:
    """How soon which trials reach the target."""
    target = target_of(results)
    if math.isnan(target):
        return []
    times = {t.index: steps_to_target(results, t.index, target) for t in results.trials}
    times = {t: time for t, time in times.items() if time.n}
    goal = f"{100 * target:g} % validation accuracy"
    if not times:
        return []
    reached = {t: round(time.reached_share * time.n) for t, time in times.items()}
    order = sorted(times, key=lambda t: (times[t].median_epochs, -reached[t], t))
    first = order[0]
    if not any(reached.values()):
        return [f"No trial reaches {goal}."]

    def share(trial: int) -> str:
        return f"{reached[trial]} of {times[trial].n}"

    arrived = [t for t in order if math.isfinite(times[t].median_epochs)]
    late = [t for t in order if t not in arrived]
    if not arrived:
        return [
            f"{texts.capital(named(results, first))} comes nearest to {goal}: in "
            f"{share(first)} seeds. No trial reaches it in more than half of them."
        ]
    median = times[first].median_epochs
    seeds = "seed" if times[first].n == 1 else "seeds"
    soonest = texts.median_text(median)
    start = (
        f"reaches {goal} after {'a median of ' if times[first].n > 1 else ''}"
        f"{soonest} {'epoch' if soonest == '1' else 'epochs'}"
    )
    if len(results.trials) == 1:
        return [f"Training {start}, {share(first)} {seeds}."]
    if len(times) <= FEW:
        who = texts.capital(named(results, first))
        parts = [f"{who} {start}, {share(first)} {seeds}"]
        for trial in arrived[1:]:
            name = trial_name(results, trial)
            after = texts.median_text(times[trial].median_epochs)
            parts.append(f"{name} after {after}, {share(trial)}")
        never = [trial_name(results, t) for t in late if not reached[t]]
        for trial in (t for t in late if reached[t]):
            parts.append(f"{trial_name(results, trial)} in {share(trial)}")
        if never:
            parts.append(f"{texts.joined(never)} never")
        return [f"{'; '.join(parts)}."]
    fastest = [t for t in arrived if times[t].median_epochs == median]
    said = [f"{texts.capital(named(results, first))} {start}, {share(first)} {seeds}."]
    if len(fastest) > 1:
        verb = start.replace("reaches", "reach", 1)
        said = [f"{texts.capital(several(results, fastest))} {verb}, the soonest."]
    slowest = arrived[-1]
    left = " not dropped before" if dropped(results) else ""
    rest = (
        f"{len(arrived)} of {len(times)} trials{left} reach it in most of their seeds"
    )
    if times[slowest].median_epochs > median:
        name = trial_name(results, slowest)
        after = texts.median_text(times[slowest].median_epochs)
        rest += f", the slowest ({name}) after {after} epochs"
    return [*said, f"{rest}."]


def _best(results: Results) -> list[str]:
    """Which trial is best, and which others cannot be told from it."""
    best = best_trial(results)
    gone = {t for some in dropped(results).values() for t in some}
    gone |= {t.index for t in results.trials if _is_cut_off(results, t.index)}
    ran = [
        t.index
        for t in results.trials
        if results.has_run(t.index) and t.index not in gone
    ]
    if best is None or "test_accuracy" not in results.metrics:
        reason = "in each, members are unfinished or less than half of them survive"
        return [f"No trial can be called best: {reason}."] if ran else []
    values = final(results, best, "test_accuracy")
    mean, _, high = (float(v) for v in mean_interval(values))
    n = int(np.isfinite(values).sum())
    spread = f"mean and 95 % interval, n = {n}" if n >= 3 else f"n = {n}, no interval"
    if n < 3 <= results.study.num_seeds:
        spread += ": fewer than 3 seeds survive"
    number = texts.mean_text(mean, high).replace(" ±", " % ±")
    number += "" if "%" in number else " %"
    if len(results.trials) == 1 or (len(ran) == 1 and not gone):
        said = [f"Test accuracy is {number} ({spread})."]
    else:
        told = f"best by validation accuracy is {named(results, best)}"
        if gone:
            some = texts.count(len(ran), "trial")
            told = f"of the {some} that trained to the end, {told}"
        said = [f"{texts.capital(told)}, with a test accuracy of {number} ({spread})."]
    if results.study.num_seeds < 3:
        return [*said, no_interval(results)]
    compared = [c for c in compare_to_best(results) if c.trial in ran]
    untold = [c.trial for c in compared if c.trial != best and math.isnan(c.p_holm)]
    others = [c for c in compared if not math.isnan(c.p_holm)]
    same = [c.trial for c in others if not c.resolved]
    above = [c.trial for c in others if c.resolved and c.mean > 0]
    below = [c.trial for c in others if c.resolved and c.mean < 0]
    if same:
        said.append(f"Not resolved from it: {several(results, same, FEW - 1)}.")
    if above:
        said.append(f"Better than it on the test set: {several(results, above)}.")
    if below and (same or above):
        verb = "other is" if len(below) == 1 else "others are"
        said[-1] = f"{said[-1][:-1]}; {len(below)} {verb} resolved to be worse."
    elif below:
        all_of_them = "Both" if len(below) == 2 else f"All {len(below)}"
        which = f"{all_of_them} others are" if len(below) > 1 else "The other trial is"
        said.append(f"{which} resolved to be worse.")
    if untold:
        who = several(results, untold)
        said.append(f"Too few seeds survive to compare it with {who}.")
    return said


def _looks(results: Results) -> list[str]:
    """How many looks it took to resolve the order, or that they did not suffice."""
    taken, planned = looks_lib.history(results), results.study.looks
    if not taken or taken[-1].best is None:
        return []
    last = taken[-1]
    most = planned[-1] * len(results.trials)
    after = f"After {texts.count(len(taken), 'look')}, at {taken[0].seeds}"
    after += f" to {last.seeds} seeds," if len(taken) > 1 else " seeds,"
    spent = f"with {last.networks:,} networks of at most {most:,}"
    if not last.unresolved:
        those = " that can be compared" * bool(last.untested)
        return [f"{after} all others{those} are told from the best, {spent}."]
    left = texts.count(len(last.unresolved), "trial")
    verb = "is" if len(last.unresolved) == 1 else "are"
    ended = ": the last look has been taken" * (len(taken) == len(planned))
    return [f"{after} {left} {verb} not told from the best, {spent}{ended}."]


def _search(results: Results) -> list[str]:
    """What was searched how, and that the best of many is a lucky one."""
    search = results.study.search
    if not search.space:
        return []
    count = texts.count(len(results.trials), "trial")
    said = (
        f"Optuna ({search.sampler}) chose the {count}, {search.batch} at a time, from "
        f"{texts.joined(search.space)}."
    )
    if best_trial(results) is None:
        return [said]
    return [
        f"{said} The best of {len(results.trials)} is in part a lucky one, on the test "
        "set, too: trained again with another root_seed it gets an accuracy of its own."
    ]


def _halving(results: Results) -> list[str]:
    """How many trials halving dropped when, and what that has spared."""
    gone = dropped(results)
    if not gone:
        return []
    parts = [f"{len(trials)} at epoch {epochs:g}" for epochs, trials in gone.items()]
    total = texts.count(len(results.trials), "trial")
    trained = spared = 0
    for trial in (t for t in results.trials if results.has_run(t.index)):
        h = trial.hyperparameters
        if not h.model.is_network:
            continue
        steps = results.member(trial.index, "steps").astype(int) * h.batch_size
        trained += int(steps.sum())
        cut = has_status(results, trial.index, DROPPED)
        whole = results.program(trial.index)["num_steps"] * h.batch_size
        spared += int((whole - steps[cut]).sum())
    share = texts.percent(trained / (trained + spared), 0)
    return [
        f"Successive halving dropped {sum(map(len, gone.values()))} of {total}, "
        f"{texts.joined(parts)}, and trained {share} of the examples that all of them "
        "to the end would have taken."
    ]


def _untrained(results: Results) -> list[str]:
    """Accuracy and loss before training beside those of chance."""
    if "probabilities" not in results.study.figures:
        return []
    groups: dict[tuple[float, int], list[int]] = {}
    for trial in (t.index for t in results.trials if results.has_run(t.index)):
        data = results.dataset(trial)
        key = float(data["chance"]), len(data["classes"])
        groups.setdefault(key, []).append(trial)
    said = []
    for (chance, classes), trials in groups.items():
        columns = [
            _at_start(results, trials, f"test_{m}") for m in ("accuracy", "loss")
        ]
        if not all(c.size for c in columns):
            continue
        accuracy, loss = (_range(c) for c in columns)
        where = f" of {several(results, trials)}" if len(groups) > 1 else ""
        seeds = results.study.seeds()
        means = "the trials' means" if len(trials) > 1 else "means"
        said.append(
            f"Before training the test accuracy{where} is {accuracy[0]} % (chance "
            f"{texts.percent(chance)}) and the loss {loss[1]} (ln {classes} = "
            f"{math.log(classes):.2f}), {means} over {seeds}."
        )
    return said


def _at_start(results: Results, trials: Sequence[int], metric: str) -> np.ndarray:
    """Mean over the seeds of a metric at step 0, of each trial that has it, (n,)."""
    if metric not in results.metrics:
        return np.empty(0)
    curves = [results.curve(t, metric) for t in trials]
    means = [c.values[:, 0].mean() for c in curves if c.steps.size and c.steps[0] == 0]
    values = np.array(means)
    return values[np.isfinite(values)]


def _range(values: np.ndarray) -> tuple[str, str]:
    """From the least to the largest value, as percentages and as they are."""
    ends = (float(values.min()), float(values.max()))
    shares = dict.fromkeys(texts.fixed(100 * e, 1) for e in ends)
    numbers = dict.fromkeys(texts.fixed(e, 2) for e in ends)
    return " to ".join(shares), " to ".join(numbers)


def _drops(results: Results) -> list[str]:
    """What the accuracy loses on moved and on rotated images."""
    best = best_trial(results)
    sets = results.study.test_sets
    changes = {
        "moved": f"moved by up to {texts.count(sets.moved_pixels, 'pixel')}",
        "rotated": f"rotated by up to {sets.rotated_degrees:g} degrees",
    }
    said = []
    for name, change in changes.items():
        metric = f"test_{name}_accuracy"
        if best is None or metric not in results.metrics:
            continue
        quantity = Quantity(metric=metric, reduction="drop_from_test")
        values = {
            t.index: reduce_members(results, quantity, t.index) for t in results.trials
        }
        values = {t: v for t, v in values.items() if np.isfinite(v).any()}
        if best not in values:
            continue
        normal = {t: np.nanmean(final(results, t, "test_accuracy")) for t in values}
        # A network that has learnt little has little to lose.
        drops = {t: v for t, v in values.items() if normal[t] >= normal[best] - ALIKE}
        of_best = " of the best trial" if len(results.trials) > 1 else ""
        text = f"On images {change} the accuracy{of_best} falls by "
        text += _drop(results, best, metric, drops[best])
        least = min(drops, key=lambda t: (np.nanmean(drops[t]), t))
        others = f"of the trials within {100 * ALIKE:g} points of it on the normal set"
        others += " (means, not tested)"
        if least != best:
            text += f"; {others} it falls least with {named(results, least)}, by "
            text += _drop(results, least, metric, drops[least])
        elif len(drops) > 1:
            text += f", the least {others}"
        said.append(f"{text}.")
    return said


def _drop(results: Results, trial: int, metric: str, drops: np.ndarray) -> str:
    """A paired drop and what is left: "35.1 ± 0.8 points, to 61.2 % (n = 8)"."""
    mean, _, high = (float(v) for v in mean_interval(drops))
    left = float(np.nanmean(final(results, trial, metric)))
    n = np.count_nonzero(np.isfinite(drops))
    return f"{texts.mean_text(mean, high)} points, to {texts.percent(left)} (n = {n})"


def _claims(results: Results) -> list[str]:
    """How many of the study's claims hold, and in words those that do not."""
    verdicts = judge(results)
    if not verdicts:
        return []
    counts = Counter(v.verdict for v in verdicts)
    parts = []
    for verdict in (v for v in VERDICTS if counts[v]):
        verb = "is" if counts[verdict] == 1 else "are"
        part = f"{counts[verdict]} {verb} {verdict}"
        if verdict == CONTRADICTED:
            wrong = [v.claim.text for v in verdicts if v.verdict == verdict]
            part += f" ({'; '.join(f'“{text}”' for text in wrong)})"
        parts.append(part)
    total = texts.count(len(verdicts), "claim")
    return [f"Of {total}, {texts.joined(parts)}."]


def no_interval(results: Results) -> str:
    """Why results of one or two seeds come without interval."""
    seeds = results.study.num_seeds
    if seeds == 1:
        return "One seed shows no spread: no interval is drawn and nothing is resolved."
    return (
        "Of two seeds a 95 % interval is 13 standard errors wide to each side and says "
        "nothing: none is drawn and nothing is resolved."
    )


def _failures(results: Results) -> list[str]:
    """Which trials diverge or stay at chance."""
    kinds = (("diverged", "diverge"), ("at_chance", "end at chance"))
    seeds = {t.index: t.num_seeds for t in results.trials}
    counts = {t.index: status_counts(results, t.index) for t in results.trials}
    failing = [t for t, c in counts.items() if c["diverged"] or c["at_chance"]]
    if not failing:
        return []
    if len(failing) > 4:
        total: Counter[str] = Counter()
        for trial in failing:
            total.update(counts[trial])
        lost = _fates(total, kinds, sum(seeds[t] for t in failing))
        return [f"Of {several(results, failing)}, {lost}."]
    at = "with" if sweep_of(results).scale == "categories" else "at"
    alike: dict[str, list[int]] = {}
    for trial in failing:
        alike.setdefault(_fates(counts[trial], kinds, seeds[trial]), []).append(trial)
    parts: list[str] = []
    for fate, trials in alike.items():
        names = [trial_name(results, t) for t in trials]
        names[0] = names[0] if parts else named(results, trials[0])
        each = " each" if len(trials) > 1 else ""
        where = f"{at} {texts.joined(names)}, " if len(results.trials) > 1 else ""
        parts.append(where + fate + each)
    return [f"{texts.capital('; '.join(parts))}."]


def _fates(
    counts: Mapping[str, int], kinds: Sequence[tuple[str, str]], total: int
) -> str:
    said: list[str] = []
    for key, verb in kinds:
        if counts[key]:
            singular = verb.replace("diverge", "diverges").replace("end ", "ends ")
            of = "" if said else f" of {texts.count(total, 'seed')}"
            said.append(f"{counts[key]}{of} {singular if counts[key] == 1 else verb}")
    return " and ".join(said)


def failed_trials(results: Results) -> list[int]:
    """The trials, by index, whose program failed."""
    failed = results.config.get("failures", {})
    return [
        trial
        for program in results.config["cohorts"]
        if str(program["index"]) in failed
        for trial in program["trials"]
    ]


def crashes(results: Results) -> list[str]:
    """How many trials are missing because their program failed."""
    failed = failed_trials(results)
    if not failed:
        return []
    total = texts.count(len(results.trials), "trial")
    verb, whose = ("is", "its") if len(failed) == 1 else ("are", "their")
    return [
        f"{len(failed)} of {total} {verb} missing because {whose} program failed: "
        f"{several(results, failed)}."
    ]


def _is_cut_off(results: Results, trial: int) -> bool:
    """Whether a trial of an interrupted run has begun and not ended."""
    if results.config["status"] != "interrupted":
        return False
    return bool(status_counts(results, trial)[UNFINISHED])


def interruption(results: Results) -> list[str]:
    """What an interrupted run lacks, and which trial is best so far."""
    if results.config["status"] != "interrupted":
        return []
    trials = {t.index for t in results.trials} - {*failed_trials(results)}
    absent = [t for t in trials if not results.has_run(t)]
    unfinished = sum(status_counts(results, t)[UNFINISHED] for t in trials)
    parts = []
    if absent:
        verb = "has" if len(absent) == 1 else "have"
        parts.append(f"{len(absent)} of {len(results.trials)} trials {verb} not run")
    if unfinished:
        parts.append(f"{texts.count(unfinished, 'member')} did not finish")
    said = " and ".join(parts) or "what is missing cannot be told"
    return [f"The run was interrupted: {said}{_best_so_far(results)}."]


def _best_so_far(results: Results) -> str:
    """Which trial leads a run that is not at its end; "" if none has trained."""
    best = best_trial(results, so_far=True)
    if best is None:
        return ""
    done = float(np.nanmax(results.member(best, "steps").astype(float)))
    if not done:
        return ""
    accuracy = texts.percent(mean_accuracy(results, best))
    whose = f"best so far is {named(results, best)}, with a"
    if len(results.trials) == 1:
        whose = "so far it has a"
    of = f"mean of {texts.count(results.trials[best].num_seeds, 'seed')}"
    if results.trials[best].hyperparameters.model.is_network:
        record = results.program(best)
        per = record["steps_per_epoch"]
        whole = record["num_steps"] / per
        epochs = "epoch" if whole == 1 else "epochs"
        of += f" after {done / per:.4g} of {whole:.4g} {epochs}"
    return f"; {whose} validation accuracy of {accuracy} ({of})"
