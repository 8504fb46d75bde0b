# SPDX-License-Identifier: Apache-2.0
"""A study converts to JSON and back, and refuses what makes no sense."""

import dataclasses
import json
import re

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from nnlab.models import layers
from nnlab.study import (
    DTYPES,
    PATHS,
    TRACED,
    WATCHED,
    Claim,
    Hyperparameters,
    Model,
    Optimizer,
    Own,
    Schedule,
    Study,
)
from nnlab.study.claims import SECONDS, best, best_minus_final, final, higher, lower
from nnlab.study.hyperparameters import path_of
from nnlab.study.study import METRIC
from nnlab.words import spelling

RATES = st.floats(0, 1e6, allow_subnormal=False)
SHARES = st.floats(0, 1, exclude_max=True, width=32)
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]))
SIZES = st.lists(st.integers(1, 4096), max_size=3).map(tuple)
MODELS = st.builds(
    Model,
    name=st.sampled_from(["mlp", "cnn"]),
    hidden=SIZES,
    channels=SIZES,
    activation=st.sampled_from(layers.ACTIVATIONS),
    init=st.sampled_from(layers.INITIALIZERS),
    init_scale=RATES,
    bias=st.sampled_from(layers.BIASES),
    batch_norm=st.booleans(),
    dropout_rate=SHARES,
) | st.builds(
    Model,
    name=st.just("stack"),
    layers=st.just(("flatten", {"layer": "dense", "units": 10, "bias": False})),
)
BASES = st.builds(
    Hyperparameters,
    dataset=st.sampled_from(["digits", "mnist"]),
    train_size=st.integers(0, 60_000),
    model=MODELS,
    optimizer=st.builds(
        Optimizer,
        name=st.sampled_from(["sgd", "rmsprop"]),
        learning_rate=RATES,
        momentum=SHARES,
        nesterov=st.booleans(),
    ),
    schedule=st.builds(
        Schedule,
        name=st.sampled_from(["constant", "cosine", "exponential"]),
        warmup_steps=st.integers(0, 9),
        end=st.floats(0.01, 1),
    ),
    batch_size=st.integers(1, 1024),
    eval_every_epochs=st.floats(0.01, 10),
    dtype=st.sampled_from(DTYPES),
)
ACCURACY, BEST = final("test_accuracy"), best("train_accuracy")
CLAIMS = st.builds(
    Claim,
    text=TEXTS,
    quantity=st.just(ACCURACY),
    left=st.just({"optimizer.learning_rate": 0.5}),
    right=st.just("chance") | st.floats(0.1, 0.9) | st.just({"label": "slow"}),
    relation=st.sampled_from(["greater", "less"]),
) | st.builds(lambda text: lower(text, ACCURACY, {}, {}, right_quantity=BEST), TEXTS)
STUDIES = st.builds(
    Study,
    question=TEXTS,
    base=BASES,
    claims=st.lists(CLAIMS, max_size=2).map(tuple),
    sweep=st.lists(RATES, min_size=1, max_size=5, unique=True).map(
        lambda rates: tuple({"optimizer.learning_rate": rate} for rate in rates)
    ),
    num_seeds=st.integers(1, 100),
    target=SHARES,
)


@hypothesis.given(STUDIES)
@hypothesis.settings(max_examples=100, deadline=None)
def test_a_study_comes_back_from_json_as_it_was(study):
    again = Study.from_dict(json.loads(json.dumps(study.to_dict())))
    assert again == study
    assert again.trials() == study.trials()
    assert again.digest() == study.digest()


@hypothesis.given(STUDIES)
@hypothesis.settings(max_examples=50, deadline=None)
def test_trials_keep_the_sweeps_order_and_are_told_apart(study):
    trials = study.trials()
    assert [t.index for t in trials] == list(range(len(study.sweep)))
    assert [t.overrides for t in trials] == list(study.sweep)
    assert len({t.id for t in trials}) == len({t.label for t in trials}) == len(trials)


def test_an_id_is_that_of_the_settings_however_they_were_written():
    def identity(overrides, base=None):
        return Study(base=base or Hyperparameters(), sweep=(overrides,)).trials()[0].id

    rate = "optimizer.learning_rate"
    one = identity({rate: 1, "batch_size": 64})
    assert one == identity({"batch_size": np.int64(64), rate: 1.0})
    assert one == identity({rate: 1}, Hyperparameters(batch_size=64))
    assert identity({"optimizer.momentum": -0.0}) == identity({})
    assert one != identity({rate: 1})


