import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from latentry_server.batching.batcher import Batcher
from latentry_server.batching.limits import BatchingLimits
from latentry_server.batching.pace import NUM_PROOFS, SHORT_S, Pace, Watchdog
from latentry_server.batching.queue import Ran
from latentry_server.batching.room import Room
from latentry_server.errors import (
    DeadlineExceededError,
    InvalidInputError,
    ModelNotReadyError,
    QueueFullError,
    RuntimeFailedError,
)
from latentry_server.metrics import Metrics
from latentry_server.sessions.devices import Device
from latentry_server.sessions.session import Session
from latentry_server.spec import GraphRole, TensorSpec
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from tests.server.bundles import Autoencoder, ConditionalGan, images
from tests.server.repositories import open_onnx

Tensors = Mapping[str, NDArray[Any]]
CPU = Device("cpu")


class GatedSession:
    """Doubles its rows, fails on negative ones, and runs only while its gate is open."""

    def __init__(self, device: Device = CPU) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.running = threading.Event()
        self.runs: list[int] = []
        self.ended: list[bool] = []
        self.threads: list[threading.Thread] = []
        self.pause_s = 0.0
        self.device = device
        self.inputs: tuple[TensorSpec, ...] = ()
        self.outputs: tuple[TensorSpec, ...] = ()

    def run_options(self) -> Any:
        return SimpleNamespace(terminate=False)

    def run(self, inputs: Tensors, options: Any = None) -> dict[str, NDArray[Any]]:
        rows = inputs["x"]
        self.runs.append(len(rows))
        self.threads.append(threading.current_thread())
        time.sleep(self.pause_s)
        self.running.set()
        assert self.gate.wait(timeout=60)
        self.ended.append(options.terminate)
        if options.terminate:
            raise RuntimeError("ended")
        if (rows < 0).any():
            raise RuntimeError("negative\nrow")
        return {"y": rows * 2}

    def close(self) -> None:
        pass


def rows(*values: float) -> dict[str, NDArray[Any]]:
    return {"x": np.array(values, dtype=np.float32)[:, None]}


def values(ran: Ran) -> list[float]:
    return [float(value) for value in ran.outputs["y"][:, 0]]


def make_batcher(session: Session, registry: CollectorRegistry | None = None, **limits: float) -> Batcher:
    return Batcher(
        session,
        model="m",
        version=1,
        role=GraphRole.ENCODER,
        limits=BatchingLimits(**limits),  # type: ignore[arg-type]  # whole numbers where they must be
        metrics=Metrics(registry or CollectorRegistry()),
    )


@pytest.fixture
def session() -> Iterator[GatedSession]:
    session = GatedSession()
    yield session
    session.gate.set()


@pytest.fixture
async def batcher(session: GatedSession) -> AsyncIterator[Batcher]:
    batcher = make_batcher(session, max_batch_rows=4, max_queue_rows=8)
    yield batcher
    session.gate.set()
    await batcher.close()


async def occupy(session: GatedSession, batcher: Batcher) -> asyncio.Task[Ran]:
    """Let one row run until the gate opens, so that what comes next waits in the queue."""
    session.gate.clear()
    session.running.clear()
    task = asyncio.create_task(batcher.run(rows(100)))
    await asyncio.to_thread(session.running.wait, 60)
    return task


async def queued(*requests: Any) -> list[asyncio.Task[Ran]]:
    tasks = [asyncio.create_task(request) for request in requests]
    await asyncio.sleep(0)
    return tasks


async def test_rows_that_wait_run_together_and_each_caller_gets_its_own(
    session: GatedSession, batcher: Batcher
) -> None:
    first = await occupy(session, batcher)
    waiting = await queued(*(batcher.run(rows(value), client=str(value)) for value in range(5)))
    session.gate.set()
    assert [values(ran) for ran in await asyncio.gather(first, *waiting)] == [[200], [0], [2], [4], [6], [8]]
    assert session.runs == [1, 4, 1]


