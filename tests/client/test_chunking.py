from typing import cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from latentry.v1 import inference_service_pb2 as pb
from latentry_client import requests
from latentry_client.chunking import ChunkLimits, join, plan
from latentry_client.request import PlainRequest
from latentry_client.results import Samples

from tests.client.plain_service import PlainService


@given(
    rows=st.integers(0, 1000),
    max_rows=st.integers(1, 300),
    max_bytes=st.integers(1, 5000),
    row_cost=st.integers(1, 400),
    row_bytes=st.integers(0, 6000),
)
def test_a_plan_covers_each_row_once(rows: int, max_rows: int, max_bytes: int, row_cost: int, row_bytes: int) -> None:
    request = PlainRequest(
        rpc="Encode", build=lambda _: pb.EncodeRequest(), parse=str, rows=rows, row_cost=row_cost, row_bytes=row_bytes
    )
    chunks = plan(request, ChunkLimits(max_rows=max_rows, max_bytes=max_bytes))
    assert [row for chunk in chunks for row in range(rows)[chunk]] == list(range(rows))
    assert chunks
    for chunk in chunks:
        count = chunk.stop - chunk.start
        assert count <= 1 or (count * row_cost <= max_rows and count * row_bytes <= max_bytes)


@given(st.integers(1, 40), st.integers(1, 40))
def test_chunks_join_to_the_whole(rows: int, max_rows: int) -> None:
    request = requests.sample("plain", rows, seed=1, include_codings=True, labels=list(range(rows)))
    service = PlainService()

    def run(part: slice) -> Samples:
        return request.parse(service.compute(cast("pb.SampleRequest", request.build(part))))

    whole = run(slice(0, rows))
    parts = [run(chunk) for chunk in plan(request, ChunkLimits(max_rows=max_rows))]
    joined = join(parts)
    for name in ("outputs", "codings", "labels"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert joined.run.compute_us == 2 * len(parts)