def test_what_is_traced():
    # Each of these is a scalar argument of a compiled program, by its last part.
    names = [path.rpartition(".")[2] for path in TRACED]
    assert len({*names}) == len(names)
    assert set(TRACED) < set(PATHS) == set(Hyperparameters().flat())


def labels(*sweep):
    return [trial.label for trial in Study(sweep=sweep).trials()]


def test_labels():
    modules = [{"module.name": name, "module.width": 8} for name in "AB"]
    assert labels(*modules) == ["module=A", "module=B"]
    assert path_of("module") == "module.name"
    rate, hidden, name = "optimizer.learning_rate", "model.hidden", "optimizer.name"
    assert labels({}) == ["base"]
    assert labels({rate: 1e-3}, {rate: 1}) == ["learning_rate=0.001", "learning_rate=1"]
    assert labels({hidden: ()}, {hidden: [64, 64]}) == ["hidden=()", "hidden=(64, 64)"]
    assert labels({rate: 0.1}, {rate: 0.1, name: "adam", "label": "Adam"})[1] == "Adam"
    # Six digits would not separate these.
    close = labels({rate: 0.1}, {rate: 0.1000000001})
    assert close == ["learning_rate=0.1", "learning_rate=0.1000000001"]
    # optimizer.name and schedule.name share their last part.
    both = labels({name: "adam"}, {"schedule.name": "cosine"})
    assert both[0] == "optimizer.name=adam, schedule.name=constant"


CASTS = [
    ("batch_size", np.int32(8), 8),
    ("batch_size", 8.0, 8),
    ("optimizer.learning_rate", 1, 1.0),
    ("optimizer.learning_rate", np.array(0.5), 0.5),
    ("model.hidden", [8, 9.0], (8, 9)),
    ("model.hidden", np.array([8, 9]), (8, 9)),
    ("model.batch_norm", np.True_, True),
]


@pytest.mark.parametrize(("path", "given", "meant"), CASTS)
def test_casts(path, given, meant):
    got = Hyperparameters().replace({path: given}).flat()[path]
    assert got == meant
    assert type(got) is type(meant)


RATE = "optimizer.learning_rate"
REFUSED = [
    (RATE, "fast", "optimizer.learning_rate='fast' is not a number"),
    (RATE, True, "=True is not a number"),
    ("batch_size", True, "=True is not a whole number"),
    ("model.batch_norm", 1, "=1 is not true or false"),
    ("batch_size", 1.5, "=1.5 is not a whole number"),
    (RATE, 10**400, " is too large for a number"),
    ("model.init_scale", 1e39, "=1e+39 is too large"),
    (RATE, float("nan"), "=nan is not finite"),
    ("model.init_scale", float("inf"), "=inf is not finite"),
    (RATE, -1, "=-1.0 must be at least 0"),
    ("model.dropout_rate", 1, "=1.0 must be below 1"),
    ("eval_every_epochs", 0, "=0.0 must be above 0"),
    ("model.hidden", (8, 0), "=(8, 0) must be at least 1"),
    ("model.hidden", (8, "x"), "[1]='x' is not a whole number"),
    ("model.hidden", 8, "=8 is not a tuple such as (64, 32)"),
    ("model", 8, "unknown field 'model'"),
    ("model.activation", "rleu", "='rleu' is not known; did you mean 'relu'? "),
    ("model.init", "he", "did you mean 'he_normal'? allowed: lecun_"),
    ("model.layers", ("relu",), " goes with name='stack', not 'mlp'"),
    ("model.name", "stack", "a stack needs at least one layer"),
    ("transfer.mode", "tuning", "transfer.mode='tuning' needs a source"),
    ("transfer.mode", "probe", "='probe' is not known; did you mean 'probing'?"),
    ("model.num_trees", 0, "=0 must be at least 1"),
    ("max_steps", -1, "=-1 must be at least 0"),
    ("csv.missing", "median", "='median' is not known; did you mean 'mean'? "),
]


@pytest.mark.parametrize(
    ("path", "value", "message"), REFUSED, ids=[message for _, _, message in REFUSED]
)
def test_a_bad_value_is_named_with_its_path(path, value, message):
    with pytest.raises(ValueError, match=r".") as error:
        Hyperparameters().replace({path: value})
    assert message in str(error.value)
    assert path.partition(".")[0] in str(error.value)
    assert "\n" not in str(error.value)


