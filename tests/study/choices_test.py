# SPDX-License-Identifier: Apache-2.0
"""A config's argument, and how many updates an epoch has."""

import pytest

from nnlab import data
from nnlab.study import Study, choose, sized, updates_an_epoch
from nnlab.training.prepare import prepare

GROUPS = (("digits", "mnist"), ("", "smoke", "full"))


@pytest.mark.parametrize(
    ("arg", "chosen"),
    [
        ("", ("digits", "")),
        ("full", ("digits", "full")),
        ("smoke,mnist", ("mnist", "smoke")),
        ("mnist,mnist,", ("mnist", "")),
    ],
)
def test_a_choice_of_each_group_in_any_order(arg, chosen):
    assert choose(arg, *GROUPS) == chosen


@pytest.mark.parametrize(
    ("arg", "message"),
    [
        ("smok", "'smok'; did you mean 'smoke'. allowed: digits, mnist, smoke, full"),
        ("digits,mnist", "'digits,mnist' has both 'digits' and 'mnist'"),
    ],
)
def test_a_choice_that_is_none_is_refused(arg, message):
    with pytest.raises(ValueError, match=message):
        choose(arg, *GROUPS)


def test_what_a_size_says_counts_more_than_what_all_smoke_runs_have():
    small = sized("smoke", smoke={"num_seeds": 3}, full={"num_epochs": 9})
    assert small == {"train_size": 512, "num_epochs": 3, "num_seeds": 3}
    assert sized("full", full={"num_epochs": 9}) == {"num_epochs": 9}


@pytest.mark.parametrize(("train_size", "batch_size"), [(0, 32), (100, 32)])
def test_updates_are_those_that_a_program_makes(train_size, batch_size):
    changes = {"train_size": train_size, "batch_size": batch_size}
    (program,) = prepare(Study.from_dict({"num_seeds": 1, **changes}))
    assert updates_an_epoch("digits", batch_size, train_size) == program.steps_per_epoch


def test_published_data_sets_are_as_large_as_their_publication_says():
    assert [data.num_training(n) for n in ("mnist", "cifar10")] == [50_000, 41_667]
