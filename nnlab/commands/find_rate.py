# SPDX-License-Identifier: Apache-2.0
"""Finds the rates at which a network trains: the range, its edge, the fastest.

python -m launch.find_rate --config=configs/quickstart.py
python -m launch.find_rate --config=depth --sweep=model.depth=8
"""

from absl import flags

from nnlab import api
from nnlab.commands import config, train
from nnlab.machine import files
from nnlab.runs import rate_range
from nnlab.watch import terminal


def main() -> None:
    """Trains a population of rates and seeds for a few updates, and reports.

    The workdir is one like any other, for `launch.train --resume` and `launch.report`.

    Raises:
      As `train.main`.
    """
    given = flags.FLAGS
    if given.resume and not (given.config or given.config_json):
        raise config.UsageError(
            "--resume goes with the --config that the rates were found for; "
            "python -m launch.train --resume goes on without"
        )
    found = rate_range.study_of(
        config.study(),
        low=given.low,
        high=given.high,
        count=given.count,
        seeds=rate_range.SEEDS if given.seeds is None else given.seeds,
        steps=given.steps,
    )
    console = terminal.Terminal()
    train.show_log(console)
    workdir = given.workdir or api.new_folder()
    train.run(console, found, files.absolute(workdir, "--workdir"))


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_float("low", rate_range.LOW, "the lowest learning rate")
    flags.DEFINE_float("high", rate_range.HIGH, "the highest learning rate")
    flags.DEFINE_integer(
        "count", rate_range.COUNT, "how many rates; evenly spaced in their logarithm"
    )
    flags.DEFINE_integer("steps", rate_range.STEPS, "updates of each network")
    train.define_run_flags()