async def test_a_session_of_short_runs_goes_on_with_a_full_batch_before_the_loop_knows_of_the_last(
    session: GatedSession, batcher: Batcher
) -> None:
    await batcher.run(rows(1))
    first = await occupy(session, batcher)
    full = await queued(*(batcher.run(rows(value), client="a") for value in range(4)))
    more = await queued(*(batcher.run(rows(value), client="b") for value in range(3)))
    session.gate.set()
    deadline_s = time.monotonic() + 60
    while len(session.runs) < 3:  # the event loop stands still
        assert time.monotonic() < deadline_s
        time.sleep(0.001)  # noqa: ASYNC251
    assert not first.done()
    assert [values(ran) for ran in await asyncio.gather(*full, *more)] == [[0], [2], [4], [6], [0], [2], [4]]
    assert session.runs == [1, 1, 4, 3]


async def test_time_in_the_thread_before_its_run_does_not_count_as_the_runs(session: GatedSession) -> None:
    batcher = make_batcher(session, max_batch_rows=4, max_run_s=0.3)
    await batcher.run(rows(1))
    first = await occupy(session, batcher)
    full = await queued(*(batcher.run(rows(value)) for value in range(4)))
    await asyncio.sleep(0.5)
    session.gate.set()
    with pytest.raises(RuntimeFailedError, match=r"the run took longer than 0\.3 s"):
        await first
    answers = await asyncio.gather(*full)
    assert [values(ran) for ran in answers] == [[0], [2], [4], [6]]
    assert all(ran.queue_s > 0.4 and ran.compute_s < ran.queue_s for ran in answers)
    await batcher.close()


async def test_a_full_batch_that_waits_in_the_thread_is_ended_where_its_callers_have_gone(
    session: GatedSession, batcher: Batcher
) -> None:
    await batcher.run(rows(1))
    first = await occupy(session, batcher)
    for task in await queued(*(batcher.run(rows(value)) for value in range(4))):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    session.gate.set()
    assert values(await first) == [200]
    assert values(await batcher.run(rows(3))) == [6]
    assert session.ended == [False, False, True, False]


async def test_merged_rows_equal_rows_run_alone() -> None:
    bundle = Autoencoder(seed=1)
    session = open_onnx(bundle.onnx_files()["denoiser"])
    batcher = make_batcher(session, max_batch_rows=64)
    inputs = images(100)
    cuts = np.cumsum([1, 2, 7, 30])
    parts = np.split(inputs, cuts)
    answers = await asyncio.gather(*(batcher.run({"inputs": part}) for part in parts))
    await batcher.close()
    for answer, part in zip(answers, parts, strict=True):
        alone = np.concatenate([session.run({"inputs": row[None]})["outputs"] for row in part])
        np.testing.assert_allclose(answer.outputs["outputs"], alone, atol=1e-6)
        np.testing.assert_allclose(answer.outputs["outputs"], bundle.reconstruct(part), atol=1e-6)


async def test_a_large_request_is_split_and_put_together_in_order(session: GatedSession, batcher: Batcher) -> None:
    ran = await batcher.run(rows(*range(7)))
    assert values(ran) == [2 * value for value in range(7)]
    assert session.runs == [4, 3]
    assert ran.compute_s > 0
    assert ran.queue_s >= 0


async def test_rows_of_another_shape_run_apart(session: GatedSession, batcher: Batcher) -> None:
    first = await occupy(session, batcher)
    wide = {"x": np.ones((2, 3), dtype=np.float32)}
    waiting = await queued(batcher.run(rows(1)), batcher.run(wide), batcher.run(rows(2)))
    session.gate.set()
    await asyncio.gather(first, *waiting)
    assert session.runs == [1, 1, 2, 1]
    np.testing.assert_array_equal((await waiting[1]).outputs["y"], np.full((2, 3), 2))


async def test_a_cancelled_caller_is_not_run_and_disturbs_nobody(session: GatedSession, batcher: Batcher) -> None:
    first = await occupy(session, batcher)
    waiting = await queued(*(batcher.run(rows(value)) for value in range(4)))
    waiting[1].cancel()
    await asyncio.sleep(0)
    session.gate.set()
    assert [values(await task) for task in (first, waiting[0], waiting[2], waiting[3])] == [[200], [0], [4], [6]]
    assert waiting[1].cancelled()
    assert session.runs == [1, 3]


