# SPDX-License-Identifier: Apache-2.0
"""What a study would run: time, memory, programs, layers; the seeds it needs.

python -m launch.describe --config=depth_width --measure
python -m launch.describe --config=quickstart --decide
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

from nnlab.commands import config, detect
from nnlab.statistics import power
from nnlab.study import MovedSets, Study, is_traced
from nnlab.watch import terminal
from nnlab.words.numbers import count, joined
from nnlab.words.settings import value_text, words

if TYPE_CHECKING:
    from nnlab.describe import scaling
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
    """What is said of a program, one line a fact.

    Attributes:
      program: a `TreeProgram`, or a `NetworkProgram` with the plan that it would run
        by; `known` tells which.
      facts: the lines.
      seconds: training, evaluation and compilation; NaN if it is not known.
      peak_bytes: of memory.
      known: what was measured of its lane widths; None for trees.
    """

    program: Any
    facts: tuple[str, ...]
    seconds: float = math.nan
    peak_bytes: int = 0
    known: "Mapping[int, Rates] | None" = None


def main() -> None:
    """Describes the study of the flags."""
    study = config.study()
    asked = _asked(study)
    given = flags.FLAGS
    plan = given.power, given.workdir, given.data_dir
    if given.detect is not None or given.decide:
        detect.check(given.detect, given.power)
    elif given.workdir or given["power"].present:
        raise config.UsageError("--workdir and --power go with --detect or --decide")
    config.start_jax()
    from nnlab.training import prepare

    ready = prepare.prepare(
        study, data_dir=flags.FLAGS.data_dir, lane_width=flags.FLAGS.lane_width
    )
    console = terminal.Terminal()
    programs = _told(console, study, ready)
    networks = [one for one in programs if one.known is not None]
    _summarize(console, study, programs, networks)
    if asked:
        _scale(console, networks, *asked)
    if given.detect is not None:
        _rule(console, "how many seeds tell a difference apart")
        _say(console, detect.lines(study, given.detect, *plan))
    if given.decide:
        _rule(console, "how many seeds decide the claims")
        _say(console, detect.decisive(study, *plan))
    common: list[str] = []
    if len(networks) > 1:
        first, *others = (one.facts for one in networks)
        common = [fact for fact in first if all(fact in facts for facts in others)]
    if common:
        every = "programs" if len(networks) == len(programs) else "networks"
        _rule(console, f"all {every}")
        _say(console, common)
    tables: dict[Any, int] = {}
    wrong: list[str] = []
    for one in programs:
        number = f"program {one.program.index + 1} of {len(programs)}"
        _rule(console, f"{number}: {count(len(one.program.trials), 'trial')}")
        if setting := _setting(study, one.program):
            _say(console, [setting])
        if one.known is None:
            _say(console, one.facts)
            continue
        _layers(console, one.program, tables)
        _say(console, [fact for fact in one.facts if fact not in common])
        if flags.FLAGS.check_gradients:
            wrong += [f"{layer} of {number}" for layer in _check(console, one.program)]
    if flags.FLAGS.check_gradients:
        console.print()
        console.print(_LEGEND, style="dim")
    if wrong:
        raise config.Failure(
            "autodiff and central differences disagree on the gradients of "
            f"{', '.join(wrong)}"
        )


def _told(console: Console, study: Study, ready: "Sequence[Program]") -> list[_Told]:
    """Describes the programs; measures their speed first if that is asked for."""
    from nnlab.machine.devices import peak_bytes
    from nnlab.training import lane_width
    from nnlab.training.program import NetworkProgram

    with_data, found = peak_bytes(), []
    with console.status("") as status:  # in a terminal only
        for program in ready:
            if not isinstance(program, NetworkProgram):
                found.append(_Told(program, (_trees(program), *_data(program))))
                continue
            known = lane_width.recall(program)
            if flags.FLAGS.measure:
                status.update(f"measuring program {program.index + 1} of {len(ready)}")
                known |= lane_width.measure(program, study)
            program = program.with_plan(lane_width.fastest(program.plans, known))
            probing = math.nan if program.probed else 0.0
            if flags.FLAGS.measure and program.probed:
                probing = lane_width.probe_seconds(program, study)
            found.append(_described(program, known, with_data, probing))
    return found


def _rule(console: Console, title: str) -> None:
    console.print()
    console.rule(title)


def _summarize(
    console: Console, study: Study, programs: Sequence[_Told], networks: Sequence[_Told]
) -> None:
    """Prints the first screen: what would run, how long, in how much memory."""
    console.print(study.question, style="bold")
    size = f"{study.size()} in {count(len(programs), 'program')}"
    _say(console, [size, *([_needs(networks)] if networks else [])])
    console.print()
    lines = []
    settings = [trial.settings() for trial in study.trials()]
    for path in study.swept():
        read = (some[path] for some in settings if some[path] is not None)
        lines.append(f"{path}: {_few([*dict.fromkeys(map(value_text, read))])}")
    if (race := study.halving).factor:
        lines.append(
            f"halving: from epoch {race.min_epochs:g} on and at {race.factor} times as "
            f"many each, the best of {race.factor} trials of a program go on; time and "
            "work are without it"
        )
    if varying := study.varying():
        lines.append(f"from seed to seed: {varying}")
    if further := _test_sets(study.test_sets):
        lines.append(f"further test sets: {further}")
    lines.append(f"figures: {', '.join(study.figures) or 'none'}")
    _say(console, [*lines, *study.remarks()])
    if len(networks) > 1:
        _order(console, networks)


def _needs(networks: Sequence[_Told]) -> str:
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
    networks: Sequence[_Told],
    members: int,
    devices: int,
    price: float,
) -> None:
    """Prints what so many networks would need on so many devices; 0 for those here."""
    import jax

    from nnlab.describe import scaling

    lines = scaling.predict(
        [one.program for one in networks],
        [one.known or {} for one in networks],
        members=members,
        devices=devices or jax.device_count(),
        price=price,
    )
    table = _table("predicted", "value", "basis", "how", right=(1,))
    for line in lines:
        table.add_row(line.name, _amount(line), line.basis, line.how)
    _rule(console, "at another size")
    console.print(table)
    if any(math.isnan(line.value) for line in lines):
        console.print("what is not known, --measure measures")


def _table(*columns: str, right: Iterable[int]) -> Table:
    """Returns a table without lines, with numbers in the columns `right`."""
    table = Table(*columns, box=None)
    for index in right:
        table.columns[index].justify = "right"
    return table


def _amount(line: "scaling.Line") -> str:
    if math.isnan(line.value):
        return "not known"
    if line.unit == "bytes":
        return _size(int(line.value))
    if line.unit == "s" and line.value >= 600:
        minutes = line.value / 60
        return f"{minutes:,.0f} min" if minutes < 120 else f"{minutes / 60:,.1f} h"
    if line.unit == "s":
        return f"{line.value:,.0f} s"
    return f"{line.value:,.2f}" if line.unit == "money" else f"{line.value:,.0f}"


def _few(values: Sequence[str]) -> str:
    if len(values) <= _MOST_VALUES:
        return ", ".join(values)
    shown = [*values[: _MOST_VALUES - 3], "...", *values[-2:]]
    return f"{', '.join(shown)} ({len(values)} values)"


def _setting(study: Study, program: "Program") -> str:
    """Returns the swept settings that all trials of a program share."""
    settings = program.trials[0].settings()
    paths = (path for path in study.swept() if not is_traced(path, settings[path]))
    parts = (f"{path}={value_text(settings[path])}" for path in paths)
    return ", ".join(textwrap.shorten(part, 76, placeholder=" ...") for part in parts)


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


def _order(console: Console, networks: Sequence[_Told]) -> None:
    """Prints each program's share of the time, where they differ."""
    networks = sorted(networks, key=lambda one: one.program.work)
    measured = not any(math.isnan(one.seconds) for one in networks)
    costs = [one.seconds if measured else one.program.work for one in networks]
    columns = ["trials", "batch", "updates", "epochs", "share of the time"]
    columns += ["seconds"] * measured
    table = _table("program", *columns, right=range(1, len(columns) + 1))
    table.columns[0].overflow = "fold"
    for one, cost in zip(networks, costs):
        program = one.program
        cells = [
            f"{program.index + 1}: {program.trials[0].label}",
            str(len(program.trials)),
            str(program.batch_size),
            f"{program.num_steps:,}",
            f"{program.num_epochs:.3g}",
            f"{cost / sum(costs):.0%}",
        ]
        table.add_row(*cells, *([f"{one.seconds:,.0f}"] if measured else []))
    _rule(console, "programs, in the order in which they train")
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
    table = _table("layer", "output", *columns, right=range(2, 6))
    table.add_row("input", shape)
    for cells in _folded(program.rows):
        table.add_row(*cells)
    table.add_row("all", "", *_numbers(program.rows, program.demand.parameters))
    console.print(table)


