# SPDX-License-Identifier: Apache-2.0
"""Imitations: one for each real image, alike in what a Gaussian can imitate."""

import dataclasses

import numpy as np
import pytest
from folders import assert_equal, refused, splits
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from nnlab.data import Dataset, imitations, load
from nnlab.data.dataset import canonical

NAME = "real_or_generated:digits"


@pytest.fixture(scope="module")
def data():
    return load(NAME)


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def rows(images):
    return sorted(image.tobytes() for image in images)


def test_half_of_each_split_are_its_real_images(data, digits):
    assert (data.name, data.class_names) == (NAME, ("real", "generated"))
    assert (data.scale, data.input_shape) == (1 / 16, (8, 8, 1))
    assert not data.is_table
    for both, real in zip(splits(data), splits(digits), strict=True):
        assert len(both.labels) == 2 * len(real.labels)
        assert rows(both.inputs[both.labels == 0]) == rows(real.inputs)


def test_no_imitation_is_a_real_image_or_another_imitation(data, digits):
    fakes = [i for s in splits(data) for i in rows(s.inputs[s.labels == 1])]
    assert len(set(fakes)) == len(fakes) == 1797
    assert not set(fakes) & {i for s in splits(digits) for i in rows(s.inputs)}


def test_equal_calls_are_equal_and_the_examples_in_canonical_order(data, digits):
    again = imitations.real_or_generated(digits, name="again")
    assert_equal(again, data)
    for split in splits(data):
        inputs, labels = canonical(split.inputs[::-1], split.labels[::-1])
        np.testing.assert_array_equal(inputs, split.inputs)
        np.testing.assert_array_equal(labels, split.labels)
    # Interleaved, so that each half holds as many of each class.
    half = len(data.train.labels) // 2
    assert data.train.labels[:half].mean() == pytest.approx(0.5, abs=0.05)


def test_every_level_is_as_frequent_as_in_the_real_images(data):
    real = data.train.inputs[data.train.labels == 0]
    fake = data.train.inputs[data.train.labels == 1]
    assert fake.max() == 16
    shares = [np.bincount(x.ravel(), minlength=17) / x.size for x in (real, fake)]
    assert shares[0][0] > 0.4
    # The levels' bounds come from other draws, as many as there are images of a class:
    # of 8 other splits the largest difference is 0.0018 to 0.0033, of this one 0.0068.
    np.testing.assert_allclose(shares[1], shares[0], atol=0.008)


def test_classes_keep_their_mean_images_and_are_drawn_apart(digits, data):
    """Counts imitations by the class whose mean image is nearest."""
    x = digits.train.inputs.reshape(-1, 64).astype(float)
    means = np.stack([x[digits.train.labels == c].mean(axis=0) for c in range(10)])
    fake = data.train.inputs[data.train.labels == 1].reshape(-1, 64).astype(float)
    nearest = np.argmin(((fake[:, None] - means) ** 2).sum(axis=2), axis=1)
    counts = np.bincount(nearest, minlength=10)
    np.testing.assert_allclose(counts, np.bincount(digits.train.labels), rtol=0.2)


def test_only_training_images_serve_as_models(digits, data):
    swapped = dataclasses.replace(
        digits, validation=digits.test, test=digits.validation
    )
    made = imitations.real_or_generated(swapped, name="x")
    np.testing.assert_array_equal(made.train.inputs, data.train.inputs)


def test_telling_them_apart_is_neither_trivial_nor_hopeless(data):
    def flat(split):
        return split.inputs.reshape(len(split.inputs), -1) / 16

    linear = LogisticRegression(max_iter=1000).fit(flat(data.train), data.train.labels)
    assert linear.score(flat(data.test), data.test.labels) < 0.7
    forest = RandomForestClassifier(100, random_state=0)
    forest.fit(flat(data.train), data.train.labels)
    assert 0.7 < forest.score(flat(data.test), data.test.labels) < 0.9


def test_a_gaussian_is_imitated_by_its_mean_and_axes(monkeypatch):
    """Imitations of images that vary along one axis vary along it alone."""
    monkeypatch.setattr(imitations, "_CHUNK_VALUES", 100)
    top = np.random.default_rng(0).normal(140, 10, 1_600).clip(90, 190).astype(np.uint8)
    images = np.full((1_600, 4, 4, 1), 90, np.uint8)
    images[:, 0] = top[:, None, None]
    source = Dataset.from_arrays(images, np.arange(1_600) % 2)
    made = imitations.real_or_generated(source, name="x").train
    fake = made.inputs[made.labels == 1].reshape(-1, 4, 4).astype(float)
    assert (fake[:, 1:] == 90).all()
    assert fake[:, 0].std(axis=1).max() <= 1
    assert fake[:, 0, 0].mean() == pytest.approx(139.5, abs=2)
    assert fake[:, 0, 0].std() == pytest.approx(10, rel=0.15)


def test_classes_without_variation_are_copied():
    images = np.broadcast_to(np.repeat(np.uint8([3, 9]), 20)[:, None, None], (40, 2, 2))
    source = Dataset.from_arrays(images, np.arange(40) // 20)
    for split in splits(imitations.real_or_generated(source, name="x")):
        fake = split.inputs[split.labels == 1]
        assert rows(fake) == rows(split.inputs[split.labels == 0])


def test_names_with_arguments(tmp_path):
    for c in "ab":
        (tmp_path / c).mkdir()
        for i in range(12):
            noise = np.random.default_rng([i, ord(c)]).integers(0, 256, (8, 8, 3))
            Image.fromarray(noise.astype(np.uint8)).save(tmp_path / c / f"{i}.png")
    data = load(f"real_or_generated:folder:{tmp_path}:8")
    assert data.input_shape == (8, 8, 3)
    assert [len(s.labels) for s in splits(data)] == [32, 6, 10]


def test_what_cannot_be_imitated_is_refused():
    with refused(ValueError, "real_or_generated:map", "8-bit images", "(2,)"):
        load("real_or_generated:map")
    images = np.arange(16 * 4, dtype=np.uint8).reshape(16, 2, 2)
    rare = Dataset.from_arrays(
        images,
        np.zeros(16),
        test_inputs=images,
        test_labels=np.ones(16),
        class_names=["often", "never"],
        name="rare",
    )
    with refused(ValueError, "rare has 0 training images of class 'never'"):
        imitations.real_or_generated(rare, name="x")
