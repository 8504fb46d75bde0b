# SPDX-License-Identifier: Apache-2.0
"""Losses and metrics as sums over examples, and gradient norms by layer."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.training.losses import softmax_cross_entropy
from nnlab.training.metrics import gradient_norms, judged, sums

RNG = np.random.default_rng(0)
LOGITS = 3 * RNG.normal(size=(11, 4)).astype(np.float32)
LABELS = np.argmax(LOGITS, axis=1).astype(np.int32)
LABELS[::2] = 0

judge = functools.partial(judged, softmax_cross_entropy)


def losses_by_hand(logits, labels):
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(axis=1))
    return log_sums - shifted[np.arange(len(labels)), labels]


def test_sums_are_those_of_the_examples_that_count():
    mask = np.arange(11) < 7
    got = sums(judge(jnp.asarray(LOGITS), jnp.asarray(LABELS)), mask)
    right = np.argmax(LOGITS, axis=1) == LABELS
    losses = losses_by_hand(LOGITS, LABELS)
    np.testing.assert_allclose(got["loss"], losses[:7].sum(), rtol=1e-5)
    assert got["accuracy"] == right[:7].sum()
    assert 0 < right[:7].sum() < right.sum()  # the rest would show


def test_padding_that_is_not_finite_does_not_count():
    logits = np.array([[1.0, 0.0], [np.nan, np.inf]], np.float32)
    mask = np.array([True, False])
    got = sums(judge(jnp.asarray(logits), jnp.array([0, 0])), mask)
    np.testing.assert_allclose(got["loss"], np.log1p(np.exp(-1.0)), rtol=1e-6)
    assert got["accuracy"] == 1


def test_the_first_of_equal_logits_is_the_answer():
    got = sums(
        judge(jnp.zeros((3, 2)), jnp.array([0, 1, 1])),
        jnp.ones(3, bool),
    )
    assert got["accuracy"] == 1


# Beyond 1e19 and below 1e-19 a square leaves float32, and gradients do reach that.
@pytest.mark.parametrize("size", [1.0, 1e-30, 1e30])
def test_norms_are_numpys_layer_by_layer(size):
    kernel, bias = size * RNG.normal(size=(5, 3)), size * RNG.normal(size=3)
    gradients = {
        "b": {"kernel": jnp.float32(kernel), "bias": jnp.float32(bias)},
        "a": {"bias": jnp.float32(2 * bias)},
    }
    both = np.concatenate([kernel.ravel(), bias])
    wanted = [np.linalg.norm(both), 2 * np.linalg.norm(bias)]
    got = gradient_norms(gradients, ("b", "a"))
    np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_the_norm_of_zero_is_zero():
    assert gradient_norms({"a": jnp.zeros(3)}, ("a",)) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_has_no_finite_norm(value):
    got = gradient_norms({"a": jnp.array([1.0, value])}, ("a",))
    assert not np.isfinite(got[0])