def _cells(rows: "Sequence[LayerRow]") -> list[str]:
    parameters = sum(row.parameters for row in rows)
    shape = _shape(rows[-1].output_shape)
    return [rows[-1].name, shape, *_numbers(rows, parameters)]


def _numbers(rows: "Sequence[LayerRow]", parameters: int) -> list[str]:
    biases, flops = sum(row.biases for row in rows), sum(row.flops for row in rows)
    return [*map(_number, (parameters, parameters - biases, biases, flops))]


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
            period = times = 1
        found += [_cells([row]) for row in rows[i : i + period]]
        if times > 1:
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


_NOISES = ("blur", "input_noise", "label_noise")


def _described(
    program: "NetworkProgram",
    known: "Mapping[int, Rates]",
    process_bytes: int,
    probing: float,
) -> _Told:
    """Describes a program of networks: data, training, lanes, memory, time.

    `process_bytes` is the peak memory of this process, with the data; `probing` the
    seconds that probes take, NaN if that is not known.
    """
    h, data, plan = program.hyperparameters, program.dataset, program.plan
    facts = _data(program)
    if program.source:
        facts += _source(program.source)
    changes = []
    if h.standardize or data.is_table:
        by_column = ", column by column" if data.is_table else ""
        changes.append(f"standardized by the training examples{by_column}")
    elif h.center:
        changes.append("less the mean training example")
    if h.augment_pixels:
        pixels = count(h.augment_pixels, "pixel")
        changes.append(f"in training moved by up to {pixels} along both axes")
    if h.augment_flip:
        changes.append("in training mirrored at random, left to right")
    of = program.members.traced()
    noises = [f"{words(n)} up to {of[n].max():g}" for n in _NOISES if n in of]
    if noises:
        changes.append(f"in training {joined(noises)}")
    if changes:
        facts.append(f"inputs: {'; '.join(changes)}")
    limit = ""
    if program.num_epochs < h.num_epochs:
        limit = f" (of {h.num_epochs}: max_steps={h.max_steps:,})"
    facts.append(
        f"training: {program.num_epochs:.3g} epochs{limit} of "
        f"{count(program.steps_per_epoch, 'update')} at batch {program.batch_size}, "
        f"{count(program.num_steps, 'update')} in all, "
        f"{len(program.boundaries)} evaluations"
    )
    if left := len(data.train.labels) % program.batch_size:
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
    if program.probed:
        times = (
            f"{n} {count(len(p.steps), 'time')}" for n, p in program.probed.items()
        )
        cost = (
            "--measure tells how long" if math.isnan(probing) else f"{probing:,.0f} s"
        )
        examples = count(program.probe_size, "training example")
        facts.append(f"probes: {', '.join(times)}, on {examples}; {cost}")
    lines, seconds = _predicted(program, known)
    return _Told(program, (*facts, *lines), seconds + probing, peak, known)


