# SPDX-License-Identifier: Apache-2.0
"""The answer to a study's question, in sentences made from its results; no JAX."""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import cast

import numpy as np

from nnlab.report import answering, effects
from nnlab.report.scores import score_of
from nnlab.report.trials import named, several, sweep_of, trial_name
from nnlab.results import DROPPED, UNFINISHED, Results, seal
from nnlab.statistics import rate_range
from nnlab.statistics.effects import MAX_LEFT_OUT
from nnlab.statistics.findings import Findings
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.members import has_status
from nnlab.statistics.ranking import best_trial, mean_score
from nnlab.statistics.targets import StepsToTarget
from nnlab.statistics.verdicts import CONTRADICTED, VERDICTS
from nnlab.study import Quantity
from nnlab.words import numbers as texts

FEW = 6  # up to here the answer goes through the trials one by one
DIVERGE, STAY = ("diverges", "diverge"), ("stays at chance", "stay at chance")
MOST_WRONG = 3  # claims of which it is said what holds instead
ALIKE = 0.05  # of accuracy: trials so close to the best have as much to lose


def sentences(findings: Findings) -> list[str]:
    """Returns what the data say about the question, in plain sentences.

    In order: what an interrupted run lacks; the answer, in one to three sentences; what
    is missing; claims; failures; how soon trials reach the target; what moved and
    rotated images cost; the start of training, where the study asks; how it was
    searched; which trials were dropped; whether it ran as planned; and the study's
    notes. Up to six trials are all mentioned; of more, the best, the fastest and
    ranges.
    """
    rates, nothing = _rates(findings), _nothing(findings)
    first = rates or _first(findings, nothing)
    cut, missing = interruption(findings), crashes(findings.results)
    said = [
        *_claims(findings),
        *(() if rates or nothing == first else _failures(findings)),
        *(() if rates or nothing else _speed(findings)),
        *_drops(findings),
        *_untrained(findings),
        *_looks(findings),
        *_search(findings),
        *_halving(findings),
        *_plan(findings.results),
    ]
    said = [text for text in said if text not in first]
    if not first and not said:
        return [*cut, *missing] or ["Nothing has run yet."]
    return [*cut, *first, *missing, *said, *findings.results.study.notes]


def _first(findings: Findings, nothing: list[str]) -> list[str]:
    """Returns the answer to the question.

    It is that of the claims that carry it. Where trials are compared, the question is
    which, or no claim carries it, it is which trial does best, and of two swept fields
    whether one's gain depends on the other. A study without claims is asked what its
    first figure shows.
    """
    study = findings.results.study
    if seal.is_closed(study, findings.results.config["status"]):
        return ["The plan is sealed: test scores stay hidden until it is done."]
    claimed = answering.answered(findings)
    which = study.compares or effects.asks_which(study.question)
    if claimed and not which:
        return claimed
    if nothing and not claimed:
        return nothing
    best = _best(findings)
    if claimed:
        return [*best[:1], *claimed, *best[1:]]
    shown = study.figures[0] if study.figures and not study.claims else ""
    asked = _ASKED[shown](findings) if shown in _ASKED else []
    crossed = [*effects.each_at_best(findings), *effects.depends(findings)]
    if effects.asks_whether(study.question):
        return [*asked, *crossed, *best]
    return [*asked, *best[:1], *reversed(crossed), *best[1:]]


def _nothing(findings: Findings) -> list[str]:
    """Says that no network has learnt anything; nothing if one has."""
    results = findings.results
    counts = [findings.counts(t) for t in findings.ran]
    total = sum(results.trials[t].num_seeds for t in findings.ran)
    diverged, dull = (sum(c[n] for c in counts) for n in ("diverged", "at_chance"))
    if not total or diverged + dull < total:
        return []
    networks = "The only network" if total == 1 else f"All {total:,} networks"
    if dull == total:
        one = "stays" if total == 1 else "stay"
        return [f"{networks} {one} at chance: nothing is learnt, and no trial is best."]
    rates = [
        results.trials[t].hyperparameters.optimizer.learning_rate for t in findings.ran
    ]
    lower = f"; learning rates below {min(rates):g} may train"
    if diverged == total:
        one = "diverges" if total == 1 else "diverge"
        return [f"{networks} {one}: nothing is learnt{lower}."]
    fates = f"{diverged:,} diverge and {dull:,} stay at chance"
    return [f"Nothing is learnt: of {total:,} networks {fates}{lower}."]


