# SPDX-License-Identifier: Apache-2.0
"""The fast convolution and pools equal XLA's in numbers and gradients."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from networks import distance, normal

from nnlab.machine import devices
from nnlab.models.cpu import convolution
from nnlab.training.member import key

FAST = {"conv_general_dilated": convolution.conv_general_dilated}

CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")


def fast_and_xla(x, kernel, strides, padding):
    """Returns output and both gradients, of the fast convolution and of XLA's."""

    @functools.partial(jax.jit, static_argnums=0)
    def pulled(function, x, kernel):
        def convolve(x, kernel):
            numbers = {"dimension_numbers": CHANNELS_LAST}
            return function(x, kernel, strides, padding, **numbers)

        y, pull = jax.vjp(convolve, x, kernel)
        return y, *pull(jnp.sin(jnp.arange(y.size)).reshape(y.shape))

    fast = pulled(convolution.conv_general_dilated, x, kernel)
    return zip(fast, pulled(lax.conv_general_dilated, x, kernel))


def program(x, kernel, strides, padding):
    """Returns the traced program of the fast convolution, as text."""
    function = functools.partial(
        convolution.conv_general_dilated,
        window_strides=strides,
        padding=padding,
        dimension_numbers=CHANNELS_LAST,
    )
    return str(jax.make_jaxpr(function)(x, kernel))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        ((1, 1), (2, 3), "VALID"),
        ((2, 3), (2, 1), "SAME"),
        ((3, 3), (1, 1), ((2, 0), (1, 3))),
        ((5, 2), (4, 4), "VALID"),
        ((6, 6), (1, 2), "SAME"),
    ],
)
def test_convolution_and_its_gradients_are_xlas(window, strides, padding):
    x, kernel = normal(0, 4, 9, 8, 3), normal(1, *window, 3, 5)
    for fast, exact in fast_and_xla(x, kernel, strides, padding):
        assert fast.shape == exact.shape
        assert distance(fast, exact) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "padding"),
    [
        ((4, 4), "SAME"),
        ((11, 9), "VALID"),
        ((8, 7), ((2, 0), (1, 3))),
    ],
)
def test_winograds_convolution_and_its_gradients_are_xlas(size, padding):
    x, kernel = normal(0, 3, *size, 16), normal(1, 3, 3, 16, 17)
    for fast, exact in fast_and_xla(x, kernel, (1, 1), padding):
        assert fast.shape == exact.shape
        assert distance(fast, exact) < 2e-6


@pytest.mark.slow
def test_winograds_convolution_and_its_gradients_keep_float64():
    with devices.setting("enable_x64", True):
        rng = np.random.default_rng(0)
        x, kernel = rng.normal(size=(3, 7, 6, 16)), rng.normal(size=(3, 3, 16, 16))
        for fast, exact in fast_and_xla(x, kernel, (1, 1), "SAME"):
            assert fast.dtype == np.float64
            assert distance(fast, exact) < 1e-14


@pytest.mark.parametrize(
    ("size", "channels", "strides", "dtype", "products"),
    [
        (4, (16, 16), (1, 1), jnp.float32, 16),
        (4, (16, 16), (1, 1), jnp.bfloat16, 1),
        (4, (16, 16), (1, 2), jnp.float32, 1),
        (4, (15, 16), (1, 1), jnp.float32, 1),
        (4, (16, 15), (1, 1), jnp.float32, 1),
        (3, (16, 16), (1, 1), jnp.float32, 1),
    ],
)
def test_winograd_serves_where_it_is_faster(size, channels, strides, dtype, products):
    x, kernel = jnp.ones((2, size, size, channels[0])), jnp.ones((3, 3, *channels))
    text = program(x.astype(dtype), kernel.astype(dtype), strides, "SAME")
    assert text.count("dot_general[") == products


