# SPDX-License-Identifier: Apache-2.0
"""What a study would run: time, memory, programs, layers; trains nothing.

python -m launch.describe --config=configs/quickstart.py
python -m launch.describe --config=depth_width --measure
python -m launch.describe --config=depth:smoke --check_gradients
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from absl import flags
from rich.console import Console
from rich.table import Table

from launch import config
from nnlab.study import TRACED, MovedSets

if TYPE_CHECKING:
    from nnlab import gradients, tuning
    from nnlab.cohorts import Baseline, Prepared, Source

COMPILER_BYTES = 150 * 2**20
"""Peak memory of compiling a cohort's programs on CPU, measured on small networks."""

_LEGEND = (
    "Of the differences between the two derivatives: the largest, the largest relative "
    "to the derivative, and the median of these. They fall by this order of eps, 2 "
    "where the loss is smooth, down to the loss's rounding. Kinks counts the weights "
    "for which they do not, as where a ReLU or a max-pool switches within eps."
)


def main() -> None:
    """Describes the study of the flags."""
    study = config.study()
    config.start_jax()
    from nnlab import gradients, placing, prepare, recorder, tuning  # import JAX
    from nnlab.cohorts import Baseline, Prepared

    cohorts = prepare.prepare(
        study, data_dir=flags.FLAGS.data_dir, lane_width=flags.FLAGS.lane_width
    )
    console = Console(highlight=False, markup=False)
    console.print(study.question, style="bold")
    trials = study.trials()
    console.print(f"{study.size()} in {_count(len(cohorts), 'program')}")
    for path in study.swept():
        values = dict.fromkeys(str(t.hyperparameters.flat()[path]) for t in trials)
        console.print(f"{path}: {', '.join(values)}")
    if further := _test_sets(study.test_sets):
        console.print(f"further test sets: {further}")
    console.print(f"figures: {', '.join(study.figures) or 'none'}")
    wrong: list[str] = []
    seconds: dict[int, float] = {}
    for item in cohorts:
        console.print()
        number = f"program {item.cohort.index + 1} of {len(cohorts)}"
        console.rule(f"{number}: {_count(len(item.cohort.trials), 'trial')}")
        flat = item.hyperparameters.flat()
        for path in (p for p in study.swept() if p not in TRACED):
            console.print(f"{path}={flat[path]}")
        if isinstance(item, Baseline):
            _describe_trees(console, item)
            continue
        known, peak = tuning.recall(item), recorder.peak_bytes()
        if flags.FLAGS.measure:
            known |= placing.measure(item, study)
        item = item.with_plan(tuning.fastest(item.plans, known))
        _describe(console, item, peak)
        seconds[item.cohort.index] = _predict(console, item, known)
        if flags.FLAGS.check_gradients and not (item.source and item.source.frozen):
            found = gradients.check(item)
            _compare(console, found, gradients.TOLERANCE)
            wrong += [f"{r.layer} of {number}" for r in found if not r.agrees]
    if len(seconds) > 1:
        networks = [p for p in cohorts if isinstance(p, Prepared)]
        _summarize(console, networks, seconds)
    if flags.FLAGS.check_gradients:
        console.print()
        console.print(_LEGEND, style="dim")
    if wrong:
        raise config.Failure(
            "autodiff and central differences disagree on the gradients of "
            f"{', '.join(wrong)}"
        )


def _describe_trees(console: Console, item: "Baseline") -> None:
    """A cohort of trees."""
    model, record = item.hyperparameters.model, item.to_dict()
    depths = " or ".join(map(str, model.tree_depths))
    console.print(
        f"{model.name.replace('_', ' ')} by {record['library']}: up to "
        f"{_count(model.num_trees, 'tree')} of depth {depths}, chosen by validation, "
        f"for each of {_count(item.cohort.num_seeds, 'seed')}"
    )
    _describe_data(console, item)


