# SPDX-License-Identifier: Apache-2.0
"""Pictures are chosen by their definition; a damaged file counts as none."""

import dataclasses
import io
import pathlib
import tempfile
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnlab import results
from nnlab.results import pictures
from nnlab.results.pictures import Plane, Seen

CLASSES = 3
SEEDS = st.integers(0, 10**6)


def seen(prediction, confidence=0.5, *, dead=(), kernel=None, num_classes=CLASSES):
    """A trial's networks; those in `dead` have diverged."""
    prediction = np.asarray(prediction, np.int32)
    confidence = np.broadcast_to(np.float32(confidence), prediction.shape).copy()
    confidence[list(dead)] = np.nan
    after = np.zeros((*prediction[:, : pictures.NUM_EXAMPLES].shape, num_classes))
    np.put_along_axis(after, prediction[:, : after.shape[1], None], 1.0, axis=2)
    after[list(dead)] = np.nan
    before = np.full(after.shape, 1 / num_classes)
    return Seen(prediction, confidence, before, after, kernel)


def random_seen(rng, num_seeds, num_examples, dead=()):
    shape = num_seeds, num_examples
    return seen(
        rng.integers(CLASSES, size=shape), rng.uniform(0.4, 1, shape), dead=dead
    )


def pictures_of(count):
    """Images that reveal their index."""
    images = np.zeros((count, 2, 2, 1), np.float32)
    images[:, 0, 0, 0] = np.arange(count) / count
    return images


def read(folder, content):
    path = folder / pictures.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return pictures.load(folder)


def stored(
    members, best, worst, labels, *, has_images=True, classes=CLASSES, plane=None
):
    """Returns what is chosen, after it was written and read."""
    labels = np.asarray(labels)
    images = pictures_of(len(labels)) if has_images else None
    arrays = pictures.choose(members, best, worst, images, labels, classes, plane)
    with tempfile.TemporaryDirectory() as folder:
        return read(pathlib.Path(folder), pictures.encode(arrays))


def indices(part, count):
    return np.rint(part.images[:, 0, 0, 0] * count).astype(int).tolist()


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_a_confusion_counts_every_test_example_once_a_living_seed(number):
    rng = np.random.default_rng(number)
    labels = rng.integers(CLASSES, size=20)
    members = {4: random_seen(rng, 3, 20, dead=[1]), 2: random_seen(rng, 3, 20)}
    arrays = pictures.choose(members, None, None, None, labels, CLASSES)
    assert list(arrays) == ["best", "worst", "confusion_2", "confusion_4"]
    for trial, one in members.items():
        counts = arrays[f"confusion_{trial}"]
        assert not counts[~one.living].any()
        for seed in np.flatnonzero(one.living):
            for true, said in np.ndindex(CLASSES, CLASSES):
                both = (labels == true) & (one.prediction[seed] == said)
                assert counts[seed, true, said] == both.sum()


