"""The kinds of callers: well-behaved ones, and those that make mistakes, lose patience, leave or stop reading."""

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
import numpy as np
from latentry.open_inference import grpc_service_pb2 as open_inference
from latentry.open_inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from latentry_client import AsyncClient, requests
from latentry_client.exceptions import (
    DeadlineExceededError,
    InvalidArgumentError,
    ResourceExhaustedError,
    UnavailableError,
)
from latentry_client.request import Request, RowRequest

from benchmarks.soak.cases import Case, same
from benchmarks.soak.tally import Tally

STREAM_CALLS = 16
_STALLED_CALLS, _STALL_S, _STALLED_ROWS = 64, 5.0, 64
_LONGEST_PATIENCE_S = 0.02
_GARBAGE, _GARBAGE_SHARE = b"\xff" * 100, 0.2
_ENCODE = "/latentry.v1.InferenceService/Encode"


class Callers:
    """Makes one call of a kind, or a few, and counts what came of it. What it raises was not asked for."""

    def __init__(
        self,
        address: str,
        *,
        clients: Sequence[AsyncClient],
        channel: grpc.aio.Channel,
        cases: Sequence[Case],
        mistakes: Sequence[Request[Any]],
        reloaded: Sequence[Case],
        tally: Tally,
        rng: np.random.Generator,
    ) -> None:
        """Take how to reach the server, requests with answers, with mistakes, and of a model that comes and goes."""
        self._address = address
        self._clients = clients
        self._cases = cases
        self._reloaded = reloaded
        self._tally = tally
        self._rng = rng
        self._infer: Any = GRPCInferenceServiceStub(channel).ModelInfer
        self._send_bytes: Any = channel.unary_unary(_ENCODE)
        self._mistakes = mistakes

    async def call(self) -> None:
        """Make a call that must be answered."""
        case = self._case()
        await self._ask(case.request.rpc, self._client(), case)

    async def stream(self) -> None:
        """Make a few calls on one stream."""
        cases = [self._case() for _ in range(STREAM_CALLS)]
        answers = self._client().stream(case.request for case in cases)
        unanswered = iter(cases)
        async for answer in answers:
            self._judge("Stream", next(unanswered), answer)

    async def infer(self) -> None:
        """Call by the Open Inference Protocol."""
        case = self._case(rpc="Encode")
        inputs = case.request.build(slice(0, case.request.rows)).inputs  # type: ignore[attr-defined]
        datatype = "UINT8" if len(inputs.data) == np.prod(inputs.shape) else "FP32"
        tensor = open_inference.ModelInferRequest.InferInputTensor(name="inputs", datatype=datatype, shape=inputs.shape)
        request = open_inference.ModelInferRequest(
            model_name=f"{case.request.model}.encoder", inputs=[tensor], raw_input_contents=[inputs.data]
        )
        answer = await self._infer(request, timeout=60)
        content = next(
            content
            for output, content in zip(answer.outputs, answer.raw_output_contents, strict=True)
            if output.name == "codings"
        )
        codings = np.frombuffer(content, np.float32).reshape(case.expected[0].shape)
        self._count("Open Inference", case, is_right=same(codings, case.expected[0]))

    async def mistake(self) -> None:
        """Send what must be refused."""
        try:
            if self._rng.random() < _GARBAGE_SHARE:
                await self._send_bytes(_GARBAGE, timeout=60)
            else:
                await self._client().run(self._mistakes[int(self._rng.integers(len(self._mistakes)))])
        except InvalidArgumentError:
            self._tally.count("mistake", "refused")
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            self._tally.count("mistake", "refused")
        else:
            self._tally.complain("mistake", "it was answered")

    async def give_up(self) -> None:
        """Cancel a call after a moment."""
        case = self._case()
        calling = asyncio.create_task(self._client().run(case.request))
        await asyncio.wait((calling,), timeout=self._moment_s())
        calling.cancel()
        try:
            self._judge("cancelled", case, await calling)
        except asyncio.CancelledError:
            self._tally.count("cancelled", "cancelled")

    async def hurry(self) -> None:
        """Call with a deadline that is hard to meet."""
        case = self._case(rpc="Encode")
        request: Any = case.request
        hurried = RowRequest(request.operation, request.array, self._moment_s())
        try:
            self._judge("deadline", case, await self._client().run(hurried))
        except (DeadlineExceededError, ResourceExhaustedError):  # the latter: it would wait past its deadline
            self._tally.count("deadline", "late")

    async def leave(self) -> None:
        """Connect and leave: without a word, after an answer, or in the middle of a call."""
        manner = self._rng.integers(3)
        if manner == 0:
            host, _, port = self._address.rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            self._tally.count("leaves", "cancelled")
            return
        async with AsyncClient(self._address) as client:
            case = self._case()
            if manner == 1:
                await self._ask("leaves", client, case)
                return
            calling = asyncio.create_task(client.run(case.request))
            await asyncio.wait((calling,), timeout=self._moment_s())
        try:
            self._judge("leaves", case, await calling)
        except (UnavailableError, asyncio.CancelledError):
            self._tally.count("leaves", "cancelled")

    async def stall(self) -> None:
        """Stream requests with large answers, and stop reading for a while."""
        model = self._case(rpc="Sample").request.model
        sent = (requests.sample(model, _STALLED_ROWS, seed=0) for _ in range(_STALLED_CALLS))
        first = Case(requests.sample(model, _STALLED_ROWS, seed=0))
        async for answer in self._clients[0].stream(sent, max_in_flight=_STALLED_CALLS):
            if not first.expected:
                first.expect(answer)
                await asyncio.sleep(_STALL_S)
            self._judge("stalled Stream", first, answer)

    async def reload(self) -> None:
        """Unload a model and load it again, while others ask for it."""
        client, asking = self._clients[0], asyncio.create_task(self._ask_reloaded())
        try:
            await client.unload_model(self._reloaded[0].request.model)
            self._tally.count("UnloadModel", "right")
            await client.load_model(self._reloaded[0].request.model)
            self._tally.count("LoadModel", "right")
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        for case in self._reloaded:
            await self._ask("reloaded", client, case)

    async def _ask_reloaded(self) -> None:
        while True:
            for case in self._reloaded:
                await self._tally.watch("reloaded", self._ask_whether_there(case))

    async def _ask_whether_there(self, case: Case) -> None:
        try:
            await self._ask("reloaded", self._clients[0], case)
        except UnavailableError:
            self._tally.count("reloaded", "away")

    async def _ask(self, kind: str, client: AsyncClient, case: Case) -> None:
        self._judge(kind, case, await client.run(case.request))

    def _judge(self, kind: str, case: Case, answer: object) -> None:
        self._count(kind, case, is_right=case.is_right(answer))

    def _count(self, kind: str, case: Case, *, is_right: bool) -> None:
        if is_right:
            self._tally.count(kind, "right")
        else:
            self._tally.complain(kind, f"wrong {case.request.rpc} of {case.request.model}", end="wrong")

    def _case(self, *, rpc: str = "") -> Case:
        fitting = self._cases if not rpc else [case for case in self._cases if case.request.rpc == rpc]
        return fitting[int(self._rng.integers(len(fitting)))]

    def _client(self) -> AsyncClient:
        return self._clients[int(self._rng.integers(len(self._clients)))]

    def _moment_s(self) -> float:
        return float(self._rng.uniform(0.0005, _LONGEST_PATIENCE_S))
