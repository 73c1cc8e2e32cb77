"""The queue without a session: who comes next, and who may come in."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latentry_server.batching.merge import row_type
from latentry_server.batching.queue import TURN_ROWS, Entry, RowQueue
from latentry_server.batching.room import Room

MAX_ROWS = 256


def entry(client: str, rows: int, *, width: int = 1, enqueued_s: float = 0) -> Entry:
    inputs = {"x": np.zeros((rows, width), np.float32)}
    return Entry(
        client=client,
        inputs=inputs,
        rows=rows,
        num_bytes=inputs["x"].nbytes,
        row_type=row_type(inputs),
        enqueued_s=enqueued_s,
        deadline_s=None,
        answer=None,  # type: ignore[arg-type]  # the queue does not look at it
    )


def queue_of(*entries: Entry) -> RowQueue:
    queue = RowQueue(Room(10**9), Room(10**9))
    for each in entries:
        queue.push(each)
    return queue


def test_one_client_is_served_in_order() -> None:
    entries = [entry("a", rows) for rows in (3, 200, 60, 100, 1)]
    queue = queue_of(*entries)
    batches = [queue.take_batch(MAX_ROWS) for _ in range(3)]
    assert batches == [entries[:2], entries[2:], []]
    assert not queue
    assert queue.rows == 0


def test_a_client_that_comes_late_is_in_the_next_batch() -> None:
    flood = [entry("flood", 1) for _ in range(10_000)]
    queue = queue_of(*flood)
    queue.take_batch(MAX_ROWS)
    late = [entry("late", 1) for _ in range(20)]
    for each in late:
        queue.push(each)
    batch = queue.take_batch(MAX_ROWS)
    assert len(batch) == MAX_ROWS
    assert set(late) <= set(batch)


def test_turns_are_counted_in_rows_not_in_requests() -> None:
    queue = queue_of(*(entry("large", 128) for _ in range(8)), *(entry("small", 1) for _ in range(1024)))
    served = Counter[str]()
    for _ in range(3):
        for each in queue.take_batch(MAX_ROWS):
            served[each.client] += each.rows
    assert abs(served["large"] - served["small"]) <= 128 + TURN_ROWS


def test_rows_of_another_type_wait_for_the_next_batch() -> None:
    first, wide, last = entry("a", 1), entry("a", 1, width=2), entry("a", 1)
    queue = queue_of(first, wide, last)
    assert [queue.take_batch(MAX_ROWS) for _ in range(3)] == [[first], [wide], [last]]


def test_what_is_discarded_never_comes_and_gives_its_room_back() -> None:
    kept, gone = entry("a", 2), entry("b", 3)
    rows_room, bytes_room = Room(10), Room(100)
    queue = RowQueue(rows_room, bytes_room)
    for each in (kept, gone):
        queue.push(each)
    assert (queue.rows, bytes_room.taken) == (5, 20)
    for _ in range(2):  # twice does no more than once
        queue.discard(gone)
    assert (queue.rows, bytes_room.taken) == (2, 8)
    assert queue.take_batch(MAX_ROWS) == [kept]
    assert (queue.rows, bytes_room.taken) == (0, 0)


def test_what_runs_before_a_newcomer_is_a_turn_of_each_client() -> None:
    queue = queue_of(*(entry("a", 1) for _ in range(500)), *(entry("b", 1) for _ in range(10)))
    assert queue.rows_before("newcomer") == 3 * TURN_ROWS
    assert queue.rows_before("b") == 2 * (10 + TURN_ROWS)
    assert queue.rows_before("a") == 510, "no more than there are"
    assert queue_of().rows_before("newcomer") == 0


def test_the_oldest_is_found_whoever_it_is_of() -> None:
    queue = queue_of(entry("a", 1, enqueued_s=2), entry("b", 1, enqueued_s=1), entry("a", 1, enqueued_s=3))
    assert queue.oldest_s() == 1


requests = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, MAX_ROWS)), max_size=60)


@settings(deadline=None, max_examples=100)
@given(requests, st.data())
def test_everything_comes_once_in_its_clients_order(sent: list[tuple[str, int]], data: st.DataObject) -> None:
    """Whatever is pushed and discarded between batches, in whatever order."""
    queue = queue_of()
    waiting = iter([entry(client, rows) for client, rows in sent])
    pushed: list[Entry] = []
    taken: list[Entry] = []
    discarded: list[Entry] = []
    while len(taken) + len(discarded) < len(sent):
        for each in itertools.islice(waiting, data.draw(st.integers(0, 9))):
            queue.push(each)
            pushed.append(each)
        left = [each for each in pushed if each not in taken and each not in discarded]
        gone = data.draw(st.lists(st.sampled_from(left), max_size=1)) if left else []
        for each in gone:
            queue.discard(each)
            discarded.append(each)
        batch = queue.take_batch(MAX_ROWS)
        assert sum(each.rows for each in batch) <= MAX_ROWS
        taken += batch
    assert not queue
    assert queue.rows == 0
    for client in "abc":
        assert [each for each in taken if each.client == client] == [
            each for each in pushed if each.client == client and each not in discarded
        ]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, MAX_ROWS), min_size=2, max_size=6))
def test_clients_that_always_have_something_waiting_get_the_same_rows(sizes: list[int]) -> None:
    queue = queue_of(*(entry(str(client), rows) for client, rows in enumerate(sizes) for _ in range(600 // rows + 2)))
    served = [0] * len(sizes)
    for _ in range(50):
        for each in queue.take_batch(MAX_ROWS):
            served[int(each.client)] += each.rows
            queue.push(entry(each.client, each.rows))
            assert max(served) - min(served) <= 2 * (MAX_ROWS + TURN_ROWS)


def test_a_lone_request_may_take_all_the_room() -> None:
    room = Room(8)
    assert room.fits_share("a", 8)
    room.take("a", 8)
    assert room.free == 0


def test_a_client_with_something_waiting_leaves_as_much_free_as_it_has() -> None:
    room = Room(90)
    for client, share in (("a", 45), ("b", 22), ("c", 11)):
        while room.fits_share(client, 1):
            room.take(client, 1)
        assert room.taken == sum(given for name, given in (("a", 45), ("b", 22), ("c", 11)) if name <= client)
        room.give_back(client, share)
        room.take(client, share)
    assert room.free == 12
    assert room.fits_share("newcomer", 1)


def test_what_is_given_back_is_forgotten() -> None:
    room = Room(8)
    room.take("a", 3)
    room.take("a", 1)
    room.give_back("a", 3)
    room.give_back("a", 1)
    assert room.taken == 0
    assert room.fits_share("a", 8)
    assert not room._taken_by


def test_a_room_has_a_limit() -> None:
    with pytest.raises(ValueError, match="limit: expected at least 1, got 0"):
        Room(0)