@given(SEEDS, st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_the_gallery_is_what_best_gets_right_and_worst_wrong(number, of_best, of_worst):
    rng = np.random.default_rng(number)
    labels = rng.integers(CLASSES, size=40)
    best = random_seen(rng, of_best, 40)
    best.prediction[:, ::2] = labels[::2]
    worst = random_seen(rng, of_worst, 40)
    share = [
        [Fraction(int(s), len(m.prediction)) for s in (m.prediction == labels).sum(0)]
        for m in (best, worst)
    ]
    half = Fraction(1, 2)
    fits = [n for n in range(40) if share[0][n] > half and share[1][n] < half]
    fits.sort(key=lambda n: (share[1][n] - share[0][n], n))
    part = stored({0: best, 1: worst}, 0, 1, labels).gallery
    assert indices(part, 40) == fits[: pictures.MOST_IMAGES]
    for place, n in enumerate(fits[: pictures.MOST_IMAGES]):
        assert part.labels[place] == labels[n]
        wrong = [c for c in worst.prediction[:, n].tolist() if c != labels[n]]
        assert part.taken_for[place] == max(sorted(wrong), key=wrong.count)
        assert Fraction(int(part.best_right[place]), of_best) == share[0][n]
        assert Fraction(int(part.worst_right[place]), of_worst) == share[1][n]
    assert (part.best_seeds, part.worst_seeds) == (of_best, of_worst)


def test_equal_differences_of_shares_tie():
    # 3/5 - 1/5 and 4/5 - 2/5 are equal, but not as floating-point numbers.
    right = np.array([[3, 1], [4, 2], [5, 2]])
    best, worst = (
        seen(np.where(np.arange(5)[:, None] < right[:, k], 0, 1)) for k in (0, 1)
    )
    found = stored({0: best, 1: worst}, 0, 1, np.zeros(3, int))
    assert indices(found.gallery, 3) == [2, 0, 1]


def test_half_of_the_seeds_is_not_most():
    best, worst = seen([[0, 0, 0], [0, 1, 0]]), seen([[1, 1, 1], [1, 1, 0]])
    found = stored({0: best, 1: worst}, 0, 1, np.zeros(3, int))
    assert indices(found.gallery, 3) == [0]
    assert not len(found.mistakes.labels)


@pytest.mark.parametrize(
    ("votes", "taken_for"),
    [
        ([1, 1, 2, 2, 2], 2),
        ([0, 0, 1, 2, 2], 2),
        ([0, 0, 2, 2, 1, 1, 1], 1),
        ([0, 0, 2, 3, 3], 3),
        ([0, 0, 1, 2, 3], 1),  # the true class has the most votes
        ([3, 3, 2, 2, 0], 2),
    ],
)
def test_what_an_image_is_taken_for_is_the_most_voted_wrong_class(votes, taken_for):
    members = {0: seen(np.array(votes)[:, None], num_classes=4)}
    found = stored(members, 0, None, [0], classes=4)
    assert found.mistakes.taken_for.tolist() == [taken_for]


def test_mistakes_are_the_surest_first_and_other_votes_count_nothing():
    prediction = [[1, 1, 0, 2], [1, 1, 0, 2], [2, 1, 1, 0]]
    confidence = [[0.9, 0.7, 0.9, 0.7], [0.9, 0.7, 0.9, 0.8], [1.0, 0.7, 1.0, 1.0]]
    found = stored({0: seen(prediction, confidence)}, 0, 0, np.zeros(4, int)).mistakes
    assert indices(found, 4) == [1, 0, 3]
    assert found.taken_for.tolist() == [1, 1, 2]
    np.testing.assert_allclose(found.confidence, [0.7, 0.6, 0.5], rtol=1e-6)
    assert found.wrong.tolist() == [3, 3, 2]
    assert found.seeds == 3


def test_mistakes_are_at_most_ten_and_ties_go_to_the_lower_index():
    one = seen(np.ones((2, 200)), np.tile([0.5, 0.9, 0.7, 0.9], 50))
    found = stored({0: one}, 0, None, np.zeros(200, int))
    assert indices(found.mistakes, 200) == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]


def test_dead_members_have_no_say():
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=30)
    members = {t: random_seen(rng, 3, 30, dead=[1]) for t in (0, 1)}
    fields = [field.name for field in dataclasses.fields(Seen)[:4]]
    rest = {
        t: Seen(*(np.delete(getattr(one, f), 1, 0) for f in fields), kernel=None)
        for t, one in members.items()
    }
    with_dead, without = (
        pictures.choose(some, 0, 1, pictures_of(30), labels, CLASSES)
        for some in (members, rest)
    )
    assert list(with_dead) == list(without)
    assert len(without["gallery_labels"])
    for name, array in without.items():
        if name.startswith("confusion"):
            array = np.insert(array, 1, 0, axis=0)
        np.testing.assert_array_equal(with_dead[name], array, err_msg=name)


def test_examples_are_the_first_images_with_the_best_trials_probabilities():
    rng = np.random.default_rng(0)
    members = {t: random_seen(rng, 4, 20) for t in (0, 1)}
    labels = rng.integers(CLASSES, size=20)
    found = stored(members, 1, 0, labels).examples
    assert indices(found, 20) == list(range(pictures.NUM_EXAMPLES))
    np.testing.assert_array_equal(found.labels, labels[: pictures.NUM_EXAMPLES])
    np.testing.assert_array_equal(found.after, members[1].after)
    np.testing.assert_allclose(found.before, 1 / CLASSES, rtol=1e-6)
    few = stored({0: seen([[0, 1]])}, 0, 0, [0, 1]).examples
    assert few.after.shape == (1, 2, CLASSES)


