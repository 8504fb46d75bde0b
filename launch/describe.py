# SPDX-License-Identifier: Apache-2.0
"""What a study would run: layers, parameters, memory, time; trains nothing.

python -m launch.describe --config=configs/quickstart.py [--measure]
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console
from rich.table import Table

from launch import config
from nnlab.study import TRACED

if TYPE_CHECKING:
    from nnlab import tuning
    from nnlab.prepare import Prepared

COMPILER_BYTES = 150 * 2**20
"""Peak memory of compiling a cohort's programs on CPU, measured on small networks."""


def main() -> None:
    """Describes the study of the flags."""
    study = config.study()
    config.start_jax()
    from nnlab import experiment, prepare, recorder, tuning  # import JAX

    prepared = prepare.prepare(
        study, data_dir=flags.FLAGS.data_dir, lane_width=flags.FLAGS.lane_width
    )
    console = Console(highlight=False, markup=False)
    console.print(study.question, style="bold")
    trials, seeds = study.trials(), study.num_seeds
    console.print(
        f"{_count(len(trials), 'trial')} x {_count(seeds, 'seed')} = "
        f"{len(trials) * seeds:,} networks in {_count(len(prepared), 'program')}"
    )
    for path in study.swept():
        values = dict.fromkeys(str(t.hyperparameters.flat()[path]) for t in trials)
        console.print(f"{path}: {', '.join(values)}")
    for item in prepared:
        console.print()
        number = f"program {item.cohort.index + 1} of {len(prepared)}"
        console.rule(f"{number}: {_count(len(item.cohort.trials), 'trial')}")
        flat = item.hyperparameters.flat()
        for path in (p for p in study.swept() if p not in TRACED):
            console.print(f"{path}={flat[path]}")
        known, peak = tuning.recall(item), recorder.peak_bytes()
        if flags.FLAGS.measure:
            known |= experiment.measure(item, study)
        item = item.with_plan(tuning.fastest(item.plans, known))
        _describe(console, item, peak)
        _predict(console, item, known)


def _describe(console: Console, item: "Prepared", process_bytes: int) -> None:
    """One program: layer table, data, lanes, memory."""
    h, data, plan = item.hyperparameters, item.dataset, item.plan
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
        f"data: {h.dataset}, {data.num_classes} classes; {sizes[0]:,} training, "
        f"{sizes[1]:,} validation and {sizes[2]:,} test examples"
    )
    console.print(
        f"training: {_count(h.num_epochs, 'epoch')} of "
        f"{_count(item.steps_per_epoch, 'update')} at batch {h.batch_size}, "
        f"{len(item.boundaries)} evaluations"
    )
    if left := sizes[0] % h.batch_size:
        console.print(
            f"{_count(left, 'example')} left over in each epoch, others every time"
        )
    lanes = plan.lanes
    console.print(
        f"lanes: {_count(lanes.used, 'lane')} of "
        f"{_count(lanes.trials, 'trial')} x {_count(lanes.seeds, 'seed')} on "
        f"{_count(lanes.devices, 'device')}"
    )
    # On CPU the process counts, with the data by now, and what the compiler needs.
    peak = plan.total_bytes + plan.on_cpu * (process_bytes + COMPILER_BYTES)
    memory = f" of {_size(plan.memory_bytes)}" if plan.memory_bytes else ""
    console.print(f"memory: about {_size(peak)}{memory}")
    if forward:
        # Backward costs twice the forward pass, less the first layer's input gradient.
        work = 3 * forward * item.num_examples
        console.print(f"work: about {work:.1e} floating-point operations in training")


def _predict(
    console: Console, item: "Prepared", known: Mapping[int, "tuning.Rates"]
) -> None:
    """Time by what earlier runs, or `--measure`, found on this machine."""
    width = item.plan.lanes.width
    if len(known) > 1:
        speeds = (f"{w}: {known[w].examples_per_second:,.0f}" for w in sorted(known))
        console.print(f"examples/s by lane width: {', '.join(speeds)}")
    if width not in known:
        console.print("time: not measured on this machine yet; --measure does")
        return
    rates = known[width]
    seconds = item.num_examples / rates.examples_per_second
    text = f"{rates.examples_per_second:,.0f} examples/s"
    if rates.inferences_per_second:
        evaluation = item.num_evaluated / rates.inferences_per_second
        seconds += evaluation
        text += f", {evaluation / seconds:.0%} for evaluations"
    if rates.compile_seconds:
        text += f"; {rates.compile_seconds:.0f} s to compile"
    console.print(f"time: about {seconds:,.0f} s; {text}")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _size(count: int) -> str:
    return (
        f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.0f} MiB"
    )


def define_flags() -> None:
    """Defines the flags of this program."""
    config.define_study_flags()
    flags.DEFINE_bool("measure", False, "time a few steps of each lane width")


if __name__ == "__main__":
    define_flags()
    config.run(main)
