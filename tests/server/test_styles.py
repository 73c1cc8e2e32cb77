import numpy as np
import pytest
from latentry_server.operations.styles import Layout, Truncation, mix, to_layers, truncate
from latentry_server.spec import StyleSpec

RNG = np.random.default_rng(0)
MEAN = RNG.standard_normal(4).astype(np.float32)
STYLE = StyleSpec(num_layers=3, style_dim=4, mean_style=MEAN)


def styles(rows: int) -> np.ndarray:
    return RNG.standard_normal((rows, 3, 4)).astype(np.float32)


def test_every_layer_gets_the_same_style() -> None:
    given = RNG.standard_normal((2, 4)).astype(np.float32)
    layers = to_layers(given, 3)
    assert layers.shape == (2, 3, 4)
    for layer in range(3):
        np.testing.assert_array_equal(layers[:, layer], given)


def test_styles_of_every_layer_stay_as_they_are() -> None:
    given = styles(2)
    assert to_layers(given, 3) is given


@pytest.mark.parametrize(("cutoff", "truncated_layers"), [(None, 3), (0, 0), (2, 2), (3, 3)])
def test_truncation_pulls_the_coarse_layers_to_the_mean(cutoff: int | None, truncated_layers: int) -> None:
    given = styles(2)
    before = given.copy()
    result = truncate(given, STYLE, Truncation(0.25, cutoff))
    for layer in range(3):
        expected = MEAN + 0.25 * (given[:, layer] - MEAN) if layer < truncated_layers else given[:, layer]
        np.testing.assert_allclose(result[:, layer], expected, rtol=1e-6)
    np.testing.assert_array_equal(given, before)


def test_psi_zero_is_the_mean_and_one_changes_nothing() -> None:
    given = styles(2)
    np.testing.assert_array_equal(truncate(given, STYLE, Truncation(0)), np.broadcast_to(MEAN, (2, 3, 4)))
    np.testing.assert_allclose(truncate(given, STYLE, Truncation(1)), given, atol=1e-6)
    assert truncate(given, STYLE, None) is given


@pytest.mark.parametrize("layers", [[], [0], [1, 2], [0, 1, 2], [2, 2]])
def test_mixes_take_the_named_layers_from_the_columns(layers: list[int]) -> None:
    rows, columns = styles(2), styles(3)
    grid = mix(rows, columns, layers, Layout.GRID)
    assert grid.shape == (2, 3, 3, 4)
    for r in range(2):
        for c in range(3):
            for layer in range(3):
                expected = columns[c, layer] if layer in layers else rows[r, layer]
                np.testing.assert_array_equal(grid[r, c, layer], expected)
    pairs = mix(rows, columns[:2], layers, Layout.PAIRS)
    for r in range(2):
        np.testing.assert_array_equal(pairs[r], grid[r, r])
