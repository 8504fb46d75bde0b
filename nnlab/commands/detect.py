# SPDX-License-Identifier: Apache-2.0
"""Says how many seeds tell a difference apart, or decide claims; for `describe`."""

import contextlib
import dataclasses
import logging
import pathlib
import tempfile
from collections.abc import Iterator

import numpy as np

from nnlab import results
from nnlab.commands import config
from nnlab.machine import files
from nnlab.statistics import pilot, plan, power
from nnlab.statistics.findings import Findings
from nnlab.study import Study
from nnlab.words import numbers

PILOT_SEEDS = 4
"""Seeds of a pilot, where no run is handed in."""


def check(difference: float | None, share: float) -> None:
    """Refuses a difference or a power that no plan is made for."""
    if difference is not None and not 0 < difference < 1:
        raise config.UsageError(
            f"--detect={difference:g} must be a difference of accuracies above 0 and "
            "below 1, such as 0.005 for half a point"
        )
    if not 0.5 <= share < 1:
        raise config.UsageError(
            f"--power={share:g} must be the share of runs that find the difference, "
            "from 0.5 to below 1, such as 0.8"
        )


def lines(
    study: Study,
    difference: float,
    share: float,
    workdir: str | None = None,
    data_dir: str | None = None,
) -> Iterator[str]:
    """Yields what tells a difference of test accuracy to the best trial apart.

    A `share` of the runs is to find it, if it is there. The run in `workdir` is the
    pilot; where it has none, the pilot is written there. None: it is thrown away.

    Raises:
      ValueError: the workdir's run has other trials or splits, or the pilot says
        nothing.
    """
    check(difference, share)
    with _piloted(study, workdir, data_dir) as findings:
        of = pilot.of_comparison(findings)
        seconds = float(pilot.seconds_of_seeds(findings).sum())
        alpha = pilot.alpha_of_comparison(findings)
        known = findings.results.study.num_seeds
        examples = min(d["test"] for d in findings.results.config["datasets"].values())
    if of is None or not of.varies:
        raise ValueError(
            "the pilot says nothing about differences: two trials at least must have "
            "no seed that diverges or ends at chance"
        )
    yield (
        f"from {numbers.count(known, 'seed')} of a pilot; significant is p up to "
        f"{alpha:.2g}, corrected for {numbers.count(round(0.05 / alpha), 'comparison')}"
    )
    points = f"{100 * difference:g} {'point' if difference == 0.01 else 'points'}"
    told = power.least_told(of, study.num_seeds, share, alpha=alpha)
    yield (
        f"{numbers.count(study.num_seeds, 'seed')}, as planned, would tell "
        f"{100 * told:.2g} points apart"
    )
    needed = power.seeds_needed(of, difference, share, alpha=alpha)
    if needed is not None:
        seeds = numbers.count(needed, "seed")
        yield f"{seeds} would tell {points} apart, in about {seconds * needed:,.0f} s"
        return
    if of.ratio:
        limit = power.least_told(of, power.MOST, share, alpha=alpha)
        yield (
            f"no number of seeds would tell {points} apart: all split the same "
            f"examples, and less than {100 * limit:.2g} points take more of them"
        )
        return
    yield (
        f"no number of seeds would tell {points} apart on these {examples:,} test "
        f"examples, which alone leave a standard error of "
        f"{100 * (of.examples / of.size) ** 0.5:.2g} points"
    )
    plenty = power.MOST * examples
    several = 2 * (power.seeds_needed(of, difference, share, plenty, alpha) or 1)
    most = power.examples_needed(of, difference, several, share, alpha)
    if most is not None:
        yield f"{most:,} test examples and {several:,} seeds would"


def decisive(
    study: Study, share: float, workdir: str | None = None, data_dir: str | None = None
) -> Iterator[str]:
    """Yields how many seeds decide each claim, and each trial needs; see `plan.needs`.

    Arguments are those of `lines`.

    Raises:
      ValueError: the workdir's run has other trials.
    """
    check(None, share)
    if not study.claims:
        raise config.UsageError(
            "--decide plans for the claims of a study, and this one has none; --detect "
            "plans for a difference of test accuracy"
        )
    with _piloted(study, workdir, data_dir) as findings:
        asked = dataclasses.replace(findings.results.study, claims=study.claims)
        asked_of = dataclasses.replace(findings.results, study=asked)
        found = plan.needs(Findings(asked_of), share)
        seconds = pilot.seconds_of_seeds(findings)
        known = findings.results.study.num_seeds
    yield f"from {numbers.count(known, 'seed')} of a pilot, for each claim:"
    for need in found:
        yield f"{need.claim.text}: {_enough(need)}"
    trials = study.trials()
    seeds = plan.seeds_of_trials(found, len(trials))
    for count in sorted(set(seeds.tolist()), reverse=True):
        those = [t.label for t, n in zip(trials, seeds) if n == count]
        yield f"{numbers.count(count, 'seed')}: {numbers.joined(those)}"
    planned = np.array([t.num_seeds for t in trials])
    yield (
        f"{seeds.sum():,} networks in about {seconds @ seeds:,.0f} s, instead of the "
        f"planned {planned.sum():,} in {seconds @ planned:,.0f} s"
    )


def _enough(need: plan.Need) -> str:
    if need.seeds:
        return numbers.count(need.seeds, "seed")
    if need.examples:
        return f"no number of seeds does; {need.examples:,} examples would"
    return need.reason or "as measured, no number of seeds does; a margin would"


@contextlib.contextmanager
def _piloted(
    study: Study, workdir: str | None, data_dir: str | None
) -> Iterator[Findings]:
    """Yields the findings of a pilot, while its folder exists."""
    with contextlib.ExitStack() as stack:
        folder = workdir or stack.enter_context(tempfile.TemporaryDirectory())
        yield Findings(_pilot(study, files.absolute(folder, "workdir"), data_dir))


def _pilot(study: Study, folder: pathlib.Path, data_dir: str | None) -> results.Results:
    """Reads the run of a workdir, or trains a pilot there."""
    if (folder / results.CONFIG).exists():
        found = results.load(folder)
        ids = [[trial.id for trial in of.trials()] for of in (study, found.study)]
        if ids[0] != ids[1]:
            raise ValueError(
                f"the run in {str(folder)!r} has other trials than the study: choose "
                "that study's --config, or another --workdir"
            )
        if study.split != found.study.split:
            raise ValueError(
                f"the run in {str(folder)!r} has --vary={','.join(found.study.vary)}: "
                "give the plan that, too, or another --workdir"
            )
        return found
    from nnlab.runs import experiment

    seeds = [PILOT_SEEDS] * len(study.trials())
    short = dataclasses.replace(study, looks=(), seal=False, figures=())
    logging.getLogger(__name__).info("training a pilot of %d seeds", PILOT_SEEDS)
    return experiment.run(short.with_seeds(seeds), folder, data_dir=data_dir)
