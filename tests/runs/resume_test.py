# SPDX-License-Identifier: Apache-2.0
import dataclasses
import itertools

import pytest
import tiny

from nnlab.runs import resume
from nnlab.study import Own, OwnModule, Study
from nnlab.study.members import by_program

RATE = "optimizer.learning_rate"


def study(rates=(0.1, 0.2), **values) -> Study:
    sweep = [{RATE: rate} for rate in rates]
    return Study.from_dict({"sweep": sweep, "num_seeds": 3, **values})


def rates(of: Study) -> list[float]:
    return [t.hyperparameters.optimizer.learning_rate for t in of.trials()]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {}),
        ({}, {"question": "Why?", "notes": ("So.",), "target": 0.5}),
        ({}, {"bands": "simultaneous"}),
        ({}, {"num_seeds": 5, "num_epochs": 12}),
        ({}, {"rates": (0.1, 0.2, 0.3)}),
        ({"schedule": {"warmup_steps": 5}}, {"num_epochs": 11}),  # knows no end
    ],
)
def test_more_of_the_same_and_other_words_may_be_asked_for(old, new):
    asked = study(**old | new)
    assert resume.merge(study(**old), asked) == asked
    # The checkpoints are those of both.
    assert identity(resume.merge(study(**old), asked)) == identity(study(**old))


def test_a_metric_that_follows_other_claims_is_named_with_what_to_do():
    loss = {"text": "a", "quantity": {"metric": "test_loss"}, "left": {}, "right": 1.0}
    early = {"early_stopping": {"patience": 2}}
    old, new = study(claims=(loss,), **early), study(**early)
    told = "'validation_loss' and is 'validation_accuracy' now: .*set it to what it was"
    with pytest.raises(ValueError, match=told):
        resume.merge(old, new)


def test_trials_keep_their_place_and_new_ones_stand_behind_them():
    merged = resume.merge(study((0.1, 0.2)), study((0.3, 0.2, 0.05, 0.1)))
    assert rates(merged) == [0.1, 0.2, 0.3, 0.05]


def test_of_trials_that_differ_in_epochs_each_finds_its_own():
    sweep = [{"num_epochs": n} for n in (2, 4)]
    new = [{"num_epochs": n} for n in (4, 8, 2)]
    old, more = (Study.from_dict({"sweep": s}) for s in (sweep, new))
    merged = resume.merge(old, more)
    assert [t.hyperparameters.num_epochs for t in merged.trials()] == [2, 4, 8]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch_size": 64}, "batch_size was 32 and is 64 now: another study"),
        ({"num_seeds": 2}, "num_seeds was 3 and is 2 now: may only grow"),
        ({"num_epochs": 9}, "num_epochs was 10 and is 9 now: may only grow"),
        ({"rates": (0.1,)}, "has a trial 'learning_rate=0.2' that the study does not"),
        ({"root_seed": 1}, "root_seed was 0 and is 1 now"),
        ({"figures": ("curves",)}, "figures was .* and is .*'curves'.* now"),
        ({"eval_size": 7}, "eval_size was 0 and is 7 now"),
        ({"model": {"hidden": (8,)}}, r"model.hidden was \[64\] and is \[8\] now"),
        ({"test_sets": {"moved_pixels": 1}}, "test_sets.moved_pixels was 0 and is 1"),
    ],
)
def test_another_study_is_refused_by_what_differs(values, message):
    with pytest.raises(ValueError, match=message):
        resume.merge(study(), study(**values))


@pytest.mark.parametrize("name", ["cosine", "linear", "step"])
def test_more_epochs_need_a_rate_that_does_not_know_the_end(name):
    schedule = {"name": name}
    with pytest.raises(ValueError, match=f"schedule.name='{name}' depends on the end"):
        resume.merge(study(schedule=schedule), study(schedule=schedule, num_epochs=11))


def members(programs) -> list[tuple[int, int]]:
    return [member for one in programs for member in one.pairs()]


def continued(old: Study, new: Study):
    records = [c.to_dict() for c in by_program(old.trials(), old.num_seeds)]
    return resume.continued(resume.merge(old, new), records)


def test_what_ran_keeps_its_programs():
    of = Study.from_dict({"sweep": [{"batch_size": b} for b in (8, 16)]})
    assert continued(of, of) == by_program(of.trials(), of.num_seeds)