def _verb(count: int, one: str = "is", more: str = "are") -> str:
    return one if count == 1 else more


# Which learning rates train.


def _rates(findings: Findings) -> list[str]:
    """Says which learning rates train, where the edge is, and which rate is fastest.

    Where the study asks for it, it replaces the best trial: after so few updates the
    best is the fastest.
    """
    results, found = findings.results, findings.rates
    if "rates" not in results.study.figures or found is None or not found.order:
        return []
    seeds = results.study.num_seeds
    steps = max(results.program(t)["num_steps"] for t in found.order)
    updates = texts.count(steps, "update")
    lowest, highest = (f"{found.values[i]:g}" for i in (0, -1))
    fall = f"{100 * rate_range.MARGIN:g} %"
    if found.stable is None:
        said = [
            f"At no learning rate between {lowest} and {highest} do all seeds lose "
            f"{fall} of their training loss within {updates}."
        ]
    else:
        low, high = found.stable
        every = f"all {seeds} seeds lose" if seeds > 1 else "the seed loses"
        said = [
            f"From learning rate {low:g} to {high:g}, {every} {fall} or more of their "
            f"training loss within {updates}; lower rates are too slow."
        ]
    if found.edge.n:
        said.append(_edge(found.edge, highest, seeds))
    if found.fastest is not None:
        loss = findings.final(found.fastest, "validation_loss")
        mean, _, top = (float(v) for v in mean_interval(loss))
        spread = f"mean and 95 % interval, n = {seeds}" if seeds > 2 else f"n = {seeds}"
        rate = results.trials[found.fastest].hyperparameters.optimizer.learning_rate
        said.append(
            f"The fastest rate is {rate:g}, with the lowest validation loss after "
            f"{updates}: {texts.mean_text(mean, top, 1)} ({spread}). Begin there; "
            "longer training often ends better at lower rates."
        )
    return said


def _edge(edge: rate_range.Edge, highest: str, seeds: int) -> str:
    """Says where the edge is, how sure that is, and what lies beyond it."""
    if edge.beyond == edge.n:
        return f"No seed has an edge up to {highest}, the highest rate tried."
    value = f"above {highest}" if math.isinf(edge.value) else f"at {edge.value:.3g}"
    middle, least = ("median", 6) if edge.beyond else ("geometric mean", 3)
    if math.isnan(edge.low):
        sure = f"{middle} of {texts.count(edge.n, 'seed')}; fewer than {least} give "
        sure += "no interval"
    else:
        top = f"above {highest}" if math.isinf(edge.high) else f"{edge.high:.3g}"
        sure = f"{middle} and 95 % interval, {edge.low:.3g} to {top}, n = {edge.n}"
    counts = {
        DIVERGE: edge.diverged,
        STAY: edge.at_chance,
        ("loses too little", "lose too little"): edge.stuck,
        (f"still trains at {highest}", f"still train at {highest}"): edge.beyond,
    }
    text = (
        f"The edge, above which networks no longer train, is {value} ({sure}). Just "
        f"above its edge {_fates(counts, edge.n)}."
    )
    if edge.n < seeds:
        text += f" {seeds - edge.n} of {seeds} seeds train at no rate."
    return text


# How soon, and which is best.


def _speed(findings: Findings) -> list[str]:
    results, target = findings.results, findings.target
    every = {t: findings.steps_to_target(t, target) for t in findings.ran}
    times = {t: time for t, time in every.items() if time.n}
    if not times:
        return []
    score = score_of(results)
    goal = f"{score.goal(target)} validation {score.name}"
    order = sorted(times, key=lambda t: (times[t].median_epochs, -times[t].reached))
    first = order[0]
    if not any(time.reached for time in times.values()):
        return [f"No trial reaches {goal}."]
    if not math.isfinite(times[first].median_epochs):
        return [
            f"No trial reaches {goal} in more than half of its seeds; "
            f"{named(results, first)} comes nearest, in {_share(times[first])} seeds."
        ]
    n, soonest = times[first].n, texts.median_text(times[first].median_epochs)
    after = "after a median of " if n > 1 else "after "
    after += f"{soonest} {'epoch' if soonest == '1' else 'epochs'}"
    start = (
        f"reaches {goal} {after} ({_share(times[first])} {_verb(n, 'seed', 'seeds')})"
    )
    who = texts.capital(named(results, first))
    if len(results.trials) == 1:
        return [f"Training {start}."]
    if len(times) <= FEW:
        others = _one_by_one(results, {t: times[t] for t in order[1:]})
        return [f"{'; '.join([f'{who} {start}', *others])}."]
    medians = {t: times[t].median_epochs for t in order}
    arrived = [t for t in order if math.isfinite(medians[t])]
    fastest = [t for t in arrived if medians[t] == medians[first]]
    said = f"{who} {start}."
    if len(fastest) > 1:
        those = texts.capital(several(results, fastest))
        said = f"{those} reach {goal} first, {after}."
    left = " that were not dropped before" * bool(findings.dropped)
    rest = f"{len(arrived)} of {len(times)} trials{left} reach it in most of their "
    rest += "seeds"
    if medians[arrived[-1]] > medians[first]:
        late = texts.median_text(medians[arrived[-1]])
        slowest = trial_name(results, arrived[-1])
        rest += f", the slowest ({slowest}) after {late} epochs"
    return [said, f"{rest}."]