async def test_a_caller_cancelled_while_its_batch_runs_disturbs_nobody(session: GatedSession, batcher: Batcher) -> None:
    first = await occupy(session, batcher)
    waiting = await queued(*(batcher.run(rows(value)) for value in range(4)))
    session.running.clear()
    session.gate.set()
    await first
    session.gate.clear()
    await asyncio.to_thread(session.running.wait, 60)
    waiting[0].cancel()
    session.gate.set()
    assert [values(await task) for task in waiting[1:]] == [[2], [4], [6]]
    assert values(await batcher.run(rows(9))) == [18]


async def test_a_cancelled_caller_makes_room_at_once(session: GatedSession, batcher: Batcher) -> None:
    first = await occupy(session, batcher)
    (large,) = await queued(batcher.run(rows(*range(8))))
    with pytest.raises(QueueFullError):
        await batcher.run(rows(1))
    large.cancel()
    await asyncio.sleep(0)
    (later,) = await queued(batcher.run(rows(1)))
    session.gate.set()
    assert values(await first) == [200]
    assert values(await later) == [2]


@pytest.mark.parametrize("culprit", range(6))
async def test_a_bad_request_fails_alone(culprit: int) -> None:
    """A label out of range makes onnxruntime fail the whole run."""
    bundle = ConditionalGan(seed=2)
    session = open_onnx(bundle.onnx_files()["decoder"])
    batcher = make_batcher(session)
    codings = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    labels = np.array([0, 1, 2, 0, 1, 2])
    sent = np.where(np.arange(6) == culprit, 99, labels)
    answers = await asyncio.gather(
        *(batcher.run({"codings": codings[i : i + 1], "labels": sent[i : i + 1]}) for i in range(6)),
        return_exceptions=True,
    )
    await batcher.close()
    for i, answer in enumerate(answers):
        if i == culprit:
            assert isinstance(answer, RuntimeFailedError)
            assert "\n" not in str(answer)
        else:
            assert isinstance(answer, Ran)
            expected = bundle.decode(codings[i : i + 1], labels[i : i + 1])
            np.testing.assert_allclose(answer.outputs["outputs"], expected, atol=1e-6)


async def test_every_caller_gets_what_is_his_whatever_the_others_do(session: GatedSession) -> None:
    """Good, bad, late and cancelled callers at random, in requests of 1 to 9 rows."""
    rng = np.random.default_rng(0)
    batcher = make_batcher(session, max_batch_rows=4, max_queue_rows=10_000)
    kinds = rng.choice(["good", "bad", "late", "cancelled"], size=400, p=[0.7, 0.1, 0.1, 0.1])
    sent = [rng.integers(0, 100, rng.integers(1, 10)).astype(float) for _ in kinds]
    tasks = []
    for kind, numbers in zip(kinds, sent, strict=True):
        numbers[-1] = -1 if kind == "bad" else numbers[-1]
        deadline_s = time.monotonic() - 1 if kind == "late" else None
        tasks += await queued(batcher.run(rows(*numbers), deadline_s=deadline_s))
        if kind == "cancelled":
            tasks[-1].cancel()
        if rng.random() < 0.1:
            await asyncio.sleep(0.001)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    expected = {"bad": RuntimeFailedError, "late": DeadlineExceededError, "cancelled": asyncio.CancelledError}
    for kind, numbers, answer in zip(kinds, sent, answers, strict=True):
        if kind == "good":
            assert isinstance(answer, Ran)
            assert values(answer) == [2 * number for number in numbers]
        else:
            assert isinstance(answer, expected[kind])
    await batcher.close()


async def test_a_bad_part_fails_the_whole_request_and_leaves_nothing_behind(
    session: GatedSession, batcher: Batcher
) -> None:
    with pytest.raises(RuntimeFailedError, match="m/1/encoder failed: negative row"):
        await batcher.run(rows(-1, 1, 2, 3, 4, 5, 6))
    assert values(await batcher.run(rows(1))) == [2]
    assert session.runs[0] == 4


