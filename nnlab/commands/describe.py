# SPDX-License-Identifier: Apache-2.0
"""What a study would run: time, memory, programs, layers; trains nothing.

python -m launch.describe --config=configs/quickstart.py
python -m launch.describe --config=depth_width --measure
python -m launch.describe --config=depth:smoke --check_gradients
python -m launch.describe --config=quickstart --members=1e6 --devices=64
"""

import dataclasses
import math
import statistics
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags
from rich.console import Console
from rich.table import Table

from nnlab.commands import config
from nnlab.study import TRACED, MovedSets, Study
from nnlab.watch import terminal
from nnlab.words.numbers import count
from nnlab.words.settings import value_text

if TYPE_CHECKING:
    from nnlab.describe import gradients, scaling
    from nnlab.models.layers import LayerRow
    from nnlab.training.lane_width import Rates
    from nnlab.training.program import NetworkProgram, Program, Source

COMPILER_BYTES = 150 * 2**20
"""Peak memory of compiling a program on CPU, measured on small networks."""

_LEGEND = (
    "Of the differences between the two derivatives: the largest, the largest relative "
    "to the derivative, and the median of these. They fall by this order of eps, 2 "
    "where the loss is smooth, down to the loss's rounding. Kinks counts the weights "
    "for which they do not, as where a ReLU or a max-pool switches within eps."
)
_MOST_VALUES = 8
"""Most swept values in a line; of more, the first and the last are shown."""
_MOST = 10**12
"""Most networks and devices in a prediction."""
_MOST_PERIOD = 8
"""Most layers of a repeated block of a deep network."""


@dataclasses.dataclass(frozen=True)
class _Told:
    """The description of a program; one of trees if it is no `_ToldNetwork`.

    Attributes:
      program: the program.
      facts: one line each.
    """

    program: "Program"
    facts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _ToldNetwork(_Told):
    """The description of a program of networks.

    Attributes:
      program: the program, with the plan that it would run by.
      seconds: training, evaluation and compilation; NaN if it is not known.
      peak_bytes: of memory.
      known: what was measured of its lane widths.
    """

    program: "NetworkProgram"
    seconds: float
    peak_bytes: int
    known: "Mapping[int, Rates]"


def main() -> None:
    """Describes the study of the flags."""
    study = config.study()
    asked = _asked(study)
    config.start_jax()
    from nnlab.describe import gradients
    from nnlab.machine.devices import peak_bytes
    from nnlab.training import lane_width, prepare
    from nnlab.training.program import NetworkProgram

    ready = prepare.prepare(
        study, data_dir=flags.FLAGS.data_dir, lane_width=flags.FLAGS.lane_width
    )
    console = terminal.Terminal()
    peak = peak_bytes()
    programs: list[_Told] = []
    with console.status("") as status:  # in a terminal only
        for program in ready:
            if not isinstance(program, NetworkProgram):
                programs.append(_Told(program, (_trees(program), *_data(program))))
                continue
            known = lane_width.recall(program)
            if flags.FLAGS.measure:
                status.update(f"measuring {_number_of(program, len(ready))}")
                known |= lane_width.measure(program, study)
            program = program.with_plan(lane_width.fastest(program.plans, known))
            programs.append(_described(program, known, peak))
    _summarize(console, study, programs)
    if asked:
        _scale(console, programs, *asked)
    networks = [p for p in programs if isinstance(p, _ToldNetwork)]
    common = _common(networks)
    if common:
        console.print()
        every = "programs" if len(networks) == len(programs) else "networks"
        console.rule(f"all {every}")
        _say(console, common)
    tables: dict[Any, int] = {}
    wrong: list[str] = []
    for one in programs:
        program, number = one.program, _number_of(one.program, len(programs))
        console.print()
        console.rule(f"{number}: {count(len(program.trials), 'trial')}")
        if setting := _setting(study, program):
            _say(console, [setting])
        if isinstance(program, NetworkProgram):
            _layers(console, program, tables)
        told = common if one in networks else ()
        _say(console, [fact for fact in one.facts if fact not in told])
        if flags.FLAGS.check_gradients and isinstance(program, NetworkProgram):
            if program.source and program.source.frozen:
                continue
            found = gradients.check(program)
            _compare(console, found, gradients.TOLERANCE)
            wrong += [f"{r.layer} of {number}" for r in found if not r.agrees]
    if flags.FLAGS.check_gradients:
        console.print()
        console.print(_LEGEND, style="dim")
    if wrong:
        raise config.Failure(
            "autodiff and central differences disagree on the gradients of "
            f"{', '.join(wrong)}"
        )


