from collections.abc import Callable

import pytest
from latentry_server.batching.batch_size import BatchSize

MAX_ROWS = 256


def small_graph(rows: int) -> float:
    return 30e-6 + 2e-6 * rows


def outgrows_caches(rows: int) -> float:
    return 30e-6 + (50e-6 if rows <= 64 else 70e-6) * rows


def run(size: BatchSize, run_s: Callable[[int], float], *, batches: int) -> list[int]:
    """Run full batches, and return how many rows each had."""
    taken = []
    for _ in range(batches):
        taken.append(size.next())
        size.observe(taken[-1], run_s(taken[-1]))
    return taken


def test_batches_of_a_small_graph_stay_as_large_as_may_be() -> None:
    size = BatchSize(MAX_ROWS)
    taken = run(size, small_graph, batches=5000)
    assert size.rows == MAX_ROWS
    assert sum(taken) > 0.9 * 5000 * MAX_ROWS


def test_batches_shrink_to_where_a_row_costs_least_and_no_further() -> None:
    size = BatchSize(MAX_ROWS)
    run(size, outgrows_caches, batches=5000)
    assert size.rows == 64


def test_batches_grow_again_where_that_pays() -> None:
    size = BatchSize(MAX_ROWS)
    run(size, outgrows_caches, batches=5000)
    run(size, small_graph, batches=5000)
    assert size.rows == MAX_ROWS


def test_a_few_slow_runs_change_nothing() -> None:
    size = BatchSize(MAX_ROWS)
    for _ in range(7):
        size.observe(MAX_ROWS, 1.0)
        size.observe(MAX_ROWS // 2, 1e-3)
    assert size.rows == MAX_ROWS


@pytest.mark.parametrize("max_rows", [1, 63, 64, 300])
def test_no_batch_has_more_rows_than_it_may_or_less_than_one(max_rows: int) -> None:
    size = BatchSize(max_rows)
    for run_s in (outgrows_caches, small_graph, lambda rows: 1e-6 * rows**2, small_graph):
        assert all(1 <= rows <= max_rows for rows in run(size, run_s, batches=5000))
    assert size.rows == max_rows
