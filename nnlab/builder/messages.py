# SPDX-License-Identifier: Apache-2.0
"""The builder's messages about a training, in words and as HTML; no widgets.

All names from users or data are escaped.
"""

import base64
import datetime
import io
import math
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from nnlab import report
from nnlab.builder import editing
from nnlab.builder.training import MOST_EVALUATED, Training
from nnlab.data import Dataset
from nnlab.results import Results
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.members import status_counts
from nnlab.words import numbers

MOST_BARS = 10  # classes of an example, at most


def share(values: np.ndarray) -> str:
    """Returns mean and 95 % interval over networks, such as "94.3 % ± 0.4"."""
    mean, _, high = (float(v) for v in mean_interval(values))
    middle, sign, half = numbers.mean_text(mean, high).partition(" ± ")
    return f"{middle} %{sign}{half}"


def untrained(accuracy: np.ndarray, dataset: Dataset, chance: float) -> str:
    """Says how accurate the networks, (S,), are before training; NaN if not finite."""
    finite = accuracy[np.isfinite(accuracy)]
    if not len(finite):
        return "Untrained: no network has finite outputs."
    low, high = numbers.percent(finite.min()), numbers.percent(finite.max())
    many = f"{low} to {high} over {numbers.count(len(finite), 'network')}, "
    return (
        f"Untrained: {numbers.percent(finite.mean())} of {_evaluated(dataset)} right "
        f"({many if len(finite) > 1 else ''}chance {numbers.percent(chance)})."
    )


def _evaluated(dataset: Dataset) -> str:
    size = len(dataset.test.labels)
    first = "the first " if size > MOST_EVALUATED else ""
    return f"{first}{numbers.count(min(size, MOST_EVALUATED), 'test example')}"


def accuracies(training: Training) -> str:
    """Returns a sentence on the last evaluation; "" before the first."""
    history = training.history
    if not len(history):
        return "Stopped before the first evaluation." if training.outcome else ""
    when = {"": "At", "stopped": "Stopped after", "finished": "After"}
    epoch = f"{when[training.outcome]} epoch {history.epochs[-1]:.4g}"
    test = history.last("test_accuracy")
    if not len(test):
        return f"{epoch}: all networks have diverged."
    text = (
        f"{epoch}: test accuracy {share(test)}, training accuracy "
        f"{share(history.last('train_accuracy'))}"
    )
    active = history.last("validation_active_share")
    if len(active):
        text += f", {numbers.percent(active.mean(), 0)} of the ReLU outputs above 0"
    return f"{text} (n = {len(test)})."


def state(training: Training) -> str:
    """Says what goes on and how fast; at the end, how to read the numbers."""
    progress = training.progress
    if training.outcome:
        return (
            f"{training.outcome.capitalize()} after {clock(training.seconds)}. Means "
            "and 95 % intervals over the networks, on "
            f"{_evaluated(training.dataset)}."
        )
    if progress is None or progress.status != "training":
        return f"{progress.status.capitalize() if progress else 'Compiling'}."
    parts = [f"epoch {progress.epoch:,.1f} of {progress.num_epochs:,g}"]
    if math.isfinite(left := training.seconds_left):
        parts.append(f"{clock(left)} left")
    rates = {
        "examples/s": progress.examples_per_second,
        "inferences/s": progress.inferences_per_second,
    }
    parts += [f"{rate:,.0f} {unit}" for unit, rate in rates.items() if rate == rate]
    networks = numbers.count(training.study.num_seeds, "network")
    return f"{' | '.join(parts)} ({networks} together)"


def news(training: Training) -> str:
    """Returns the progress or the result of a training, as HTML."""
    name = f"{editing.summary(training.stack)} ({training.dataset.name})"
    title = f"<h3>Run {training.number}: {numbers.escaped(name)}</h3>"
    if training.outcome == "failed":
        return title + box("error", training.failure)
    bar, progress = "", training.progress
    if progress and not training.outcome:
        bar = f'<progress max="{progress.total}" value="{progress.done}"></progress>'
    history, said = training.history, told(training)
    is_fine = not len(history) or history.living.any()
    boxes = [box("note" if i or not is_fine else "fine", t) for i, t in enumerate(said)]
    return f"{title}{bar}<div>{numbers.escaped(state(training))}</div>{''.join(boxes)}"


