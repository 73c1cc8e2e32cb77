"""ModelService: looks at the models, loads and unloads them."""
# ruff: noqa: N802, ARG002 - methods have the RPCs' names and arguments

import base64
import binascii
from typing import Any, Protocol

import grpc.aio
from latentry.v1 import model_service_pb2 as messages
from latentry.v1.model_service_pb2_grpc import ModelServiceServicer

from latentry_server.errors import InvalidInputError
from latentry_server.repository.models import ModelRepository
from latentry_server.repository.version import ModelStatus
from latentry_server.transport.converters import to_model
from latentry_server.transport.inference_service import check_name

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

Context = grpc.aio.ServicerContext[Any, Any]


class Loading(Protocol):
    """Loads and unloads on request: the repository itself, or what has every worker's do it."""

    async def load(self, name: str, version: int = 0) -> ModelStatus:
        """As ModelRepository.load."""

    async def unload(self, name: str, version: int = 0) -> list[ModelStatus]:
        """As ModelRepository.unload."""


class ModelService(ModelServiceServicer):
    """The repository's models, as messages."""

    def __init__(self, repository: ModelRepository, loading: Loading) -> None:
        self._repository = repository
        self._loading = loading

    async def ListModels(self, request: messages.ListModelsRequest, context: Context) -> messages.ListModelsResponse:
        """List the versions, a page at a time."""
        page, next_page_token = take_page(self._repository.statuses(), request.page_size, request.page_token)
        return messages.ListModelsResponse(models=map(to_model, page), next_page_token=next_page_token)

    async def GetModel(self, request: messages.GetModelRequest, context: Context) -> messages.GetModelResponse:
        """Get one version."""
        check_name(request.model, request.version)
        return messages.GetModelResponse(model=to_model(self._repository.status(request.model, request.version)))

    async def LoadModel(self, request: messages.LoadModelRequest, context: Context) -> messages.LoadModelResponse:
        """Load a version."""
        check_name(request.model, request.version)
        return messages.LoadModelResponse(model=to_model(await self._loading.load(request.model, request.version)))

    async def UnloadModel(self, request: messages.UnloadModelRequest, context: Context) -> messages.UnloadModelResponse:
        """Unload a version, or all of a model."""
        check_name(request.model, request.version)
        unloaded = await self._loading.unload(request.model, request.version)
        return messages.UnloadModelResponse(models=map(to_model, unloaded))


def take_page(statuses: list[ModelStatus], page_size: int, page_token: str) -> tuple[list[ModelStatus], str]:
    """Take the page after the token, and the token of the next; models that come or go meanwhile shift nothing.

    A token names the last version of its page.
    """
    if page_size < 0:
        raise InvalidInputError("page_size", expected="at least 0", got=str(page_size))
    ordered = sorted(statuses, key=_place)
    if page_token:
        after = _read_token(page_token)
        ordered = [status for status in ordered if _place(status) > after]
    size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    page = ordered[:size]
    return page, _write_token(page[-1]) if len(ordered) > size else ""


def _place(status: ModelStatus) -> tuple[str, int]:
    return status.name, -status.version


def _write_token(status: ModelStatus) -> str:
    return base64.urlsafe_b64encode(f"{status.name}/{status.version}".encode()).decode()


def _read_token(token: str) -> tuple[str, int]:
    try:
        name, _, version = base64.b64decode(token, altchars="-_", validate=True).decode().rpartition("/")
        return name, -int(version)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError("page_token", expected="a next_page_token of this server", got=token) from error