@pytest.mark.slow
@pytest.mark.parametrize(
    ("budget", "values", "channels", "outputs"),
    [("_TILE_BYTES", 4 * 32, 16, 16), ("_PATCH_BYTES", 27, 3, 5)],
)
def test_convolution_in_chunks_is_the_same(
    monkeypatch, budget, values, channels, outputs
):
    monkeypatch.setattr(convolution, budget, 2 * 7 * 6 * values * 4)
    x, kernel = normal(0, 6, 7, 6, channels), normal(1, 3, 3, channels, outputs)
    for fast, exact in fast_and_xla(x, kernel, (1, 1), "SAME"):
        assert distance(fast, exact) < 2e-6
    assert "length=3" in program(x, kernel, (1, 1), "SAME")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("axes", "channels"),
    [((None, 0), 2), ((None, 0), 16), ((0, 0), 16), ((0, None), 2)],
)
def test_members_convolve_as_if_alone(axes, channels):
    conv = nn.Conv(16, (3, 3), use_bias=False, **FAST)

    @jax.jit
    def alone(x, kernel):
        return conv.apply({"params": {"kernel": kernel}}, x)

    x = normal(0, 2, 3, 6, 6, channels)
    kernel = normal(1, 2, 3, 3, channels, 16)
    together = jax.jit(jax.vmap(alone, axes))(
        x if axes[0] == 0 else x[0], kernel if axes[1] == 0 else kernel[0]
    )
    for member in range(2):
        own = (x[member * (axes[0] == 0)], kernel[member * (axes[1] == 0)])
        assert distance(together[member], alone(*own)) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [{"feature_group_count": 2}, {"input_dilation": 2, "padding": 1}],
)
def test_other_convolutions_go_to_xla(fields):
    x = normal(0, 2, 7, 7, 4)
    own = nn.Conv(6, (3, 3), **FAST, **fields)
    params = jax.jit(own.init)(key(0), x)
    xla = own.clone(conv_general_dilated=None)
    np.testing.assert_array_equal(
        jax.jit(own.apply)(params, x), jax.jit(xla.apply)(params, x)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "taps"),
    [
        ((1, 1), 7, 2, 3, (1, 1)),
        ((2, 1), 3, 2, 1, (2, 1)),
        ((1, 3), 5, 1, 2, (1, 5)),
        ((2, 3), 4, 3, 2, (2, 4)),
        ((1, 1), 1, 2, 1, (1, 1)),
    ],
)
def test_only_the_part_of_a_kernel_that_meets_pixels_is_multiplied(
    size, kernel, stride, padding, taps
):
    x, weights = normal(0, 2, *size, 3), normal(1, kernel, kernel, 3, 4)
    around = ((padding, padding),) * 2
    for fast, exact in fast_and_xla(x, weights, (stride, stride), around):
        assert fast.shape == exact.shape
        assert np.linalg.norm(np.subtract(fast, exact)) <= 1e-6 * np.linalg.norm(exact)
    text = program(x, weights, (stride, stride), around)
    assert f"f32[{3 * math.prod(taps)},4]" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "stride", "padding"),
    [
        *[(1, 1, 0), (2, 2, 0), (3, 3, 0), (3, 2, 0), (2, 3, 0)],
        *[(3, 2, 1), (3, 1, 2), (3, 5, 1)],
    ],
)
def test_max_pool_and_its_gradient_are_flaxs_bit_for_bit(window, stride, padding):
    x = normal(0, 4, 9, 8, 2)
    x[2:] = x[2:].round()  # ties

    def ours(x):
        return convolution.max_pool(x, window, stride, padding)

    def flaxs(x):
        around = ((padding, padding),) * 2
        return nn.max_pool(x, (window, window), (stride, stride), around)

    @functools.partial(jax.jit, static_argnums=0)
    def pulled(pool, x):
        y, pull = jax.vjp(pool, x)
        # Whole numbers: sums over overlapping windows are exact in any order.
        return y, pull((jnp.arange(y.size) * 7 % 31 - 15.0).reshape(y.shape))

    pooled, (gradient,) = pulled(ours, x)
    expected, (exact,) = pulled(flaxs, x)
    np.testing.assert_array_equal(pooled, expected)
    np.testing.assert_array_equal(gradient, exact)


def naive_max_abs_pool(x, window, stride):
    """Pools window by window; of equal magnitudes the positive one counts."""
    down, right = ((size - window) // stride + 1 for size in x.shape[1:3])
    pooled = np.empty((len(x), down, right, x.shape[3]), x.dtype)
    for place in np.ndindex(pooled.shape):
        example, i, j, channel = place
        rows, columns = (slice(k * stride, k * stride + window) for k in (i, j))
        values = x[example, rows, columns, channel].ravel().tolist()
        pooled[place] = max(values, key=lambda v: (abs(v), v))
    return pooled


@pytest.mark.slow
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 3), (3, 2), (2, 3)])
def test_max_abs_pool_and_its_gradient_are_the_naive_ones(window, stride):
    with devices.setting("enable_x64", True):
        x = np.random.default_rng(0).normal(size=(3, 7, 6, 2))
        pool = jax.jit(convolution.max_abs_pool, static_argnums=(1, 2))
        pooled, pull = jax.vjp(lambda x: pool(x, window, stride), x)
        np.testing.assert_array_equal(pooled, naive_max_abs_pool(x, window, stride))
        cotangent = np.random.default_rng(1).normal(size=pooled.shape)
        (gradient,) = pull(cotangent)
    assert gradient.dtype == np.float64
    for place in np.random.default_rng(2).permutation(list(np.ndindex(x.shape)))[:8]:
        step = np.zeros_like(x)
        step[tuple(place)] = 1e-6
        ends = [naive_max_abs_pool(x + sign * step, window, stride) for sign in (1, -1)]
        slope = ((ends[0] - ends[1]) * cotangent).sum() / 2e-6
        np.testing.assert_allclose(gradient[tuple(place)], slope, atol=1e-8)


def test_max_abs_pool_takes_the_positive_one_of_two_equals():
    x = np.array([[-3, 2], [3, -1], [1, -1], [1, -1], [0, -2], [1, -2]], np.float32)
    pooled, pull = jax.vjp(
        lambda x: convolution.max_abs_pool(x, 2, 2), x.reshape(1, 6, 2, 1)
    )
    assert np.ravel(pooled).tolist() == [3, 1, -2]
    (gradient,) = pull(np.array([1, 10, 100], np.float32).reshape(1, 3, 1, 1))
    assert np.ravel(gradient).tolist() == [0, 0, 1, 0, 10, 0, 0, 0, 0, 100, 0, 0]


@pytest.mark.parametrize("pool", [convolution.max_pool, convolution.max_abs_pool])
@pytest.mark.parametrize(
    ("window", "stride", "spoilt"), [(2, 2, [0]), (3, 1, [0, 1]), (1, 2, [])]
)
@pytest.mark.parametrize("beside", [-1.0, 1.0])
def test_a_pool_passes_on_a_nan(pool, window, stride, spoilt, beside):
    x = np.full((1, 4, 4, 1), beside, np.float32)
    x[0, 0, 1, 0] = np.nan
    pooled = np.ravel(jax.jit(pool, static_argnums=(1, 2))(x, window, stride))
    assert np.flatnonzero(np.isnan(pooled)).tolist() == spoilt
