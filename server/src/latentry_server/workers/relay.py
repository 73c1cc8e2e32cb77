"""Has all workers load and unload what one of them was asked to, so that they go on having the same models."""

import asyncio
from collections.abc import Awaitable
from typing import Literal, Protocol

from latentry_server.errors import LatentryError, ModelNotFoundError, VersionNotFoundError, VersionNotLoadedError
from latentry_server.workers.link import LinkClosedError

Action = Literal["load", "unload"]
Versions = tuple[int, ...]


class Member(Protocol):
    """A worker."""

    def act(self, action: Action, name: str, version: int, *, pinned: bool) -> Awaitable[Versions]:
        """Load or unload there, as ModelRepository does; return the versions it was done to."""


class Relay:
    """Passes actions on, one at a time, so that every worker does them in the same order."""

    def __init__(self) -> None:
        self._members: list[Member] = []
        self._asked: dict[tuple[str, int], tuple[Action, bool]] = {}
        """The last action to each version, the oldest first, and whether it was pinned."""
        self._acting = asyncio.Lock()

    async def join(self, member: Member) -> None:
        """Have a new worker do what the others were asked before; LinkClosedError where it goes meanwhile."""
        async with self._acting:
            for (name, version), (action, pinned) in list(self._asked.items()):
                try:
                    await member.act(action, name, version, pinned=pinned)
                except VersionNotLoadedError:
                    pass
                except (ModelNotFoundError, VersionNotFoundError):  # it has gone from the repository
                    del self._asked[name, version]
                except LatentryError:  # the worker has logged it
                    pass
            self._members.append(member)

    def leave(self, member: Member) -> None:
        """Take note that a worker has ended."""
        if member in self._members:
            self._members.remove(member)

    async def act(self, asked: Member, action: Action, name: str, version: int) -> Versions:
        """Have every worker do it; return the versions it was done to in the one that was asked.

        Raises:
            LatentryError: a worker could not load; none had anything to unload.
        """
        async with self._acting:
            members = [asked, *(member for member in self._members if member is not asked)]
            pinned = version != 0
            results = await asyncio.gather(
                *(member.act(action, name, version, pinned=pinned) for member in members), return_exceptions=True
            )
            done = [result for result in results if not isinstance(result, BaseException)]
            failed = [error for error in results if isinstance(error, BaseException)]
            # Not those that have gone: what comes in their place will be asked as it joins.
            refused = [error for error in failed if not isinstance(error, LinkClosedError)]
            for number in done[0] if done else ():
                self._note(action, name, number, pinned=pinned)
            if not done or (refused and action == "load"):
                raise (refused or failed)[0]
            return done[0]

    def _note(self, action: Action, name: str, version: int, *, pinned: bool) -> None:
        if (action, pinned) == ("load", False):  # what was loaded so before goes in its place
            for key in [key for key, asked in self._asked.items() if key[0] == name and asked == ("load", False)]:
                del self._asked[key]
        self._asked.pop((name, version), None)
        self._asked[name, version] = action, pinned
