# SPDX-License-Identifier: Apache-2.0
"""What a study would run: programs, layers, parameters, memory, time; trains nothing.

python -m launch.describe --config=configs/quickstart.py [--measure]
"""

from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console
from rich.table import Table

from launch import config

if TYPE_CHECKING:
    from nnlab.prepare import Prepared
    from nnlab.study import Study


def main() -> None:
    """Describes the study of the flags."""
    config.use_all_cores()
    study = config.study()
    from nnlab import prepare  # imports JAX

    prepared = prepare.prepare(
        study, data_dir=flags.FLAGS.data_dir, lane_width=flags.FLAGS.lane_width
    )
    console = Console(highlight=False)
    console.print(study.question, style="bold", markup=False)
    trials, seeds = study.trials(), study.num_seeds
    console.print(
        f"{len(trials)} trials x {seeds} seeds = {len(trials) * seeds} members in "
        f"{len(prepared)} compiled program{'s' * (len(prepared) != 1)}"
    )
    for path in study.swept():
        values = dict.fromkeys(str(t.hyperparameters.flat()[path]) for t in trials)
        console.print(f"{path}: {', '.join(values)}", markup=False)
    for item in prepared:
        _describe(console, item)
        if flags.FLAGS.measure:
            _measure(console, item, study)


def _describe(console: Console, item: "Prepared") -> None:
    """One program: data, layer table, lanes, memory."""
    h, data, plan = item.hyperparameters, item.dataset, item.plan
    console.rule(f"program {item.cohort.index}: {len(item.cohort.trials)} trials")
    table = Table("layer", "output", "parameters", "FLOPs an example", box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    table.add_row("input", _shape(data.input_shape), "", "")
    for row in item.rows:
        flops = f"{row.flops:,}" if row.flops else ""
        size = f"{row.parameters:,}" if row.parameters else ""
        table.add_row(row.name, _shape(row.output_shape), size, flops)
    forward = sum(row.flops for row in item.rows)
    table.add_row("all", "", f"{item.parameters:,}", f"{forward:,}" if forward else "")
    console.print(table)
    sizes = [len(s.labels) for s in (data.train, data.validation, data.test)]
    console.print(
        f"data: {h.dataset}, {sizes[0]:,} training, {sizes[1]:,} validation, "
        f"{sizes[2]:,} test examples of {data.num_classes} classes"
    )
    dropped = sizes[0] - item.steps_per_epoch * h.batch_size
    console.print(
        f"training: {h.num_epochs} epochs of {item.steps_per_epoch:,} updates at batch "
        f"{h.batch_size} (each epoch another {dropped:,} examples are left over), "
        f"{len(item.boundaries)} evaluations"
    )
    lanes = plan.lanes
    console.print(
        f"lanes: {lanes.busy.sum()} of {lanes.trials} trials x {lanes.seeds} seeds on "
        f"{lanes.devices} device{'s' * (lanes.devices != 1)}"
    )
    memory = f" of {_size(plan.memory_bytes)}" if plan.memory_bytes else ""
    console.print(f"memory: about {_size(plan.total_bytes)}{memory}")
    if forward:
        # Backward costs twice the forward pass, less the first layer's input gradient.
        work = 3 * forward * item.num_examples
        console.print(f"work: about {work:.2e} operations in training")


def _measure(console: Console, item: "Prepared", study: "Study") -> None:
    from nnlab import experiment

    timing = experiment.measure(item, study)
    seconds = item.num_examples / timing.examples_per_second
    seconds += len(item.boundaries) * timing.evaluation_seconds
    console.print(
        f"time: about {seconds:,.0f} s and {timing.compile_seconds:.0f} s of "
        f"compilation, at {timing.examples_per_second:,.0f} examples/s "
        f"({timing.steps} steps and one evaluation timed)"
    )


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _size(count: int) -> str:
    return (
        f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
    )


if __name__ == "__main__":
    config.define_study_flags()
    flags.DEFINE_bool("measure", False, "compile and time a few steps")
    config.run(main)