def test_trees_need_a_depth():
    model = {"name": "random_forest", "tree_depths": ()}
    with pytest.raises(ValueError, match="tree_depths is empty"):
        Hyperparameters(model=model)
    other = {**model, "name": "mlp"}  # which does not read it
    assert Hyperparameters(model=other).model.is_network


CLAIM = {"text": "x", "quantity": {"metric": "a"}, "left": {}, "right": 0.0}
METRC, INIT = CLAIM | {"quantity": {"metrc": "a"}}, CLAIM | {"left": {"init": 1}}
DENS = {"name": "stack", "layers": ["flatten", "dens"]}
UNKNOWN = [
    ({"model": {"hiden": [3]}}, "field 'model.hiden'; did you mean 'hidden'? "),
    ({"batchsize": 3}, "field 'batchsize'; did you mean 'batch_size'? "),
    ({"sweep": [{"momentum": 0.9}]}, "did you mean 'optimizer.momentum'? "),
    ({"claims": [METRC]}, "'claims[0].quantity.metrc'; did you mean 'metric'? "),
    ({"claims": [INIT]}, "'init' in the claim 'x'; did you mean 'model.init'? "),
    ({"model": DENS}, "model.layers: layer 1: unknown layer 'dens'; did you mean 'd"),
]


@pytest.mark.parametrize(("values", "message"), UNKNOWN)
def test_an_unknown_field_is_named_with_the_nearest(values, message):
    with pytest.raises(ValueError, match="unknown") as error:
        Study.from_dict(values)
    assert message in str(error.value)
    assert "allowed: " in str(error.value)


SWEEPS = [
    ((), "the sweep is empty"),
    (({"batch_size": 8}, {"batch_size": 8.0}), "trials 0 and 1 .* are equal"),
    (({"batch_size": 8, "label": "a"}, {"label": "a"}), "share the label 'a'"),
    (({"label": 3},), "trial 0 of the sweep: label=3 is not a text"),
    (({"model.channels": [8]}, {}), "'model.channels' changes nothing.*'cnn'"),
    (({"model.num_trees": 8}, {}), "changes nothing.*'boosted_trees' or"),
]


@pytest.mark.parametrize(("sweep", "message"), SWEEPS)
def test_a_sweep_that_cannot_be_meant_is_refused(sweep, message):
    with pytest.raises(ValueError, match=message):
        Study(sweep=sweep)


TREES, ADAM = {"model.name": "random_forest"}, {"optimizer.name": "adam"}
IDLE = [
    ({}, "optimizer.nesterov", (False, True), "momentum above 0, not 0.0"),
    ({}, "early_stopping.metric", WATCHED, "patience above 0, not 0"),
    ({"model.hidden": ()}, "model.activation", ("relu", "tanh"), "of at least one lay"),
    (TREES, "num_epochs", (1, 2), "not 'random_forest'"),
    (ADAM, "optimizer.momentum", (0.0, 0.9), "'sgd' or 'rmsprop'"),
    ({}, "transfer.batch_size", (8, 16), "transfer.mode 'probing' or"),
    ({"dataset": "csv:x"}, "standardize", (True, False), "a table always is"),
    ({}, "model.hidden", ((8,), (64,)), "not a module of yours"),
]


@pytest.mark.parametrize(("base", "path", "values", "why"), IDLE)
def test_what_no_trial_reads_is_refused_when_swept_and_pointed_out_when_set(
    base, path, values, why
):
    own = Own(module={"name": "Mine"} if "yours" in why else None)
    base = Hyperparameters().replace(base)
    message = f"the sweep over '{path}' changes nothing: it goes with .*{why}"
    with pytest.raises(ValueError, match=message):
        Study(base=base, own=own, sweep=tuple({path: value} for value in values))
    other = next(v for v in values if v != Study().base.flat()[path])
    (said,) = Study(base=base.replace({path: other}), own=own).remarks()
    assert re.search(f"{path} is set, but changes nothing: it goes with .*{why}", said)
    assert not Study(base=base, own=own).remarks()


PATIENT = {"early_stopping.patience": 3}
FALLS = lower("a", "test_loss", {}, 0.5)
RISES = higher("b", best_minus_final("validation_accuracy"), {}, 0.5)
LASTS = lower("c", SECONDS, {}, 0.5)


