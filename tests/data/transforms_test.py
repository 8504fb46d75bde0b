# SPDX-License-Identifier: Apache-2.0
"""Moved and rotated test sets."""

import numpy as np
import pytest

from nnlab.data import transforms

NAMES = sorted(transforms.TRANSFORMS)
AMOUNTS = [(name, a) for name in NAMES for a in transforms.SEVERITIES[name]]


def images(count=40, height=9, width=7, channels=2, dtype=np.uint8):
    rng = np.random.default_rng(0)
    return rng.integers(1, 256, (count, height, width, channels)).astype(dtype)


def spots(count, size=27):
    """Makes black images with one white pixel in the middle, which can be followed."""
    made = np.zeros((count, size, size, 1), np.uint8)
    made[:, size // 2, size // 2] = 255
    return made


def offsets(count, pixels):
    """Returns where `moved` takes the middle of images, (N, 2): down and right."""
    return np.argwhere(transforms.moved(spots(count), pixels)[..., 0])[:, 1:] - 13


@pytest.mark.parametrize("offset", [(0, 0), (2, -3), (-1, 4), (8, 6), (9, 0), (0, -20)])
def test_shift_is_a_slice_of_the_image_and_zeros(offset):
    image = images(1)
    down, right = offset
    room = 30
    padded = np.pad(image[0], ((room, room), (room, room), (0, 0)))
    start = (room - down, room - right)
    expected = padded[start[0] : start[0] + 9, start[1] : start[1] + 7]
    found = transforms._shift(image, np.array([offset]))
    np.testing.assert_array_equal(found[0], expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("quarters", [-3, -1, 0, 1, 2, 4])
def test_quarter_turns_are_those_of_rot90(dtype, size, quarters):
    square = images(3, size, size, dtype=dtype)
    found = transforms._rotate(square, np.full(3, 90.0 * quarters))
    expected = np.rot90(square, quarters, axes=(1, 2))
    np.testing.assert_allclose(found, expected, atol=0 if dtype == np.uint8 else 1e-3)


def test_rotation_interpolates_between_four_pixels():
    # Rotated by 45 degrees, a corner of a 2x2 image lies above, beside or below the old
    # ones: between two of them, and half a diagonal from the centre.
    image = np.array([[10, 20], [30, 40]], np.float32).reshape(1, 2, 2, 1)
    found = transforms._rotate(image, np.array([45.0]))[0, :, :, 0]
    above, right, left, below = 15, 30, 20, 35
    inside = 1 - (np.sqrt(0.5) - 0.5)
    expected = np.array([[above, right], [left, below]]) * inside
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("name", NAMES)
def test_amount_0_gives_equal_images_of_their_own(name, dtype):
    given = images(dtype=dtype)
    found = transforms.TRANSFORMS[name](given, 0)
    np.testing.assert_array_equal(found, given)
    assert not np.shares_memory(found, given)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("name", "amount"), AMOUNTS)
def test_shape_dtype_and_bounds_are_kept(name, amount, dtype):
    given = images(dtype=dtype)
    given.flags.writeable = False
    found = transforms.TRANSFORMS[name](given, amount)
    assert (found.shape, found.dtype) == (given.shape, given.dtype)
    assert found.flags.c_contiguous
    assert found.min() >= 0
    assert found.max() <= 255 * (1 + 1e-6)
    assert transforms.TRANSFORMS[name](given[:0], amount).shape == (0, 9, 7, 2)


def test_8_bit_images_are_rounded_not_cut():
    given = images(dtype=np.uint8)
    exact = transforms.rotated(given.astype(np.float32), 30)
    np.testing.assert_array_equal(transforms.rotated(given, 30), np.rint(exact))


@pytest.mark.parametrize("name", NAMES)
def test_draw_of_an_image_depends_on_its_place_alone(name, monkeypatch):
    given, transform = images(), transforms.TRANSFORMS[name]
    found = transform(given, 5)
    np.testing.assert_array_equal(transform(given[:11], 5), found[:11])
    # Other values in the other images, or other chunks, change nothing either.
    other = given.copy()
    other[12:] = 0
    monkeypatch.setattr(transforms, "_CHUNK_VALUES", 300)
    np.testing.assert_array_equal(transform(other, 5)[:12], found[:12])


def test_offsets_are_uniform_and_independent():
    pixels, count = 2, 5_000
    found = offsets(count, pixels)
    pairs, counts = np.unique(found, axis=0, return_counts=True)
    assert len(pairs) == 25
    assert set(found.ravel()) == {-2, -1, 0, 1, 2}
    # Chi-squared with 24 degrees of freedom exceeds 51 once in a thousand.
    expected = count / 25
    assert ((counts - expected) ** 2 / expected).sum() < 51


def test_larger_amounts_move_the_same_image_further_the_same_way():
    small, large = offsets(300, 3), offsets(300, 12)
    # Offsets are floor(u (2k + 1)) - k: each bounds u, and the bounds must meet.
    low, high = (small + 3) / 7, (small + 4) / 7
    assert ((large + 12) / 25 < high).all()
    assert ((large + 13) / 25 > low).all()


def test_angles_are_uniform_and_scale_with_the_amount():
    # A spot right of the centre shows its angle by its centre of mass.
    given = np.zeros((2_000, 41, 41, 1), np.float32)
    given[:, 19:22, 33:36] = 1.0

    def angles(degrees):
        found = transforms.rotated(given, degrees)[..., 0]
        y, x = np.mgrid[20:-21:-1, -20:21]
        total = found.sum((1, 2))
        up, right = (found * y).sum((1, 2)) / total, (found * x).sum((1, 2)) / total
        return np.rad2deg(np.arctan2(up, right))

    few, many = angles(10), angles(60)
    np.testing.assert_allclose(many, 6 * few, atol=2)
    quantiles = np.quantile(many, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quantiles, [-60, -30, 0, 30, 60], atol=3)


def test_draws_are_pinned():
    # Pinned: changed draws would change every result on moved and rotated images.
    assert offsets(4, 6).tolist() == [[-2, 3], [-1, 2], [6, 1], [-5, -3]]
    angles = (2 * np.array([0.5721, 0.8959, 0.1443]) - 1) * 60
    given = images(3, dtype=np.float32)
    expected = transforms._rotate(given, angles)
    np.testing.assert_allclose(transforms.rotated(given, 60), expected, atol=1)


REFUSED = [
    (np.zeros((4, 8, 8), np.uint8), 1, r"\(4, 8, 8\).*height, width, channels"),
    (np.zeros((4, 8), np.float32), 1, r"\(4, 8\)"),
    (np.zeros((4, 8, 8, 1)), 1, "float64.*uint8 or float32"),
    (images(), -1, "-1 "),
    (images(), float("nan"), "nan "),
    (images(), float("inf"), "inf "),
]


@pytest.mark.parametrize(
    ("name", "given", "amount", "words"),
    [
        *((name, *refused) for name in NAMES for refused in REFUSED),
        ("moved", images(), 1.5, "pixels 1.5 .*whole"),
    ],
)
def test_what_cannot_be_transformed_is_refused(name, given, amount, words):
    with pytest.raises(ValueError, match=words) as caught:
        transforms.TRANSFORMS[name](given, amount)
    assert "\n" not in str(caught.value)


def test_severities_begin_with_the_images_themselves():
    assert set(transforms.SEVERITIES) == set(transforms.TRANSFORMS)
    for amounts in transforms.SEVERITIES.values():
        assert amounts[0] == 0
        assert list(amounts) == sorted(set(amounts))
