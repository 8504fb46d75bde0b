# SPDX-License-Identifier: Apache-2.0
"""The map: correct labels, descending areas, equal on every machine."""

import numpy as np
import pytest
from folders import refused, splits

from nnlab.data import load
from nnlab.data import regions as region_map

WEST, SOUTH, EAST, NORTH = region_map.EXTENT


def test_the_map_is_pinned():
    data = load("map")
    assert [len(split.labels) for split in splits(data)] == [40_000, 8_000, 12_000]
    assert data.feature_names == ("longitude", "latitude")
    assert (data.is_table, data.scale) == (True, 1.0)
    assert data.class_names[::19] == ("region 1", "region 20")
    for split in splits(data):
        np.testing.assert_array_equal(region_map.regions(split.inputs), split.labels)
    # Pinned: a changed point or border would change every result on the map.
    assert data.digest.startswith("fcce21a27cf28fbb")


def test_points_are_uniform_over_the_extent():
    points = load("map").train.inputs
    assert points.min(axis=0) == pytest.approx([WEST, SOUTH], abs=0.01)
    assert points.max(axis=0) == pytest.approx([EAST, NORTH], abs=0.01)
    counts, *_ = np.histogram2d(*points.T, bins=(4, 4))
    assert counts == pytest.approx(40_000 / 16, rel=0.05)  # 2.5 standard deviations


def test_a_region_is_a_function_of_the_point_alone(monkeypatch):
    points = load("map").test.inputs[:500].astype(np.float64)
    together = region_map.regions(points)
    assert together.dtype == np.int32
    np.testing.assert_array_equal(region_map.regions(points[::-1])[::-1], together)
    monkeypatch.setattr(region_map, "_CHUNK", 7)
    np.testing.assert_array_equal(region_map.regions(points), together)
    assert region_map.regions(points[:0]).shape == (0,)


def test_regions_are_numbered_by_area_and_none_is_tiny():
    x, y = np.meshgrid(np.arange(WEST, EAST, 0.25), np.arange(SOUTH, NORTH, 0.25))
    labels = region_map.regions(np.stack([x.ravel(), y.ravel()], axis=1) + 0.125)
    shares = np.bincount(labels, minlength=20) / len(labels)
    assert (np.diff(shares) < 0.001).all()
    assert shares[0] > 7 * shares[-1]
    assert shares[-1] > 0.01


def test_borders_are_irregular_at_every_scale():
    """Counts pixels beside another region: more than along straight borders."""
    counts = []
    for step in (0.2, 0.1, 0.05):
        x, y = np.meshgrid(np.arange(0, 10, step), np.arange(40, 50, step))
        points = np.stack([x.ravel(), y.ravel()], axis=1)
        labels = region_map.regions(points).reshape(x.shape)
        counts.append(np.sum(labels[:-1, :-1] != labels[1:, 1:]) * step)
    assert counts[0] * 1.02 < counts[1]
    assert counts[1] * 1.02 < counts[2]


@pytest.mark.parametrize(
    "points", [[1.0, 2.0], [[1.0, 2.0, 3.0]], [[1.0, np.nan]], [[[1.0, 2.0]]]]
)
def test_what_are_no_points_is_refused(points):
    with refused(ValueError, np.shape(points), "longitude and latitude"):
        region_map.regions(points)
