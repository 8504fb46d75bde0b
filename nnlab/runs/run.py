# SPDX-License-Identifier: Apache-2.0
"""Runs a study to its end, for the command and for notebooks."""

import contextlib
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

from nnlab import results
from nnlab.machine import processes
from nnlab.machine.signals import Interrupt
from nnlab.runs import experiment, search, sequential
from nnlab.runs.progress import Progress
from nnlab.study import Study
from nnlab.training.place import Kept

Observer = Callable[[Progress], None]
"""A function that is called with a run's progress."""


def run(
    study: Study,
    workdir: pathlib.Path,
    *,
    resumes: bool,
    observers: Iterable[contextlib.AbstractContextManager[Observer | None]],
    so_far: Callable[[], str],
    nodes: contextlib.AbstractContextManager[experiment.Executor] | None = None,
    **settings: Any,
) -> results.Results:
    """Trains a study: its sweep, look after look, or as a search; see `experiment.run`.

    A signal such as that of Ctrl-C ends the run after its current step.

    Args:
      study, workdir: what to run, and where its results go.
      resumes: whether to continue the run that is there.
      observers: contexts around the run that give observers, called in order.
      so_far: returns where the results of an interrupted run are and how to continue.
      nodes: a context that gives the executor; None to train in this process.
      **settings: of `experiment.run`.

    Raises:
      KeyboardInterrupt: the run was interrupted; has the text of `so_far`.
      Exception: the errors of `experiment.run` and `search.run`.
    """
    sizes = "train_size" in study.swept()
    kept = Kept() if study.search.space or study.looks or sizes else None
    interrupt = Interrupt()
    try:
        with contextlib.ExitStack() as stack:
            executor = stack.enter_context(nodes) if nodes else None
            told = [stack.enter_context(one) for one in observers]

            def tell(progress: Progress) -> None:
                for observer in filter(None, told):
                    observer(progress)
                interrupt.check()

            def trained(study: Study, resume: bool) -> results.Results:
                return experiment.run(
                    study,
                    workdir,
                    resume=resume,
                    executor=executor,
                    kept=kept,
                    on_progress=tell,
                    **settings,
                )

            if study.search.space:
                return search.run(study, workdir, trained, resumes=resumes)
            return sequential.run(study, trained, resumes)
    except KeyboardInterrupt:
        if not processes.is_first():
            raise
        if not (workdir / results.CONFIG).exists():
            raise KeyboardInterrupt("nothing has been written") from None
        raise KeyboardInterrupt(so_far()) from None
    finally:
        interrupt.restore()