def _share(time: StepsToTarget) -> str:
    return f"{time.reached} of {time.n}"


def _one_by_one(results: Results, times: Mapping[int, StepsToTarget]) -> list[str]:
    """Says how soon each trial reaches the target, the soonest first."""
    parts, some, never = [], [], []
    for trial, time in times.items():
        name = trial_name(results, trial)
        if math.isfinite(time.median_epochs):
            after = texts.median_text(time.median_epochs)
            parts.append(f"{name} after {after} ({_share(time)})")
        elif time.reached:
            some.append(f"{name} only in {_share(time)} seeds")
        else:
            never.append(name)
    return [*parts, *some, *([f"{texts.joined(never)} never"] if never else ())]


def _best(findings: Findings) -> list[str]:
    """Says which trial does best, and all that cannot be told from it.

    Validation chooses it; the test set confirms that or says that others are better.
    """
    results, best = findings.results, findings.best
    score = score_of(results)
    test = score.of("test")
    gone = {t for some in findings.dropped.values() for t in some}
    if results.config["status"] == "interrupted":
        gone |= {t for t in findings.ran if findings.counts(t)[UNFINISHED]}
    ran = [t for t in findings.ran if t not in gone]
    if best is None or test not in results.metrics:
        reason = "each has unfinished networks, or fewer than half of them survive"
        return [f"No trial can be called best: {reason}."] if ran else []
    values = findings.final(best, test)
    mean, low, high = findings.level(best, Quantity(metric=test))
    n = int(np.isfinite(values).sum())
    spread = f"mean and 95 % interval, n = {n}" if n >= 3 else f"n = {n}, no interval"
    if n < 3 <= results.study.num_seeds:
        spread += ": fewer than 3 seeds survive"
    number = f"{score.with_unit(score.level(mean, high, low))} ({spread})"
    why = no_interval(results)
    if len(results.trials) == 1 or (len(ran) == 1 and not gone):
        said = [f"Test {score.name} is {number}."]
    else:
        told = f"{named(results, best)} does best by validation"
        if gone:
            some = texts.count(len(ran), "trial")
            told = f"of the {some} that trained to the end, {told}"
        same, more, rest = _others(findings, ran)
        if best not in findings.networks:
            network = cast(int, findings.best_of(findings.networks))
            name, level = trial_name(results, network), _levels(findings, [network])
            same += f"; of the networks {name} {level} is best"
        told = f"{texts.capital(told)}{more}, with a test {score.name} of {number}"
        said = [f"{told}{same}."]
        said += [] if why else rest
    return [*said, why] if why else said