def _data(program: "Program") -> list[str]:
    data = program.dataset
    sizes = [len(s.labels) for s in (data.train, data.validation, data.test)]
    labels = f"{data.num_classes} classes"
    if data.is_regression:
        labels = f"regression of {', '.join(data.class_names)}"
    return [
        f"data: {data.name}, {labels}; {sizes[0]:,} training, "
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
    program: "NetworkProgram", known: "Mapping[int, Rates]"
) -> tuple[list[str], float]:
    """Predicts the time by earlier measurements: lines about it; seconds or NaN."""
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


def _check(console: Console, program: "NetworkProgram") -> list[str]:
    """Compares gradients, prints a line for each layer and eps; returns wrong ones."""
    from nnlab.describe import gradients

    if program.source and program.source.frozen:
        return []
    rows = gradients.check(program)
    columns = ("agree", "eps", "largest", "relative", "median", "order", "kinks")
    table = _table("layer", *columns, right=range(1, 8))
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
    told = f"{agreeing} of {weights} agree to a relative {gradients.TOLERANCE:.0e}"
    text = f"gradients: {told}"
    orders = [s.order for r in rows for s in r.steps if not math.isnan(s.order)]
    if orders:
        text += f", to order {statistics.median(orders):.2f} of eps"
    if kinked := sum(row.kinked for row in rows):
        text += f"; {kinked} have a kink nearby"
    bad = [row.layer for row in rows if not row.agrees]
    if bad:
        text += f"; too few agree in {', '.join(bad)}"
    console.print(text)
    if still := sum(row.checked for row in rows) - compared:
        console.print(f"without effect on the loss: {count(still, 'further weight')}")
    return bad


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
    config.define_claims()
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
    flags.DEFINE_float(
        "detect",
        None,
        "a difference of test accuracy to the best trial, such as 0.005; says how many "
        "seeds tell it apart, from the run in --workdir or a pilot of "
        f"{detect.PILOT_SEEDS} seeds",
    )
    flags.DEFINE_bool(
        "decide",
        False,
        "say how many seeds decide each claim of the study, and each trial needs; from "
        "such a run or pilot",
    )
    flags.DEFINE_float(
        "power",
        power.POWER,
        "with --detect or --decide, share of runs that are to find it",
    )
    flags.DEFINE_string(
        "workdir",
        None,
        "with --detect or --decide, the run to read, or where the pilot goes",
    )
    flags.DEFINE_bool(
        "check_gradients",
        False,
        "compare gradients with central differences; for some weights of each layer, "
        "in float64; status 1 if they disagree",
    )
