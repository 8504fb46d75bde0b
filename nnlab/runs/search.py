# SPDX-License-Identifier: Apache-2.0
"""Runs a search, in which Optuna chooses the trials.

This is the only file that imports Optuna, and only when a search runs. It asks for a
batch of trials, adds them to the study, trains them as a population and tells Optuna
the results, again and again. Optuna keeps its state in the workdir as lines of JSON, so
a search can continue, and Optuna's own tools can read it.

An interrupted search ends as it would have without the interruption: batches end at
multiples of `Search.batch`, and the random state of each value depends only on its
trial's number and its field. A digest of the lines is written before a batch trains and
after its results are told. Lines that a killed process added later are cut off, and
their trials are asked for again.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import logging
import os
import pathlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nnlab import results
from nnlab.machine import files
from nnlab.results import UNFINISHED, Results
from nnlab.runs import resume
from nnlab.statistics.members import dropped_after, has_status
from nnlab.statistics.ranking import mean_score
from nnlab.study import SAMPLERS, Study, check_read, digest_json
from nnlab.study.sweep import Span, parse_space
from nnlab.words import errors

if TYPE_CHECKING:
    import optuna

_log = logging.getLogger(__name__)

STORAGE = "search.log"
"""Optuna's storage in a workdir."""
MOST_CORNERS = 4096
"""Most combinations of ends and choices to check before a search begins."""
_MOST_BYTES = 1 << 20


def run(
    study: Study,
    workdir: str | os.PathLike[str],
    train: Callable[[Study, bool], Results],
    *,
    resumes: bool = False,
) -> Results:
    """Searches for the trial with the highest mean validation accuracy.

    A diverged seed counts as chance. Optuna sees a trial that halving dropped as
    pruned, and one that could not be trained as failed.

    Args:
      study: with `search`; its own sweep is left out.
      workdir: where `train` keeps its results.
      train: trains the new trials of a study, as `experiment.run` does, from the study
        and whether to continue the run that is there.
      resumes: whether to continue the search in the workdir.

    Raises:
      ValueError: Optuna is missing, the space is invalid, or the workdir has another
        search.
      FileExistsError: the workdir holds results.
      Exception: the errors of `train`. A resumed search first trains the trials that
        `train` did not finish.
    """
    folder = files.absolute(workdir, "workdir")
    optuna = _optuna(study.search.sampler)
    spans = spans_of(study)
    left = (results.CONFIG, results.CHECKPOINTS)
    begun = any((folder / name).exists() for name in left)
    if begun and not resumes:
        return train(study, False)  # raises that the workdir holds results
    if begun:
        study = _continued(folder, study)
    else:
        study = dataclasses.replace(study, sweep=({},))
    with _storage(folder, begun) as path:
        return _run(optuna, _known(optuna, path), study, spans, train, begun, path)


@contextlib.contextmanager
def _storage(folder: pathlib.Path, begun: bool) -> Iterator[pathlib.Path]:
    """Locks Optuna's storage in a workdir; removes it again if nothing is trained."""
    path, is_new = folder / STORAGE, not folder.exists()
    files.refuse_links(path)
    files.make_folder(folder)
    with files.alone_in(path):
        try:
            if begun:
                with resume.refusing(folder):
                    _cut_back(path)
            else:
                os.truncate(path, 0)  # left by a search that trained nothing
            for lock in folder.glob(f"{STORAGE}.lock*"):  # left by a killed process
                lock.unlink()
            yield path
        except BaseException:
            if not (folder / results.CONFIG).exists():  # nothing was trained
                for file in (path, files.digest_of(path)):
                    file.unlink(missing_ok=True)
                if is_new:
                    with contextlib.suppress(OSError):
                        folder.rmdir()
            raise