@pytest.mark.parametrize(
    ("base", "fields", "metric"),
    [
        (PATIENT, {}, "validation_accuracy"),
        (PATIENT, {"claims": (FALLS,)}, "validation_loss"),
        (PATIENT, {"claims": (FALLS, RISES)}, "validation_accuracy"),
        (PATIENT, {"claims": (FALLS, LASTS)}, "validation_accuracy"),
        ({}, {}, "validation_loss"),  # which nothing reads
        ({}, {"sweep": ({}, PATIENT)}, "validation_accuracy"),
        (
            {},
            {"search": {"space": ("early_stopping.patience=int(1,4)",)}},
            "validation_accuracy",
        ),
        (PATIENT | {METRIC: "validation_loss"}, {}, "validation_loss"),
    ],
)
def test_networks_stop_by_what_the_claims_are_about(base, fields, metric):
    study = Study(base=Hyperparameters().replace(base), **fields)
    assert study.to_dict()["early_stopping"]["metric"] == metric
    found = {trial.hyperparameters.early_stopping.metric for trial in study.trials()}
    assert found == {metric}
    other = dataclasses.replace(study, claims=(FALLS,))  # which is too late
    assert other.base == study.base == Study.from_dict(study.to_dict()).base


def test_the_kind_of_bands_is_recorded_where_it_is_not_the_usual_one():
    assert "bands" not in Study().to_dict()
    wide = Study(bands="simultaneous")
    assert wide.to_dict()["bands"] == "simultaneous"
    assert Study.from_dict(wide.to_dict()) == wide


def test_patience_that_is_added_to_a_study_stops_by_the_metric_of_its_claims():
    fields = Study().fields()
    fields["early_stopping"]["patience"] = 3
    assert Study.from_dict(fields).base.early_stopping.metric == "validation_accuracy"
    assert Study().to_dict()["early_stopping"]["metric"] == "validation_loss"


def test_the_metric_that_follows_the_claims_can_be_swept():
    sweep = tuple({METRIC: metric} for metric in ("auto", "validation_loss"))
    base = Hyperparameters().replace(PATIENT)
    labels = [trial.label for trial in Study(base=base, sweep=sweep).trials()]
    assert labels == ["metric=validation_accuracy", "metric=validation_loss"]


def test_trials_that_are_equal_in_effect_are_one():
    optimizers = [
        {"optimizer.name": name, "optimizer.momentum": m, "optimizer.nesterov": n}
        for name in ("adam", "sgd")
        for m in (0.0, 0.9)
        for n in (True, False)
    ]
    study = Study(sweep=tuple(optimizers))
    assert [t.label for t in study.trials()] == [
        "name=adam, nesterov=True",
        "name=adam, nesterov=False",
        "name=sgd, momentum=0",
        "name=sgd, momentum=0.9, nesterov=True",
        "name=sgd, momentum=0.9, nesterov=False",
    ]
    assert [t.index for t in study.trials()] == list(range(len(study.sweep)))
    assert study.trials()[0].settings()["optimizer.momentum"] is None
    assert study.remarks()[0].startswith("3 of 8 combinations are equal in effect")
    assert study.indices_of(optimizers) == [0, 1, 0, 1, 2, 2, 3, 4]
    again = Study.from_dict(study.to_dict())
    assert again == study
    assert again.trials() == study.trials()


def test_a_run_keeps_the_trials_that_it_had():
    sweep = [{"optimizer.nesterov": value} for value in (False, True)]
    assert len(Study.from_dict({"sweep": sweep}, recorded=True).trials()) == 2


def test_swept_lists_what_differs():
    sweep = ({"batch_size": 8}, {"batch_size": 9, "optimizer.learning_rate": 0.1})
    assert Study(sweep=sweep).swept() == ("batch_size",)


SHARE, OTHER = {"reduction": "diverged_share"}, {"metric": "b"}
NO_SHARE = "right_quantity does not go with reduction='diverged_share'; allowed: final,"
BAD_CLAIMS = [
    ({"quantity": {"reduction": "finl"}}, r"quantity.reduction='finl' .*'final'"),
    ({"quantity": {"metric": "a", "reduction": "at_epoch"}}, "'at_epoch' needs epoch"),
    ({"quantity": {"metric": "a", "reduction": "steps_to"}}, "'steps_to' needs target"),
    ({"quantity": {}}, "'final' needs metric"),
    ({"relation": "same"}, "'same' needs a margin above 0"),
    ({"right": "luck"}, "right='luck' must be trials, a number or 'chance'"),
    ({"text": None}, "text=None is not a text"),
    ({"right_quantity": OTHER}, "right_quantity goes with trials on the right"),
    ({"right": {}, "right_quantity": SHARE}, NO_SHARE),
    ({"right": {}, "right_quantity": OTHER, "quantity": SHARE}, NO_SHARE),
]


