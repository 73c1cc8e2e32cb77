from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from latentry.v1 import inference_service_pb2 as pb
from latentry_client import FromCodings, FromSeeds, requests
from latentry_client.tensors import to_array

CODINGS = np.zeros((3, 2))


def test_absent_is_absent() -> None:
    message = requests.sample("gan", 3).whole()
    assert isinstance(message, pb.SampleRequest)
    assert not message.HasField("seed")
    assert not message.HasField("truncation")
    assert not message.labels


def test_all_arguments_arrive() -> None:
    request = requests.sample(
        "gan",
        3,
        seed=2**64 - 1,
        first_row=5,
        labels=np.array([0, 1, 2]),
        version=4,
        truncation_psi=0.7,
        truncation_cutoff=2,
        include_codings=True,
        output_dtype="uint8",
    )
    message = request.build(slice(1, 3))
    assert isinstance(message, pb.SampleRequest)
    assert (message.count, message.seed, message.first_row, list(message.labels)) == (2, 2**64 - 1, 6, [1, 2])
    assert (message.version, message.truncation.cutoff, message.include_codings) == (4, 2, True)
    assert message.truncation.psi == pytest.approx(0.7)


def test_memory_maps_are_read_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "images.npy"
    np.save(path, np.arange(32, dtype=np.uint8).reshape(2, 1, 4, 4))
    message = requests.encode("plain", np.load(path, mmap_mode="r")).build(slice(1, 2))
    assert isinstance(message, pb.EncodeRequest)
    np.testing.assert_array_equal(to_array(message.inputs).ravel(), np.arange(16, 32))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: requests.sample("m", 0), "count: expected 1 to 2147483647, got 0"),
        (lambda: requests.sample("m", 1.5), r"count: expected a whole number, got 1\.5"),  # type: ignore[arg-type]
        (lambda: requests.sample("m", 1, seed=-1), "seed: expected 0 to 18446744073709551615, got -1"),
        (lambda: requests.sample("m", 1, version=2**31), "version: expected"),
        (lambda: requests.sample("m", 2, labels=[1]), "labels: expected 2, one a row, got 1"),
        (lambda: requests.score("m", np.zeros((2, 4)), labels=[1]), "labels: expected 2, one a row, got 1"),
        (lambda: requests.sample("m", 1, labels=[0.5]), "labels: expected a whole number"),  # type: ignore[list-item]
        (
            lambda: requests.sample("m", 1, output_dtype="int8"),  # type: ignore[arg-type]
            "output_dtype: expected 'float32' or 'uint8', got 'int8'",
        ),
        (lambda: requests.sample("m", 1, truncation_cutoff=1), "truncation_cutoff: expected with truncation_psi"),
        (lambda: requests.decode("m", "text"), "codings: expected an array of floats"),
        (
            lambda: requests.interpolate("m", FromCodings(CODINGS), FromSeeds([1]), steps=3),
            "end: expected 3 rows, as many as start, got 1",
        ),
        (
            lambda: requests.interpolate("m", FromSeeds([1]), FromSeeds([1]), steps=3, mode="cubic"),  # type: ignore[arg-type]
            "mode: expected 'linear' or 'spherical', got 'cubic'",
        ),
        (
            lambda: requests.interpolate("m", np.array([[1]]), FromSeeds([1]), steps=3),
            r"start\.inputs: expected uint8 .* got int64",
        ),
        (
            lambda: requests.style_mix("m", FromSeeds([1, 2]), FromSeeds([1]), layers=[0], layout="pairs"),
            "columns: expected 2 rows, as many as rows, got 1",
        ),
        (lambda: requests.style_mix("m", FromSeeds([-1]), FromSeeds([1]), layers=[0]), "rows.seeds: expected 0 to"),
    ],
)
def test_what_a_message_cannot_hold_is_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
