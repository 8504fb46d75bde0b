# SPDX-License-Identifier: Apache-2.0
"""Shifts, blur, noise and random labels: what is drawn, what a network trains on."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from folders import refused
from scipy import ndimage

from nnlab.data import Split
from nnlab.training import disturbances, member
from nnlab.training.lanes import Batches, Lanes, Picks
from nnlab.training.population import Population
from nnlab.training.prepare import prepare

NOISE = "label_noise"
PROBING = {"transfer.mode": "probing", "transfer.source": "digits"}


def drawn(seed, examples=4_000, num_classes=5):
    key = member.stream_key(0, jnp.int32(seed), "noise")
    labels = jnp.arange(examples) % num_classes
    return disturbances.drawn(key, labels, jnp.arange(examples), num_classes)


def test_half_of_the_images_are_mirrored_whole():
    images = np.random.default_rng(0).normal(size=(1000, 2, 3, 2)).astype(np.float32)
    found = np.asarray(disturbances.flipped(member.key(0), images))
    kept = (found == images).all(axis=(1, 2, 3))
    mirrored = (found == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (kept ^ mirrored).all()
    assert abs(kept.mean() - 0.5) < 0.06  # standard error 0.016


def test_a_share_of_labels_is_random_and_the_rest_is_as_it_was():
    labels = drawn(0)
    clean = np.asarray(labels.clean)
    assert np.array_equal(disturbances.as_trained(labels, 0.0), clean)
    found = np.asarray(disturbances.as_trained(labels, 0.4))
    # One in five random labels is the old one. Standard error of a share: 0.007.
    assert abs((found != clean).mean() - 0.4 * 0.8) < 0.03
    random = np.asarray(disturbances.as_trained(labels, 1.0))
    counts = np.histogram2d(clean, random, bins=5)[0]  # 160 of each pair, sd 11
    assert abs(counts - 160).max() < 45


def test_what_a_share_replaces_a_larger_one_replaces_alike_for_every_seed():
    few, many = (np.asarray(disturbances.as_trained(drawn(0), s)) for s in (0.2, 0.4))
    changed = few != np.asarray(drawn(0).clean)
    assert np.array_equal(few[changed], many[changed])
    other = np.asarray(disturbances.as_trained(drawn(1), 0.2))
    assert (few != other).mean() > 0.2


def test_a_label_does_not_depend_on_the_batch_that_it_is_in():
    whole = drawn(0)
    key = member.stream_key(0, jnp.int32(0), "noise")
    some = jnp.array([70, 3, 3_999])
    part = disturbances.drawn(key, whole.clean[some], some, 5)
    for one, other in zip(part, whole, strict=True):
        assert np.array_equal(one, other[some])


@pytest.fixture(scope="module")
def noisy():
    """Networks that train on labels of which 0 and 40 % are random, with two seeds."""
    of = tiny.study([{NOISE: 0.0}, {NOISE: 0.4}], **{"optimizer.momentum": 0.5})
    return tiny.population(of)


def labels_of(seed, share):
    train = tiny.dataset().train.labels
    key = member.stream_key(0, jnp.int32(seed), "noise")
    found = disturbances.drawn(key, train, jnp.arange(len(train)), 3)
    return np.asarray(disturbances.as_trained(found, share))


def test_a_network_trains_on_its_random_labels_and_is_judged_by_both(noisy):
    """It is the network of a data set with these labels; clean ones are judged, too."""
    split = tiny.dataset().train
    batches = noisy.put({name: Batches.cut(split, 50) for name in ("train", "test")})
    state, measured = noisy.evaluate(tiny.trained(noisy), batches)
    sums, params = noisy.gather((measured["sums"], state.params))
    assert {*sums["test"]} == {"loss", "accuracy"}
    for name in ("loss", "accuracy"):
        clean = sums["train"][f"clean_{name}"]
        np.testing.assert_allclose(sums["test"][name], clean, rtol=1e-6)
        assert np.array_equal(clean[0], sums["train"][name][0])  # a share of 0

    plain = tiny.program(tiny.study(**{"optimizer.momentum": 0.5}))
    own = Split(split.inputs, labels_of(1, 0.4))
    alone = Population(plain.recipe, Lanes(1, 2, 1, 2, 1), plain.members, 0, own)
    batches = alone.put({"train": Batches.cut(own, 50)})
    state, measured = alone.evaluate(tiny.trained(alone), batches)
    expected, of = alone.gather((measured["sums"]["train"], state.params))
    for one, other in zip(jax.tree.leaves(params), jax.tree.leaves(of), strict=True):
        np.testing.assert_allclose(one[1, 1], other[0, 1], atol=1e-6)
    for name in ("loss", "accuracy"):
        found = sums["train"][name][1, 1]
        np.testing.assert_allclose(found, expected[name][0, 1], rtol=1e-5)


def test_examples_that_seeds_pick_have_the_labels_of_their_place_in_the_pool(noisy):
    rows = np.stack([np.arange(130)[::-1], np.arange(130)]).astype(np.int32)
    picks = Picks.cut(noisy.pool, rows, 50, 2)
    split = Batches.cut(tiny.dataset().train, 50)
    found = []
    for batches in (picks, split):
        batches = noisy.put({"train": batches, "test": batches})
        found.append(noisy.gather(noisy.evaluate(tiny.trained(noisy), batches)[1]))
    for part, name in itertools.product(("train", "test"), ("loss", "accuracy")):
        one, other = (some["sums"][part][name] for some in found)
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_what_is_not_used_is_no_argument_and_no_operation():
    plain = tiny.program(tiny.study())
    assert not {NOISE, "input_noise", "blur"} & {*plain.members.traced()}
    assert plain.recipe.relabels == 0
    noisy = tiny.program(tiny.study([{"input_noise": 0.1}]))
    assert noisy.jaxpr.count("erf_inv") == plain.jaxpr.count("erf_inv") + 1


@pytest.mark.parametrize("sigma", [0.4, 1.0, 3.0])
def test_blur_is_a_gaussian_of_the_pixels_inside(sigma):
    images = np.random.default_rng(0).normal(size=(3, 7, 9, 2)).astype(np.float32)

    def of(x):
        return ndimage.gaussian_filter(
            x, (0, sigma, sigma, 0), mode="constant", truncate=30
        )

    expected = of(images.astype(float)) / of(np.ones(images.shape))
    # Beyond its cut scipy has zeros, and it samples the Gaussian as is done here.
    np.testing.assert_allclose(
        disturbances.blurred(images, jnp.float32(sigma)), expected, atol=2e-6
    )
    assert np.array_equal(disturbances.blurred(images, jnp.float32(0)), images)


def test_noise_has_its_standard_deviation():
    zeros = jnp.zeros((100, 100))
    found = np.asarray(disturbances.noisy(jax.random.key(0), zeros, jnp.float32(0.3)))
    assert abs(found.std() - 0.3) < 0.01  # five standard errors
    assert abs(found.mean()) < 0.015


def test_shifted_images_are_cut_from_their_padded_selves():
    pixels = 2
    rng = np.random.default_rng(0)
    images = rng.integers(1, 255, (64, 5, 4, 2)).astype(np.uint8)
    key = jax.random.key(pixels)
    moved = np.asarray(disturbances.shifted(key, jnp.asarray(images), pixels))
    assert moved.dtype == np.uint8
    found = set()
    for image, one in zip(images, moved, strict=True):
        room = np.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))
        places = [
            (i, j)
            for i in range(2 * pixels + 1)
            for j in range(2 * pixels + 1)
            if np.array_equal(room[i : i + 5, j : j + 4], one)
        ]
        assert len(places) == 1
        found |= set(places)
    assert len(found) > 0.8 * (2 * pixels + 1) ** 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"blur": 0.5}, "blur=0.5 needs images"),
        ({"blur": 0.5, "dataset": "digits", **PROBING}, "blur=0.5 does not go with"),
        ({"dataset": "modular_addition:7", "input_noise": 0.1}, "are tokens"),
    ],
)
def test_what_does_not_go_with_the_data_is_refused_in_a_line(settings, words):
    """Also where only the last trial of a program asks for it."""
    name = next(name for name in ("blur", "input_noise") if name in settings)
    study = tiny.study([{name: 0.0}, {name: settings.pop(name)}], **settings)
    given = {} if "dataset" in settings else {"dataset": tiny.dataset()}
    with refused(ValueError, words):
        prepare(study, **given)