async def test_rows_whose_deadline_passed_in_the_queue_never_run(session: GatedSession, batcher: Batcher) -> None:
    first = await occupy(session, batcher)
    soon, later = time.monotonic() + 0.05, time.monotonic() + 60
    waiting = await queued(batcher.run(rows(1), deadline_s=soon), batcher.run(rows(2), deadline_s=later))
    await asyncio.sleep(0.1)
    session.gate.set()
    await first
    with pytest.raises(DeadlineExceededError):
        await waiting[0]
    assert values(await waiting[1]) == [4]
    assert session.runs == [1, 1]


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(session: GatedSession, batcher: Batcher) -> None:
    await batcher.run(rows(1))
    first = await occupy(session, batcher)
    waiting = await queued(batcher.run(rows(*range(4))))  # these are full: they wait in the thread
    waiting += await queued(batcher.run(rows(*range(6))))
    with pytest.raises(QueueFullError) as refused:
        await batcher.run(rows(1, 2, 3), client="other")
    assert refused.value.retry_after_s > 0
    waiting += await queued(batcher.run(rows(1, 2), client="other"))
    session.gate.set()
    await asyncio.gather(first, *waiting)


async def test_more_rows_than_the_queue_ever_takes_are_no_matter_of_trying_again(batcher: Batcher) -> None:
    with pytest.raises(InvalidInputError, match="rows: expected at most 8, got 9"):
        await batcher.run(rows(*range(9)))


async def test_a_flood_fills_its_share_and_others_are_served_next(session: GatedSession) -> None:
    batcher = make_batcher(session, max_batch_rows=64, max_queue_rows=256)
    first = await occupy(session, batcher)
    flood = await queued(*(batcher.run(rows(value), client="flood") for value in range(300)))
    refused = [task for task in flood if task.done()]
    assert len(refused) == 300 - 128
    for task in refused:
        with pytest.raises(QueueFullError, match=r"this client's share of the queue \(256 rows\) is full"):
            await task
    other = await queued(*(batcher.run(rows(value), client="other") for value in range(16)))
    session.gate.set()
    await first
    answers = await asyncio.gather(*other)
    assert [values(ran) for ran in answers] == [[2 * value] for value in range(16)]
    served = [await task for task in flood if task not in refused]
    assert session.runs == [1, 64, 64, 16]
    # Of 144 rows that wait, sixteen came last and run in the first batch.
    assert max(ran.queue_s for ran in answers) < served[-1].queue_s
    assert sum(ran.queue_s > answers[0].queue_s for ran in served) >= 80
    await batcher.close()


async def test_bytes_are_counted_over_all_graphs(session: GatedSession) -> None:
    room = Room(100)
    metrics = Metrics(CollectorRegistry())
    one, other = (
        Batcher(
            session,
            model=model,
            version=1,
            role=GraphRole.ENCODER,
            limits=BatchingLimits(bytes_room=room),
            metrics=metrics,
        )
        for model in ("one", "other")
    )
    first = await occupy(session, one)
    waiting = await queued(one.run(rows(*range(20)), client="a"))
    with pytest.raises(QueueFullError, match=r"the queue is full \(100 bytes\)"):
        await other.run(rows(*range(6)), client="b")
    session.gate.set()
    await asyncio.gather(first, *waiting)
    assert room.taken == 0
    assert len(values(await other.run(rows(*range(200)), client="b"))) == 200, "where nothing waits, it is let in"
    await one.close()
    await other.close()


async def test_who_would_wait_too_long_for_its_deadline_is_refused_at_once(session: GatedSession) -> None:
    registry = CollectorRegistry()
    batcher = make_batcher(session, registry, max_batch_rows=2)
    batcher._run_s = 10.0
    assert values(await batcher.run(rows(1), deadline_s=time.monotonic() + 1)) == [2], (
        "where nothing waits, it is tried"
    )
    batcher._run_s = 10.0
    first = await occupy(session, batcher)
    waiting = await queued(*(batcher.run(rows(value), client="a") for value in range(4)))
    assert batcher._time_of(batcher._queue.rows_before("b")) == pytest.approx(40.0), (
        "the present run, two batches, its own"
    )
    with pytest.raises(
        QueueFullError, match=r"what waits takes about 40\.000 s, more than half of the 79\.\d+ s"
    ) as refused:
        await batcher.run(rows(9), client="b", deadline_s=time.monotonic() + 79.9)
    assert refused.value.retry_after_s == pytest.approx(0.05, abs=0.05)
    waiting += await queued(batcher.run(rows(9), client="b", deadline_s=time.monotonic() + 90))
    with pytest.raises(DeadlineExceededError):
        await batcher.run(rows(9), client="b", deadline_s=time.monotonic() - 1)
    session.gate.set()
    await asyncio.gather(first, *waiting)
    graph = {"model": "m", "version": "1", "graph": "encoder"}
    for reason in ("would_be_late", "deadline"):
        assert registry.get_sample_value("latentry_rejected_total", {**graph, "reason": reason}) == 1
    await batcher.close()


