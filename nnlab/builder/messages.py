# SPDX-License-Identifier: Apache-2.0
"""What a watcher is told of a stack's training: its numbers, in words and HTML.

Plain values in, text out: no widgets. All that comes from users or data is escaped.
"""

import base64
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from nnlab.builder import editing
from nnlab.builder.training import MOST_EVALUATED, Training
from nnlab.data import Dataset
from nnlab.results import Results
from nnlab.statistics.intervals import mean_interval
from nnlab.statistics.members import status_counts
from nnlab.words import numbers

MOST_BARS = 10
"""Classes of an example that have a bar."""


def share(values: np.ndarray) -> str:
    """Mean and 95 % interval of shares over networks, such as "94.3 % ± 0.4"."""
    mean, _, high = (float(v) for v in mean_interval(values))
    middle, sign, half = numbers.mean_text(mean, high).partition(" ± ")
    return f"{middle} %{sign}{half}"


def untrained(accuracy: np.ndarray, dataset: Dataset, chance: float) -> str:
    """How good networks are before training.

    Args:
      accuracy: of each network, (S,); NaN for one that gives no finite numbers.
      dataset: whose test examples they were asked.
      chance: what a constant answer gets.
    """
    finite = accuracy[np.isfinite(accuracy)]
    if not len(finite):
        return "Untrained: no network gives finite numbers."
    low, high = numbers.percent(finite.min()), numbers.percent(finite.max())
    many = f"{low} to {high} over {numbers.count(len(finite), 'network')}, "
    return (
        f"Untrained: {numbers.percent(finite.mean())} of {_asked(dataset)} right "
        f"({many if len(finite) > 1 else ''}chance {numbers.percent(chance)})."
    )


def _asked(dataset: Dataset) -> str:
    asked, size = len(dataset.test.labels[:MOST_EVALUATED]), len(dataset.test.labels)
    first = "the first " if asked < size else ""
    return f"{first}{numbers.count(asked, 'test example')}"


def accuracies(training: Training) -> str:
    """A sentence on the last evaluation; "" before the first."""
    history = training.history
    if not len(history):
        return "Stopped before the first evaluation." if training.outcome else ""
    when = {"": "At", "stopped": "Stopped after", "finished": "After"}
    epoch = f"{when[training.outcome]} epoch {history.epochs[-1]:.4g}"
    test = history.last("test_accuracy")
    if not len(test):
        return f"{epoch}: no network is left."
    text = (
        f"{epoch}: test accuracy {share(test)}, training accuracy "
        f"{share(history.last('train_accuracy'))}"
    )
    active = history.last("validation_active_share")
    if len(active):
        text += f", {numbers.percent(active.mean(), 0)} of the ReLU outputs above 0"
    return f"{text} (n = {len(test)})."


def state(training: Training) -> str:
    """What goes on, how fast and for how long; at the end, what the numbers are."""
    told = training.progress
    if training.outcome:
        return (
            f"{training.outcome.capitalize()} after {seconds(training.seconds)}. Means "
            f"and 95 % intervals over the networks, on {_asked(training.dataset)}."
        )
    if told is None or told.status != "training":
        return f"{told.status.capitalize() if told else 'Compiling'}."
    parts = [f"epoch {told.epoch:,.1f} of {told.num_epochs:,g}"]
    if math.isfinite(left := training.seconds_left):
        parts.append(f"{seconds(left)} left")
    rates = {
        "examples/s": told.examples_per_second,
        "inferences/s": told.inferences_per_second,
    }
    parts += [f"{rate:,.0f} {unit}" for unit, rate in rates.items() if rate == rate]
    networks = numbers.count(training.study.num_seeds, "network")
    return f"{' | '.join(parts)} ({networks} together)"


def bar(training: Training) -> str:
    """An HTML bar of how much is done; "" at the end."""
    known = training.progress
    if known is None or training.outcome:
        return ""
    return f'<progress max="{known.total}" value="{known.done}"></progress>'


def told(training: Training) -> list[str]:
    """Sentences on a training: how good, and what went wrong, if anything did."""
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
    """That networks diverged, and what to do about it.

    Args:
      diverged: how many did, at least one.
      networks: of how many.
      step: the update at which the first of them did.
      learning_rate: theirs.
      by: whether `step` is only known to be no earlier than that.
    """
    first = "" if by or diverged == 1 else "the first "
    return (
        f"{diverged} of {numbers.count(networks, 'network')} left the finite numbers, "
        f"{first}{'by' if by else 'at'} update {step:,}: learning rate "
        f"{learning_rate:g} is too high for this stack; try a tenth, "
        f"{learning_rate / 10:g}."
    )


