import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from latentry_server.operations.interpolation import Mode, points

ROWS = arrays(np.float32, (3, 5), elements=st.floats(-10, 10, width=32))


@given(start=ROWS, end=ROWS, steps=st.integers(2, 9), mode=st.sampled_from(Mode))
def test_both_ends_are_exact_and_every_point_is_finite(
    start: np.ndarray, end: np.ndarray, steps: int, mode: Mode
) -> None:
    way = points(start, end, steps, mode)
    assert way.shape == (3, steps, 5)
    assert way.dtype == np.float32
    np.testing.assert_array_equal(way[:, 0], start)
    np.testing.assert_array_equal(way[:, -1], end)
    assert np.isfinite(way).all()


@given(start=ROWS, end=ROWS, steps=st.integers(2, 9))
def test_the_norm_changes_linearly_on_the_sphere(start: np.ndarray, end: np.ndarray, steps: int) -> None:
    norms = np.linalg.norm(points(start, end, steps, Mode.SPHERICAL), axis=2)
    expected = np.linspace(np.linalg.norm(start, axis=1), np.linalg.norm(end, axis=1), steps, axis=1)
    np.testing.assert_allclose(norms, expected, rtol=1e-4, atol=1e-5)


def test_linear_is_the_straight_line() -> None:
    start, end = np.array([[0, 2]], np.float32), np.array([[4, -2]], np.float32)
    np.testing.assert_allclose(points(start, end, 5, Mode.LINEAR)[0], [[0, 2], [1, 1], [2, 0], [3, -1], [4, -2]])


def test_spherical_is_shoemakes_formula() -> None:
    rng = np.random.default_rng(0)
    start, end = (rng.standard_normal((4, 30)).astype(np.float32) for _ in range(2))
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    end /= np.linalg.norm(end, axis=1, keepdims=True)
    angle = np.arccos(np.sum(start * end, axis=1, dtype=np.float64))[:, None, None]
    t = np.linspace(0, 1, 7)[None, :, None]
    expected = (np.sin((1 - t) * angle) * start[:, None] + np.sin(t * angle) * end[:, None]) / np.sin(angle)
    np.testing.assert_allclose(points(start, end, 7, Mode.SPHERICAL), expected, atol=1e-6)


@pytest.mark.parametrize("factor", [1.0, 3.0, 1 + 1e-7])
def test_parallel_rows_stay_on_their_line(factor: float) -> None:
    start = np.array([[1, 2, 2]], np.float32)
    way = points(start, start * np.float32(factor), 5, Mode.SPHERICAL)[0]
    np.testing.assert_allclose(way, np.linspace(1, factor, 5)[:, None] * start, rtol=1e-6)


def test_opposite_rows_go_around_a_half_circle() -> None:
    start = np.array([[0, 3, 4]], np.float32)
    way = points(start, -start, 5, Mode.SPHERICAL)[0]
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), 5, rtol=1e-6)
    turns = np.sum(way[:-1] * way[1:], axis=1) / 25
    np.testing.assert_allclose(turns, np.cos(np.pi / 4), rtol=1e-6)


def test_a_zero_row_takes_the_others_direction() -> None:
    start, end = np.zeros((1, 3), np.float32), np.array([[0, 0, 2]], np.float32)
    for one, other in ((start, end), (end, start)):
        expected = points(one, other, 5, Mode.LINEAR)
        np.testing.assert_allclose(points(one, other, 5, Mode.SPHERICAL), expected, atol=1e-7)


def test_images_of_codings_keep_their_shape() -> None:
    start, end = np.zeros((2, 4, 2, 2), np.float32), np.ones((2, 4, 2, 2), np.float32)
    assert points(start, end, 3, Mode.SPHERICAL).shape == (2, 3, 4, 2, 2)
