import pytest
from google.rpc import code_pb2, status_pb2
from latentry_client import AsyncClient, Client, exceptions, requests
from latentry_client.exceptions import CallContext, from_status

from tests.client.plain_service import PlainService

STATUSES = {
    "invalid": (exceptions.InvalidArgumentError, "INVALID_INPUT"),
    "missing": (exceptions.NotFoundError, "MODEL_NOT_FOUND"),
    "incapable": (exceptions.FailedPreconditionError, "CAPABILITY_MISSING"),
    "full": (exceptions.ResourceExhaustedError, "QUEUE_FULL"),
    "away": (exceptions.UnavailableError, "SHUTTING_DOWN"),
    "locked": (exceptions.UnauthenticatedError, "UNAUTHENTICATED"),
    "forbidden": (exceptions.PermissionDeniedError, None),
    "absent": (exceptions.UnimplementedError, None),
    "late": (exceptions.DeadlineExceededError, "DEADLINE_EXCEEDED"),
    "crashing": (exceptions.ServerError, "RUNTIME_FAILED"),
}


@pytest.mark.parametrize("model", STATUSES)
async def test_each_status_has_its_exception(model: str, address: str, client: Client) -> None:
    expected, reason = STATUSES[model]
    with pytest.raises(exceptions.LatentryError, match=f"^Sample of '{model}': ") as caught:
        client.sample(model, 1)
    assert type(caught.value) is expected
    assert caught.value.reason == reason
    assert caught.value.call == CallContext("Sample", model)
    async with AsyncClient(address, max_attempts=1) as async_client:
        with pytest.raises(expected) as caught_async:
            await async_client.sample(model, 1)
    assert str(caught_async.value) == str(caught.value)
    assert caught_async.value.reason == reason
    (streamed,) = client.stream([requests.sample(model, 1)], return_exceptions=True)
    assert type(streamed) is expected
    assert str(streamed) == str(caught.value)
    assert streamed.reason == reason


def test_details(client: Client) -> None:
    with pytest.raises(ValueError, match="wrong") as invalid:
        client.sample("invalid", 1)
    assert isinstance(invalid.value, exceptions.InvalidArgumentError)
    (violation,) = invalid.value.field_violations
    assert (violation.field, violation.description) == ("inputs.shape", "expected [N, 1, 4, 4], got [1, 1, 4, 5]")
    with pytest.raises(exceptions.ResourceExhaustedError) as full:
        client.sample("full", 1)
    assert full.value.retry_delay_s == 0.25
    with pytest.raises(exceptions.FailedPreconditionError) as incapable:
        client.sample("incapable", 1)
    assert incapable.value.metadata == {"operation": "ENCODE", "capabilities": "SAMPLE"}
    with pytest.raises(TimeoutError):
        client.sample("late", 1)


def test_a_status_without_words_or_with_broken_details_is_still_told() -> None:
    status = status_pb2.Status(code=code_pb2.DATA_LOSS)
    status.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    error = from_status(status, CallContext("Encode", "plain"))
    assert type(error) is exceptions.ServerError
    assert str(error) == "Encode of 'plain': DATA_LOSS"
    assert error.reason is None


def test_the_tree_is_the_docstring() -> None:
    public = [name for name, value in vars(exceptions).items() if isinstance(value, type) and name.endswith("Error")]
    for name in set(public) - {"DecodeError"}:
        assert f"- {name}" in str(exceptions.__doc__)
        assert issubclass(getattr(exceptions, name), exceptions.LatentryError)


def test_nothing_listens() -> None:
    with Client("127.0.0.1:1", max_attempts=1) as client, pytest.raises(exceptions.UnavailableError):
        client.encode("plain", [[[0.0]]])


def test_a_deadline_passes(client: Client, service: PlainService) -> None:
    with pytest.raises(exceptions.DeadlineExceededError):
        client.sample("slow", 1, timeout_s=0.05)
    assert client.sample("slow", 1, timeout_s=30).run.model == "slow"
    assert len(service.requests) == 2


def test_the_clients_deadline_passes(address: str) -> None:
    with Client(address, timeout_s=0.05) as client, pytest.raises(exceptions.DeadlineExceededError):
        client.sample("slow", 1)
