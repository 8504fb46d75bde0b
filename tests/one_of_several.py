# SPDX-License-Identifier: Apache-2.0
"""One of several processes that train a small study together, for processes_test.

Arguments: coordinator, number of processes, index, workdir, and after how many
evaluations this process is interrupted (0 for never).
"""

import sys

import tiny

from nnlab import experiment, processes


def main() -> None:
    """Trains; says how it ended."""
    coordinator, number, index, workdir, stop_after = sys.argv[1:]
    processes.start(coordinator, int(number), int(index))
    sweep = [*tiny.rates(0.1, 0.3, 1.0), {tiny.RATE: 1e6}, {"batch_size": 13}]
    study = tiny.study(
        sweep, num_seeds=5, num_epochs=9, **{"early_stopping.patience": 3}, **tiny.DEEP
    )
    left = int(stop_after)

    def tell(progress: experiment.Progress) -> None:
        nonlocal left
        left -= progress.evaluation is not None
        if left == 0:
            raise KeyboardInterrupt

    try:
        found = experiment.run(
            study,
            workdir,
            dataset=tiny.dataset(),
            lane_width=2,
            resume=True,
            on_progress=tell if int(stop_after) else None,
        )
    except KeyboardInterrupt:
        print("interrupted")
    else:
        print(f"{found.config['status']}, {len(found.curves)} evaluations")


if __name__ == "__main__":
    main()