def _others(findings: Findings, ran: Collection[int]) -> tuple[str, str, list[str]]:
    """Returns who does not differ from the best, who is better, and sentences more."""
    results = findings.results
    if not results.study.compares:
        return "", "", []
    others = [c for c in findings.compared if c.trial in ran]
    others = [c for c in others if c.trial != findings.best]
    tested = [c for c in others if not math.isnan(c.p_holm)]
    alone = [c.trial for c in tested if not c.resolved]
    unsure = [t for t in alone if _loses_more(findings, t)]
    same = [t for t in alone if t not in unsure]
    above = [c.trial for c in tested if c.resolved and c.mean > 0]
    below = len(tested) - len(same) - len(above) - len(unsure)
    alike = better = ""
    if same:
        some, do = several(results, same, FEW - 1), _verb(len(same), "does", "do")
        alike = f"; {some} {_levels(findings, same)} {do} not differ significantly"
    if above:
        some, do = several(results, above), _verb(len(above), "does", "do")
        better = f", but on the test set {some} {_levels(findings, above)} {do} "
        better += "significantly better"
    over = " or ".join(dict.fromkeys(c.over for c in tested))
    said = []
    if below:
        of_all = {1: "the other trial", 2: "both others"}
        who = of_all.get(below, f"all {below} others")
        if same or above or unsure:
            who = "the other one" if below == 1 else f"the other {below}"
        said.append(
            f"{texts.capital(who)} {_verb(below)} significantly worse over {over}."
        )
    seen = max((c.detectable for c in tested if c.trial in same), default=math.nan)
    if math.isfinite(seen):
        score = score_of(results)
        far = f"{score.factor * seen:.2g} {score.apart}".strip()
        said.append(f"A difference of {far} would show in 80 % of such runs.")
    if unsure:
        who = f"{several(results, unsure)} {_levels(findings, unsure)}"
        told = "networks there often stay at chance"
        said.append(f"So few seeds cannot tell {who} from it: {told}.")
    if untold := [c.trial for c in others if math.isnan(c.p_holm)]:
        who = several(results, untold)
        said.append(f"Too few seeds survive to compare it with {who}.")
    return alike, better, said


def _loses_more(findings: Findings, trial: int) -> bool:
    """Whether so many more of a trial's networks are at chance that t misleads."""
    lost = [findings.counts(t)["at_chance"] for t in (trial, cast(int, findings.best))]
    return lost[0] - lost[1] > MAX_LEFT_OUT * findings.results.study.num_seeds


def _levels(findings: Findings, trials: Sequence[int]) -> str:
    """Returns the mean test scores of trials: "(95.1 and 96.3 %)"."""
    score = score_of(findings.results)
    order = sorted(trials, key=lambda t: sweep_of(findings.results).values[t])
    means = [float(np.nanmean(findings.final(t, score.of("test")))) for t in order]
    if len(means) >= FEW:
        means = [min(means), max(means)]
    shown = score.values(means)
    told = " to ".join(shown) if len(trials) >= FEW else texts.joined(shown)
    return f"({told} {score.unit})".replace(" )", ")")


def no_interval(results: Results) -> str:
    """Says why results of one or two seeds have no interval; "" of more seeds."""
    one = "One seed shows no spread: no interval is drawn and nothing is tested."
    two = "With two seeds a 95 % interval is 13 standard errors wide to each side and "
    two += "says nothing: none is drawn and nothing is tested."
    return {1: one, 2: two}.get(results.study.num_seeds, "")


# How it was searched.


def _looks(findings: Findings) -> list[str]:
    """Says how many looks separated the trials, or that they did not suffice."""
    taken, results = findings.looks, findings.results
    if not taken or taken[-1].best is None:
        return []
    last, planned = taken[-1], results.study.looks
    most = planned[-1] * len(results.trials)
    after = f"After {texts.count(len(taken), 'look')}, at {taken[0].seeds}"
    after += f" to {last.seeds} seeds," if len(taken) > 1 else " seeds,"
    spent = f"{last.networks:,} of at most {most:,} networks were trained"
    if not last.unresolved:
        those = " that can be compared" * bool(last.untested)
        told = f"all others{those} differ significantly from the best; {spent}"
    else:
        count = len(last.unresolved)
        told = f"{texts.count(count, 'trial')} {_verb(count, 'does', 'do')} not differ "
        told += f"significantly from the best; {spent}"
        told += ", and that was the last look" * (len(taken) == len(planned))
        if last.stuck:
            some = "" if len(last.stuck) == count else f"{len(last.stuck)} of "
            who = f"{some}them" if count > 1 else "it"
            told += f". More seeds would not tell {who} apart, more examples may"
    return [f"{after} {told}."]


def _search(findings: Findings) -> list[str]:
    results, search = findings.results, findings.results.study.search
    if not search.space:
        return []
    count = texts.count(len(results.trials), "trial")
    said = (
        f"Optuna ({search.sampler}) chose the {count}, {search.batch} at a time, from "
        f"{texts.joined(search.space)}."
    )
    if findings.best is not None:
        said += (
            f" The best of {len(results.trials)} was partly lucky, on the test set as "
            "well: trained again with another root_seed, its accuracy will differ."
        )
    return [said]


