# SPDX-License-Identifier: Apache-2.0
"""MNIST-1D: ten digits as curves of 40 values, padded, moved, sheared and noisy.

Greydanus and Kobak (2020), "Scaling down deep learning", https://arxiv.org/abs/2011.14439.
Recipe, numbers and seed are the published ones, so it is the published data set: 5,000
examples, of which 1,000 are for testing.
"""

import numpy as np

from nnlab.data.dataset import Dataset

_SEED = 42
_EXAMPLES = 500  # of each digit
_TRAINING = 4_000
_PADDING = (36, 60)
_SCALE, _SHEAR, _MOST_MOVED = 0.4, 0.75, 48
_SMOOTH_NOISE, _SMOOTHNESS, _NOISE = 0.25, 2, 2e-2
_LENGTH = 40

_TEMPLATES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)


def mnist1d() -> Dataset:
    """Makes MNIST-1D: inputs float32 (N, 40), standardised all together."""
    # The stream of the published data; that of `default_rng` differs.
    draws = np.random.RandomState(_SEED)
    shapes = np.array(_TEMPLATES)
    shapes -= shapes.mean(axis=1, keepdims=True)
    shapes /= shapes.std(axis=1, keepdims=True)
    shapes = (shapes - shapes[:, :1]) / 6
    labels = np.repeat(np.arange(10), _EXAMPLES)
    curves = np.stack([_curve(shapes[label], draws) for label in labels])
    order = draws.permutation(len(labels))
    curves, labels = curves[order], labels[order]
    curves = (curves - curves.mean()) / curves.std()
    return Dataset.from_arrays(
        curves[:_TRAINING],
        labels[:_TRAINING],
        test_inputs=curves[_TRAINING:],
        test_labels=labels[_TRAINING:],
        class_names=tuple("0123456789"),
    )


def _curve(shape: np.ndarray, draws: np.random.RandomState) -> np.ndarray:
    """Draws an example of a digit's shape (12,): float64 (40,)."""
    from scipy.ndimage import gaussian_filter1d  # takes a tenth of a second

    low, high = _PADDING
    zeros = np.zeros(low + int(draws.rand() * (high - low + 1)))
    # Noise is put where the curve is exactly 0, so the shape must not be.
    curve = _resampled(np.concatenate([shape + 1e-8, zeros]), len(shape) + high)
    curve *= 1 + _SCALE * (draws.rand() - 0.5)
    curve = np.roll(curve, draws.choice(_MOST_MOVED))
    smooth = gaussian_filter1d(_SMOOTH_NOISE * draws.randn(len(curve)), _SMOOTHNESS)
    curve = np.where(curve != 0, curve, smooth) + _NOISE * draws.randn(len(curve))
    slope = _SHEAR * (draws.rand() - 0.5)
    return _resampled(curve - slope * np.linspace(-0.5, 0.5, len(curve)), _LENGTH)


def _resampled(curve: np.ndarray, length: int) -> np.ndarray:
    old, new = (np.linspace(0, 1, count) for count in (len(curve), length))
    return np.interp(new, old, curve)