@pytest.mark.parametrize("shape", [(12, 5), (12, 100), (3, 3, 2, 5), (5, 5, 1, 65)])
def test_the_first_units_kernels_are_kept(shape):
    kernel = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    members = {0: seen([[0, 1]], kernel=kernel), 3: seen([[0, 1]], kernel=-kernel)}
    found = stored(members, 3, 0, [0, 1], has_images=False)
    for name, values in (("best", -kernel), ("worst", kernel)):
        kept = found.kernels[name]
        np.testing.assert_array_equal(kept.values, values[..., : pictures.MOST_UNITS])
        assert kept.units == shape[-1]


def test_what_there_is_not_is_none(tmp_path):
    labels = [0, 1, 2, 0]
    one, dead = seen([[0, 1, 2, 1]]), seen([[0, 1, 2, 1]], dead=[0])
    assert pictures.load(tmp_path) is None
    assert stored({}, None, None, labels).confusion == {}
    for best, worst, has_images, parts in (
        (None, None, True, set()),
        (0, 1, False, set()),
        (0, None, True, {"mistakes", "examples"}),
        (0, 0, True, {"mistakes", "examples"}),
        (0, 1, True, {"gallery", "mistakes", "examples"}),
        (1, 0, True, {"gallery", "mistakes"}),
    ):
        members = {0: one, 1: dead}
        found = stored(members, best, worst, labels, has_images=has_images)
        assert (found.best, found.worst) == (best, worst)
        there = {"gallery", "mistakes", "examples"}
        assert {p for p in there if getattr(found, p) is not None} == parts
        assert set(found.confusion) == {0, 1}
        assert not found.kernels
    assert not len(found.gallery.labels)
    assert not len(found.mistakes.labels)


EXTENT = np.array([-1.0, 2.0, 10.0, 50.0])


def plane(count=30, classes=CLASSES):
    rng = np.random.default_rng(1)
    return Plane(EXTENT, rng.normal(size=(count, 2)), np.arange(count) % classes)


def on_plane(number, classes=CLASSES):
    """A trial that divides the plane in its own way."""
    grid = np.random.default_rng(number).integers(classes, size=(7, 7), dtype=np.int32)
    one = seen([[0, 1, 2, 1]], num_classes=classes)
    return dataclasses.replace(one, regions=grid)


def divided(members, best, worst, given, classes=CLASSES):
    options = {"has_images": False, "classes": classes, "plane": given}
    return stored(members, best, worst, [0, 1, 2, 0], **options).regions


@pytest.mark.parametrize("classes", [CLASSES, 300])
def test_the_plane_is_kept_as_the_best_and_the_worst_trial_divide_it(classes):
    members, given = {t: on_plane(t, classes) for t in (0, 1, 2)}, plane(30, classes)
    found = divided(members, 2, 0, given, classes)
    np.testing.assert_array_equal(found.best, members[2].regions)
    np.testing.assert_array_equal(found.worst, members[0].regions)
    np.testing.assert_array_equal(found.extent, EXTENT)
    np.testing.assert_array_equal(found.points, given.points)
    np.testing.assert_array_equal(found.labels, given.labels)
    assert {found.labels.dtype, found.best.dtype} == {np.dtype(np.int64)}


def test_of_many_points_some_are_kept_evenly(monkeypatch):
    monkeypatch.setattr(pictures, "MOST_POINTS", 4)
    given = plane(10)
    found = divided({0: on_plane(0)}, 0, None, given)
    np.testing.assert_array_equal(found.labels, given.labels[[0, 2, 5, 7]])
    np.testing.assert_allclose(found.points, given.points[[0, 2, 5, 7]], rtol=1e-6)


@pytest.mark.parametrize(
    ("best", "worst", "there", "beside"),
    [
        (0, 1, True, True),
        (0, 0, True, False),
        (0, None, True, False),
        (0, 2, True, False),
        (2, 0, False, False),
        (None, None, False, False),
    ],
)
def test_there_is_a_plane_where_the_best_trial_has_one(best, worst, there, beside):
    none = dataclasses.replace(on_plane(2), regions=None)
    members = {0: on_plane(0), 1: on_plane(1), 2: none}
    found = divided(members, best, worst, plane())
    assert (found is not None) == there
    assert not there or (found.worst is not None) == beside
    assert divided(members, best, worst, None) is None


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES, size=30)
    kernel = rng.normal(size=(4, 5)).astype(np.float32)
    members = {t: random_seen(rng, 3, 30) for t in (0, 1)}
    grid = rng.integers(CLASSES, size=(6, 6), dtype=np.int32)
    more = {"kernel": kernel, "regions": grid}
    members = {t: dataclasses.replace(m, **more) for t, m in members.items()}
    images = pictures_of(30)
    return pictures.choose(members, 0, 1, images, labels, CLASSES, plane=plane())