def _halving(findings: Findings) -> list[str]:
    """Says how many trials halving dropped, when, and what that saved."""
    gone, results = findings.dropped, findings.results
    if not gone:
        return []
    parts = [f"{len(trials)} at epoch {epochs:g}" for epochs, trials in gone.items()]
    total = texts.count(len(results.trials), "trial")
    trained = spared = 0
    for trial in findings.ran:
        h = results.trials[trial].hyperparameters
        if not h.model.is_network:
            continue
        program = results.program(trial)
        batch_size = h.batch_of(program["train_examples"])
        steps = results.member(trial, "steps").astype(int) * batch_size
        trained += int(steps.sum())
        cut = has_status(results, trial, DROPPED)
        whole = program["num_steps"] * batch_size
        spared += int((whole - steps[cut]).sum())
    share = texts.percent(trained / (trained + spared), 0)
    return [
        f"Successive halving dropped {sum(map(len, gone.values()))} of {total} "
        f"({texts.joined(parts)}), and so trained on {share} of the examples that "
        "training all to the end would have taken."
    ]


# Moved and rotated images, and the start.


def _drops(findings: Findings) -> list[str]:
    sets = findings.results.study.test_sets
    moved = f"moved by up to {texts.count(sets.moved_pixels, 'pixel')}"
    rotated = f"rotated by up to {sets.rotated_degrees:g} degrees"
    said = (
        _drop_on(findings, "test_moved_accuracy", moved),
        _drop_on(findings, "test_rotated_accuracy", rotated),
    )
    return [text for text in said if text]


def _drop_on(findings: Findings, metric: str, change: str) -> str:
    """Says what a further test set costs in accuracy; "" if that is not known."""
    results, best = findings.results, findings.best
    if best is None or metric not in results.metrics:
        return ""
    quantity = Quantity(metric=metric, reduction="drop_from_test")
    every = {t.index: findings.reduced(t.index, quantity) for t in results.trials}
    drops = {t: v for t, v in every.items() if np.isfinite(v).any()}
    if best not in drops:
        return ""
    normal = {t: np.nanmean(findings.final(t, "test_accuracy")) for t in drops}
    # A network that has learnt little has little to lose.
    drops = {t: v for t, v in drops.items() if normal[t] >= normal[best] - ALIKE}
    of_best = " of the best trial" if len(results.trials) > 1 else ""
    text = f"On images {change} the accuracy{of_best} falls by "
    text += _drop(findings, best, metric, drops[best])
    least = min(drops, key=lambda t: (np.nanmean(drops[t]), t))
    others = f"of the trials within {100 * ALIKE:g} points of it on the normal set"
    others += " (means, not tested)"
    if least != best:
        text += f"; {others} it falls least with {named(results, least)}, by "
        text += _drop(findings, least, metric, drops[least])
    elif len(drops) > 1:
        text += f", the least {others}"
    return f"{text}."


def _drop(findings: Findings, trial: int, metric: str, drops: np.ndarray) -> str:
    """Returns a paired drop and what is left: "35.1 ± 0.8 points, to 61.2 %"."""
    quantity = Quantity(metric=metric, reduction="drop_from_test")
    mean, low, high = findings.level(trial, quantity)
    left = float(np.nanmean(findings.final(trial, metric)))
    n = np.count_nonzero(np.isfinite(drops))
    drop = texts.mean_text(mean, high, low=low)
    return f"{drop} points, to {texts.percent(left)} (n = {n})"


def _untrained(findings: Findings) -> list[str]:
    """Compares accuracy and loss before training with those of chance."""
    results = findings.results
    if "probabilities" not in results.study.figures:
        return []
    groups: dict[tuple[float, int], list[int]] = {}
    for trial in findings.ran:
        data = results.dataset(trial)
        key = float(data["chance"]), len(data["classes"])
        groups.setdefault(key, []).append(trial)
    said = []
    for (chance, classes), trials in groups.items():
        accuracy = _at_start(results, trials, "test_accuracy", 100, 1)
        loss = _at_start(results, trials, "test_loss", 1, 2)
        if not (accuracy and loss):
            continue
        where = f" of {several(results, trials)}" if len(groups) > 1 else ""
        means = "the trials' means" if len(trials) > 1 else "means"
        said.append(
            f"Before training the test accuracy{where} is {accuracy} % (chance "
            f"{texts.percent(chance)}) and the loss {loss} (ln {classes} = "
            f"{math.log(classes):.2f}), {means} over {results.study.seeds()}."
        )
    return said


