# SPDX-License-Identifier: Apache-2.0
"""What to run and what is claimed about it, as checked plain values; no JAX.

A `Study` is all that a program or a notebook hands to the library. It is checked when
made. `Study.to_dict` and `Study.from_dict` convert it to JSON and back.
"""

import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nnlab.study import grammar, needs
from nnlab.study.claims import Claim
from nnlab.study.fields import (
    Checked,
    FieldError,
    coerced,
    field,
    from_mapping,
    to_mapping,
)
from nnlab.study.hyperparameters import (
    AUTO,
    MODULE,
    WATCHED,
    Flat,
    Hyperparameters,
    Module,
    differing,
    every_path,
    needs_of,
)
from nnlab.study.needs import OWN_MODULE
from nnlab.study.probes import Probe
from nnlab.study.probes import parse as parse_probe
from nnlab.words import numbers as texts
from nnlab.words.spelling import nearest

SAMPLERS = ("tpe", "random", "qmc", "gp")
"""Samplers of Optuna whose storage holds plain values only."""
SHOWN = {
    "curves": "validation accuracy, validation loss and training loss by epoch",
    "gap": "training and test accuracy by epoch, side by side",
    "extremes": "training, validation and test curves of the best and the worst trial",
    "noise": "spread of the batch losses by epoch",
    "updates": "validation accuracy against updates",
    "seconds": "validation accuracy against seconds of training",
    "final": "final test accuracy against what was swept",
    "target": "epochs to the target against what was swept",
    "rates": "final training loss against the learning rate, what trains, and the edge",
    "test_sets": "accuracy on the normal, the moved and the rotated test set",
    "severity": "test accuracy against how far the images are moved or rotated",
    "map": "final test accuracy over the two hyperparameters that were swept",
    "sizes": "final test accuracy against depth, width, parameters and training time",
    "divergence": "where networks left the finite numbers, over what was swept",
    "probes": "what the study's probes measure, against updates",
    "active_units": "share of the activations' outputs above 0, by epoch",
    "gradients": "gradient norm of each layer by epoch, as a map and as lines",
    "costs": "time, examples/s, inferences/s, parameters and operations, side by side",
    "confusion": "which classes the best trial takes for which",
    "regions": "the plane coloured by the best and the worst trial's predictions",
    "weights": "first-layer weights of the best and the worst trial as images",
    "gallery": "test images that the best trial gets right and the worst wrong",
    "mistakes": "the best trial's most confident mistakes",
    "probabilities": (
        "class probabilities of a few test images, before and after training"
    ),
}
"""What each part of a report shows, by the part's name."""
PARTS = tuple(SHOWN)
"""The parts of a report; `nnlab.report.figures.catalog` says how each is drawn."""
PICTURES = (
    *("confusion", "regions", "weights", "gallery", "mistakes", "probabilities"),
)
"""Those of `PARTS` that need the final networks' predictions or weights."""
PATIENCE, METRIC = "early_stopping.patience", "early_stopping.metric"
BANDS = POINTWISE, SIMULTANEOUS = "pointwise", "simultaneous"
"""What a band covers in 95 % of experiments: each point, or the whole curve."""
TRAIN_EVALUATION_SIZE = 5_000
"""Training loss and accuracy are of the first so many training examples, at most."""
OWNED = ("init", "order", "noise")
"""What changes from seed to seed by default: initial weights, order of the training
examples, and noise (dropout, moved images, what a tree sees)."""
DRAWN = ("split", "split=published")
"""What else may: all parts of the data, or all but the published test set."""
AVERAGED = ("averaged_loss", "averaged_accuracy")
"""Metrics of a network with averaged weights; see `Hyperparameters.average_decay`."""
ON_ONE_TEST_SET = ("gallery", "mistakes", "probabilities")
"""Those of `PARTS` that show test images, which all seeds must share."""
OWN_PROBE = "probes:"
"""What the names of probes of one's own begin with, in `Own.functions`."""
OF_TRIAL = ("label", "num_seeds", "combinations")
"""Keys of a trial in a sweep that are no hyperparameters."""
MOST_TRIALS = 10_000
"""Most trials of a study. So many take seconds to check."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MovedSets(Checked):
    """Test sets of moved and of rotated images, evaluated for every network.

    Attributes:
      moved_pixels: largest shift along both axes; 0 for no moved set.
      rotated_degrees: largest rotation to both sides; 0 for no rotated set.
      along_curve: whether to evaluate them during training, not only at the end.
      severity: whether to evaluate the final networks at all severities, from 0 to 6
        pixels and from 0 to 60 degrees.
    """

    moved_pixels: int = field(0, minimum=0, maximum=10_000)
    rotated_degrees: float = field(0.0, minimum=0.0, maximum=180.0)
    along_curve: bool = False
    severity: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Halving(Checked):
    """Successive halving: the worst trials end early.

    The rungs are the first evaluations at or after `min_epochs`, `factor` times it, its
    square times it and so on. At each rung the best 1/factor of the trials of a program
    go on, by mean validation accuracy over the seeds. The others end.

    Attributes:
      factor: one of so many trials goes on; 0 for no halving.
      min_epochs: epochs that every trial gets.
    """

    factor: int = field(0, minimum=0)
    min_epochs: float = field(1.0, above=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.factor == 1:
            raise FieldError("factor", "=1 drops no trial; choose 2 or more, 0 for off")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Search(Checked):
    """A search in which Optuna chooses the trials; see `nnlab.runs.search`.

    Attributes:
      space: what is searched, such as "optimizer.learning_rate=log(1e-3,1)",
        "optimizer.momentum=uniform(0,0.9)", "batch_size=int(8,64)" or
        "model.hidden=(32,),(64,)"; () for no search.
      sampler: how trials are chosen: "tpe" (tree-structured Parzen estimators),
        "random", "qmc" (a Sobol sequence) or "gp" (a Gaussian process; needs PyTorch).
      trials: number of trials in all.
      batch: trials that are chosen at once and train together.
    """

    space: tuple[str, ...] = ()
    sampler: str = field("tpe", choices=SAMPLERS)
    trials: int = field(64, minimum=1, maximum=MOST_TRIALS)
    batch: int = field(16, minimum=1)


@dataclasses.dataclass(frozen=True)
class Trial:
    """One assignment of all hyperparameters.

    Attributes:
      index: position in the sweep; never renumbered.
      id: digest of the hyperparameters, 12 hexadecimal digits.
      label: its name in figures and tables.
      overrides: ``{path: value}`` where it differs from the study's base.
      hyperparameters: the full assignment.
      num_seeds: its repetitions: seeds 0 to num_seeds - 1.
      combinations: combinations of the sweep that it stands for, its own included.
      unread: the swept paths that it does not read, where it stands for several.
    """

    index: int
    id: str
    label: str
    overrides: Mapping[str, Any]
    hyperparameters: Hyperparameters
    num_seeds: int
    combinations: int = 1
    unread: tuple[str, ...] = ()

    def settings(self) -> Flat:
        """Hyperparameters by path; None where it stands for several values."""
        return Flat(self.hyperparameters.flat() | dict.fromkeys(self.unread))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OwnModule(Checked):
    """What identifies a module of the user's own; see `nnlab.training.own`.

    Attributes:
      name: name of its class.
      attributes: ``{field: value as a text}``.
      parameters: ``{path: shape}``.
      code: digest of its code and of library versions; "" where it cannot be known.
    """

    name: str
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    code: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(Checked):
    """What identifies the module, metrics and data that are passed from Python.

    A study that has any of these runs only if they are passed again.

    Attributes:
      module: the module in place of `Hyperparameters.model`, that of the first trial if
        there are several; None for none.
      metrics: ``{name: digest of its code}``, as of a module's.
      functions: likewise of the functions that train, such as "loss", and of
        probes, such as "probes:spread@50".
      datasets: ``{name in the study: digest}`` of data sets from arrays.
      modules: the modules of trials that set something else in `Hyperparameters.module`
        than the first, ``{text of what they set: as of an OwnModule}``.
    """

    module: OwnModule | None = None
    metrics: dict[str, Any] = dataclasses.field(default_factory=dict)
    functions: dict[str, Any] = dataclasses.field(
        default_factory=dict, metadata={"later": True}
    )
    datasets: dict[str, Any] = dataclasses.field(default_factory=dict)
    modules: dict[str, Any] = dataclasses.field(
        default_factory=dict, metadata={"later": True}
    )

    def record_of(self, by: Module) -> dict[str, Any] | None:
        """Returns the record of the module that a trial trains; None for none."""
        first = self.module and dataclasses.asdict(self.module)
        return self.modules.get(by.text, first)

    def plain(self) -> dict[str, Any]:
        """Returns it for JSON, without empty parts that were added later."""
        return {
            part.name: value
            for part in dataclasses.fields(self)
            if (value := dataclasses.asdict(self)[part.name])
            or "later" not in part.metadata
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study(Checked):
    """A question, the trials that answer it, and what is claimed about them.

    >>> rates = [{"optimizer.learning_rate": rate} for rate in (0.01, 0.1)]
    >>> study = Study(question="Which rate?", sweep=rates, num_seeds=4)
    >>> study.size(), study.swept()
    ('2 trials x 4 seeds = 8 networks', ('optimizer.learning_rate',))
    >>> [trial.label for trial in study.trials()]
    ['learning_rate=0.01', 'learning_rate=0.1']

    Attributes:
      question: in words; the report opens with it.
      claims: what people believe, tested on the results; as claims, or as texts such
        as "test_accuracy(depth=6) > chance", which answer the question; see
        `nnlab.study.grammar`.
      base: the hyperparameters that the trials start from.
      own: what is passed from Python when it runs.
      sweep: one flat override dict for each trial, e.g.
        ``{"optimizer.learning_rate": 0.1, "label": "slow"}``; ``({},)`` runs the base.
        A trial with fewer seeds than the others has its own "num_seeds", which counts
        up to that of the study. Trials that are equal in effect become one, which
        counts them as "combinations".
      num_seeds: repetitions of every trial, at most.
      looks: numbers of seeds at which the trials are compared, such as (4, 8, 16, 32).
        Trials that differ significantly from the best, or that only more examples would
        tell from it, get no more seeds, the others those of the next look; () compares
        once, at the end; see `nnlab.runs.sequential`.
      halving: whether the worst trials end before the others.
      search: how Optuna chooses trials, if not from `sweep` alone.
      eval_size: validation and test examples that are used, the first of each; 0 for
        all.
      root_seed: the root of every random key.
      vary: what changes from seed to seed, some of "init", "order", "noise" and
        "split"; the rest stays that of seed 0. With "split" every seed draws its own
        training, validation and test examples from all of the data set, stratified by
        class, in the sizes of the data set's own split; "split=published" keeps the
        test set.
      compare_trials: whether the trials are tested against the best one: "yes", "no",
        or "auto", where the study makes no claims. Beside claims each question gets
        half of the 5 % that may err; what is not tested is described.
      target: validation accuracy that "steps to target" refers to; 0 picks it from the
        data (see `targets.default_target`).
      test_sets: further test sets, beside the normal one.
      figures: what the report shows beside answer and tables, some of `PARTS`.
      bands: what the bands of learning curves cover in 95 % of experiments: each point
        by itself ("pointwise"), or the whole curve ("simultaneous", which is wider).
      notes: what the reader must know to judge the answer, in words.
      seal: whether the plan (study, claims and seeds) is written with a digest before
        training, and test scores stay hidden until it is done; see
        `nnlab.results.seal`.
      example_losses: whether to store the final networks' loss of each validation and
        test example, beside whether it was right; 32 times as much.
      probes: what is measured of every network along training, such as "sharpness" (at
        evaluations), "sharpness@50" (every 50 updates), "distance@0+10+100" (at these
        steps) or "noise_scale@log"; see `nnlab.study.probes`.
      probe_size: training examples that probes see, the same ones at every step; 0 for
        all.
    """

    question: str = "How does training go?"
    claims: tuple[Claim, ...] = ()
    base: Hyperparameters = Hyperparameters()
    own: Own = Own()
    sweep: tuple[dict[str, Any], ...] = ({},)
    num_seeds: int = field(8, minimum=1)
    looks: tuple[int, ...] = field((), minimum=1)
    halving: Halving = Halving()
    search: Search = Search()
    eval_size: int = field(0, minimum=0)
    root_seed: int = field(0, minimum=0, below=2**31)
    vary: tuple[str, ...] = field(OWNED, among=(*OWNED, *DRAWN), later=True)
    compare_trials: str = field(AUTO, choices=(AUTO, "yes", "no"), later=True)
    target: float = field(0.0, minimum=0.0, below=1.0)
    test_sets: MovedSets = MovedSets()
    figures: tuple[str, ...] = field(("curves", "final", "target"), among=PARTS)
    bands: str = field(POINTWISE, choices=BANDS, later=True)
    notes: tuple[str, ...] = ()
    seal: bool = field(False, later=True)
    example_losses: bool = field(False, later=True)
    probes: tuple[str, ...] = field((), later=True)
    probe_size: int = field(1000, minimum=0, later=True)
    recorded: dataclasses.InitVar[bool] = False

    def __post_init__(self, recorded: bool) -> None:
        if isinstance(self.claims, list | tuple):
            given = self.claims
            read = (grammar.answer(c) if isinstance(c, str) else c for c in given)
            object.__setattr__(self, "claims", tuple(read))
        super().__post_init__()
        if not self.sweep:
            raise ValueError("the sweep is empty: it needs at least one trial")
        if len(self.sweep) > MOST_TRIALS:
            raise ValueError(
                f"the sweep has {len(self.sweep):,} trials; at most {MOST_TRIALS:,} "
                "are allowed"
            )
        if any(b <= a for a, b in itertools.pairwise(self.looks)):
            raise ValueError(
                f"looks={self.looks}: each takes more seeds than the one before"
            )
        if self.looks and self.compare_trials == "no":
            raise ValueError(
                f"looks={self.looks} compares the trials: compare_trials must be "
                "'yes' or 'auto'"
            )
        self._check_probes()
        self._choose_metric()
        self._check_vary()
        self._settle(recorded)
        for seeds in {self.num_seeds, *(t.num_seeds for t in self.trials())}:
            if self.looks and seeds not in self.looks:
                raise ValueError(f"num_seeds={seeds} is none of looks={self.looks}")
        if self.looks and (self.search.space or self.halving.factor):
            other = "search.space" if self.search.space else "halving.factor"
            raise ValueError(
                f"looks={self.looks} does not go with {other}: trials that are chosen "
                "or dropped on the way are not compared look by look"
            )
        if self.seal and (self.search.space or self.looks):
            other = "search.space" if self.search.space else "looks"
            raise ValueError(
                f"seal=True does not go with {other}: which networks train is then no "
                "plan that could be sealed"
            )
        if self.halving.factor and not any(map(self._has_rung, self.trials())):
            h = self.base
            raise ValueError(
                f"halving.min_epochs={self.halving.min_epochs:g} leaves no evaluation "
                f"before the end to drop a trial at (num_epochs={h.num_epochs}, "
                f"eval_every_epochs={h.eval_every_epochs:g})"
            )

    def _check_probes(self) -> None:
        names = [parse_probe(text).name for text in self.probes]
        if twice := [name for name in names if names.count(name) > 1]:
            raise FieldError("probes", f" has {twice[0]!r} twice")

    def _check_vary(self) -> None:
        if not self.vary:
            raise FieldError(
                "vary", f" is empty: name some of {texts.joined([*OWNED, DRAWN[0]])}"
            )
        streams = [name.partition("=")[0] for name in self.vary]
        if twice := [name for name in streams if streams.count(name) > 1]:
            raise FieldError("vary", f"={self.vary} names {twice[0]!r} twice")
        ordered = tuple(name for name in (*OWNED, *DRAWN) if name in self.vary)
        object.__setattr__(self, "vary", ordered)
        if self.split == DRAWN[0] and self.test_sets.severity:
            raise ValueError(
                "test_sets.severity needs one test set for all seeds: vary="
                f"{DRAWN[1]!r} keeps the published one"
            )

    @property
    def split(self) -> str:
        """How seeds draw their examples, one of `DRAWN`; "" for one split for all."""
        return next((name for name in self.vary if name in DRAWN), "")

    @property
    def compares(self) -> bool:
        """Whether the trials are tested against the best one."""
        asked = not self.claims or bool(self.looks)
        if self.compare_trials != AUTO:
            asked = self.compare_trials == "yes"
        return asked and len(self.trials()) > 1

    def varying(self) -> str:
        """Says what changes from seed to seed, where that is not the default."""
        if self.vary == OWNED:
            return ""
        fixed = [name for name in OWNED if name not in self.vary]
        parts = "training, validation and test" if self.split == DRAWN[0] else ""
        parts = "training and validation" if self.split == DRAWN[1] else parts
        own = f"; each seed draws {parts} examples of its own" if parts else ""
        rest = f"; {texts.joined(fixed)} as in seed 0" if fixed else ""
        streams = [name.partition("=")[0] for name in self.vary]
        return f"{texts.joined(streams)}{rest}{own}"

    def index_of(self, stream: str, seed: int) -> int:
        """Returns which of a stream's random numbers a seed has: its own, or seed 0's.

        >>> study = Study(vary=("order",))
        >>> study.index_of("order", 3), study.index_of("init", 3)
        (3, 0)
        """
        return seed if stream in self.vary else 0

    def _has_rung(self, trial: Trial) -> bool:
        h = trial.hyperparameters
        first = math.ceil(self.halving.min_epochs / h.eval_every_epochs)
        return first * h.eval_every_epochs < h.num_epochs

    def digest(self) -> str:
        """SHA-256 (hexadecimal) of the study's canonical JSON."""
        return digest_json(self.to_dict())

    def size(self) -> str:
        """Returns the population in words: "8 trials x 16 seeds = 128 networks"."""
        trials = self.trials()
        networks = all(t.hyperparameters.model.is_network for t in trials)
        count = sum(t.num_seeds for t in trials)
        return (
            f"{texts.count(len(trials), 'trial')} x {self.seeds()} = "
            f"{texts.count(count, 'network' if networks else 'model')}"
        )

    def seeds(self) -> str:
        """Returns the repetitions in words: "8 seeds", or "4 to 32 seeds"."""
        least = min(t.num_seeds for t in self.trials())
        text = texts.count(self.num_seeds, "seed")
        return text if least == self.num_seeds else f"{least:,} to {text}"

    def with_seeds(self, seeds: Sequence[int]) -> "Study":
        """Returns the study with these numbers of seeds, one for each trial."""
        sweep = tuple(
            {k: v for k, v in item.items() if k != "num_seeds"}
            | ({"num_seeds": number} if number < max(seeds) else {})
            for item, number in zip(self.sweep, seeds, strict=True)
        )
        return dataclasses.replace(self, sweep=sweep, num_seeds=max(seeds))

    def swept(self) -> tuple[str, ...]:
        """Returns the paths that differ between trials, in the order of `PATHS`."""
        return differing([trial.hyperparameters.given() for trial in self.trials()])

    def has_label_noise(self) -> bool:
        """Returns whether any trial trains on random labels."""
        some = (self.base, *(trial.hyperparameters for trial in self.trials()))
        return any(h.label_noise > 0 for h in some)

    def further_metrics(self) -> tuple[str, ...]:
        """Returns what is measured of every split beside loss and accuracy."""
        some = (self.base, *(trial.hyperparameters for trial in self.trials()))
        averaged = any(h.average_decay > 0 for h in some)
        return *(AVERAGED if averaged else ()), *self.own.metrics

    def probed(self) -> tuple[Probe, ...]:
        """Returns the study's probes, those of one's own included."""
        own = (what.partition(OWN_PROBE)[2] for what in self.own.functions)
        return tuple(map(parse_probe, (*self.probes, *filter(None, own))))

    def datasets(self) -> dict[str, Hyperparameters]:
        """Returns the trials' data sets by name, each with its first trial."""
        found: dict[str, Hyperparameters] = {}
        for trial in self.trials():
            found.setdefault(trial.hyperparameters.data, trial.hyperparameters)
        return found

    def trials(self) -> tuple[Trial, ...]:
        """Returns the trials, in the order of the sweep."""
        made: tuple[Trial, ...] = self.__dict__["_trials"]
        return made

    def indices_of(self, items: Iterable[Mapping[str, Any]]) -> list[int]:
        """Returns the index of the trial that each override dict equals in effect."""
        known = {
            digest_json(self.effect(trial.hyperparameters)): trial.index
            for trial in self.trials()
        }
        made = (self.effect(self.base.replace(item)) for item in items)
        return [known[digest_json(effect)] for effect in made]

    def effect(self, hyperparameters: Hyperparameters) -> dict[str, Any]:
        """Returns the hyperparameters that a trial reads, by path."""
        settings = self.settings(hyperparameters)
        return {
            path: settings[path]
            for path in every_path([settings])
            if not needs.lacking(needs_of(path), settings)
        }

    def idle(self) -> dict[str, str]:
        """Returns the paths that no trial reads, each with the reason."""
        trials = [self.settings(trial.hyperparameters) for trial in self.trials()]
        found = {
            path: needs.idle(needs_of(path), trials) for path in every_path(trials)
        }
        return {path: why for path, why in found.items() if why}

    def remarks(self) -> tuple[str, ...]:
        """Says which settings change nothing, in sentences."""
        said = []
        asked = sum(trial.combinations for trial in self.trials())
        if equal := asked - len(self.trials()):
            left = texts.count(len(self.trials()), "trial")
            verb = "is" if len(self.trials()) == 1 else "are"
            said.append(
                f"{equal} of {asked} combinations {'is' if equal == 1 else 'are'} "
                f"equal in effect to another: {left} {verb} left."
            )
        values, usual = self.trials()[0].hyperparameters.flat(), Study().base.flat()
        groups: dict[str, list[str]] = {}
        for path, why in self.idle().items():
            if values[path] != usual[path]:
                groups.setdefault(why, []).append(path)
        for why, paths in groups.items():
            verbs = ("is", "changes", "it goes")
            if len(paths) > 1:
                verbs = ("are", "change", "they go")
            said.append(
                f"{texts.joined(paths)} {verbs[0]} set, but {verbs[1]} nothing: "
                f"{verbs[2]} with {why}."
            )
        alike = [part for part in self.figures if part in ON_ONE_TEST_SET]
        if alike and self.split == DRAWN[0]:
            verb = "is" if len(alike) == 1 else "are"
            said.append(
                f"{texts.joined(alike)} {verb} left out: every seed has test examples "
                f"of its own (vary={DRAWN[1]} keeps the published ones)."
            )
        if self.vary == ("noise",) and not any(map(self._is_noisy, self.trials())):
            said.append(
                "Seeds differ in nothing: only the noise varies (vary=noise), and no "
                "trial has any, such as model.dropout_rate or augment_pixels."
            )
        return tuple(said)

    def _is_noisy(self, trial: Trial) -> bool:
        h = trial.hyperparameters
        unknown = self.own.module is not None or h.model.name == "stack"
        grown = not h.model.is_network
        return unknown or grown or h.model.dropout_rate > 0 or h.augments

    def settings(self, hyperparameters: Hyperparameters) -> Flat:
        """Returns a trial's settings, as `nnlab.study.needs` takes them."""
        is_own = bool(self.own.module or hyperparameters.module.attributes)
        own = {OWN_MODULE: is_own}
        return Flat(hyperparameters.flat() | own)

    def _choose_metric(self) -> None:
        """Puts the metric that decides when networks stop in the place of "auto".

        It is the one that the claims are about; without any it is the accuracy, by
        which trials are compared. Where no network may stop, none is read, and the loss
        is noted, as ever.
        """
        loss, accuracy = WATCHED
        about = [claim.quantity.metric for claim in self.claims]
        of_losses = about and all(metric.endswith("loss") for metric in about)
        chosen = {METRIC: loss if of_losses or not self._may_stop() else accuracy}
        if self.base.early_stopping.metric == AUTO:
            object.__setattr__(self, "base", self.base.replace(chosen))
        sweep = (i | chosen if i.get(METRIC) == AUTO else i for i in self.sweep)
        object.__setattr__(self, "sweep", tuple(sweep))

    def _may_stop(self) -> bool:
        """Whether any network may stop early."""
        patience = [self.base.flat(), *self.sweep]
        searched = any(text.startswith(PATIENCE) for text in self.search.space)
        return searched or any(settings.get(PATIENCE) for settings in patience)

    def _settle(self, recorded: bool) -> None:
        """Makes the trials, and merges those that are equal in effect.

        Those of a study that was `recorded` by a run stay as they were.
        """
        asked = [self._asked(index, item) for index, item in enumerate(self.sweep)]
        settings = [self.settings(trial.hyperparameters) for trial in asked]
        each = [trial.hyperparameters.given() for trial in asked]
        swept = differing(each)
        if not (recorded or self.search.space):  # which has its own check
            check_read(swept, settings)
        first: dict[str, Trial] = {}
        alike: dict[str, list[Trial]] = {}
        for trial, of in zip(asked, settings):
            if (same := first.setdefault(trial.id, trial)) is not trial:
                raise ValueError(
                    f"trials {same.index} and {trial.index} of the sweep are equal: "
                    f"{trial.overrides}"
                )
            unread = [path for path in swept if needs.lacking(needs_of(path), of)]
            key = trial.id
            if unread and not recorded:
                key = digest_json({p: of[p] for p in swept if p not in unread})
            one = dataclasses.replace(trial, unread=tuple(unread))
            alike.setdefault(key, []).append(one)
        groups = list(alike.values())
        swept = differing([each[group[0].index] for group in groups])
        sweep, trials = [], []
        for index, group in enumerate(groups):
            trial, given = _merged(index, group, swept), self.sweep[group[0].index]
            item = {k: v for k, v in given.items() if k not in OF_TRIAL[1:]}
            if trial.num_seeds < self.num_seeds:
                item["num_seeds"] = trial.num_seeds
            if trial.combinations > 1:
                item["combinations"] = trial.combinations
            sweep.append(item)
            trials.append(trial)
        object.__setattr__(self, "sweep", tuple(sweep))
        object.__setattr__(self, "_trials", _labelled(trials, swept))

    def _asked(self, index: int, item: Mapping[str, Any]) -> Trial:
        overrides = {k: v for k, v in item.items() if k not in OF_TRIAL}
        try:
            label = coerced(item.get("label", ""), str, "label")
            number = item.get("num_seeds", self.num_seeds)
            number = coerced(number, int, "num_seeds")
            if number < 1:
                raise FieldError("num_seeds", f"={number} must be 1 or more")
            several = coerced(item.get("combinations", 1), int, "combinations")
            hyperparameters = self.base.replace(overrides)
        except ValueError as error:
            raise ValueError(f"trial {index} of the sweep: {error}") from None
        return Trial(
            index=index,
            id=digest_json(hyperparameters.identity())[:12],
            label=label,
            overrides=overrides,
            hyperparameters=hyperparameters,
            num_seeds=min(number, self.num_seeds),
            combinations=several,
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON, with the hyperparameters at the top level.

        Fields that were added `later` are there only if they are not the default, as in
        the records of older runs.
        """
        values = self.fields()
        values["early_stopping"] = to_mapping(self.base.early_stopping)
        made: list[tuple[Any, dict[str, Any]]] = [(self, values)]
        for of, kept in (*made, *zip(self.claims, values["claims"])):
            for added in dataclasses.fields(of):
                if "later" in added.metadata and kept[added.name] == added.default:
                    del kept[added.name]
        return json.loads(json.dumps(values))

    def fields(self) -> dict[str, Any]:
        """Returns the same in Python's values, with tuples, as a config has them.

        The metric that nothing reads is "auto" again: patience may be added.
        """
        values = dataclasses.asdict(self)
        del values["base"]
        base = to_mapping(self.base)
        if base["early_stopping"]["metric"] == WATCHED[0] and not self._may_stop():
            base["early_stopping"]["metric"] = AUTO
        values["own"] = self.own.plain()
        if self.own == Own():
            del values["own"]
        return {**values, **base}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, recorded: bool = False) -> "Study":
        """Makes a study from what `to_dict` returns.

        Args:
          values: ``{"question": ..., "dataset": ..., "model": {...}, "sweep": [...]}``.
          recorded: whether the study is that of a run, whose trials must not change.

        Raises:
          ValueError: an unknown field (the nearest name is offered) or a bad value.
        """
        own = {f.name for f in dataclasses.fields(cls)} - {"base"}
        below = {f.name for f in dataclasses.fields(Hyperparameters)}
        for key in values:
            if key not in own | below:
                names = sorted(own | below)
                raise ValueError(f"unknown field {key!r}{nearest(key, names)}")
        base = {k: v for k, v in values.items() if k in below}
        rest = {k: v for k, v in values.items() if k in own}
        made = from_mapping(Hyperparameters, base, "")
        return cls(base=made, recorded=recorded, **rest)


def check_read(
    swept: Iterable[str], trials: Sequence[needs.Settings], what: str = "sweep"
) -> None:
    """Refuses to sweep (or to search) a field that no trial reads."""
    for path in swept:
        if why := needs.idle(needs_of(path), trials):
            raise ValueError(
                f"the {what} over {path!r} changes nothing: it goes with {why}"
            )


def _merged(index: int, group: Sequence[Trial], swept: Sequence[str]) -> Trial:
    """Merges trials that are equal in effect into the first of them."""
    several = sum(trial.combinations for trial in group)
    unread = (p for p in swept if several > 1 and p in group[0].unread)
    return dataclasses.replace(
        group[0],
        index=index,
        num_seeds=max(trial.num_seeds for trial in group),
        combinations=several,
        unread=tuple(unread),
    )


def _labelled(trials: Sequence[Trial], swept: tuple[str, ...]) -> tuple[Trial, ...]:
    labels: dict[str, int] = {}
    found = []
    names = _labels([trial.settings() for trial in trials], swept)
    for trial, automatic in zip(trials, names):
        label = trial.label or automatic
        if (same := labels.setdefault(label, trial.index)) != trial.index:
            raise ValueError(
                f"trials {same} and {trial.index} of the sweep share the label "
                f"{label!r}"
            )
        found.append(dataclasses.replace(trial, label=label))
    return tuple(found)


def _labels(flats: Sequence[Mapping[str, Any]], swept: tuple[str, ...]) -> list[str]:
    """Returns a label such as ``"learning_rate=0.1, hidden=(64, 64)"`` for each trial.

    Numbers have six digits, or all of theirs where six do not tell them apart. A last
    name that two paths share is written with its whole path.
    """
    if not swept:
        return ["base"] * len(flats)
    leaves = ["module" if path == MODULE else path.rpartition(".")[2] for path in swept]
    parts = []
    for path, leaf in zip(swept, leaves):
        values = [flat[path] for flat in flats]
        texts = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
        if len(set(texts)) < len(set(map(repr, values))):
            texts = [repr(v) for v in values]
        name = leaf if leaves.count(leaf) == 1 else path
        parts.append(
            ["" if v is None else f"{name}={t}" for v, t in zip(values, texts)]
        )
    # A module of one's own reads none of the models' fields.
    return [", ".join(filter(None, labels)) or OWN_MODULE for labels in zip(*parts)]


def digest_json(value: Any) -> str:
    """Returns the SHA-256 (hexadecimal) of a plain value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
