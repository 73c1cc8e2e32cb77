import logging
from collections.abc import Iterator

import grpc
import pytest
from google.rpc import status_pb2
from latentry.v1.inference_service_pb2 import ErrorReason
from latentry_server import errors
from latentry_server.transport.statuses import to_status

from tests.server.serving import details

EXAMPLES = [
    (errors.InvalidInputError("inputs.shape", expected="[N, 4]", got="[2, 3]"), "INVALID_ARGUMENT", "INVALID_INPUT"),
    (errors.ModelNotFoundError("vae"), "NOT_FOUND", "MODEL_NOT_FOUND"),
    (errors.VersionNotFoundError("vae", 3), "NOT_FOUND", "VERSION_NOT_FOUND"),
    (errors.VersionNotLoadedError("vae", 3), "NOT_FOUND", "VERSION_NOT_FOUND"),
    (
        errors.CapabilityMissingError("gan", "ENCODE", frozenset({"SAMPLE", "DECODE"})),
        "FAILED_PRECONDITION",
        "CAPABILITY_MISSING",
    ),
    (errors.BundleInvalidError("manifest.json: broken"), "FAILED_PRECONDITION", "BUNDLE_INVALID"),
    (errors.QueueFullError("the queue is full (10 rows)", retry_after_s=0.25), "RESOURCE_EXHAUSTED", "QUEUE_FULL"),
    (errors.ModelNotReadyError("vae/1 is loading"), "UNAVAILABLE", "MODEL_NOT_READY"),
    (errors.ShuttingDownError(), "UNAVAILABLE", "SHUTTING_DOWN"),
    (errors.DeadlineExceededError(), "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"),
    (errors.RuntimeFailedError("encoder failed"), "INTERNAL", "RUNTIME_FAILED"),
    (errors.UnauthenticatedError(), "UNAUTHENTICATED", "UNAUTHENTICATED"),
]


@pytest.mark.parametrize(("error", "code", "reason"), EXAMPLES)
def test_every_error_has_a_status_and_a_reason(error: errors.LatentryError, code: str, reason: str) -> None:
    status = to_status(error)
    info = details(status)["ErrorInfo"]
    assert status.code == grpc.StatusCode[code].value[0]
    assert status.message == str(error)
    assert (info.reason, info.domain) == (reason, "latentry")


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    for own in kind.__subclasses__():
        yield own
        yield from subclasses(own)


def test_the_examples_are_all_errors_and_all_reasons() -> None:
    assert {type(error) for error, _, _ in EXAMPLES} == set(subclasses(errors.LatentryError))
    reasons = {name.removeprefix("ERROR_REASON_") for name, _ in ErrorReason.items()} - {"UNSPECIFIED"}
    assert {reason for _, _, reason in EXAMPLES} == reasons


def test_a_wrong_field_is_named_with_what_was_expected_and_what_came() -> None:
    status = to_status(errors.InvalidInputError("labels[3]", expected="0 to 9", got="12"))
    (violation,) = details(status)["BadRequest"].field_violations
    assert (violation.field, violation.description) == ("labels[3]", "expected 0 to 9, got 12")


def test_what_is_missing_is_named() -> None:
    assert details(to_status(errors.ModelNotFoundError("vae")))["ResourceInfo"].resource_name == "vae"
    assert details(to_status(errors.VersionNotFoundError("vae", 3)))["ResourceInfo"].resource_name == "vae/3"


def test_a_full_queue_says_when_to_try_again() -> None:
    delay = details(to_status(errors.QueueFullError("the queue is full (10 rows)", retry_after_s=1.25)))[
        "RetryInfo"
    ].retry_delay
    assert delay.ToMilliseconds() == 1250


def test_a_missing_operation_comes_with_those_there_are() -> None:
    error = errors.CapabilityMissingError("gan", "ENCODE", frozenset({"SAMPLE", "DECODE"}))
    metadata = details(to_status(error))["ErrorInfo"].metadata
    assert dict(metadata) == {"operation": "ENCODE", "capabilities": "DECODE,SAMPLE"}


def test_what_nobody_expected_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        status = to_status(KeyError("a secret"))
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "secret" not in status_pb2.Status.SerializeToString(status).decode()
    assert "a secret" in caplog.text
    assert "KeyError" in caplog.text


@pytest.mark.parametrize("letter", ["x", "é", "😀"])
def test_a_callers_own_words_do_not_burst_the_trailers(letter: str) -> None:
    status = to_status(errors.ModelNotFoundError(letter * 1_000_000))
    assert len(status.SerializeToString()) < 2000