async def test_close_answers_what_waits_and_takes_no_more(session: GatedSession, batcher: Batcher) -> None:
    first = await occupy(session, batcher)
    waiting = await queued(*(batcher.run(rows(value), client=str(value)) for value in range(6)))
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(ModelNotReadyError):
        await batcher.run(rows(1))
    session.gate.set()
    assert [values(await task) for task in (first, *waiting)] == [[200], [0], [2], [4], [6], [8], [10]]
    await closing


async def test_an_idle_session_waits_for_more_rows_where_a_delay_is_set(session: GatedSession) -> None:
    batcher = make_batcher(session, max_batch_rows=2, max_queue_rows=8, max_delay_ms=60_000)
    early = asyncio.create_task(batcher.run(rows(1)))
    await asyncio.sleep(0.01)
    late = asyncio.create_task(batcher.run(rows(2)))
    assert [values(ran) for ran in await asyncio.gather(early, late)] == [[2], [4]]
    assert session.runs == [2]
    await batcher.close()


async def test_closing_ends_the_delay(session: GatedSession) -> None:
    batcher = make_batcher(session, max_delay_ms=60_000)
    (waiting,) = await queued(batcher.run(rows(1)))
    await asyncio.sleep(0.01)
    await batcher.close()
    assert values(await waiting) == [2]


async def test_sizes_are_padded_to_buckets_on_cuda() -> None:
    session = GatedSession(Device("cuda"))
    batcher = make_batcher(session, max_batch_rows=8)
    assert values(await batcher.run(rows(1, 2, 3))) == [2, 4, 6]
    assert values(await batcher.run(rows(*range(9)))) == [2 * value for value in range(9)]
    assert session.runs == [4, 8, 1]
    await batcher.close()


async def test_metrics_count_rows_and_refusals(session: GatedSession) -> None:
    registry = CollectorRegistry()
    batcher = make_batcher(session, registry, max_batch_rows=4, max_queue_rows=4)
    first = await occupy(session, batcher)
    graph = {"model": "m", "version": "1", "graph": "encoder"}
    waiting = await queued(
        batcher.run(rows(1, 2)), batcher.run(rows(3), client="other", deadline_s=time.monotonic() + 0.05)
    )
    assert registry.get_sample_value("latentry_queue_rows", graph) == 3
    await asyncio.sleep(0.1)
    for refused, client, error in (
        (rows(1, 2), "third", QueueFullError),
        (rows(1), "", QueueFullError),
        (rows(1, 2, 3, 4, 5), "", InvalidInputError),
    ):
        with pytest.raises(error):
            await batcher.run(refused, client=client)
    session.gate.set()
    await asyncio.gather(first, *waiting, return_exceptions=True)
    assert registry.get_sample_value("latentry_queue_rows", graph) == 0
    assert registry.get_sample_value("latentry_batch_rows_sum", graph) == 3
    assert registry.get_sample_value("latentry_compute_seconds_count", graph) == 2
    assert registry.get_sample_value("latentry_queue_seconds_count", graph) == 2
    for reason in ("queue_full", "client_share", "too_large", "deadline"):
        assert registry.get_sample_value("latentry_rejected_total", {**graph, "reason": reason}) == 1
    await batcher.close()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_run_s": 0}, "max_run_s: expected more than 0, got 0"),
        ({"max_batch_rows": 0}, "max_batch_rows: expected at least 1, got 0"),
        ({"max_batch_rows": 8, "max_queue_rows": 4}, "max_queue_rows: expected at least max_batch_rows"),
        ({"max_delay_ms": -1}, "max_delay_ms: expected at least 0, got -1"),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchingLimits(**limits)


def prove_short(batcher: Batcher, *row_counts: int) -> None:
    for count in row_counts * NUM_PROOFS:
        batcher._pace.observe_in_thread(count, SHORT_S / 2)