def box(kind: str, text: str) -> str:
    """Puts a sentence in a box of a kind: "fine", "note" or "error"; HTML."""
    role = "alert" if kind == "error" else "status"
    return f'<div class="nnlab-{kind}" role="{role}">{numbers.escaped(text)}</div>'


def written(path: pathlib.Path) -> str:
    """Shows a report, which is opened in place, and a link that saves it; HTML.

    Both hold the whole page, because a hosted notebook serves no files.
    """
    data = base64.b64encode(path.read_bytes()).decode()
    name = f"nnlab-{path.parent.name}.html"
    return (
        f'<div class="nnlab-quiet">Report: {numbers.escaped(str(path))}</div>'
        f'<a download="{numbers.escaped(name)}" href="data:text/html;base64,{data}">'
        "Download the report</a><details><summary>Open the report</summary>"
        f"{report.embedded(path)}</details>"
    )


def told(training: Training) -> list[str]:
    """Returns sentences on how good a training is, and what went wrong."""
    said = [accuracies(training)]
    if training.results is not None:
        said += ends(training.results, training.chance)
    elif training.progress and (diverged := training.progress.diverged):
        rate = training.study.base.optimizer.learning_rate
        networks, step = training.study.num_seeds, training.history.steps[-1]
        said.append(lost(diverged, networks, step, rate, by=True))
    return [text for text in said if text]


def lost(
    diverged: int, networks: int, step: int, learning_rate: float, by: bool = False
) -> str:
    """Says that networks diverged, and what to do about it.

    The first of them diverged at update `step`, or earlier if `by`.
    """
    first = "" if by or diverged == 1 else "the first "
    return (
        f"{diverged} of {numbers.count(networks, 'network')} diverged, "
        f"{first}{'by' if by else 'at'} update {step:,}: learning rate "
        f"{learning_rate:g} is too high for this stack; try a tenth, "
        f"{learning_rate / 10:g}."
    )


def ends(results: Results, chance: float) -> list[str]:
    """Returns sentences on the networks that diverged or learned nothing."""
    counts, said = status_counts(results, 0), []
    networks = results.study.num_seeds
    rate = results.trials[0].hyperparameters.optimizer.learning_rate
    if diverged := counts["diverged"]:
        steps = results.member(0, "diverged_step")
        said.append(lost(diverged, networks, int(np.nanmin(steps)), rate))
    if counts["at_chance"]:
        said.append(
            f"{counts['at_chance']} of {numbers.count(networks, 'network')} "
            f"{'ends' if counts['at_chance'] == 1 else 'end'} at chance: right no more "
            f"often than an answer that is always the same "
            f"({numbers.percent(chance)}). The loss is finite, but nothing was "
            "learned; try another learning rate, or more epochs."
        )
    return said


def clock(seconds: float) -> str:
    """Writes a duration as hours, minutes and seconds, such as "0:02:05"."""
    return str(datetime.timedelta(seconds=round(seconds)))


def png(image: np.ndarray) -> bytes | None:
    """Makes a PNG of values in [0, 1], (H, W, 1 or 3); None for other shapes."""
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        return None
    values = (255 * np.clip(image, 0, 1)).round().astype(np.uint8)
    grey = values.shape[-1] == 1
    buffer = io.BytesIO()
    Image.fromarray(values[..., 0] if grey else values).save(buffer, format="PNG")
    return buffer.getvalue()


