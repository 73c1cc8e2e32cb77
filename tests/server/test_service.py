"""Every RPC through a real server against the same ONNX files run directly."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from latentry.v1 import inference_service_pb2 as messages
from latentry.v1 import model_service_pb2
from latentry.v1.tensor_pb2 import DATA_TYPE_FLOAT32, DATA_TYPE_UINT8
from latentry_server.operations import noise
from numpy.typing import NDArray

from tests.server.bundles import (
    CODINGS,
    INPUT_SHAPE,
    LABELS,
    NOISE,
    NUM_STYLES,
    PIXELS,
    STYLE_DIM,
    Classifier,
    ConditionalStyleGan,
    Flat,
    ScoredGan,
    StyleGan,
    images,
)
from tests.server.serving import Served, array, serve, tensor

ATOL = 1e-5


def codings(count: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, CODINGS)).astype(np.float32)


def seeds(*values: int) -> messages.Source:
    return messages.Source(seeds=messages.Seeds(values=values))


async def test_encode(served: Served) -> None:
    response = await served.inference.Encode(messages.EncodeRequest(model="stacked", inputs=tensor(images(5))))
    np.testing.assert_allclose(
        array(response.codings), served.run_onnx("stacked", "encoder", inputs=images(5))[0], atol=ATOL
    )
    assert not response.HasField("log_variance")
    assert (response.run.model, response.run.version) == ("stacked", 1)
    assert response.run.compute_us > 0


async def test_a_vae_encodes_to_mean_and_log_variance(served: Served) -> None:
    response = await served.inference.Encode(messages.EncodeRequest(model="vae", version=1, inputs=tensor(images(5))))
    mean, log_variance = served.run_onnx("vae", "encoder", inputs=images(5))
    np.testing.assert_allclose(array(response.codings), mean, atol=ATOL)
    np.testing.assert_allclose(array(response.log_variance), log_variance, atol=ATOL)


async def test_the_encoder_of_a_style_based_generator_gives_styles_too(served: Served) -> None:
    response = await served.inference.Encode(messages.EncodeRequest(model="cstylegan", inputs=tensor(images(5))))
    family = ConditionalStyleGan()
    np.testing.assert_allclose(array(response.codings), family.encode(images(5)), atol=ATOL)
    np.testing.assert_allclose(array(response.styles), family.encode_styles(images(5)), atol=ATOL)
    assert not response.HasField("log_variance")
    plain = await served.inference.Encode(messages.EncodeRequest(model="dcgan", inputs=tensor(images(5))))
    assert not plain.HasField("styles")


async def test_bytes_stand_for_zero_to_one(served: Served) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (16, *INPUT_SHAPE), np.uint8)
    response = await served.inference.Encode(messages.EncodeRequest(model="stacked", inputs=tensor(levels)))
    (expected,) = served.run_onnx("stacked", "encoder", inputs=levels.astype(np.float32) / 255)
    np.testing.assert_allclose(array(response.codings), expected, atol=ATOL)


async def test_every_number_from_zero_to_one_is_let_in_minus_zero_among_them(served: Served) -> None:
    inputs = images(2)
    inputs[0, 0, 0] = [-0.0, 0.0, np.nextafter(np.float32(0), np.float32(1)), 1.0]
    response = await served.inference.Encode(messages.EncodeRequest(model="stacked", inputs=tensor(inputs)))
    (expected,) = served.run_onnx("stacked", "encoder", inputs=inputs)
    np.testing.assert_allclose(array(response.codings), expected, atol=ATOL)


async def test_decode(served: Served) -> None:
    response = await served.inference.Decode(messages.DecodeRequest(model="gan", codings=tensor(codings(5))))
    np.testing.assert_allclose(
        array(response.outputs), served.run_onnx("gan", "decoder", codings=codings(5))[0], atol=ATOL
    )


async def test_a_conditional_model_decodes_with_labels(served: Served) -> None:
    labels = np.array([2, 0, 1, 1])
    request = messages.DecodeRequest(model="cgan", codings=tensor(codings(4)), labels=labels)
    response = await served.inference.Decode(request)
    (expected,) = served.run_onnx("cgan", "decoder", codings=codings(4), labels=labels)
    np.testing.assert_allclose(array(response.outputs), expected, atol=ATOL)


@pytest.mark.parametrize(
    ("method", "request_type"), [("Reconstruct", messages.ReconstructRequest), ("Denoise", messages.DenoiseRequest)]
)
async def test_reconstruct_and_denoise(served: Served, method: str, request_type: Any) -> None:
    response = await getattr(served.inference, method)(request_type(model="stacked", inputs=tensor(images(5))))
    (expected,) = served.run_onnx("stacked", "denoiser", inputs=images(5))
    np.testing.assert_allclose(array(response.outputs), expected, atol=ATOL)


async def test_outputs_come_as_bytes_where_asked(served: Served) -> None:
    request = messages.ReconstructRequest(model="stacked", inputs=tensor(images(50)), output_dtype=DATA_TYPE_UINT8)
    response = await served.inference.Reconstruct(request)
    (expected,) = served.run_onnx("stacked", "denoiser", inputs=images(50))
    assert response.outputs.dtype == DATA_TYPE_UINT8
    # Half a level of rounding, and what the float tolerance adds to it.
    assert np.abs(array(response.outputs) - expected.astype(np.float64) * 255).max() <= 0.5 + 255 * ATOL


async def test_score_is_the_mean_squared_error_of_each_row(served: Served) -> None:
    response = await served.inference.Score(messages.ScoreRequest(model="vae", inputs=tensor(images(5))))
    (outputs,) = served.run_onnx("vae", "denoiser", inputs=images(5))
    expected = ((outputs - images(5)) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(array(response.scores), expected, atol=ATOL)
    assert not response.HasField("threshold")


async def test_scores_come_with_the_threshold_that_the_bundle_has(served: Served) -> None:
    request = messages.ScoreRequest(model="flat", inputs=tensor(images(100).reshape(-1, PIXELS)))
    response = await served.inference.Score(request)
    assert response.threshold == np.float32(Flat().score().threshold)
    assert np.count_nonzero(array(response.scores) > response.threshold) == 50  # above the median


async def test_a_gan_scores_by_its_critic_so_that_unusual_rows_score_higher(served: Served) -> None:
    response = await served.inference.Score(messages.ScoreRequest(model="dcgan", inputs=tensor(images(100))))
    (expected,) = served.run_onnx("dcgan", "critic", inputs=images(100))
    np.testing.assert_allclose(array(response.scores), -expected, atol=ATOL)
    np.testing.assert_allclose(expected, ScoredGan().judge(images(100)), atol=ATOL)
    assert response.threshold == np.float32(ScoredGan().score().threshold)
    assert response.threshold < 0
    assert np.count_nonzero(array(response.scores) > response.threshold) == 50  # above the median


async def test_a_conditional_critic_scores_each_row_with_its_label(served: Served) -> None:
    labels = np.array([2, 0, 1, 1])
    request = messages.ScoreRequest(model="cstylegan", inputs=tensor(images(4)), labels=labels)
    response = await served.inference.Score(request)
    np.testing.assert_allclose(array(response.scores), -ConditionalStyleGan().judge(images(4), labels), atol=ATOL)
    assert not response.HasField("threshold")


async def test_classify(served: Served) -> None:
    response = await served.inference.Classify(messages.ClassifyRequest(model="classifier", inputs=tensor(images(50))))
    expected, _ = served.run_onnx("classifier", "classifier", inputs=images(50))
    np.testing.assert_allclose(array(response.probabilities), expected, atol=ATOL)
    np.testing.assert_allclose(expected, Classifier().probabilities(images(50)), atol=ATOL)
    assert response.labels == expected.argmax(axis=1).tolist()
    assert len(set(response.labels)) > 1  # else any constant would pass
    assert response.label_names == list(LABELS)


async def test_a_classifiers_label_names_make_no_model_conditional(served: Served) -> None:
    sampled = await served.inference.Sample(messages.SampleRequest(model="classifier", count=3, seed=1))
    assert not sampled.labels
    request = messages.DecodeRequest(model="classifier", codings=tensor(codings(3)))
    response = await served.inference.Decode(request)
    (expected,) = served.run_onnx("classifier", "decoder", codings=codings(3))
    np.testing.assert_allclose(array(response.outputs), expected, atol=ATOL)


async def test_flat_inputs_go_through_every_operation(served: Served) -> None:
    vectors, flat = images(5).reshape(5, PIXELS), Flat()
    encoded = await served.inference.Encode(messages.EncodeRequest(model="flat", inputs=tensor(vectors)))
    np.testing.assert_allclose(array(encoded.codings), flat.encode(vectors), atol=ATOL)
    decoded = await served.inference.Decode(messages.DecodeRequest(model="flat", codings=encoded.codings))
    np.testing.assert_allclose(array(decoded.outputs), flat.reconstruct(vectors), atol=ATOL)
    levels = np.rint(vectors * 255).astype(np.uint8)
    for request_type in (messages.ReconstructRequest, messages.DenoiseRequest):
        request: Any = request_type(model="flat", inputs=tensor(levels), output_dtype=DATA_TYPE_UINT8)
        answer = await getattr(served.inference, request_type.__name__.removesuffix("Request"))(request)
        expected = flat.reconstruct(levels.astype(np.float32) / np.float32(255))
        assert np.abs(array(answer.outputs) - expected.astype(np.float64) * 255).max() <= 0.5 + 255 * ATOL
    scored = await served.inference.Score(messages.ScoreRequest(model="flat", inputs=tensor(vectors)))
    errors = np.square(flat.reconstruct(vectors) - vectors).mean(axis=1)
    np.testing.assert_allclose(array(scored.scores), errors, atol=ATOL)
    sampled = await served.inference.Sample(messages.SampleRequest(model="flat", count=4, seed=3, include_codings=True))
    np.testing.assert_allclose(array(sampled.outputs), flat.decode(array(sampled.codings)), atol=ATOL)
    way = await served.inference.Interpolate(
        messages.InterpolateRequest(
            model="flat",
            start=messages.Source(inputs=tensor(vectors[:2])),
            end=messages.Source(inputs=tensor(vectors[2:4])),
            steps=3,
        )
    )
    middle = flat.decode((flat.encode(vectors[:2]) + flat.encode(vectors[2:4])) / np.float32(2))
    assert tuple(way.outputs.shape) == (2, 3, PIXELS)
    np.testing.assert_allclose(array(way.outputs)[:, 1], middle, atol=ATOL)


async def test_large_requests_are_split_and_joined(repository: Path) -> None:
    async with serve(repository, max_batch_rows=7) as served:
        response = await served.inference.Encode(messages.EncodeRequest(model="stacked", inputs=tensor(images(100))))
        (expected,) = served.run_onnx("stacked", "encoder", inputs=images(100))
        np.testing.assert_allclose(array(response.codings), expected, atol=ATOL)


# Sample


async def test_samples_are_the_prior_decoded(served: Served) -> None:
    request = messages.SampleRequest(model="stacked", count=6, seed=42, include_codings=True)
    response = await served.inference.Sample(request)
    drawn = noise.normals(42, noise.CODINGS, range(6), (NOISE,))
    (expected_codings,) = served.run_onnx("stacked", "prior", noise=drawn)
    (expected,) = served.run_onnx("stacked", "decoder", codings=expected_codings)
    np.testing.assert_allclose(array(response.codings), expected_codings, atol=ATOL)
    np.testing.assert_allclose(array(response.outputs), expected, atol=ATOL)
    assert response.seed == 42


async def test_without_a_prior_graph_codings_are_standard_normal(served: Served) -> None:
    request = messages.SampleRequest(model="gan", count=2000, seed=2**64 - 1, include_codings=True)
    response = await served.inference.Sample(request)
    drawn = array(response.codings)
    assert np.abs(drawn.mean(axis=0)).max() < 4 / np.sqrt(2000)
    assert np.abs(drawn.std(axis=0) - 1).max() < 4 / np.sqrt(4000)
    (expected,) = served.run_onnx("gan", "decoder", codings=drawn)
    np.testing.assert_allclose(array(response.outputs), expected, atol=ATOL)


async def test_codings_come_only_where_asked(served: Served) -> None:
    response = await served.inference.Sample(messages.SampleRequest(model="gan", count=1, seed=0))
    assert not response.HasField("codings")


async def test_an_absent_seed_is_drawn_and_returned(served: Served) -> None:
    first = await served.inference.Sample(messages.SampleRequest(model="gan", count=3))
    second = await served.inference.Sample(messages.SampleRequest(model="gan", count=3))
    again = await served.inference.Sample(messages.SampleRequest(model="gan", count=3, seed=first.seed))
    assert first.seed != second.seed
    assert first.outputs.data != second.outputs.data
    assert first.outputs == again.outputs


async def test_labels_are_drawn_from_the_seed_and_returned(served: Served) -> None:
    response = await served.inference.Sample(messages.SampleRequest(model="cgan", count=200, seed=5))
    assert set(response.labels) == set(range(len(LABELS)))
    given = messages.SampleRequest(model="cgan", count=200, seed=5, labels=response.labels)
    assert (await served.inference.Sample(given)).outputs == response.outputs


@pytest.mark.parametrize("model", ["stacked", "vae", "gan", "cgan", "stylegan"])
async def test_a_seeds_rows_are_the_same_at_any_chunking_batching_and_load(repository: Path, model: str) -> None:
    count, seed = 60, 123456789

    async def sample(served: Served, first: int, rows: int) -> NDArray[np.float32]:
        request = messages.SampleRequest(model=model, count=rows, seed=seed, first_row=first, include_codings=True)
        response = await served.inference.Sample(request)
        flat = [array(response.outputs).reshape(rows, -1), array(response.codings).reshape(rows, -1)]
        return np.concatenate(flat, axis=1)

    async with serve(repository) as served:
        whole = await sample(served, 0, count)
    chunks = [(0, 1), (1, 2), (3, 17), (20, 39), (59, 1)]
    async with serve(repository, max_batch_rows=5, max_delay_ms=1) as served:
        others = [sample(served, 1000 + other, 3) for other in range(20)]  # other callers' rows in the same batches
        parts = await asyncio.gather(*(sample(served, *chunk) for chunk in chunks), *others)
    np.testing.assert_allclose(np.concatenate(parts[: len(chunks)]), whole, atol=ATOL)


async def test_rows_far_into_a_seed_are_there(served: Served) -> None:
    request = messages.SampleRequest(model="gan", count=2, seed=1, first_row=2**63 - 3, include_codings=True)
    response = await served.inference.Sample(request)
    assert np.isfinite(array(response.codings)).all()


# Interpolate


async def test_interpolate_inputs_on_the_straight_line_of_their_codings(served: Served) -> None:
    start, end = images(2, seed=1), images(2, seed=2)
    request = messages.InterpolateRequest(
        model="vae", start=messages.Source(inputs=tensor(start)), end=messages.Source(inputs=tensor(end)), steps=4
    )
    response = await served.inference.Interpolate(request)
    first, last = (served.run_onnx("vae", "encoder", inputs=inputs)[0] for inputs in (start, end))
    outputs = array(response.outputs)
    assert outputs.shape == (2, 4, *INPUT_SHAPE)
    for step, t in enumerate(np.linspace(0, 1, 4, dtype=np.float32)):
        (expected,) = served.run_onnx("vae", "decoder", codings=(1 - t) * first + t * last)
        np.testing.assert_allclose(outputs[:, step], expected, atol=ATOL)


@pytest.mark.parametrize("model", ["gan", "dcgan"])
async def test_generators_go_on_the_sphere_whether_they_encode_or_not(served: Served, model: str) -> None:
    start, end = np.array([[1, 0, 0]], np.float32), np.array([[0, 3, 0]], np.float32)
    request = messages.InterpolateRequest(
        model=model, start=messages.Source(codings=tensor(start)), end=messages.Source(codings=tensor(end)), steps=3
    )
    response = await served.inference.Interpolate(request)
    middle = 2 * np.array([[np.sqrt(0.5), np.sqrt(0.5), 0]], np.float32)
    (expected,) = served.run_onnx(model, "decoder", codings=np.concatenate([start, middle, end]))
    np.testing.assert_allclose(array(response.outputs)[0], expected, atol=ATOL)
    request.mode = messages.INTERPOLATION_MODE_LINEAR
    linear = await served.inference.Interpolate(request)
    (expected,) = served.run_onnx(model, "decoder", codings=(start + end) / 2)
    np.testing.assert_allclose(array(linear.outputs)[:, 1], expected, atol=ATOL)


async def test_a_seed_is_row_0_of_its_sample(served: Served) -> None:
    request = messages.InterpolateRequest(model="stacked", start=seeds(7, 8), end=seeds(9, 10), steps=2)
    outputs = array((await served.inference.Interpolate(request)).outputs)
    for place, seed in (((0, 0), 7), ((1, 0), 8), ((0, 1), 9), ((1, 1), 10)):
        sampled = await served.inference.Sample(messages.SampleRequest(model="stacked", count=1, seed=seed))
        np.testing.assert_allclose(outputs[place], array(sampled.outputs)[0], atol=ATOL)


async def test_every_point_of_a_way_has_the_ways_label(served: Served) -> None:
    request = messages.InterpolateRequest(model="cgan", start=seeds(1, 2), end=seeds(3, 4), steps=3, labels=[2, 0])
    outputs = array((await served.inference.Interpolate(request)).outputs)
    ends = [noise.normals(seed, noise.CODINGS, range(1), (CODINGS,)) for seed in (3, 4)]
    (expected,) = served.run_onnx("cgan", "decoder", codings=np.concatenate(ends), labels=np.array([2, 0]))
    np.testing.assert_allclose(outputs[:, -1], expected, atol=ATOL)


# Style-based generators: mapping, truncation and mixing by numpy, the synthesis by its ONNX file


def noise_maps(seed: int, rows: range) -> dict[str, NDArray[np.float32]]:
    shapes = {"noise_0": (1, 2, 2), "noise_1": (1, 4, 4)}
    return {
        name: noise.normals(seed, noise.FIRST_NOISE_MAP + index, rows, shape)
        for index, (name, shape) in enumerate(shapes.items())
    }


def shared_noise_maps(seed: int, count: int) -> dict[str, NDArray[np.float32]]:
    return {name: np.repeat(drawn, count, axis=0) for name, drawn in noise_maps(seed, range(1)).items()}


def map_styles(drawn: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.repeat(StyleGan().map_styles(drawn)[:, None], NUM_STYLES, axis=1)


def truncate(styles: NDArray[np.float32], psi: float, cutoff: int) -> NDArray[np.float32]:
    result = styles.copy()
    result[:, :cutoff] = StyleGan().mean_style + np.float32(psi) * (result[:, :cutoff] - StyleGan().mean_style)
    return result


def codings_of(*given: int) -> NDArray[np.float32]:
    return np.concatenate([noise.normals(seed, noise.CODINGS, range(1), (CODINGS,)) for seed in given])


def styles_of(*given: int) -> NDArray[np.float32]:
    return map_styles(codings_of(*given))


async def test_a_style_based_generator_samples_with_its_rows_noise(served: Served) -> None:
    truncation = messages.Truncation(psi=0.5, cutoff=1)
    request = messages.SampleRequest(
        model="stylegan", count=4, seed=3, first_row=10, truncation=truncation, include_codings=True
    )
    response = await served.inference.Sample(request)
    styles = truncate(map_styles(array(response.codings)), 0.5, 1)
    (expected,) = served.run_onnx("stylegan", "synthesis", styles=styles, **noise_maps(3, range(10, 14)))
    np.testing.assert_allclose(array(response.outputs), expected, atol=ATOL)


async def test_a_style_based_generator_decodes_a_row_the_same_in_any_place(served: Served) -> None:
    given = codings(3)
    whole = await served.inference.Decode(messages.DecodeRequest(model="stylegan", codings=tensor(given)))
    (expected,) = served.run_onnx("stylegan", "synthesis", styles=map_styles(given), **shared_noise_maps(0, 3))
    np.testing.assert_allclose(array(whole.outputs), expected, atol=ATOL)
    alone = await served.inference.Decode(messages.DecodeRequest(model="stylegan", codings=tensor(given[2:])))
    np.testing.assert_allclose(array(alone.outputs), array(whole.outputs)[2:], atol=ATOL)


@pytest.mark.parametrize("mode", [messages.INTERPOLATION_MODE_LINEAR, messages.INTERPOLATION_MODE_UNSPECIFIED])
async def test_styles_are_interpolated_on_the_straight_line(served: Served, mode: Any) -> None:
    rng = np.random.default_rng(0)
    start = rng.standard_normal((2, STYLE_DIM)).astype(np.float32)
    end = rng.standard_normal((2, NUM_STYLES, STYLE_DIM)).astype(np.float32)
    request = messages.InterpolateRequest(
        model="stylegan",
        start=messages.Source(styles=tensor(start)),
        end=messages.Source(styles=tensor(end)),
        steps=3,
        mode=mode,
    )
    outputs = array((await served.inference.Interpolate(request)).outputs)
    middle = (np.repeat(start[:, None], NUM_STYLES, axis=1) + end) / 2
    (expected,) = served.run_onnx("stylegan", "synthesis", styles=middle, **shared_noise_maps(0, 2))
    np.testing.assert_allclose(outputs[:, 1], expected, atol=ATOL)


async def test_a_style_based_generator_interpolates_seeds_in_styles_or_on_the_sphere(served: Served) -> None:
    request = messages.InterpolateRequest(
        model="stylegan", start=seeds(1), end=seeds(2), steps=3, mode=messages.INTERPOLATION_MODE_LINEAR
    )
    linear = array((await served.inference.Interpolate(request)).outputs)
    middle = (styles_of(1) + styles_of(2)) / 2
    (expected,) = served.run_onnx("stylegan", "synthesis", styles=middle, **shared_noise_maps(0, 1))
    np.testing.assert_allclose(linear[:, 1], expected, atol=ATOL)

    request.mode = messages.INTERPOLATION_MODE_UNSPECIFIED
    spherical = array((await served.inference.Interpolate(request)).outputs)
    first, last = (noise.normals(seed, noise.CODINGS, range(1), (CODINGS,)) for seed in (1, 2))
    norm = (np.linalg.norm(first) + np.linalg.norm(last)) / 2
    direction = first / np.linalg.norm(first) + last / np.linalg.norm(last)
    halfway = map_styles(direction / np.linalg.norm(direction) * norm)
    (expected,) = served.run_onnx("stylegan", "synthesis", styles=halfway, **shared_noise_maps(0, 1))
    np.testing.assert_allclose(spherical[:, 1], expected, atol=ATOL)


@pytest.mark.parametrize("layers", [[], [0], [1], [0, 1]])
@pytest.mark.parametrize("psi", [None, 0.7])
async def test_style_mix_grid(served: Served, layers: list[int], psi: float | None) -> None:
    request = messages.StyleMixRequest(
        model="stylegan",
        rows=seeds(1, 2),
        columns=seeds(3, 4, 5),
        layers=layers,
        noise_seed=99,
        truncation=None if psi is None else messages.Truncation(psi=psi),
    )
    response = await served.inference.StyleMix(request)
    outputs = array(response.outputs)
    assert outputs.shape == (2, 3, *INPUT_SHAPE)
    assert response.noise_seed == 99
    rows, columns = styles_of(1, 2), styles_of(3, 4, 5)
    for r in range(2):
        for c in range(3):
            mixed = rows[r : r + 1].copy()
            mixed[:, layers] = columns[c : c + 1][:, layers]
            mixed = mixed if psi is None else truncate(mixed, psi, NUM_STYLES)
            (expected,) = served.run_onnx("stylegan", "synthesis", styles=mixed, **shared_noise_maps(99, 1))
            np.testing.assert_allclose(outputs[r, c], expected[0], atol=ATOL)


async def test_style_mix_pairs_of_codings_and_styles(served: Served) -> None:
    given, styles = codings(2), np.random.default_rng(0).standard_normal((2, STYLE_DIM)).astype(np.float32)
    request = messages.StyleMixRequest(
        model="stylegan",
        rows=messages.Source(codings=tensor(given)),
        columns=messages.Source(styles=tensor(styles)),
        layers=[1],
        layout=messages.STYLE_MIX_LAYOUT_PAIRS,
        output_dtype=DATA_TYPE_FLOAT32,
    )
    response = await served.inference.StyleMix(request)
    mixed = map_styles(given)
    mixed[:, 1] = styles
    maps = shared_noise_maps(response.noise_seed, 2)
    (expected,) = served.run_onnx("stylegan", "synthesis", styles=mixed, **maps)
    np.testing.assert_allclose(array(response.outputs), expected, atol=ATOL)


async def test_encoded_images_are_mixed_by_their_styles_beside_labelled_seeds(served: Served) -> None:
    labels = np.array([2, 0])
    request = messages.StyleMixRequest(
        model="cstylegan",
        rows=messages.Source(inputs=tensor(images(3))),
        columns=seeds(5, 6),
        column_labels=labels,
        layers=[1],
        noise_seed=4,
    )
    outputs = array((await served.inference.StyleMix(request)).outputs)
    family = ConditionalStyleGan()
    mixed = np.empty((3, 2, NUM_STYLES, STYLE_DIM), np.float32)
    mixed[:, :, 0] = family.encode_styles(images(3))[:, None]
    mixed[:, :, 1] = family.map_labelled(codings_of(5, 6), labels)
    maps = shared_noise_maps(4, 6)
    (expected,) = served.run_onnx("cstylegan", "synthesis", styles=mixed.reshape(6, NUM_STYLES, STYLE_DIM), **maps)
    np.testing.assert_allclose(outputs, expected.reshape(3, 2, *INPUT_SHAPE), atol=ATOL)


@pytest.mark.parametrize("mode", [messages.INTERPOLATION_MODE_LINEAR, messages.INTERPOLATION_MODE_UNSPECIFIED])
async def test_a_way_from_images_to_labelled_seeds_is_straight_through_styles(served: Served, mode: Any) -> None:
    request = messages.InterpolateRequest(
        model="cstylegan",
        start=messages.Source(inputs=tensor(images(2))),
        end=seeds(5, 6),
        steps=3,
        mode=mode,
        labels=[2, 0],
    )
    outputs = array((await served.inference.Interpolate(request)).outputs)
    family = ConditionalStyleGan()
    middle = (family.encode_styles(images(2)) + family.map_labelled(codings_of(5, 6), np.array([2, 0]))) / 2
    styles = np.repeat(middle[:, None], NUM_STYLES, axis=1)
    (expected,) = served.run_onnx("cstylegan", "synthesis", styles=styles, **shared_noise_maps(0, 2))
    np.testing.assert_allclose(outputs[:, 1], expected, atol=ATOL)


async def test_a_straight_way_between_images_needs_no_labels_and_a_curved_one_leads_through_codings(
    served: Served,
) -> None:
    request = messages.InterpolateRequest(
        model="cstylegan",
        start=messages.Source(inputs=tensor(images(1))),
        end=messages.Source(inputs=tensor(images(1, seed=1))),
        steps=3,
    )
    straight = array((await served.inference.Interpolate(request)).outputs)
    family = ConditionalStyleGan()
    ends = family.encode_styles(np.concatenate([images(1), images(1, seed=1)]))
    styles = np.repeat(ends[:, None], NUM_STYLES, axis=1)
    (expected,) = served.run_onnx("cstylegan", "synthesis", styles=styles, **shared_noise_maps(0, 2))
    np.testing.assert_allclose(straight[0, [0, 2]], expected, atol=ATOL)

    request.mode = messages.INTERPOLATION_MODE_SPHERICAL
    request.labels.append(1)
    curved = array((await served.inference.Interpolate(request)).outputs)
    codings_ends = family.encode(np.concatenate([images(1), images(1, seed=1)]))
    styles = np.repeat(family.map_labelled(codings_ends, np.array([1, 1]))[:, None], NUM_STYLES, axis=1)
    (expected,) = served.run_onnx("cstylegan", "synthesis", styles=styles, **shared_noise_maps(0, 2))
    np.testing.assert_allclose(curved[0, [0, 2]], expected, atol=ATOL)


# ModelService


async def test_models_are_listed_page_by_page(served: Served) -> None:
    names, token = [], ""
    while True:
        page = await served.models.ListModels(model_service_pb2.ListModelsRequest(page_size=2, page_token=token))
        assert len(page.models) <= 2
        names += [model.name for model in page.models]
        token = page.next_page_token
        if not token:
            break
    assert names == ["cgan", "classifier", "cstylegan", "dcgan", "flat", "gan", "stacked", "stylegan", "vae"]
    everything = await served.models.ListModels(model_service_pb2.ListModelsRequest())
    assert [model.name for model in everything.models] == names
    assert not everything.next_page_token


async def test_a_model_is_got_unloaded_and_loaded(served: Served) -> None:
    got = (await served.models.GetModel(model_service_pb2.GetModelRequest(model="vae"))).model
    assert (got.version, got.state, got.manifest.variant) == (1, model_service_pb2.MODEL_STATE_READY, "vae")
    unloaded = await served.models.UnloadModel(model_service_pb2.UnloadModelRequest(model="vae"))
    assert [model.state for model in unloaded.models] == [model_service_pb2.MODEL_STATE_UNLOADED]
    loaded = await served.models.LoadModel(model_service_pb2.LoadModelRequest(model="vae"))
    assert loaded.model.state == model_service_pb2.MODEL_STATE_READY
    await served.inference.Encode(messages.EncodeRequest(model="vae", inputs=tensor(images(1))))