def _summarize(
    console: Console, prepared: "Sequence[Prepared]", seconds: Mapping[int, float]
) -> None:
    """What each network program takes of all: one may take more than the others."""
    console.print()
    console.rule("all programs, in the order in which they train")
    networks = sorted(prepared, key=lambda item: item.work)
    measured = not any(map(math.isnan, seconds.values()))
    costs = {
        p.cohort.index: seconds[p.cohort.index] if measured else p.work
        for p in networks
    }
    columns = ["trials", "batch", "updates", "epochs", "share of the time"]
    table = Table("program", *columns, *["seconds"][: int(measured)], box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for item in networks:
        index = item.cohort.index
        cells = [
            f"{index + 1}: {item.cohort.trials[0].label}",
            str(len(item.cohort.trials)),
            str(item.hyperparameters.batch_size),
            f"{item.num_steps:,}",
            f"{item.num_epochs:.3g}",
            f"{costs[index] / sum(costs.values()):.0%}",
        ]
        table.add_row(*cells, *([f"{seconds[index]:,.0f}"] if measured else []))
    console.print(table)
    if measured:
        console.print(f"time: about {sum(seconds.values()):,.0f} s for all")
    else:
        console.print(
            "shares are estimates from numbers of operations; --measure measures"
        )


def _describe(console: Console, item: "Prepared", process_bytes: int) -> None:
    """One program: layer table, data, lanes, memory."""
    h, data, plan = item.hyperparameters, item.dataset, item.plan
    columns = ("parameters", "weights", "biases", "FLOPs an example")
    table = Table("layer", "output", *columns, box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    table.add_row("input", _shape(data.input_shape))
    for row in item.rows:
        numbers = (row.parameters, row.parameters - row.biases, row.biases, row.flops)
        table.add_row(row.name, _shape(row.output_shape), *map(_number, numbers))
    forward = sum(row.flops for row in item.rows)
    biases = sum(row.biases for row in item.rows)
    numbers = (item.parameters, item.parameters - biases, biases, forward)
    table.add_row("all", "", *map(_number, numbers))
    console.print(table)
    _describe_data(console, item)
    if item.source:
        _describe_source(console, item.source)
    changes = []
    if h.standardize or data.is_table:
        by_column = ", column by column" if data.is_table else ""
        changes.append(f"standardized by the training examples{by_column}")
    if h.augment_pixels:
        pixels = _count(h.augment_pixels, "pixel")
        changes.append(f"in training moved by up to {pixels} along both axes")
    if changes:
        console.print(f"inputs: {'; '.join(changes)}")
    limit = ""
    if item.num_epochs < h.num_epochs:
        limit = f" (of {h.num_epochs}: max_steps={h.max_steps:,})"
    console.print(
        f"training: {item.num_epochs:.3g} epochs{limit} of "
        f"{_count(item.steps_per_epoch, 'update')} at batch {h.batch_size}, "
        f"{_count(item.num_steps, 'update')} in all, "
        f"{len(item.boundaries)} evaluations"
    )
    if left := len(data.train.labels) % h.batch_size:
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


def _describe_data(console: Console, item: "Prepared | Baseline") -> None:
    """The data set and the sizes of its splits."""
    data = item.dataset
    sizes = [len(s.labels) for s in (data.train, data.validation, data.test)]
    console.print(
        f"data: {item.hyperparameters.dataset}, {data.num_classes} classes; "
        f"{sizes[0]:,} training, {sizes[1]:,} validation and {sizes[2]:,} test examples"
    )


def _describe_source(console: Console, source: "Source") -> None:
    """How the backbone comes about, and whether it stays."""
    if source.training is None:
        text = f"weights of {source.key}"
    else:
        h = source.training.hyperparameters
        examples = len(source.training.dataset.train.labels)
        text = (
            f"trained before on {examples:,} examples of {h.dataset} for "
            f"{_count(h.num_epochs, 'epoch')} at batch {h.batch_size}, Adam at rate "
            f"{h.optimizer.learning_rate:g}; once for all that share it"
        )
    console.print(f"backbone: {text}")
    if source.frozen:
        console.print(
            "frozen: its outputs for all examples are computed once, and the table "
            "shows the last layer, which alone is trained"
        )


def _predict(
    console: Console, item: "Prepared", known: Mapping[int, "tuning.Rates"]
) -> float:
    """Time by what earlier runs, or `--measure`, found on this machine.

    Returns:
      Seconds; NaN if nothing was found.
    """
    width = item.plan.lanes.width
    if len(known) > 1:
        speeds = (f"{w}: {known[w].examples_per_second:,.0f}" for w in sorted(known))
        console.print(f"examples/s by lane width: {', '.join(speeds)}")
    if width not in known:
        console.print("time: not measured on this machine yet; --measure does")
        return math.nan
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
    return seconds + rates.compile_seconds


def _compare(console: Console, rows: "list[gradients.Row]", tolerance: float) -> None:
    """Autodiff against central differences: a line for each layer and eps."""
    columns = ("agree", "eps", "largest", "relative", "median", "order", "kinks")
    table = Table("layer", *columns, box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        first = [row.layer, f"{row.agreeing} of {row.compared}"]
        for step in row.steps:
            sizes = (step.largest, step.largest_relative, step.median_relative)
            order = "" if math.isnan(step.order) else f"{step.order:.2f}"
            kinks = _number(step.irregular)
            cells = ["-" if math.isnan(size) else f"{size:.0e}" for size in sizes]
            table.add_row(*first, f"{step.eps:.0e}", *cells, order, kinks)
            first = ["", ""]
    console.print()
    console.print("gradients: autodiff against central differences, in float64")
    console.print(table)
    agreeing, compared = sum(r.agreeing for r in rows), sum(r.compared for r in rows)
    orders = [s.order for r in rows for s in r.steps if not math.isnan(s.order)]
    text = f"{agreeing} of {_count(compared, 'weight')} agree to a relative "
    text += f"{tolerance:.0e}"
    if orders:
        text += f", to order {statistics.median(orders):.2f} of eps"
    if kinked := sum(row.kinked for row in rows):
        text += f"; {kinked} have a kink nearby"
    if bad := [row.layer for row in rows if not row.agrees]:
        text += f"; too few agree in {', '.join(bad)}"
    console.print(f"gradients: {text}")
    if still := sum(row.checked for row in rows) - compared:
        console.print(f"without effect on the loss: {_count(still, 'further weight')}")


def _test_sets(asked: MovedSets) -> str:
    """The further test sets, in words."""
    sets = []
    if asked.moved_pixels:
        sets.append(f"moved by up to {_count(asked.moved_pixels, 'pixel')}")
    if asked.rotated_degrees:
        sets.append(f"rotated by up to {asked.rotated_degrees:g} degrees")
    parts = [", ".join(sets)] if sets else []
    if sets and asked.along_curve:
        parts.append("at every evaluation")
    if asked.severity:
        parts.append("more and less moved and rotated at the end")
    return "; ".join(parts)


def _number(number: int) -> str:
    return f"{number:,}" if number else ""


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
    flags.DEFINE_bool(
        "measure", False, "time a few steps of each program; at each lane width"
    )
    flags.DEFINE_bool(
        "check_gradients",
        False,
        "compare gradients with central differences; for some weights of each layer, "
        "in float64; status 1 if they disagree",
    )


if __name__ == "__main__":
    define_flags()
    config.run(main)