def probabilities(training: Training) -> str:
    """Shows the first test examples with class probabilities, before and now; HTML."""
    before, now, dataset = training.before, training.now, training.dataset
    title = "<h3>The first test examples</h3>"
    if before is None:
        return ""
    if now is None or not training.history.living.any():
        return f"{title}<div>All networks have diverged.</div>"
    names, cards = dataset.class_names, []
    for i, label in enumerate(dataset.test.labels[: len(now)].tolist()):
        cards.append(
            f'<div class="nnlab-card"><div class="nnlab-example">{_shown(dataset, i)}'
            f"<b>{numbers.escaped(names[label])}</b></div>"
            f"{_bars(names, label, before[i], now[i])}</div>"
        )
    networks = numbers.count(int(training.history.living.sum()), "network")
    return (
        f'{title}<div class="nnlab-quiet">Class probabilities, mean of {networks}: '
        "before training (thin), now (thick; blue is the true class).</div>"
        f'<div class="nnlab-cards">{"".join(cards)}</div>'
    )


def table(trainings: Iterable[Training]) -> str:
    """Makes an HTML table of trainings that have ended, the last one first."""
    columns = ("run", "data set", "layers", "training", "test accuracy", "")
    ended = sorted(trainings, key=lambda each: -each.number)
    body = "".join(_row("td", _cells(each)) for each in ended)
    whole = f"<thead>{_row('th', columns)}</thead><tbody>{body}</tbody>"
    return f"<h3>Runs so far</h3><table>{whole}</table>" if body else ""


def _row(tag: str, cells: Iterable[str]) -> str:
    made = (f"<{tag}>{numbers.escaped(cell)}</{tag}>" for cell in cells)
    return f"<tr>{''.join(made)}</tr>"


def _cells(training: Training) -> list[str]:
    h, history = training.study.base, training.history
    test = history.last("test_accuracy")
    how = f"{h.optimizer.name} {h.optimizer.learning_rate:g}"
    if h.optimizer.momentum:
        how += f", momentum {h.optimizer.momentum:g}"
    epochs = history.epochs[-1] if len(history) else 0
    remarks = [training.outcome] if training.outcome == "stopped" else []
    if len(history) and (diverged := training.study.num_seeds - len(test)):
        remarks.append(f"{diverged} of {training.study.num_seeds} diverged")
    return [
        *(str(training.number), training.dataset.name),
        editing.summary(training.stack),
        f"{how}, batch {h.batch_size}, {epochs:.4g} epoch{'s' * (epochs != 1)}",
        f"{share(test)} (n = {len(test)})" if len(test) else numbers.NONE,
        ", ".join(remarks),
    ]


def _shown(dataset: Dataset, index: int) -> str:
    """Shows a test example: its image, or the values of its features if few."""
    example = dataset.test.inputs[index]
    if encoded := png(example.astype(np.float32) * np.float32(dataset.scale)):
        data = base64.b64encode(encoded).decode()
        return f'<img src="data:image/png;base64,{data}" alt="test image {index}">'
    if len(dataset.feature_names) <= 4:
        pairs = zip(dataset.feature_names, dataset.in_units(example))
        named = (f"{numbers.escaped(name)} {value:.4g}" for name, value in pairs)
        return "<br>".join(named)
    return f"test example {index}"


def _bars(
    class_names: Sequence[str], label: int, before: np.ndarray, now: np.ndarray
) -> str:
    """Draws a bar per class; of many classes, the true and the most probable ones."""
    if not np.isfinite(now).all():
        return "<div>its probabilities are not finite</div>"
    weight = now.copy()
    weight[label] = np.inf
    classes = np.sort(np.argsort(-weight, kind="stable")[:MOST_BARS])
    rows = []
    for c in classes.tolist():
        kind = "nnlab-true" if c == label else "nnlab-other"
        rows.append(
            f'<span class="nnlab-class {kind}">{numbers.escaped(class_names[c][:11])}'
            f'</span><span class="nnlab-track {kind}">'
            f'<i class="nnlab-before" style="width:{100 * before[c]:.1f}%"></i>'
            f'<i class="nnlab-now" style="width:{100 * now[c]:.1f}%"></i></span>'
        )
    best = int(now.argmax())
    said = f"{numbers.escaped(class_names[best])}, {numbers.percent(now[best], 0)}"
    return f'<div class="nnlab-bars">{"".join(rows)}</div><div>says {said}</div>'
