# SPDX-License-Identifier: Apache-2.0
"""A stack becomes a study, and trains in a thread."""

import pytest
import tiny

from nnlab.builder import editing
from nnlab.builder import training as building
from nnlab.builder.training import Settings, Training
from nnlab.models import layers

pytestmark = pytest.mark.usefixtures("compiled_fast")

STACK = editing.stack_of(
    [{"layer": "dense", "units": 8}, "relu", {"layer": "dense", "units": 3}]
)


def study_of(stack=STACK, **settings):
    dataset = tiny.dataset()
    found = layers.inspect(stack, dataset.input_shape, dataset.num_classes)
    return building.study_of(stack, found, dataset, Settings(**settings))


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"num_epochs": 10}, 65),  # once an epoch
        ({"num_epochs": 10_000}, 65 * 10_000 / building.MOST_EVALUATIONS),
        ({"num_epochs": 10, "num_seeds": 10_000_000}, 16),  # of long epochs
    ],
)
def test_long_epochs_are_evaluated_often_and_long_trainings_seldom(settings, steps):
    study = study_of(batch_size=2, **settings)
    assert study.base.eval_every_epochs * (130 // 2) == pytest.approx(steps)


def test_the_study_asks_for_what_its_layers_and_data_can_show():
    assert study_of().figures == ("curves", "active_units")
    assert study_of(STACK[2:]).figures == ("curves",)


def test_adam_is_not_given_the_momentum_of_sgd():
    assert study_of(optimizer="adam", momentum=0.5).base.optimizer.momentum == 0
    assert study_of(optimizer="rmsprop", momentum=0.5).base.optimizer.momentum == 0.5


def test_an_invalid_stack_has_no_study():
    with pytest.raises(ValueError, match="end with a dense layer of 3 units"):
        study_of(STACK[:2])


def trained(tmp_path, act=lambda training: None, **settings):
    """Trains to the end, and returns what was shown."""
    shown = []

    def show(training, draws):
        shown.append((training.outcome, len(training.history), draws))
        act(training)

    study = study_of(batch_size=16, num_seeds=2, **settings)
    training = Training(1, study, STACK, tiny.dataset(), tmp_path / "run", show)
    training.start()
    training.wait()
    return training, shown


@pytest.mark.slow
def test_a_training_is_told_of_and_seen_from_its_first_to_its_last_evaluation(tmp_path):
    training, shown = trained(tmp_path, num_epochs=3)
    assert (training.outcome, training.failure) == ("finished", "")
    assert training.history.epochs == [0, 1, 2, 3]
    assert training.history.steps == [0, 8, 16, 24]
    assert training.history.curve("validation_loss").shape == (4, 2)
    assert shown[-1] == ("finished", 4, True)
    assert ("", 1, True) in shown
    assert training.before.shape == training.now.shape == (6, 3)
    assert abs(training.now.sum(axis=1) - 1).max() < 1e-5
    assert (training.before != training.now).any()
    assert training.results.workdir == tmp_path / "run"
    accuracy = building.untrained_accuracy(training.study, tiny.dataset())
    assert accuracy.tolist() == training.history.curve("test_accuracy")[0].tolist()


@pytest.mark.slow
def test_a_training_that_is_stopped_keeps_what_it_found(tmp_path):
    def stop(training):
        if len(training.history) >= 2:
            training.stop()

    training, shown = trained(tmp_path, stop, num_epochs=1_000_000)
    assert training.outcome == shown[-1][0] == "stopped"
    assert training.results.config["status"] == "interrupted"


def test_a_training_that_fails_says_so_in_a_line(tmp_path):
    def fail(training):
        if not training.outcome:
            raise RuntimeError("a first line\nand a second")

    training, shown = trained(tmp_path, fail, num_epochs=3)
    assert training.outcome == shown[-1][0] == "failed"
    assert training.failure == "RuntimeError: a first line and a second"
    assert training.results is None