def _run(
    optuna: Any,
    known: "optuna.Study",
    study: Study,
    spans: Mapping[str, Span],
    train: Callable[[Study, bool], Results],
    begun: bool,
    file: pathlib.Path,
) -> Results:
    """Asks Optuna, trains and tells it the results until there are enough trials."""
    asked, found = study.search, None
    while True:
        numbers = [t.number for t in known.get_trials(deepcopy=False)]
        running = optuna.trial.TrialState.RUNNING
        waiting = known.get_trials(deepcopy=False, states=(running,))
        # First the trials of an interrupted batch, then new ones to fill it.
        batch = [optuna.trial.Trial(known, t._trial_id) for t in waiting]
        begin = len(numbers) - len(batch)
        end = min(asked.trials, (begin // asked.batch + 1) * asked.batch)
        chosen = []
        for number in range(begin, max(end, len(numbers))):
            trial = batch[number - begin] if number < len(numbers) else known.ask()
            settings = {}
            for path, span in spans.items():
                of = study.root_seed, number, path
                known.sampler = sampler(optuna, asked.sampler, *of)
                settings[path] = _suggested(trial, path, span)
            chosen.append((trial, settings))
        if not chosen:
            return found or train(study, begun)
        study = _with(study, [settings for _, settings in chosen])
        _log.info("trials %d to %d of %d", begin + 1, begin + len(chosen), asked.trials)
        files.write_digest(file, file.read_bytes())
        found = train(study, begun)
        begun = True
        indices = study.indices_of(settings for _, settings in chosen)
        for (trial, _), index in zip(chosen, indices):
            _tell(optuna, known, trial, found, index)
        files.write_digest(file, file.read_bytes())


def _tell(
    optuna: Any, known: "optuna.Study", trial: Any, found: Results, index: int
) -> None:
    """Tells Optuna the result of a trial of the study, by index."""
    states = optuna.trial.TrialState
    if not found.has_run(index) or has_status(found, index, UNFINISHED).any():
        known.tell(trial, state=states.FAIL)
        return
    score, epochs = mean_score(found, index), dropped_after(found, index)
    if epochs is None:
        known.tell(trial, score)
        return
    trial.report(score, step=round(epochs))
    known.tell(trial, state=states.PRUNED)


def spans_of(study: Study) -> dict[str, Span]:
    """Returns the search space, by path, if the study allows its ends and choices."""
    spans: dict[str, Span] = {}
    for text in study.search.space:
        path, span = parse_space(text)
        if path in spans:
            raise ValueError(f"the search space names {path!r} twice")
        spans[path] = span
    if not spans:
        raise ValueError("a search needs a space (--search_space=path=log(low,high))")
    corners = itertools.product(*(span.ends for span in spans.values()))
    seen = [
        study.settings(study.base.replace(dict(zip(spans, corner))))
        for corner in itertools.islice(corners, MOST_CORNERS)
    ]
    if next(corners, None) is None:  # only if all combinations were checked
        check_read(spans, seen, "search")
    return spans


def _suggested(trial: Any, path: str, span: Span) -> Any:
    """Returns the trial's value of a field, as a study holds it; draws it if new."""
    if span.kind == "choices":
        # Optuna stores plain values only.
        choices = [json.dumps(value) for value in span.values]
        return span.values[choices.index(trial.suggest_categorical(path, choices))]
    if span.kind == "int":
        return trial.suggest_int(path, span.low, span.high)
    value = trial.suggest_float(path, span.low, span.high, log=span.kind == "log")
    # Rounded to the six digits that labels show.
    return min(max(float(f"{value:.6g}"), span.low), span.high)


def _with(study: Study, settings: Sequence[Mapping[str, Any]]) -> Study:
    """Returns the study with further trials; known ones are not added again."""
    sweep = [item for item in study.sweep if item]
    known = [trial.overrides for trial in study.trials()]
    for item in settings:
        if item not in known:
            known.append(item)
            sweep.append(dict(item))
    return dataclasses.replace(study, sweep=tuple(sweep) or ({},))


def _continued(folder: pathlib.Path, study: Study) -> Study:
    """Returns the workdir's study with the changes that a resumed search may have."""
    try:
        found = results.load_config(folder)["study"]
        past = Study.from_dict(found, recorded=True)
    except (results.LostError, FileNotFoundError) as error:
        raise ValueError(
            f"{error}; a search does not go on without it: use another workdir"
        ) from None
    with resume.refusing(folder):
        if not (folder / STORAGE).is_file():
            why = f"it has no {STORAGE}" if past.search.space else "it is of no search"
            raise ValueError(why)
        return resume.merge(past, dataclasses.replace(study, sweep=past.sweep))


def _cut_back(path: pathlib.Path) -> None:
    """Cuts off what a killed process added to the storage after its last digest."""
    digest, found = files.read_digest(path), hashlib.sha256()
    if not digest:
        raise ValueError(
            f"{path.name} cannot be checked: {path.name}.sha256 is missing or cut off "
            f"(if {path.name} is unchanged, make it anew in that folder: sha256sum "
            f"{path.name} > {path.name}.sha256)"
        )
    with path.open("rb") as lines:
        for line in iter(lambda: lines.readline(_MOST_BYTES), b""):
            found.update(line)
            if found.hexdigest() == digest:
                end = lines.tell()
                break
        else:
            raise ValueError(
                f"{path.name} is not what the run wrote: its digest differs; put a "
                "copy of it back, or search in another workdir"
            )
    if end < path.stat().st_size:
        _log.info("%s: drops the lines after its last digest, to ask again", path)
        os.truncate(path, end)


def _known(optuna: Any, path: pathlib.Path) -> Any:
    """Returns Optuna's study; a new one if its storage is empty."""
    try:
        backend = optuna.storages.journal.JournalFileBackend(str(path))
        return optuna.create_study(
            storage=optuna.storages.JournalStorage(backend),
            study_name="nnlab",
            direction="maximize",
            load_if_exists=True,
        )
    except OSError:
        raise
    except Exception as error:  # Optuna raises any error on damaged lines
        raise ValueError(
            f"{str(path)!r} is no storage of Optuna's ({type(error).__name__}: "
            f"{error}); put a copy of it back, or search in another workdir"
        ) from None


def sampler(optuna: Any, name: str, root_seed: int, number: int, path: str) -> Any:
    """Makes the sampler of the field at `path` of the trial of that number.

    Its random state depends on these and the root seed alone.
    """
    kinds = optuna.samplers
    seed = int(digest_json(["search", root_seed, number, path])[:8], 16)
    apart = kinds.RandomSampler(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        makers = {
            # Trials that are asked for together keep away from each other.
            "tpe": lambda: kinds.TPESampler(seed=seed, constant_liar=True),
            "random": lambda: apart,
            # One sequence; the storage remembers the position in it.
            "qmc": lambda: kinds.QMCSampler(
                seed=root_seed,
                scramble=True,
                independent_sampler=apart,
                warn_asynchronous_seeding=False,
                warn_independent_sampling=False,
            ),
            "gp": lambda: kinds.GPSampler(seed=seed, independent_sampler=apart),
        }
        assert set(makers) == set(SAMPLERS)
        return makers[name]()


def _optuna(sampler: str) -> Any:
    """Imports Optuna, and checks what the sampler needs."""
    try:
        import optuna
    except ImportError:
        raise ValueError(f"a search needs Optuna: {errors.extra('search')}") from None
    if sampler == "gp":
        try:
            import torch  # noqa: F401
        except ImportError:
            raise ValueError(
                f"search.sampler='gp' needs PyTorch: {errors.extra('bench')}"
            ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