def test_what_is_written_is_what_is_read(arrays, tmp_path):
    found = read(tmp_path, pictures.encode(arrays))
    for name in ("gallery", "mistakes", "examples", "regions"):
        part = getattr(found, name)
        assert len(part.labels)
        for field, value in vars(part).items():
            given = arrays[f"{name}_{field}"]
            np.testing.assert_array_equal(value, given)
            assert value.dtype == (np.int64 if given.dtype == np.uint8 else given.dtype)
    np.testing.assert_array_equal(found.confusion[1], arrays["confusion_1"])
    np.testing.assert_array_equal(found.kernels["worst"].values, arrays["worst_kernel"])
    assert pictures.FILE in results.OPTIONAL
    arrays["confusion_1"] = arrays["confusion_1"][:2]  # a trial may have fewer seeds
    found = read(tmp_path, pictures.encode(arrays))
    assert [len(c) for c in found.confusion.values()] == [3, 2]


def test_equal_arrays_give_equal_bytes(arrays, monkeypatch):
    content = pictures.encode(arrays)
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert pictures.encode({k: v.copy() for k, v in arrays.items()}) == content


def refused(tmp_path, content):
    with pytest.raises(ValueError, match=r"pictures.npz' is damaged: .+") as error:
        read(tmp_path, content)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_damaged_file_is_one_line(arrays, tmp_path):
    content = pictures.encode(arrays)
    for length in range(0, len(content), len(content) // 40):
        refused(tmp_path, content[:length])
    middle = content.index(arrays["gallery_images"].tobytes()) + 5
    refused(tmp_path, content[:middle] + b"?" + content[middle + 1 :])
    plain = io.BytesIO()
    np.save(plain, arrays["best"])
    for other in (b"", b"PK\x03\x04", plain.getvalue()):
        refused(tmp_path, other)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("best", None),
        ("best", lambda a: np.array(7)),
        ("worst", lambda a: np.array(-2)),
        ("best", lambda a: a[None]),
        ("confusion_1", lambda a: a[:, :2]),
        ("confusion_0", lambda a: -a),
        ("confusion_0", lambda a: a.astype(float)),
        ("gallery_labels", lambda a: a[:-1]),
        ("gallery_labels", None),
        ("gallery_labels", lambda a: a + CLASSES),
        ("gallery_taken_for", lambda a: a - CLASSES),
        ("gallery_images", lambda a: a[..., 0]),
        ("gallery_images", lambda a: a * np.float32(np.inf)),
        ("mistakes_confidence", lambda a: a * np.nan),
        ("examples_before", lambda a: a[:-1]),
        ("examples_after", lambda a: a[..., :-1]),
        ("regions_extent", lambda a: a[[1, 0, 2, 3]]),
        ("regions_extent", lambda a: a[:3]),
        ("regions_points", lambda a: a[:, :1]),
        ("regions_points", lambda a: a * np.float32(np.nan)),
        ("regions_labels", lambda a: a[1:]),
        ("regions_labels", lambda a: a + np.uint8(CLASSES)),
        ("regions_best", None),
        ("regions_best", lambda a: a[1:]),
        ("regions_best", lambda a: a.astype(float)),
        ("regions_worst", lambda a: a[1:, 1:]),
        ("best_kernel", lambda a: a[0]),
        ("worst_kernel", lambda a: a + np.float32(np.nan)),
        ("worst_units", None),
    ],
)
def test_an_array_that_cannot_be_is_named(arrays, tmp_path, name, change):
    given = arrays.pop(name)
    if change is not None:
        with np.errstate(invalid="ignore"):
            arrays[name] = change(given)
    text = refused(tmp_path, pictures.encode(arrays))
    assert name.split("_")[0] in text.partition(" is damaged: ")[2]