@pytest.mark.parametrize(("changes", "message"), BAD_CLAIMS)
def test_a_claim_that_data_cannot_decide_is_refused(changes, message):
    with pytest.raises(ValueError, match=rf"claims\[0\].*{message}"):
        Study.from_dict({"claims": [CLAIM | changes]})


def test_a_claim_names_what_it_lacks():
    with pytest.raises(ValueError, match=r"claims\[0\] lacks text, quantity, right"):
        Study.from_dict({"claims": [{"left": {}}]})


def test_the_last_part_alone_or_in_a_wrong_group_finds_its_path():
    for path in (path for path in PATHS if "." in path):
        leaf = path.rpartition(".")[2]
        for given in {leaf, f"training.{leaf}"} - {*PATHS}:
            assert f".{leaf}'?" in spelling.nearest_path(given, PATHS)


def test_the_number_of_trials_and_of_layers_has_an_end():
    sweep = [{"optimizer.learning_rate": float(i)} for i in range(10_001)]
    with pytest.raises(ValueError, match="the sweep has 10,001 trials; at most 10,000"):
        Study.from_dict({"sweep": sweep})
    with pytest.raises(ValueError, match="depth=5001 times the 2 layers of hidden is"):
        Study.from_dict({"model": {"hidden": [4, 4], "depth": 5001}})


def test_how_a_table_is_read_tells_its_data_from_others():
    base = Hyperparameters(dataset="csv:t.csv")
    asked = {"csv.missing": "mean", "csv.ignore": ("id", "name")}
    assert base.data == "csv:t.csv"
    told = "csv:t.csv (csv.missing=mean, csv.ignore=id,name)"
    assert base.replace(asked).data == told
    assert Hyperparameters().replace(asked).data == "digits"


def test_a_field_that_came_later_leaves_ids_as_they_were():
    (trial,) = Study().trials()
    assert trial.id == "633ca1adf99a"
    assert not [path for path in trial.hyperparameters.identity() if "csv." in path]
    (other,) = Study(sweep=({"dataset": "csv:t.csv", "csv.missing": "drop"},)).trials()
    assert other.hyperparameters.identity()["csv.missing"] == "drop"


def test_what_a_claim_got_later_is_recorded_where_it_is_not_the_usual():
    usual = higher("6 learns", "test_accuracy", {"batch_size": 6}, "chance")
    main = dataclasses.replace(usual, main=True)
    record = Study(claims=(usual, main)).to_dict()
    assert [claim.get("main") for claim in record["claims"]] == [None, True]
    assert Study.from_dict(record).claims == (usual, main)


# ---- What varies from seed to seed.


def test_the_names_of_what_varies_have_one_order_and_one_record():
    study = Study(vary=("split", "noise", "init"))
    assert study.vary == ("init", "noise", "split")
    assert Study.from_dict(study.to_dict()) == study
    assert "vary" not in Study(vary=("noise", "order", "init")).to_dict()
    assert study.digest() != Study().digest()


@pytest.mark.parametrize("vary", [(), ("order", "order"), ("seed",)])
def test_what_varies_is_one_thing_once(vary):
    with pytest.raises(ValueError, match="vary"):
        Study(vary=vary)


def test_seeds_that_differ_in_nothing_are_pointed_out():
    for base, is_said in (
        ({}, True),
        ({"model.dropout_rate": 0.5}, False),
        ({"augment_pixels": 1}, False),
        ({"model.name": "random_forest"}, False),
    ):
        study = Study(base=Hyperparameters().replace(base), vary=("noise",))
        assert any("Seeds differ in nothing" in r for r in study.remarks()) == is_said


@pytest.mark.parametrize(
    ("fields", "compares"),
    [
        ({}, True),
        ({"claims": True}, False),
        ({"claims": True, "compare_trials": "yes"}, True),
        ({"compare_trials": "no"}, False),
        ({"claims": True, "looks": (4, 8)}, True),  # --until_resolved takes it
        ({"sweep": ({},)}, False),
    ],
)
def test_trials_are_compared_where_the_study_asks_it(fields, compares):
    if "claims" in fields:
        fields = fields | {"claims": [higher("x", "test_accuracy", {}, "chance")]}
    rates = [{"optimizer.learning_rate": rate} for rate in (0.1, 0.2)]
    study = Study(**{"sweep": rates, **fields})
    assert study.compares == compares
    assert ("compare_trials" in study.to_dict()) == ("compare_trials" in fields)
