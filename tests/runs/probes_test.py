# SPDX-License-Identifier: Apache-2.0
"""Probes of a whole run: their table, what they leave alone, resuming, one's own."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import nnlab
from nnlab import results
from nnlab.runs import experiment
from nnlab.runs.rerun import rerun
from nnlab.study import Study
from nnlab.training.prepare import prepare

PROBES = ("gradient_norm@5", "distance@log", "weight_norm")


def squares(network, batch):
    """Returns the mean square of the outputs, and the first weight."""
    out = jnp.mean(network.outputs(network.params, batch) ** 2)
    return jnp.stack([out, network.params["dense_0"]["kernel"][0, 0]])


OWN = {"probes:mine@4": squares}


def study(**fields) -> Study:
    made = tiny.study(tiny.rates(0.05, 0.2), num_epochs=2)
    return dataclasses.replace(made, figures=(), **fields)


def run(folder, asked, **more):
    return experiment.run(asked, folder, dataset=tiny.dataset(), **more)


@pytest.mark.slow
def test_probes_measure_at_their_steps_and_change_no_other_number(tmp_path):
    plain = run(tmp_path / "plain", study())
    probed = run(tmp_path / "probed", study(probes=PROBES), functions=OWN)
    numbers = [n for n in plain.metrics if not n.startswith("grad_norm_")]  # sampled
    assert plain.curves.select(numbers) == probed.curves.select(numbers)
    assert not (tmp_path / "plain" / "probes.parquet").exists()
    assert "probes" not in plain.config["study"]
    of = {name: probed.curve(1, name).steps.tolist() for name in probed.metrics}
    assert of["gradient_norm_dense_0"] == [0, 5, 10, 15]
    assert of["distance"] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16]
    assert of["weight_norm_dense_1"] == probed.curve(1, "test_loss").steps.tolist()
    assert of["mine_1"] == [0, 4, 8, 12, 16]
    kernels = probed.curve(1, "mine_1").values
    assert kernels.shape == (2, 5)
    assert np.isfinite(kernels).all()
    # Each of its own, and equal to it alone.
    assert len(np.unique(kernels)) == kernels.size
    assert rerun(
        tmp_path / "probed", 1, 1, dataset=tiny.dataset(), functions=OWN
    ).is_equal


@pytest.mark.slow
def test_a_run_that_was_stopped_between_two_probes_ends_with_the_same_bits(tmp_path):
    asked = study(probes=PROBES)
    whole = run(tmp_path / "whole", asked)

    def stop(progress):
        if progress.status == "training" and progress.done > 6 * 4 * 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parted", asked, on_progress=stop)
    there = results.load(tmp_path / "parted").probes
    assert there.num_rows < whole.probes.num_rows
    parted = run(tmp_path / "parted", asked, resume=True)
    assert parted.probes == whole.probes
    assert parted.curves == whole.curves


def test_a_probe_of_ones_own_is_asked_for_by_name_and_known_by_its_code(tmp_path):
    first = run(tmp_path / "run", study(num_seeds=1), functions=OWN)
    assert [*first.study.own.functions] == ["probes:mine@4"]
    with pytest.raises(ValueError, match=r"probes:mine@4 of its own.*probes="):
        run(tmp_path / "again", first.study)

    def other(network, batch):
        return 2 * squares(network, batch)

    with pytest.raises(ValueError, match="code of probes:mine@4 has changed"):
        run(tmp_path / "run", study(), functions={"probes:mine@4": other}, resume=True)


@pytest.mark.parametrize(
    ("probe", "told"),
    [
        (lambda network, batch: jnp.ones((2, 2)), r"'mine' returns shape \(2, 2\)"),
        (lambda network, batch: {"a": jnp.ones(2)}, "as 'mine_a', which needs"),
        (lambda network, batch: {"a b": 1.0}, "key 'a b': each needs to be a name"),
        (lambda network, batch: {0: 1.0, "0": 2.0}, "key '0': each needs"),
        (lambda network, batch: 1j * jnp.ones(()), "'mine', which needs to be a float"),
        (lambda network, batch: network.weights, "probe 'mine' fails: AttributeErr"),
    ],
)
def test_a_probe_that_cannot_be_a_column_is_refused_before_training(probe, told):
    with pytest.raises(ValueError, match=told):
        prepare(study(), dataset=tiny.dataset(), functions={"probes:mine": probe})


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"probes": ("sharpness@fast",)}, "after @ stands a number of updates"),
        ({"probes": ("sharpness@0",)}, "every 0 updates"),
        ({"probes": ("sharpness", "sharpness@5")}, "has 'sharpness' twice"),
    ],
)
def test_a_schedule_that_is_none_is_refused_with_those_that_are(fields, told):
    with pytest.raises(ValueError, match=told):
        study(**fields)


def test_a_misspelt_probe_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match=r"did you mean 'sharpness'.*noise_scale"):
        prepare(study(probes=("sharpnes@5",)), dataset=tiny.dataset())


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["test_it"], "begins as nnlab's own"),
        (["distance"], "already"),
        (["descent_x@5"], "'descent_x' begins as the columns of 'descent' do"),
        (["b_c", "b"], "'b_c' begins as the columns of 'b' do: rename 'b'"),
    ],
)
def test_names_that_columns_have_are_refused(names, told):
    functions = {f"probes:{name}": squares for name in names}
    asked = study(probes=("descent@log",))
    with pytest.raises(ValueError, match=told):
        prepare(asked, dataset=tiny.dataset(), functions=functions)


def test_layers_of_any_name_have_columns():
    class Named(nn.Module):
        num_classes: int

        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Dense(4, name="a-b")(x.reshape((x.shape[0], -1))))
            return nn.Dense(self.num_classes)(x)

    data = tiny.dataset()
    module = Named(data.num_classes)
    (program,) = prepare(study(probes=PROBES[:1]), dataset=data, module=module)
    assert "gradient_norm_a-b" in program.probed["gradient_norm"].columns


def test_keys_that_differ_only_by_an_underscore_are_columns_apart():
    def mine(network, batch):
        return {"a": 1, "a_": 2, "": 3}

    functions = {"probes:mine": mine}
    (program,) = prepare(study(), dataset=tiny.dataset(), functions=functions)
    assert {*program.probed["mine"].columns} == {"mine", "mine_a", "mine_a_"}


@pytest.mark.slow
def test_what_was_kept_has_the_last_measurement_before_it(tmp_path):
    found = nnlab.run(
        probes=("distance@7",),
        early_stopping={"patience": 2},
        num_epochs=8,
        num_seeds=3,
        train_size=200,
        show=False,
        workdir=tmp_path / "run",
    )
    best = found.members()["best_step"].to_numpy()
    curve = found.results.curve(0, "distance")
    wanted = [values[curve.steps <= b][-1] for values, b in zip(curve.values, best)]
    np.testing.assert_array_equal(found.findings.final(0, "distance"), wanted)
    assert found.report().path.exists()
