"""The SDK against latentry-server itself: what comes back is what numpy computes from the bundles' weights."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

import numpy as np
import pytest
from latentry_client import AsyncClient, Client, FromSeeds, FromStyles, exceptions, hashing, requests
from latentry_client.results import Classification, Hashes

from tests.server import bundles

IMAGES = bundles.images(700)
MODEL = bundles.Autoencoder()


def test_images_in_and_out(server_address: str) -> None:
    with Client(server_address) as client:
        encoding = client.encode("stacked", IMAGES)
        np.testing.assert_allclose(encoding.codings, MODEL.encode(IMAGES), atol=1e-5)
        assert encoding.run.compute_us > 0
        decoded = client.decode("stacked", encoding.codings)
        np.testing.assert_allclose(decoded.outputs, MODEL.reconstruct(IMAGES), atol=1e-5)
        reconstructed, denoised = client.reconstruct("stacked", IMAGES), client.denoise("denoise-gaussian", IMAGES)
        np.testing.assert_allclose(reconstructed.outputs, decoded.outputs, atol=1e-5)
        np.testing.assert_allclose(denoised.outputs, decoded.outputs, atol=1e-5)
        pixels = np.round(IMAGES[:, 0] * 255).astype(np.uint8)
        outputs = client.reconstruct("stacked", pixels, output_dtype="uint8").outputs
        from_pixels = MODEL.reconstruct((pixels[:, np.newaxis] / 255).astype(np.float32))
        np.testing.assert_allclose(outputs / 255, from_pixels, atol=0.003)
        errors = ((decoded.outputs - IMAGES) ** 2).mean((1, 2, 3))
        np.testing.assert_allclose(client.score("stacked", IMAGES).scores, errors, atol=1e-5)
        flat = IMAGES.reshape(700, -1)
        scores = client.score("flat", flat)
        np.testing.assert_allclose(scores.scores, errors, atol=1e-5)
        assert scores.threshold == pytest.approx(bundles.Flat().score().threshold, rel=1e-6)
        np.testing.assert_allclose(
            client.reconstruct("flat", flat).outputs, decoded.outputs.reshape(700, -1), atol=1e-5
        )
        variance = client.encode("vae", IMAGES[:3], version=2).log_variance
        assert variance is not None
        np.testing.assert_allclose(variance, bundles.Vae(seed=1).log_variance(IMAGES[:3]), atol=1e-5)


def test_classes_and_codes(server_address: str) -> None:
    with Client(server_address) as client:
        classification = client.classify("classifier", IMAGES)
        expected = bundles.Classifier().probabilities(IMAGES)
        np.testing.assert_allclose(classification.probabilities, expected, atol=1e-5)
        assert classification.names == [bundles.LABELS[label] for label in expected.argmax(1)]
        hashes = client.hash("hashing", IMAGES)
        bits = hashing.to_bits(hashes.codes, hashes.num_bits)
        np.testing.assert_array_equal(bits, bundles.Hashing().encode(IMAGES) > 0.5)
        operations = [requests.classify("classifier", IMAGES[:9]), requests.hash("hashing", IMAGES[:9])]
        streamed_classes, streamed_hashes = client.stream(operations)
        assert isinstance(streamed_classes, Classification)
        assert streamed_classes.names == classification.names[:9]
        assert isinstance(streamed_hashes, Hashes)
        np.testing.assert_array_equal(streamed_hashes.codes, hashes.codes[:9])
        with pytest.raises(exceptions.FailedPreconditionError, match="'stacked' is not trained for hashing"):
            client.hash("stacked", IMAGES)


async def test_samples_do_not_depend_on_the_chunks(server_address: str) -> None:
    with Client(server_address, max_rows=1000) as client:
        whole = client.sample("cgan", 500, include_codings=True)
        chunked = client.sample("cgan", 500, seed=whole.seed)
        np.testing.assert_array_equal(whole.labels, chunked.labels)
        streamed = client.stream(requests.sample("cgan", 1, seed=whole.seed, first_row=row) for row in range(500))
        one_by_one = np.concatenate([sample.outputs for sample in streamed])
    async with AsyncClient(server_address, max_rows=7) as async_client:
        from_async = await async_client.sample("cgan", 500, seed=whole.seed)
    for outputs in (chunked.outputs, from_async.outputs, one_by_one):
        np.testing.assert_allclose(outputs, whole.outputs, atol=1e-6)
    assert whole.codings is not None
    assert whole.labels is not None
    np.testing.assert_allclose(whole.outputs, bundles.ConditionalGan().decode(whole.codings, whole.labels), atol=1e-5)


def test_ways_and_mixes(server_address: str) -> None:
    with Client(server_address) as client, Client(server_address, max_rows=10) as chunking_client:
        args = ("vae", IMAGES[:20], FromSeeds(range(20)))
        way = client.interpolate(*args, steps=5)
        assert way.outputs.shape == (20, 5, 1, 4, 4)
        np.testing.assert_allclose(chunking_client.interpolate(*args, steps=5).outputs, way.outputs, atol=1e-6)
        mix = client.style_mix("stylegan", FromSeeds(range(9)), FromSeeds([7, 8]), layers=[1], truncation_psi=0.7)
        again = chunking_client.style_mix(
            "stylegan",
            FromSeeds(range(9)),
            FromSeeds([7, 8]),
            layers=[1],
            truncation_psi=0.7,
            noise_seed=mix.noise_seed,
        )
        np.testing.assert_allclose(again.outputs, mix.outputs, atol=1e-6)


def test_gans_score_and_encode(server_address: str) -> None:
    labels = np.arange(700) % 3
    family = bundles.ConditionalStyleGan()
    with Client(server_address) as client:
        scores = client.score("dcgan", IMAGES)
        np.testing.assert_allclose(scores.scores, -bundles.ScoredGan().judge(IMAGES), atol=1e-5)
        assert scores.threshold is not None
        assert scores.threshold < 0
        assert scores.is_anomaly is not None
        assert 0 < scores.is_anomaly.sum() < 700
        labelled = client.score("cstylegan", IMAGES, labels=labels)
        np.testing.assert_allclose(labelled.scores, -family.judge(IMAGES, labels), atol=1e-5)
        encoding = client.encode("cstylegan", IMAGES)
        np.testing.assert_allclose(encoding.codings, family.encode(IMAGES), atol=1e-5)
        assert encoding.styles is not None
        np.testing.assert_allclose(encoding.styles, family.encode_styles(IMAGES), atol=1e-5)
        # An image is its style, so that either mixes to the same, beside seeds that need labels.
        mixes = [
            client.style_mix("cstylegan", rows, FromSeeds([7]), layers=[1], column_labels=[2], noise_seed=5).outputs
            for rows in (IMAGES[:3], FromStyles(encoding.styles[:3]))
        ]
        np.testing.assert_allclose(mixes[0], mixes[1], atol=1e-6)


async def test_many_at_once(server_address: str) -> None:
    async with AsyncClient(server_address) as client:
        calls = [client.encode("stacked", IMAGES[row : row + 1]) for row in range(100)]
        bad = [client.encode("stacked", np.full((1, 1, 4, 4), np.nan)) for _ in range(5)]
        results = await asyncio.gather(*calls, *bad, return_exceptions=True)
    for row, result in enumerate(results[:100]):
        assert not isinstance(result, BaseException)
        np.testing.assert_allclose(result.codings, MODEL.encode(IMAGES[row : row + 1]), atol=1e-5)
    assert all(isinstance(result, exceptions.InvalidArgumentError) for result in results[100:])


@pytest.mark.parametrize("in_threads", [False, True])
async def test_a_mix_of_good_and_bad_calls_at_once(server_address: str, in_threads: bool) -> None:
    random = Random(0)
    codings = np.random.default_rng(0).standard_normal((700, 3), np.float32)
    labels = np.arange(700) % 3
    expected = {
        "encode": MODEL.encode(IMAGES),
        "classify": bundles.Classifier().probabilities(IMAGES),
        "decode": bundles.ConditionalGan().decode(codings, labels),
    }
    async with AsyncClient(server_address) as async_client:
        with Client(server_address) as client, ThreadPoolExecutor(24) as threads:

            async def run(request: requests.Request[Any]) -> Any:
                if in_threads:
                    return await asyncio.get_running_loop().run_in_executor(threads, client.run, request)
                return await async_client.run(request)

            async def call(rows: slice, operation: str, is_bad: bool) -> None:
                images = np.full_like(IMAGES[rows], np.nan) if is_bad else IMAGES[rows]
                match operation:
                    case "encode":
                        request, output = requests.encode("stacked", images), "codings"
                    case "classify":
                        request, output = requests.classify("classifier", images), "probabilities"  # type: ignore[assignment]
                    case _:
                        own_labels = labels[rows] + 3 * is_bad
                        request = requests.decode("cgan", codings[rows], labels=own_labels)  # type: ignore[assignment]
                        output = "outputs"
                if is_bad:
                    with pytest.raises(exceptions.InvalidArgumentError):
                        await run(request)
                else:
                    actual = getattr(await run(request), output)
                    np.testing.assert_allclose(actual, expected[operation][rows], atol=1e-5)

            starts = [random.randrange(650) for _ in range(300)]
            await asyncio.gather(
                *(
                    call(
                        slice(start, start + random.choice([1, 1, 1, 2, 50])),
                        random.choice(list(expected)),
                        random.random() < 0.05,
                    )
                    for start in starts
                )
            )


@pytest.mark.parametrize(
    ("request_", "error", "reason", "field"),
    [
        (requests.encode("stacked", np.zeros((2, 1, 4, 5))), ValueError, "INVALID_INPUT", "inputs"),
        (requests.encode("stacked", np.zeros((0, 1, 4, 4))), ValueError, "INVALID_INPUT", "inputs"),
        (requests.encode("stacked", np.full((2, 1, 4, 4), 1.5)), ValueError, "INVALID_INPUT", "inputs"),
        (requests.classify("classifier", np.zeros((2, 1, 4, 5))), ValueError, "INVALID_INPUT", "inputs"),
        (requests.classify("classifier", np.full((1, 1, 4, 4), np.nan)), ValueError, "INVALID_INPUT", "inputs"),
        (requests.classify("stacked", IMAGES), exceptions.FailedPreconditionError, "CAPABILITY_MISSING", None),
        (requests.hash("cgan", IMAGES), exceptions.FailedPreconditionError, "CAPABILITY_MISSING", None),
        (requests.decode("stacked", [[np.inf, 0, 0]]), ValueError, "INVALID_INPUT", "codings"),
        (requests.decode("cgan", [[0.0, 0, 0]], labels=[3]), ValueError, "INVALID_INPUT", "labels"),
        (requests.score("cstylegan", IMAGES), ValueError, "INVALID_INPUT", "labels"),
        (requests.encode("missing", IMAGES), exceptions.NotFoundError, "MODEL_NOT_FOUND", None),
        (requests.encode("vae", IMAGES, version=9), exceptions.NotFoundError, "VERSION_NOT_FOUND", None),
        (requests.encode("cgan", IMAGES), exceptions.FailedPreconditionError, "CAPABILITY_MISSING", None),
        (requests.encode("vae", IMAGES, version=1), exceptions.UnavailableError, "MODEL_NOT_READY", None),
    ],
)
def test_refusals(
    server_address: str,
    request_: requests.Request[object],
    error: type[Exception],
    reason: str,
    field: str | None,
) -> None:
    with Client(server_address, max_attempts=1) as client:
        with pytest.raises(error) as caught:
            client.run(request_)
        assert isinstance(caught.value, exceptions.LatentryError)
        assert caught.value.reason == reason
        if field is not None:
            (violation,) = caught.value.field_violations
            assert violation.field.startswith(field)
            assert "expected" in violation.description
        (streamed,) = client.stream([request_], return_exceptions=True)
        assert type(streamed) is type(caught.value)