def _number_of(program: "Program", programs: int) -> str:
    return f"program {program.index + 1} of {programs}"


def _summarize(console: Console, study: Study, programs: Sequence[_Told]) -> None:
    """Prints the first screen: what would run, how long, in how much memory."""
    trials = study.trials()
    networks = [p for p in programs if isinstance(p, _ToldNetwork)]
    console.print(study.question, style="bold")
    size = f"{study.size()} in {count(len(programs), 'program')}"
    _say(console, [size, *([_needs(networks)] if networks else [])])
    console.print()
    lines = []
    for path in study.swept():
        read = (v for t in trials if (v := t.settings()[path]) is not None)
        values = dict.fromkeys(map(value_text, read))
        lines.append(f"{path}: {_few(list(values))}")
    if (race := study.halving).factor:
        lines.append(
            f"halving: from epoch {race.min_epochs:g} on and at {race.factor} times as "
            f"many each, the best of {race.factor} trials of a program go on; time and "
            "work are without it"
        )
    if further := _test_sets(study.test_sets):
        lines.append(f"further test sets: {further}")
    lines.append(f"figures: {', '.join(study.figures) or 'none'}")
    lines += study.remarks()
    _say(console, lines)
    if len(networks) > 1:
        _order(console, networks)


def _needs(networks: Sequence[_ToldNetwork]) -> str:
    """Returns the time and the memory of all, in a line."""
    largest = max(networks, key=lambda one: one.peak_bytes)
    memory = f"{_size(largest.peak_bytes)} of memory"
    if there := largest.program.plan.memory_bytes:
        memory += f" (of {_size(there)})"
    seconds = sum(one.seconds for one in networks)
    if math.isnan(seconds):
        return f"takes about {memory}; how long, --measure tells"
    return f"takes about {seconds:,.0f} s and {memory}"


def _asked(study: Study) -> tuple[int, int, float] | None:
    """Returns the networks, devices and price of the flags; None without them."""
    given = flags.FLAGS
    if given.members is None and given.devices is None:
        if given.cost_per_device_hour:
            raise config.UsageError(
                "--cost_per_device_hour goes with --devices or --members"
            )
        return None
    trials = (t for t in study.trials() if t.hyperparameters.model.is_network)
    members = float(sum(t.num_seeds for t in trials))
    if not members:
        raise config.UsageError("--members and --devices are of networks, not of trees")
    members = members if given.members is None else given.members
    devices = 1 if given.devices is None else given.devices
    for name, value in (("members", members), ("devices", devices)):
        if not (1 <= value <= _MOST and value == int(value)):
            raise config.UsageError(
                f"--{name}={value:g} must be a whole number from 1 to {_MOST:.0e}"
            )
    return int(members), int(given.devices or 0), given.cost_per_device_hour


def _scale(
    console: Console,
    programs: Sequence[_Told],
    members: int,
    devices: int,
    price: float,
) -> None:
    """Prints what so many networks would need on so many devices; 0 for those here."""
    import jax

    from nnlab.describe import scaling

    networks = [p for p in programs if isinstance(p, _ToldNetwork)]
    lines = scaling.predict(
        [p.program for p in networks],
        [p.known for p in networks],
        members=members,
        devices=devices or jax.device_count(),
        price=price,
    )
    table = Table("predicted", "value", "basis", "how", box=None)
    table.columns[1].justify = "right"
    for line in lines:
        table.add_row(line.name, _amount(line), line.basis, line.how)
    console.print()
    console.rule("at another size")
    console.print(table)
    if any(math.isnan(line.value) for line in lines):
        console.print("what is not known, --measure measures")