def test_only_what_is_new_gets_programs_and_nobody_is_in_two():
    old = Study.from_dict({"sweep": [{"batch_size": 8}, {"batch_size": 16}]})
    sweep = [
        {"batch_size": 32},
        {"batch_size": 8},
        {"batch_size": 8, RATE: 0.5},
        {"batch_size": 16},
    ]
    new = Study.from_dict({"sweep": sweep, "num_seeds": old.num_seeds + 2})
    found = continued(old, new)
    before = by_program(old.trials(), old.num_seeds)
    assert members(found[:2]) == members(before)
    assert [c.index for c in found] == list(range(len(found)))
    wanted = {(t, s) for t in range(4) for s in range(new.num_seeds)}
    assert sorted(members(found)) == sorted(wanted)
    static = [{t.hyperparameters.batch_size for t in c.trials} for c in found]
    assert all(len(values) == 1 for values in static)


def test_twice_more_seeds():
    first, second, third = (study(num_seeds=n) for n in (3, 4, 6))
    once = continued(first, second)
    twice = resume.continued(third, [c.to_dict() for c in once])
    assert [(c.first_seed, c.num_seeds) for c in twice] == [(0, 3), (3, 1), (4, 2)]


RECORD = {
    "versions": dict.fromkeys(
        ("nnlab", "jax", "jaxlib", "flax", "optax", "numpy"), "1"
    ),
    "devices": {"platform": "cpu", "kind": "a", "count": 2},
}


DEVICES = RECORD["devices"]
VERSIONS = RECORD["versions"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"versions": {**VERSIONS, "numpy": "2", "python": "3"}}, ""),
        *(
            ({"versions": {**VERSIONS, name: "2"}}, f"{name} was 1 and is 2 now")
            for name in resume.PACKAGES
        ),
        ({"devices": {**DEVICES, "kind": "b"}}, "the device was a and is b now"),
        ({"devices": {**DEVICES, "count": 4}}, ""),
        (
            {"devices": {**DEVICES, "count": 1}},
            "programs were compiled for several and are for one device now",
        ),
        ({"settings": {"XLA_FLAGS": "--fast"}}, ""),  # not noted by the run
    ],
)
def test_what_may_change_the_numbers_is_named(changes, told):
    assert resume.differences(RECORD, {**RECORD, **changes}) == [told][: bool(told)]


def test_other_settings_are_named_where_the_run_has_noted_them():
    old, new = ({**RECORD, "settings": {"XLA_FLAGS": of}} for of in ("", "--fast"))
    told = resume.differences(old, new)
    assert told == ["XLA_FLAGS was '' and is '--fast' now"]


def test_other_data_are_named():
    old = {"mnist": {"digest": "a" * 64}}
    resume.check_data(old, {**old, "further": {"digest": "c" * 64}})
    with pytest.raises(
        ValueError, match=r"data of 'mnist' are not those .* aaaaaaaaaaaa"
    ):
        resume.check_data(old, {"mnist": {"digest": "b" * 64}})


def test_data_of_the_same_digest_are_the_same_wherever_they_lie():
    lie = {"csv:a": "1", "csv:b": "2"}
    old = study(dataset="csv:a", sweep=[{}, {"dataset": "csv:b"}])
    new = study(dataset="csv:c", sweep=[{}, {"dataset": "csv:b"}, {RATE: 0.3}])
    datasets = {name: {"digest": digest} for name, digest in lie.items()}
    found = resume.moved(old, new, datasets, lambda h: "1")
    assert [*found.datasets()] == ["csv:c", "csv:b"]
    assert len(resume.merge(found, new).trials()) == 3
    assert resume.moved(old, new, datasets, lambda h: "3") == old
    assert identity(study(dataset="csv:c"), datasets={"csv:c": {"digest": "1"}}) == (
        identity(study(dataset="csv:a"), datasets={"csv:a": {"digest": "1"}})
    )


def identity(of: Study, **changes):
    """Finds a program with the first two trials and seeds."""
    record = {"index": 0, "trials": [0, 1], "first_seed": 0, "num_seeds": 2}
    config = {"datasets": {"digits": {"digest": "a"}}}
    for where in (record, config):
        where.update({k: v for k, v in changes.items() if k in where or k == "source"})
    return resume.identity(of, record, config)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"root_seed": 1}, "root_seed"),
        ({"rates": (0.1, 0.25)}, "the digest of its trials' settings"),
        ({"rates": (0.2, 0.1)}, "the digest of its trials' settings"),
        ({"batch_size": 16}, "batch_size"),
        ({"eval_size": 9}, "eval_size"),
        ({"figures": ("confusion",)}, "figures"),
        ({"test_sets": {"moved_pixels": 1}}, "test_sets.moved_pixels"),
        ({"early_stopping": {"patience": 2}}, "early_stopping.patience"),
        ({"halving": {"factor": 2}}, "halving.factor"),
    ],
)
def test_another_program_differs_by_name(values, name):
    here, there = identity(study()), identity(study(**values))
    assert here[name] != there[name]


def test_a_number_of_epochs_that_training_depends_on_is_part_of_it():
    cosine = [study(schedule={"name": "cosine"}, num_epochs=n) for n in (10, 12)]
    assert identity(cosine[0]) != identity(cosine[1])


