from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from latentry_server.batching import merge
from numpy.typing import NDArray

row_counts = st.lists(st.integers(1, 9), min_size=1, max_size=6)


def part(rows: int, seed: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {"codings": rng.random((rows, 3), dtype=np.float32), "labels": rng.integers(0, 10, rows)}


def assert_same(found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@given(row_counts, st.integers(0, 5))
def test_split_undoes_merge_and_leaves_the_padding(counts: list[int], padding_rows: int) -> None:
    parts = [part(rows, seed) for seed, rows in enumerate(counts)]
    merged = merge.merge(parts, padding_rows=padding_rows)
    assert merge.num_rows(merged) == sum(counts) + padding_rows
    for found, expected in zip(merge.split(merged, counts), parts, strict=True):
        assert_same(found, expected)


@given(row_counts)
def test_padding_repeats_the_last_row(counts: list[int]) -> None:
    parts = [part(rows, seed) for seed, rows in enumerate(counts)]
    padded = merge.merge(parts, padding_rows=2)["codings"][-2:]
    np.testing.assert_array_equal(padded, np.repeat(parts[-1]["codings"][-1:], 2, axis=0))


@given(st.integers(1, 1000), st.integers(1, 300))
def test_chunks_cover_all_rows_in_order_and_are_full_but_the_last(rows: int, max_rows: int) -> None:
    chunks = merge.chunks(rows, max_rows)
    assert [row for chunk in chunks for row in range(chunk.start, chunk.stop)] == list(range(rows))
    sizes = [chunk.stop - chunk.start for chunk in chunks]
    assert all(size == max_rows for size in sizes[:-1])
    assert 1 <= sizes[-1] <= max_rows


def test_chunks_of_a_request_put_together_are_the_request() -> None:
    whole = part(10, seed=0)
    assert_same(merge.merge([merge.take_rows(whole, chunk) for chunk in merge.chunks(10, 4)]), whole)


@pytest.mark.parametrize(("max_rows", "buckets"), [(1, (1,)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12))])
def test_buckets_are_powers_of_two_and_the_limit(max_rows: int, buckets: tuple[int, ...]) -> None:
    assert merge.bucket_sizes(max_rows) == buckets


@given(st.integers(1, 300), st.data())
def test_padding_reaches_the_next_bucket(max_rows: int, data: st.DataObject) -> None:
    rows = data.draw(st.integers(1, max_rows))
    buckets = merge.bucket_sizes(max_rows)
    padded = rows + merge.padding_rows(rows, buckets)
    assert padded == min(bucket for bucket in buckets if bucket >= rows)


def test_nothing_is_padded_without_buckets() -> None:
    assert merge.padding_rows(5, ()) == 0


def test_row_type_tells_shapes_types_and_names_apart() -> None:
    codings = np.zeros((2, 3), np.float32)
    base = merge.row_type({"codings": codings})
    assert merge.row_type({"codings": np.ones((5, 3), np.float32)}) == base
    assert merge.row_type({"codings": codings[:, :2]}) != base
    assert merge.row_type({"codings": codings.astype(np.float64)}) != base
    assert merge.row_type({"noise": codings}) != base


@pytest.mark.parametrize("counts", [(2, 3), (0, 0)])
def test_tensors_that_disagree_on_their_rows_are_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="same number of rows"):
        merge.num_rows({"codings": np.zeros((counts[0], 3)), "labels": np.zeros(counts[1])})
