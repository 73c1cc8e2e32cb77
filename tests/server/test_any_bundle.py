"""Bundles of any graphs and capabilities: each is refused with a reason, or answers everything that it says it can."""

import asyncio
import itertools
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1 import manifest_pb2, model_service_pb2

from tests.server.bundles import (
    CODINGS,
    LABELS,
    Autoencoder,
    Bundle,
    Classifier,
    ConditionalGan,
    ConditionalStyleGan,
    ScoredGan,
    StyleGan,
    Vae,
    images,
)
from tests.server.serving import Served, details, rich_status, serve, tensor

# What a role's graph may be, by what is special about it.
CHOICES: dict[str, list[Bundle]] = {
    "encoder": [Autoencoder(), Vae(), ConditionalStyleGan()],
    "decoder": [Autoencoder(), ConditionalGan()],
    "denoiser": [Autoencoder()],
    "prior": [Autoencoder()],
    "mapping": [StyleGan(), ConditionalStyleGan()],
    "synthesis": [StyleGan()],
    "critic": [ScoredGan(), ConditionalStyleGan()],
    "classifier": [Classifier()],
}
# What a capability needs: one of these graphs, of a style-based generator its synthesis.
NEEDED = {
    "ENCODE": {"encoder"},
    "DECODE": {"decoder", "synthesis"},
    "RECONSTRUCT": {"denoiser"},
    "DENOISE": {"denoiser"},
    "SAMPLE": {"decoder", "synthesis"},
    "INTERPOLATE": {"decoder", "synthesis"},
    "SCORE": {"denoiser", "critic"},
    "STYLE_MIX": {"synthesis"},
    "CLASSIFY": {"classifier"},
}
CALLERS_FAULTS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}
# Once in ten times what does not fit is taken.
ODD = st.sampled_from([False] * 9 + [True])


class Assembled(Bundle):
    """Graphs of several families, and capabilities, labels and styles whether they fit or not."""

    variant = "assembled"

    def __init__(self, parts: dict[str, Bundle], capabilities: list[str], *, has_style: bool, has_labels: bool) -> None:
        super().__init__()
        self.graphs = {role: part.graphs[role] for role, part in parts.items()}  # type: ignore[misc]
        self.capabilities = tuple(capabilities)  # type: ignore[misc]
        self.label_names = LABELS if has_labels else ()  # type: ignore[misc]
        self._parts = parts
        self._has_style = has_style

    def onnx_files(self) -> dict[str, bytes]:
        return {role: part.onnx_files()[role] for role, part in self._parts.items()}

    def style(self) -> manifest_pb2.StyleSpec | None:
        return StyleGan().style() if self._has_style else None


@st.composite
def bundles(draw: st.DrawFn) -> Assembled:
    roles = draw(st.sets(st.sampled_from(sorted(CHOICES)), min_size=1))
    parts = {role: draw(st.sampled_from(CHOICES[role])) for role in sorted(roles)}
    fitting = [word for word, needed in NEEDED.items() if not needed.isdisjoint(roles) or draw(ODD)]
    capabilities: set[str] = draw(st.sets(st.sampled_from(fitting))) if fitting else set()
    labelled = "classifier" in roles or any(
        name == "labels" for role, part in parts.items() for name, _ in part.graphs[role][0]
    )
    return Assembled(
        parts,
        sorted(capabilities),
        has_style=draw(ODD) != ("mapping" in roles),
        has_labels=draw(ODD) != labelled,
    )


def requests(model: str) -> list[tuple[str, Any]]:
    """Ask for every operation, with labels and without, from every kind of source."""
    inputs, codings = tensor(images(2)), tensor(np.ones((2, CODINGS), np.float32))
    sources = [
        messages.Source(inputs=inputs),
        messages.Source(codings=codings),
        messages.Source(seeds=messages.Seeds(values=[1, 2])),
        messages.Source(styles=tensor(np.ones((2, 5), np.float32))),
    ]
    found: list[tuple[str, Any]] = [
        (name, request(model=model, inputs=inputs))
        for name, request in (
            ("Encode", messages.EncodeRequest),
            ("Denoise", messages.DenoiseRequest),
            ("Reconstruct", messages.ReconstructRequest),
            ("Classify", messages.ClassifyRequest),
        )
    ]
    for labels in ([], [0, 2]):
        found += [
            ("Decode", messages.DecodeRequest(model=model, codings=codings, labels=labels)),
            ("Sample", messages.SampleRequest(model=model, count=2, labels=labels)),
            ("Score", messages.ScoreRequest(model=model, inputs=inputs, labels=labels)),
        ]
        for start in sources:
            found.append(
                (
                    "Interpolate",
                    messages.InterpolateRequest(model=model, start=start, end=start, steps=2, labels=labels),
                )
            )
            found += [
                (
                    "StyleMix",
                    messages.StyleMixRequest(
                        model=model, rows=start, columns=end, layers=[0], row_labels=labels, column_labels=labels
                    ),
                )
                for end in sources
            ]
    return found


async def code_of(call: Any) -> tuple[grpc.StatusCode, Any]:
    """Wait for a call's end; OK, or the code and the error."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error
    return grpc.StatusCode.OK, None


async def hold(served: Served, bundle: Assembled, name: str) -> bool:
    """Load a bundle and ask it for everything; tell whether it was loaded."""
    bundle.write(served.repository, name)
    _, error = await code_of(served.models.LoadModel(model_service_pb2.LoadModelRequest(model=name)))
    if error:
        assert details(rich_status(error))["ErrorInfo"].reason == "BUNDLE_INVALID"
        return False
    asked = requests(name)
    ended = await asyncio.gather(*(code_of(getattr(served.inference, method)(request)) for method, request in asked))
    answered = set()
    for (method, request), (code, error) in zip(asked, ended, strict=True):
        if code is grpc.StatusCode.OK:
            answered.add(method)
        else:
            assert code in CALLERS_FAULTS, (method, request, error)
    assert answered == {word.title().replace("_", "") for word in bundle.capabilities}
    await served.models.UnloadModel(model_service_pb2.UnloadModelRequest(model=name))
    return True


def test_a_bundle_is_refused_or_answers_what_it_says_it_can(tmp_path: Path) -> None:
    with asyncio.Runner() as runner:
        serving = serve(tmp_path)
        served = runner.run(serving.__aenter__())
        numbers = itertools.count()
        loaded: list[bool] = []

        @settings(
            max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
        )
        @given(bundles())
        def try_one(bundle: Assembled) -> None:
            loaded.append(runner.run(hold(served, bundle, f"bundle-{next(numbers)}")))

        try:
            try_one()
            assert 20 < sum(loaded) < len(loaded)
        finally:
            runner.run(serving.__aexit__(None, None, None))