def _at_start(
    results: Results, trials: Sequence[int], metric: str, factor: float, decimals: int
) -> str:
    """Returns the range of the trials' means at step 0, such as "9.1 to 12.0"."""
    if metric not in results.metrics:
        return ""
    curves = [results.curve(t, metric) for t in trials]
    means = [c.values[:, 0].mean() for c in curves if c.steps.size and c.steps[0] == 0]
    known = [float(mean) for mean in means if np.isfinite(mean)]
    ends = (min(known), max(known)) if known else ()
    shown = dict.fromkeys(texts.fixed(factor * end, decimals) for end in ends)
    return " to ".join(shown)


# What a first figure may ask for.


def _seconds(findings: Findings) -> list[str]:
    """Says how long a network trains for an epoch, at most and at least."""
    results, programs = findings.results, findings.results.config["cohorts"]
    times = {
        float(seconds.mean()): program["trials"]
        for program in programs
        if (seconds := findings.seconds_per_epoch(program["index"])).size
    }
    if not times:
        return []
    ends = dict.fromkeys((max(times), min(times)))
    parts = [f"{effects.digits(s, 2)} s" for s in ends]
    if len(times) > 1:
        names = (several(results, times[s], 2) for s in ends)
        parts = [f"{text} with {name}" for text, name in zip(parts, names)]
    most, least = ("at most ", "at least ") if len(times) > 2 else ("", "")
    return [f"An epoch takes a network {most}{f' and {least}'.join(parts)}."]


def _gradients(findings: Findings) -> list[str]:
    """Says how large the final gradients are, in the last and in the first layer."""
    results, parts = findings.results, []
    for trial in findings.ran[:FEW]:
        layers = results.program(trial)["layers"]
        ends = [f"grad_norm_{layer}" for layer in layers[-1:] + layers[:1]]
        if len(ends) < 2 or not {*ends} <= {*results.metrics}:
            continue
        last, first = (findings.final(trial, metric) for metric in ends)
        if np.isfinite(last + first).any():
            norms = (f"{np.nanmedian(norm):.2g}" for norm in (last, first))
            of = f" ({trial_name(results, trial)})" * (len(findings.ran) > 1)
            parts.append(f"{' and '.join(norms)}{of}")
    if not parts:
        return []
    lead = "At the end the norms of the gradients in the last and the first layer are"
    return [f"{lead} {'; '.join(parts)}, medians over {results.study.seeds()}."]


# What became of the claims, and what failed.


def _claims(findings: Findings) -> list[str]:
    verdicts = findings.verdicts
    if not verdicts:
        return []
    counts = Counter(v.verdict for v in verdicts)
    rest = [v for v in verdicts if not v.claim.main]
    if not rest:
        return []  # all are said
    parts = [f"{n} {_verb(n)} {v}" for v in VERDICTS if (n := counts[v])]
    said = [f"Of {texts.count(len(verdicts), 'claim')}, {texts.joined(parts)}."]
    wrong = [v for v in rest if v.verdict == CONTRADICTED]
    if wrong:
        so = [answering.stated(findings.results, v) for v in wrong[:MOST_WRONG]]
        if len(wrong) > MOST_WRONG:
            so.append(f"{len(wrong) - MOST_WRONG} more in the table")
        said.append(f"What holds instead: {'; '.join(so)}.")
    return said


def _plan(results: Results) -> list[str]:
    """Says whether a sealed run went as planned; nothing of another, or a part."""
    status = results.config["status"]
    if not results.study.seal or seal.is_closed(results.study, status):
        return []
    digest, changes = seal.deviations(results)
    if not changes:
        return [f"All went as planned and sealed before training (digest {digest})."]
    sealed = f" (digest {digest})" if digest else ""
    return [f"Not all went as planned and sealed{sealed}: {'; '.join(changes)}."]