def _amount(line: "scaling.Line") -> str:
    if math.isnan(line.value):
        return "not known"
    if line.unit == "bytes":
        return _size(int(line.value))
    if line.unit == "s":
        return _duration(line.value)
    return f"{line.value:,.2f}" if line.unit == "money" else f"{line.value:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:,.0f} s"
    return f"{seconds / 60:,.0f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _few(values: Sequence[str]) -> str:
    if len(values) <= _MOST_VALUES:
        return ", ".join(values)
    shown = [*values[: _MOST_VALUES - 3], "...", *values[-2:]]
    return f"{', '.join(shown)} ({len(values)} values)"


def _setting(study: Study, program: "Program") -> str:
    """Returns the swept settings that all trials of a program share."""
    settings = program.trials[0].settings()
    paths = (path for path in study.swept() if path not in TRACED)
    parts = (f"{path}={value_text(settings[path])}" for path in paths)
    return ", ".join(textwrap.shorten(part, 76, placeholder=" ...") for part in parts)


def _common(networks: Sequence[_ToldNetwork]) -> list[str]:
    """Returns the lines that describe all of several programs alike."""
    if len(networks) < 2:
        return []
    return [f for f in networks[0].facts if all(f in p.facts for p in networks)]


def _say(console: Console, lines: Iterable[str]) -> None:
    for line in lines:
        parts = textwrap.wrap(
            line,
            console.width,
            subsequent_indent="  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
        console.print("\n".join(parts), soft_wrap=True)


def _order(console: Console, networks: Sequence[_ToldNetwork]) -> None:
    """Prints each program's share of the time, where they differ."""
    networks = sorted(networks, key=lambda one: one.program.work)
    measured = not any(math.isnan(one.seconds) for one in networks)
    costs = [p.seconds if measured else p.program.work for p in networks]
    columns = ["trials", "batch", "updates", "epochs", "share of the time"]
    table = Table("program", *columns, *["seconds"][: int(measured)], box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    table.columns[0].overflow = "ellipsis"
    table.columns[0].no_wrap = True
    for one, cost in zip(networks, costs):
        program = one.program
        trials = program.trials
        cells = [
            f"{program.index + 1}: {trials[0].label}",
            str(len(trials)),
            str(program.hyperparameters.batch_size),
            f"{program.num_steps:,}",
            f"{program.num_epochs:.3g}",
            f"{cost / sum(costs):.0%}",
        ]
        table.add_row(*cells, *([f"{one.seconds:,.0f}"] if measured else []))
    console.print()
    console.rule("programs, in the order in which they train")
    console.print(table)
    if not measured:
        console.print(
            "shares are estimates from numbers of operations; --measure measures"
        )


def _layers(console: Console, program: "NetworkProgram", told: dict[Any, int]) -> None:
    """Prints the layer table, unless an equal one was shown before.

    `told` holds which program had a table first, and is added to.
    """
    shape = _shape(program.dataset.input_shape)
    rows = [_cells([row]) for row in program.rows]
    number = program.index + 1
    if (first := told.setdefault((shape, *map(tuple, rows)), number)) != number:
        console.print(f"layers: as in program {first}")
        return
    columns = ("parameters", "weights", "biases", "FLOPs an example")
    table = Table("layer", "output", *columns, box=None)
    for column in table.columns[2:]:
        column.justify = "right"
    table.add_row("input", shape)
    for cells in _folded(program.rows):
        table.add_row(*cells)
    biases = sum(row.biases for row in program.rows)
    forward = sum(row.flops for row in program.rows)
    parameters = program.demand.parameters
    numbers = (parameters, parameters - biases, biases, forward)
    table.add_row("all", "", *map(_number, numbers))
    console.print(table)


def _cells(rows: "Sequence[LayerRow]") -> list[str]:
    parameters = sum(row.parameters for row in rows)
    biases = sum(row.biases for row in rows)
    flops = sum(row.flops for row in rows)
    numbers = map(_number, (parameters, parameters - biases, biases, flops))
    return [rows[-1].name, _shape(rows[-1].output_shape), *numbers]


def _folded(rows: "Sequence[LayerRow]") -> list[list[str]]:
    """Returns the rows of the layer table, with repeated blocks as one.

    Ten layers of a kind, each with batch norm and activation, are the first of them and
    "... relu_9", with the numbers of the nine others together.
    """
    kinds = [
        (row.layer["layer"], row.input_shape, row.output_shape, row.parameters)
        for row in rows
    ]
    found, i = [], 0
    while i < len(rows):
        best = (0, 1, 1)  # rows that it saves, period, repetitions
        # A block begins with a matrix product, and ends before the next one.
        for period in range(1, _MOST_PERIOD + 1) if rows[i].flops else ():
            block, times = kinds[i : i + period], 1
            while kinds[i + times * period : i + (times + 1) * period] == block:
                times += 1
            best = max(best, ((times - 1) * period - 1, period, times))
        saved, period, times = best
        if times < 3 or saved < 1:
            found.append(_cells([rows[i]]))
            i += 1
            continue
        found += [_cells([row]) for row in rows[i : i + period]]
        name, _, *numbers = _cells(rows[i + period : i + times * period])
        found.append([f"... {name}", f"{times - 1} x the same", *numbers])
        i += times * period
    return found


def _trees(program: "Program") -> str:
    model, record = program.hyperparameters.model, program.to_dict()
    depths = " or ".join(map(str, model.tree_depths))
    return (
        f"{model.name.replace('_', ' ')} by {record['library']}: up to "
        f"{count(model.num_trees, 'tree')} of depth {depths}, chosen by validation, "
        f"for each of {count(program.members.num_seeds, 'seed')}"
    )


def _described(
    program: "NetworkProgram", known: Mapping[int, "Rates"], process_bytes: int
) -> _ToldNetwork:
    """Describes a program of networks: data, training, lanes, memory, time.

    Args:
      program: with the plan that it would run by.
      known: what was measured of its lane widths.
      process_bytes: peak memory of this process, with the data.
    """
    h, data, plan = program.hyperparameters, program.dataset, program.plan
    facts = _data(program)
    if program.source:
        facts += _source(program.source)
    changes = []
    if h.standardize or data.is_table:
        by_column = ", column by column" if data.is_table else ""
        changes.append(f"standardized by the training examples{by_column}")
    if h.augment_pixels:
        pixels = count(h.augment_pixels, "pixel")
        changes.append(f"in training moved by up to {pixels} along both axes")
    if changes:
        facts.append(f"inputs: {'; '.join(changes)}")
    limit = ""
    if program.num_epochs < h.num_epochs:
        limit = f" (of {h.num_epochs}: max_steps={h.max_steps:,})"
    facts.append(
        f"training: {program.num_epochs:.3g} epochs{limit} of "
        f"{count(program.steps_per_epoch, 'update')} at batch {h.batch_size}, "
        f"{count(program.num_steps, 'update')} in all, "
        f"{len(program.boundaries)} evaluations"
    )
    if left := len(data.train.labels) % h.batch_size:
        facts.append(
            f"{count(left, 'example')} left over in each epoch, others every time"
        )
    lanes = plan.lanes
    facts.append(
        f"lanes: {count(lanes.used, 'lane')} of {count(lanes.trials, 'trial')} x "
        f"{count(lanes.seeds, 'seed')} on {count(lanes.devices, 'device')}"
    )
    # On CPU memory is that of the process, which holds the data, and of the compiler.
    peak = plan.total_bytes + plan.on_cpu * (process_bytes + COMPILER_BYTES)
    memory = f" of {_size(plan.memory_bytes)}" if plan.memory_bytes else ""
    facts.append(f"memory: about {_size(peak)}{memory}")
    if forward := sum(row.flops for row in program.rows):
        # Backward costs twice the forward pass, less the first layer's input gradient.
        work = 3 * forward * program.num_examples
        facts.append(f"work: about {work:.1e} floating-point operations in training")
    times, seconds = _predicted(program, known)
    return _ToldNetwork(program, (*facts, *times), seconds, peak, known)


def _data(program: "Program") -> list[str]:
    data = program.dataset
    sizes = [len(s.labels) for s in (data.train, data.validation, data.test)]
    return [
        f"data: {data.name}, {data.num_classes} classes; {sizes[0]:,} training, "
        f"{sizes[1]:,} validation and {sizes[2]:,} test examples",
        *data.notes,
    ]


def _source(source: "Source") -> list[str]:
    """Describes where the backbone comes from, and whether it is frozen."""
    if source.training is None:
        text = f"weights of {source.key}"
    else:
        h = source.training.hyperparameters
        examples = len(source.training.dataset.train.labels)
        text = (
            f"trained before on {examples:,} examples of {h.data} for "
            f"{count(h.num_epochs, 'epoch')} at batch {h.batch_size}, Adam at rate "
            f"{h.optimizer.learning_rate:g}; once for all that share it"
        )
    facts = [f"backbone: {text}"]
    if source.frozen:
        facts.append(
            "frozen: its outputs for all examples are computed once, and the table "
            "shows the last layer, which alone is trained"
        )
    return facts


def _predicted(
    program: "NetworkProgram", known: Mapping[int, "Rates"]
) -> tuple[list[str], float]:
    """Predicts the time from earlier runs on this machine, or from `--measure`.

    Returns:
      Lines about it; seconds in all, NaN if nothing was found.
    """
    width, lines = program.plan.lanes.width, []
    if len(known) > 1:
        speeds = (f"{w}: {known[w].examples_per_second:,.0f}" for w in sorted(known))
        lines.append(f"examples/s by lane width: {', '.join(speeds)}")
    if width not in known:
        lines.append("time: not measured on this machine yet; --measure does")
        return lines, math.nan
    rates = known[width]
    seconds = program.num_examples / rates.examples_per_second
    text = f"{rates.examples_per_second:,.0f} examples/s"
    if rates.inferences_per_second:
        evaluation = program.num_evaluated / rates.inferences_per_second
        seconds += evaluation
        text += f", {evaluation / seconds:.0%} for evaluations"
    if rates.compile_seconds:
        text += f"; {rates.compile_seconds:.0f} s to compile"
    lines.append(f"time: about {seconds:,.0f} s; {text}")
    return lines, seconds + rates.compile_seconds


def _compare(console: Console, rows: "list[gradients.Row]", tolerance: float) -> None:
    """Prints autodiff against central differences, a line for each layer and eps."""
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
    weights = count(compared, "weight")
    text = f"gradients: {agreeing} of {weights} agree to a relative {tolerance:.0e}"
    orders = [s.order for r in rows for s in r.steps if not math.isnan(s.order)]
    if orders:
        text += f", to order {statistics.median(orders):.2f} of eps"
    if kinked := sum(row.kinked for row in rows):
        text += f"; {kinked} have a kink nearby"
    if bad := [row.layer for row in rows if not row.agrees]:
        text += f"; too few agree in {', '.join(bad)}"
    console.print(text)
    if still := sum(row.checked for row in rows) - compared:
        console.print(f"without effect on the loss: {count(still, 'further weight')}")


def _test_sets(asked: MovedSets) -> str:
    moved, turned = asked.moved_pixels, asked.rotated_degrees
    sets = [f"moved by up to {count(moved, 'pixel')}"] if moved else []
    sets += [f"rotated by up to {turned:g} degrees"] if turned else []
    parts = [", ".join(sets)] if sets else []
    parts += ["at every evaluation"] if sets and asked.along_curve else []
    more = "more and less moved and rotated at the end"
    return "; ".join([*parts, *([more] if asked.severity else [])])


def _number(number: int) -> str:
    return f"{number:,}" if number else ""


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
    flags.DEFINE_float(
        "members", None, "networks of which to predict time, memory and bytes"
    )
    flags.DEFINE_float(
        "devices",
        None,
        "devices like those here, for such a prediction; default: as many as here",
    )
    flags.DEFINE_float(
        "cost_per_device_hour", 0.0, "price of a device; adds the cost", lower_bound=0.0
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
