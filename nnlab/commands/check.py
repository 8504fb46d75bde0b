# SPDX-License-Identifier: Apache-2.0
"""Says by its exit status whether claims about a finished run hold.

python -m launch.check --workdir=runs/quickstart
python -m launch.check --workdir=runs/quickstart \\
    --claim='test_accuracy(learning_rate=10) == chance within 0.01'

The status is 0 where all are supported, 3 where one is contradicted, else 4 where one
is not decided, and 2 for a mistake.
"""

from absl import flags

from nnlab import results
from nnlab.commands import config
from nnlab.machine import files
from nnlab.results import asked
from nnlab.statistics.verdicts import CONTRADICTED, SUPPORTED

DECIDED = {SUPPORTED: 0, CONTRADICTED: 3}
UNDECIDED = 4


def main() -> int:
    """Prints a line for each claim, and returns the exit status.

    Claims that are asked are corrected for together with the study's own.

    Raises:
      ValueError, FileNotFoundError: the user's mistakes.
    """
    from nnlab.report import decided
    from nnlab.statistics.findings import Findings

    given = flags.FLAGS
    if not given.workdir:
        raise config.UsageError("--workdir is missing: a folder that launch.train made")
    found = results.load(files.absolute(given.workdir, "--workdir"))
    found, claims = asked.of_run(found, given.claim)
    verdicts = Findings(found).verdicts
    if claims:
        verdicts = tuple(v for v in verdicts if v.claim in claims)
    if not verdicts:
        raise config.UsageError(
            "the study makes no claims: write one with --claim, see --help=claims"
        )
    for verdict in verdicts:
        print(decided.line(verdict))
    statuses = {DECIDED.get(v.verdict, UNDECIDED) for v in verdicts}
    return next(status for status in (3, UNDECIDED, 0) if status in statuses)


def define_flags() -> None:
    """Defines the flags of this program."""
    flags.DEFINE_string("workdir", None, "folder that launch.train made")
    config.define_claims()