@pytest.mark.parametrize(
    "change",
    [
        {"datasets": {"digits": {"digest": "b"}}},
        {"source": "c"},
        {"index": 1},
        {"first_seed": 1},
        {"num_seeds": 3},
    ],
)
def test_other_data_or_seeds_make_another_program(change):
    assert identity(study(), **change) != identity(study())


def test_a_field_that_was_once_static_is_where_it_was():
    assert identity(study())["schedule.warmup_steps"] == 0

    def warmed(*steps):
        return Study.from_dict({"sweep": [{"schedule.warmup_steps": n} for n in steps]})

    assert "schedule.warmup_steps" not in identity(warmed(0, 5))
    assert identity(warmed(0, 5)) != identity(warmed(0, 6))


# ---- Modules and metrics of one's own.

CODE = "0123456789abcdef by jax 1, flax 1"
MINE = Own(
    module=OwnModule(
        name="Mine",
        attributes={"width": "20"},
        parameters={"Dense_0/kernel": [64, 20]},
        code=CODE,
    ),
    metrics={"top2": CODE},
)


def other(code="fedcba9876543210 by jax 1, flax 1", **changes) -> Own:
    """`MINE` with a module of other code, and changes to it."""
    module = dataclasses.replace(MINE.module, code=code, **changes)
    return dataclasses.replace(MINE, module=module)


def test_a_program_is_of_the_module_that_trains_it():
    own = study(own=dataclasses.asdict(MINE)), study(own=dataclasses.asdict(other()))
    assert len({repr(identity(of)["own"]) for of in (study(), *own)}) == 3
    elsewhere = dataclasses.replace(MINE, datasets={"csv:a": "b"})
    assert identity(dataclasses.replace(own[0], own=elsewhere)) == identity(own[0])


def test_modules_of_further_trials_change_no_program():
    trained = {"sweep": [{"module.width": 20}, {"module.width": 40}]}
    wide = dataclasses.asdict(other(attributes={"width": "40"}).module)
    plain = dataclasses.replace(MINE, modules={"width=40": wide})
    of = Study.from_dict({**trained, "own": plain.plain()})
    owns = [identity(of, trials=[n])["own"]["module"]["attributes"] for n in (0, 1)]
    assert owns == [{"width": "20"}, {"width": "40"}]
    more = dataclasses.replace(MINE, modules={**plain.modules, "width=80": wide})
    longer = Study.from_dict({**trained, "own": more.plain()})
    assert identity(longer, trials=[1]) == identity(of, trials=[1])
    assert resume.check_own(plain, more) == []
    same = {"width=40": dataclasses.asdict(MINE.module)}
    with pytest.raises(ValueError, match="width of module 'Mine' was 40 and is 20"):
        resume.check_own(plain, dataclasses.replace(MINE, modules=same))


def test_equal_code_is_the_same_whatever_it_is_called():
    assert resume.check_own(MINE, other(CODE, name="Renamed")) == []


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (other(attributes={"width": "40"}), "width of module 'Mine' was 20 and is 40:"),
        (other(parameters={}), r"Dense_0/kernel of .* was \(64, 20\) and is missing"),
        (other(name="Mein"), "module was 'Mine' and is 'Mein' now"),
        (other(), "the code of module 'Mine' has changed"),
        (Own(), "module was 'Mine' and is None now: hand in the run's own"),
        (dataclasses.replace(MINE, metrics={}), r"was \['top2'\] and is \[\] now"),
        (dataclasses.replace(MINE, metrics={"top2": f"f{CODE}"}), "'top2' has changed"),
    ],
)
def test_another_module_or_metric_is_named_by_what_differs(new, message):
    with pytest.raises(ValueError, match=message):
        resume.check_own(MINE, new)


@pytest.mark.parametrize("code", ["", CODE.replace("jax 1", "jax 2")])
def test_of_unknown_code_and_of_other_versions_it_is_said(code):
    (doubt,) = resume.check_own(MINE, other(code))
    assert doubt == "whether the code of module 'Mine' has changed cannot be told"


def test_checkpoints_of_other_fields_with_the_same_values_are_others():
    def identity(path):
        made = tiny.study(**{"optimizer.name": "adam"})
        made = dataclasses.replace(made, sweep=({path: 0.95}, {path: 0.9}))
        record = {"trials": [0, 1], "index": 0, "first_seed": 0, "num_seeds": 1}
        data = {made.base.data: {"digest": "d"}}
        return resume.identity(made, record, {"datasets": data})

    paths = ("optimizer.b1", "optimizer.b2", "input_noise", "average_decay")
    found = [identity(path) for path in paths]
    assert all(a != b for a, b in itertools.combinations(found, 2))
