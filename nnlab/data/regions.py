# SPDX-License-Identifier: Apache-2.0
"""A map of twenty imaginary regions: in which region does a point lie?

A point is moved by smooth noise of several octaves and then belongs to the nearest of
twenty sites. Large waves bend the regions, smaller ones make their borders irregular at
every scale. Each site has its own head start, so areas differ.

The constants were chosen for a network on standardised points with batch norm, ReLU and
Adam (rate 0.001, batch 256, 100 epochs): one hidden layer of 16 units reaches a
validation accuracy of 0.901, six layers of 64 reach 0.957 (means of 3 seeds; from 0.893
to 0.906 and from 0.953 to 0.959). No label is wrong: networks miss the fine structure
of the borders.
"""

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nnlab.data.dataset import Dataset

# Degrees of longitude and latitude: west, south, east, north.
EXTENT = (-10.0, 35.0, 30.0, 60.0)
NUM_REGIONS = 20
NUM_POINTS = 60_000

# The first key draws the regions, the second the points.
_REGIONS_KEY, _POINTS_KEY = 66, 7
_OCTAVES = 8  # down to a wavelength of 0.1 degrees; there are 60 points on a square one
_WAVES = 6
_WAVELENGTH = 12.0  # degrees, of the first octave; it halves with each further one
_AMPLITUDE = 1.05  # degrees, root mean square, of the first octave
_ROUGHNESS = 0.43  # amplitude of an octave divided by that of the one before
_HEAD_START = 12.0  # square degrees, the largest
# Points computed at a time, so that temporary arrays fit into a CPU's cache.
_CHUNK = 1 << 13


class _Sites(NamedTuple):
    """The regions, the largest first.

    Attributes:
      places: longitude and latitude, degrees, (R, 2).
      starts: head starts, subtracted from squared distances, square degrees, (R,).
      angles: directions of the waves, radians, (octaves, 2, waves): those that move
        points along the longitude and those along the latitude.
      phases: radians, likewise.
    """

    places: np.ndarray
    starts: np.ndarray
    angles: np.ndarray
    phases: np.ndarray


def load(name: str) -> Dataset:
    """Returns the map: points uniform over its extent, with the region of each.

    It is a table of longitude and latitude in degrees, float32. One fixed key makes it
    the same on every machine. `name` is its name in tables and captions.
    """
    low, high = np.reshape(EXTENT, (2, 2))
    draws = np.random.default_rng(_POINTS_KEY).random((NUM_POINTS, 2))
    # Rounded first: afterwards no point may cross a border.
    points = (low + (high - low) * draws).astype(np.float32)
    return Dataset.from_arrays(
        points,
        regions(points),
        name=name,
        class_names=[f"region {number}" for number in range(1, NUM_REGIONS + 1)],
        feature_names=("longitude", "latitude"),
    )


def regions(points: npt.ArrayLike) -> np.ndarray:
    """Returns the region of each point: int32 (N,), in [0, NUM_REGIONS), 0 the largest.

    Points are longitude and latitude in degrees, finite, (N, 2). Those outside the
    extent belong to a region, too.
    """
    array = np.asarray(points, np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or not np.isfinite(array).all():
        raise ValueError(
            f"points of shape {array.shape} are not finite pairs of longitude and "
            "latitude, (N, 2)"
        )
    return _nearest(array, _sites())


@functools.cache
def _sites() -> _Sites:
    """Draws the regions, and sorts them by their share of a grid of 100,000 points."""
    rng = np.random.default_rng(_REGIONS_KEY)
    low, high = np.reshape(EXTENT, (2, 2))
    places = low + (high - low) * rng.random((NUM_REGIONS, 2))
    starts = _HEAD_START * rng.random(NUM_REGIONS)
    angles, phases = 2 * np.pi * rng.random((2, _OCTAVES, 2, _WAVES))
    drawn = _Sites(places, starts, angles, phases)

    x, y = (np.arange(*ends, 0.1) + 0.05 for ends in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    areas = np.bincount(_nearest(grid, drawn), minlength=NUM_REGIONS)
    order = np.argsort(-areas, kind="stable")
    return drawn._replace(places=places[order], starts=starts[order])


def _nearest(points: np.ndarray, sites: _Sites) -> np.ndarray:
    """Finds the nearest site of points (N, 2): int32 (N,).

    Sines differ in their last digit from machine to machine, which moves borders by
    1e-15 degrees. The chance that one of the 60,000 points lies that close is 1e-10.
    """
    found = np.empty(len(points), np.int32)
    for start in range(0, len(points), _CHUNK):
        part = points[start : start + _CHUNK]
        distances = np.subtract(part + _noise(part, sites), sites.places[:, None]) ** 2
        nearness = sites.starts[:, None] - distances[..., 0] - distances[..., 1]
        found[start : start + _CHUNK] = np.argmax(nearness, axis=0)
    return found


def _noise(points: np.ndarray, sites: _Sites) -> np.ndarray:
    """Returns how far points (N, 2) are moved, in degrees: (N, 2), smooth."""
    x, y = points[:, 0], points[:, 1]
    moved = np.zeros_like(points)
    for octave, (angles, phases) in enumerate(
        zip(sites.angles, sites.phases, strict=True)
    ):
        wave_number = 2 * np.pi / _WAVELENGTH * 2**octave
        # A sine's root mean square is sqrt(1/2).
        amplitude = _AMPLITUDE * _ROUGHNESS**octave * np.sqrt(2 / _WAVES)
        for axis in range(2):
            for angle, phase in zip(angles[axis], phases[axis], strict=True):
                along = np.cos(angle) * x + np.sin(angle) * y
                moved[:, axis] += amplitude * np.sin(wave_number * along + phase)
    return moved