def ends(results: Results, chance: float) -> list[str]:
    """Sentences on networks of a run's only trial that diverged or learned nothing."""
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
            f"({numbers.percent(chance)}). "
            "Their loss is finite, but they have not learned; try another learning "
            "rate, or more epochs."
        )
    return said


def seconds(left: float) -> str:
    """A duration, such as "8 s", "2 min 5 s" or "3 h 2 min"."""
    minutes, rest = divmod(round(left), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def png(image: np.ndarray) -> bytes | None:
    """An image of values in [0, 1], (H, W, 1 or 3), as PNG; None for other arrays."""
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        return None
    values = (255 * np.clip(image, 0, 1)).round().astype(np.uint8)
    buffer = io.BytesIO()
    shown = values[..., 0] if values.shape[-1] == 1 else values
    Image.fromarray(shown).save(buffer, format="PNG")
    return buffer.getvalue()


def notes(said: Iterable[str], is_fine: bool = True) -> str:
    """Sentences as HTML: the first is the result, those behind it are warnings.

    Args:
      said: the sentences.
      is_fine: whether the first is no warning, too.
    """
    kinds = ("nnlab-note", "nnlab-fine")
    return "".join(
        f'<div class="{kinds[is_fine and not i]}" role="status">{numbers.escaped(text)}'
        "</div>"
        for i, text in enumerate(said)
    )


def probabilities(training: Training) -> str:
    """HTML of the first test examples with their class probabilities, then and now."""
    before, now, dataset = training.before, training.now, training.dataset
    title = "<h3>The first test examples</h3>"
    if before is None:
        return ""
    if now is None or not training.history.living.any():
        return f"{title}<div>No network is left to ask.</div>"
    cards = []
    for i in range(len(now)):
        label = int(dataset.test.labels[i])
        name = numbers.escaped(dataset.class_names[label])
        cards.append(
            f'<div class="nnlab-card"><div class="nnlab-example">{_shown(dataset, i)}'
            f"<b>{name}</b></div>"
            f"{_bars(dataset.class_names, label, before[i], now[i])}</div>"
        )
    networks = numbers.count(int(training.history.living.sum()), "network")
    return (
        f'{title}<div class="nnlab-quiet">Class probabilities, mean of {networks}: '
        "before training (thin), now (thick; blue is the true class).</div>"
        f'<div class="nnlab-cards">{"".join(cards)}</div>'
    )


def table(trainings: Iterable[Training]) -> str:
    """An HTML table of trainings that have ended, the last one first."""
    rows = []
    for each in sorted(trainings, key=lambda each: -each.number):
        h, history = each.study.base, each.history
        test = history.last("test_accuracy") if len(history) else np.empty(0)
        how = f"{h.optimizer.name} {h.optimizer.learning_rate:g}"
        if h.optimizer.momentum:
            how += f", momentum {h.optimizer.momentum:g}"
        epochs = history.epochs[-1] if len(history) else 0
        gone = each.study.num_seeds - len(test) if len(history) else 0
        remarks = [each.outcome] if each.outcome == "stopped" else []
        if gone:
            remarks.append(f"{gone} of {each.study.num_seeds} diverged")
        cells = (
            *(str(each.number), each.dataset.name, editing.summary(each.stack)),
            f"{how}, batch {h.batch_size}, {epochs:.4g} epoch{'s' * (epochs != 1)}",
            f"{share(test)} (n = {len(test)})" if len(test) else numbers.NONE,
            ", ".join(remarks),
        )
        rows.append("".join(f"<td>{numbers.escaped(cell)}</td>" for cell in cells))
    columns = ("run", "data set", "layers", "training", "test accuracy", "")
    head = "".join(f"<th>{column}</th>" for column in columns)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f"<h3>Runs so far</h3><table><thead><tr>{head}</tr></thead><tbody>{body}"
        "</tbody></table>"
        if rows
        else ""
    )


def _shown(dataset: Dataset, index: int) -> str:
    """A test example: its image, or its values where it has few and they have names."""
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
    """A bar for each class, of the true and the most probable ones where many."""
    if not np.isfinite(now).all():
        return "<div>its probabilities are no finite numbers</div>"
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
