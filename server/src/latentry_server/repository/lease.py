"""Who uses a loaded model."""

import asyncio

from latentry_server.repository.loaded_model import LoadedModel


class Lease:
    """Counts the requests that use a model: one context manager for all of them, since it is entered for each call."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.unused = asyncio.Event()
        """Set while no request uses the model."""
        self.unused.set()
        self._num_users = 0

    def __enter__(self) -> LoadedModel:
        """Count a request in."""
        self._num_users += 1
        self.unused.clear()
        return self.model

    def __exit__(self, *_: object) -> None:
        """Count it out."""
        self._num_users -= 1
        if not self._num_users:
            self.unused.set()
