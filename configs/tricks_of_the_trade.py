# SPDX-License-Identifier: Apache-2.0
"""What does each trick of LeCun's "Efficient BackProp" add to a network with one hidden
layer?

    python -m launch.train --config=configs/tricks_of_the_trade.py:mnist \
        --data_dir=DIR --workdir=runs/tricks_of_the_trade

A 784-64-10 network with sigmoid units, a bias on its input only, standardised inputs,
weights uniform in -1..1, batch 32, rate 0.1; five evaluations an epoch, and a network
stops when its validation loss has not improved in 50 of them. The report's ladder adds
one trick after another: weights with standard deviation 1/sqrt(fan-in), the activation
1.7159 tanh(2x/3), momentum 0.9 (with rate 0.02). The clean comparison makes one change
at a time to the plain network, each at the best of three rates (with momentum 0.9 a
tenth of them, since it adds up to ten times a steady gradient).

Expect of ":mnist" (20,000 training images, at most 50 epochs, n = 5; 208 s on
a 2-core CPU, jax 0.10.2): up the ladder 91.8, 96.2, 96.3 and 96.3 %; one change at a
time, each at its best rate, plain 94.8, init 96.3, tanh 93.5 and momentum 94.9 %.

The report that is tested here ran the ladder once. Its last rung changes momentum and
learning rate together, and each rung stands on those before it, so the ladder cannot
say what a trick adds by itself. The clean comparison can.

Source of the tricks: LeCun, Y., Bottou, L., Orr, G. B. and Mueller, K.-R. (1998).
Efficient BackProp. In Neural Networks: Tricks of the Trade. Springer.
"""

import itertools

from nnlab.commands.config import ConfigDict, default
from nnlab.study import DATASETS, SIZES, Sweep, choose, sized
from nnlab.study import claims as c

GROUPS = (DATASETS, SIZES)
RATES = (0.1, 0.5, 2.0)
INIT, TANH = {"model.init": "lecun_normal"}, {"model.activation": "lecun_tanh"}
MOMENTUM = {"optimizer.momentum": 0.9}
SIGMOID = {"model.activation": "sigmoid", "optimizer.momentum": 0.0}
PLAIN: c.Trials = {"model.init": "uniform", **SIGMOID}
ONE_CHANGE: dict[str, c.Trials] = {
    "plain": PLAIN,
    "init": {**PLAIN, **INIT},
    "tanh": {**PLAIN, **TANH},
    "momentum": {**PLAIN, **MOMENTUM},
}
LADDER = {
    "plain": {"label": "plain, rate 0.1"},
    "+ init": {"label": "init, rate 0.1"},
    "+ tanh": {"label": "init + tanh, rate 0.1"},
    "+ momentum": {"label": "init + tanh + momentum, rate 0.02"},
}
NORMAL = {"label": "normal start, rate 0.1"}


def get_config(arg: str = "") -> ConfigDict:
    """The study; `arg` such as "mnist", "fashion_mnist,full" or "smoke"."""
    dataset, size = choose(arg, *GROUPS)
    config = default(__doc__)
    config.update(dataset=dataset, standardize=True, batch_size=32, num_seeds=5)
    config.update(num_epochs=50, eval_every_epochs=0.2)
    config.train_size = 0 if dataset == "digits" else 20_000
    config.model.update(activation="sigmoid", init="uniform", bias="first")
    config.model.hidden = (32,) if dataset == "digits" else (64,)
    config.early_stopping.patience = 50
    config.update(sized(size, full={"train_size": 0, "num_seeds": 8}))
    config.target = {"digits": 0.85, "mnist": 0.9, "fashion_mnist": 0.8}[dataset]
    config.figures = ("curves", "target", "final", "gap")
    config.claims = c.claimed(_claims(config.target))
    config.notes = (
        "The report's last step changes two things at once, momentum and the learning "
        "rate (0.1 to 0.02), and each of its steps stands on those before it: its "
        "ladder cannot say what a trick adds by itself. The trials with one change "
        "can; each counts at the best of its rates by validation accuracy.",
        "A network that stops goes back to its best parameters, so what it would have "
        "lost by training on does not show. Overfitting is therefore read off the gap "
        "between training and test accuracy.",
    )
    return config


def sweep(arg: str = "") -> Sweep:
    """One change to the plain network at each rate, and the rest of the ladder."""
    for name, change in ONE_CHANGE.items():
        # Momentum 0.9 adds up to ten times a steady gradient.
        for rate in [r / 10 for r in RATES] if name == "momentum" else RATES:
            label = {"label": f"{name}, rate {rate:g}"}
            yield {**label, **change, "optimizer.learning_rate": rate}
    slow, both = {"optimizer.learning_rate": 0.1}, {**PLAIN, **INIT, **TANH}
    yield {**LADDER["+ tanh"], **both, **slow}
    reported = {**MOMENTUM, "optimizer.learning_rate": 0.02}
    yield {**LADDER["+ momentum"], **both, **reported}
    yield {**NORMAL, **PLAIN, "model.init": "normal", **slow}


def _claims(goal: float) -> c.Comparisons:
    claims: c.Comparisons = {}
    accuracy = "test_accuracy"
    for before, after in itertools.pairwise(LADDER):
        sides, top = (LADDER[after], LADDER[before]), f"(on top of {before!r})"
        sooner = f"{after!r} converges faster, to {goal:.0%} {top}"
        claims[f"{after!r} raises the accuracy {top}"] = c.higher(accuracy, *sides)
        claims[sooner] = c.faster(goal, *sides)
        claims[f"{after!r} stops early sooner {top}"] = c.lower(c.STEPS, *sides)
    plain, last = LADDER["plain"], LADDER["+ momentum"]
    claims |= {
        "Fewer steps make overfitting less likely: with all tricks the gap between "
        "training and test accuracy is smaller than "
        "without": c.higher(c.drop("train_accuracy"), last, plain),
        "A plain normal start is as good as a uniform one (within 1 "
        "point)": c.same_within(0.01, accuracy, NORMAL, plain),
    }
    for name in ("init", "tanh", "momentum"):
        alone, change = f"By itself, {name}", ONE_CHANGE[name]
        claims |= {
            f"{alone} raises the accuracy": c.higher(
                accuracy, change, PLAIN, among="best"
            ),
            f"{alone} converges faster, to {goal:.0%}": c.faster(
                goal, change, PLAIN, among="best"
            ),
        }
    return claims