def _failures(findings: Findings) -> list[str]:
    results = findings.results
    seeds = {t.index: t.num_seeds for t in results.trials}
    counts = {t: findings.counts(t) for t in seeds}
    fates = {
        t: {DIVERGE: c["diverged"], STAY: c["at_chance"]} for t, c in counts.items()
    }
    failing = [t for t in fates if any(fates[t].values())]
    if not failing:
        return []
    if len(failing) > 4:
        total = {fate: sum(fates[t][fate] for t in failing) for fate in (DIVERGE, STAY)}
        lost = _fates(total, sum(seeds[t] for t in failing))
        return [f"In {several(results, failing)}, {lost}."]
    at = "with" if sweep_of(results).scale == "categories" else "at"
    alike: dict[str, list[int]] = {}
    for trial in failing:
        alike.setdefault(_fates(fates[trial], seeds[trial]), []).append(trial)
    parts: list[str] = []
    for fate, trials in alike.items():
        names = [trial_name(results, t) for t in trials]
        names[0] = names[0] if parts else named(results, trials[0])
        each = {1: "", 2: "both "}.get(len(trials), "each of ")
        where = f"{at} {each}{texts.joined(names)}, " * (len(results.trials) > 1)
        parts.append(where + fate)
    return [f"{texts.capital('; '.join(parts))}."]


def _fates(counts: Mapping[tuple[str, str], int], total: int) -> str:
    """Says how seeds end: "all 8 seeds stay at chance", "5 of 8 seeds diverge".

    `counts` is ``{(singular verb, plural verb): number of seeds}``.
    """
    said: list[str] = []
    for verbs, count in ((verbs, n) for verbs, n in counts.items() if n):
        if count == total:
            who = {1: "the only seed", 2: "both seeds"}.get(total, f"all {total} seeds")
        else:
            who = f"{count}" if said else f"{count} of {texts.count(total, 'seed')}"
        said.append(f"{who} {verbs[count > 1]}")
    return texts.joined(said)


_ASKED = {
    "costs": _seconds,
    "divergence": _failures,
    "gradients": _gradients,
    "probabilities": _untrained,
    "seconds": _seconds,
    "target": _speed,
    "test_sets": _drops,
}
"""What the first of a study's figures shows, in sentences."""


def failed_trials(results: Results) -> list[int]:
    """Returns the trials, by index, whose program failed."""
    failed = results.config.get("failures", {})
    return [
        trial
        for program in results.config["cohorts"]
        if str(program["index"]) in failed
        for trial in program["trials"]
    ]


def crashes(results: Results) -> list[str]:
    """Says how many trials are missing because their program failed."""
    failed = failed_trials(results)
    if not failed:
        return []
    total, whose = len(results.trials), _verb(len(failed), "its", "their")
    return [
        f"{len(failed)} of {texts.count(total, 'trial')} {_verb(len(failed))} missing "
        f"because {whose} program failed: {several(results, failed)}."
    ]


def interruption(findings: Findings) -> list[str]:
    """Says what an interrupted run lacks, and which trial is best so far."""
    results = findings.results
    if results.config["status"] != "interrupted":
        return []
    trials = {t.index for t in results.trials} - {*failed_trials(results)}
    absent = trials - {*findings.ran}
    unfinished = sum(findings.counts(t)[UNFINISHED] for t in trials)
    parts = []
    if absent:
        have = _verb(len(absent), "has", "have")
        parts.append(f"{len(absent)} of {len(results.trials)} trials {have} not run")
    if unfinished:
        parts.append(f"{texts.count(unfinished, 'network')} did not finish")
    said = " and ".join(parts) or "what is missing cannot be told"
    return [f"The run was interrupted: {said}{_best_so_far(results)}."]


def _best_so_far(results: Results) -> str:
    """Says which trial leads an unfinished run; "" if none has trained."""
    best = best_trial(results, so_far=True)
    done = 0.0
    if best is not None:
        done = float(np.nanmax(results.member(best, "steps").astype(float)))
    if best is None or not done:
        return ""
    score = score_of(results)
    value = score.text(mean_score(results, best))
    whose = f"best so far is {named(results, best)}, with a"
    if len(results.trials) == 1:
        whose = "so far it has a"
    of = f"mean of {texts.count(results.trials[best].num_seeds, 'seed')}"
    if results.trials[best].hyperparameters.model.is_network:
        record = results.program(best)
        whole = record["num_steps"] / record["steps_per_epoch"]
        epochs = "epoch" if whole == 1 else "epochs"
        of += f" after {done / record['steps_per_epoch']:.4g} of {whole:.4g} {epochs}"
    return f"; {whose} validation {score.name} of {value} ({of})"
