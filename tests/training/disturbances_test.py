# SPDX-License-Identifier: Apache-2.0
"""Shifts, blur, noise and random labels: what is drawn, what a network trains on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from nnlab.training import disturbances, member

NOISE = "label_noise"


def drawn(seed, examples=4_000, num_classes=5):
    key = member.stream_key(0, jnp.int32(seed), "noise")
    labels = jnp.arange(examples) % num_classes
    return disturbances.drawn(key, labels, jnp.arange(examples), num_classes)


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