async def test_what_has_shown_to_be_short_runs_on_the_event_loop(session: GatedSession, batcher: Batcher) -> None:
    prove_short(batcher, 1, 2)
    together = await asyncio.gather(*(batcher.run(rows(value)) for value in range(3)))
    assert [values(ran) for ran in together] == [[0], [2], [4]]
    assert session.runs == [1, 2], "the first at once, the others of the same turn of the loop together"
    assert set(session.threads) == {threading.current_thread()}
    assert values(await batcher.run(rows(1, 2, 3, 4))) == [2, 4, 6, 8]
    assert session.threads[-1] is not threading.current_thread(), "so many rows have shown nothing yet"


async def test_what_fails_on_the_event_loop_fails_alone(batcher: Batcher) -> None:
    prove_short(batcher, 1, 2, 3)
    results = await asyncio.gather(*(batcher.run(rows(value)) for value in (5, 6, -1, 7)), return_exceptions=True)
    assert [values(ran) for ran in results if isinstance(ran, Ran)] == [[10], [12], [14]]
    assert isinstance(results[2], RuntimeFailedError)
    with pytest.raises(RuntimeFailedError):
        await batcher.run(rows(-1))


async def test_runs_prove_themselves_in_the_thread(session: GatedSession, batcher: Batcher) -> None:
    for number in range(1000):
        assert values(await batcher.run(rows(number))) == [2 * number]
        if session.threads[-1] is threading.current_thread():
            break
    else:
        pytest.fail("every run went to the thread")
    assert len(session.runs) > NUM_PROOFS


async def test_no_run_is_larger_than_allowed_because_smaller_ones_were_short(session: GatedSession) -> None:
    batcher = make_batcher(session, max_batch_rows=3)
    prove_short(batcher, 3)
    assert values(await batcher.run(rows(1, 2, 3, 4))) == [2, 4, 6, 8]
    assert session.runs == [3, 1]
    await batcher.close()


@pytest.mark.parametrize("count", [1, 3])
async def test_where_no_watchdog_can_be_started_runs_go_to_the_thread(
    session: GatedSession, batcher: Batcher, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    watchdog = Watchdog()
    monkeypatch.setattr("latentry_server.batching.batcher.WATCHDOG", watchdog)
    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", refuse_to_start)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            watchdog.begin(session.run_options())
    monkeypatch.setattr(watchdog, "begin", refuse_to_start)
    prove_short(batcher, 1, 2)
    together = await asyncio.gather(*(batcher.run(rows(value)) for value in range(count)))
    assert [values(ran) for ran in together] == [[2.0 * value] for value in range(count)]
    assert threading.current_thread() not in session.threads
    monkeypatch.undo()
    watchdog.begin(session.run_options())
    assert watchdog._thread is not None, "it is tried again"
    watchdog.end()


def refuse_to_start(*_: object) -> None:
    raise RuntimeError("can't start new thread")


async def test_a_batch_that_is_larger_to_learn_is_not_taken_for_a_short_one(session: GatedSession) -> None:
    batcher = make_batcher(session, max_batch_rows=64)
    for _ in range(NUM_PROOFS):
        batcher._pace.observe_in_thread(32, SHORT_S / 2)
    batcher._size.rows, batcher._size._num_batches = 32, 7
    await asyncio.gather(*(batcher.run(rows(number)) for number in range(64)))
    assert session.runs == [64]
    assert threading.current_thread() not in session.threads
    await batcher.close()


async def test_what_is_long_runs_in_the_thread(session: GatedSession, batcher: Batcher) -> None:
    session.pause_s = 1e-3
    for number in range(30):
        assert values(await batcher.run(rows(number))) == [2 * number]
    assert threading.current_thread() not in session.threads


def test_what_has_become_long_has_to_prove_itself_anew() -> None:
    pace = Pace()
    for _ in range(NUM_PROOFS):
        assert not pace.is_short(4)
        pace.observe_in_thread(3, SHORT_S / 2)
    assert pace.is_short(4)
    assert not pace.is_short(5)
    pace.observe_in_thread(4, SHORT_S * 9)  # it may have waited for the interpreter
    for run_s in (SHORT_S * 9, SHORT_S * 9, SHORT_S / 2, SHORT_S * 9, SHORT_S * 9):
        pace.observe_here(4, run_s)
        assert pace.is_short(4)
    pace.observe_here(4, SHORT_S * 9)
    assert not pace.is_short(4)
