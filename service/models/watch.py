"""Looks at the repository folders again and again, so that versions come and go while serving.

It looks and does not listen: network file systems and mounted volumes send no events. A look costs
some hundred microseconds, in a thread.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from service.errors import ArtifactError, ServiceError
from service.events import log_event
from service.models.registry import Key, SyncReport
from service.models.repository import FoundVersion, Stamp, device_of, in_order, versions_in


class SyncedRegistry(Protocol):
    """What a watch needs of the registry."""

    async def sync(self, found: Sequence[FoundVersion]) -> SyncReport: ...


class RepositoryWatch:
    """Makes a registry follow the repository folders.

    A folder whose files changed since the last look is left as it was: it may be half copied, or
    gone for the moment in which another one takes its place. A repository that is empty all of a
    sudden, and on another file system than before, is taken for a volume that is not mounted. What
    is served of such a one goes on, as of one that cannot be read; the other repositories do not
    wait for it.

    Args:
        found: what is served already.
        on_report: told what each change did.
        look: finds what is in a repository now; blocks, so it runs in a thread.
        device_of: says which file system a repository is on; likewise.
    """

    def __init__(
        self,
        registry: SyncedRegistry,
        repositories: Sequence[Path],
        *,
        found: Sequence[FoundVersion] = (),
        on_report: Callable[[SyncReport], None] = lambda report: None,
        look: Callable[[Path], list[FoundVersion]] = versions_in,
        device_of: Callable[[Path], int] = device_of,
    ) -> None:
        self._registry = registry
        self._repositories = repositories
        self._served = {version.key: version for version in found}
        self._seen: dict[Key, Stamp] = {version.key: version.stamp for version in found}
        self._on_report = on_report
        self._look = look
        self._device_of = device_of
        self._devices: dict[Path, int] = {}  # of repositories, when they last held a version
        self._obstacles: frozenset[str] = frozenset()

    async def run(
        self,
        every_s: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Looks for ever, whenever the clock is at a multiple of `every_s`.

        So the processes of a service, each of which looks for itself, see the same at once, also
        after one of them stood still. Two looks are never nearer than half of it.
        """
        while True:
            wait_s = every_s - clock() % every_s
            await sleep(wait_s if wait_s >= every_s / 2 else wait_s + every_s)
            try:
                await self.look()
            except Exception as error:  # the watch's outermost edge: the next look may go well
                log_event(logging.ERROR, "repository_watch_failed", error)

    async def look(self) -> SyncReport | None:
        """Looks once; None when nothing is to be done."""
        found, obstacles = await asyncio.to_thread(self._find)
        self._say_once(obstacles)
        wanted = {version.key: version for version in self._settled(found)}
        if wanted == self._served:
            return None
        self._served = wanted
        report = await self._registry.sync(list(wanted.values()))
        self._on_report(report)
        return report

    def _find(self) -> tuple[list[FoundVersion], list[str]]:
        """All versions, and what keeps a repository from saying what it has."""
        by_repository, obstacles = [], []
        for repository in self._repositories:
            try:
                by_repository.append(self._find_in(repository))
            except ServiceError as error:
                obstacles.append(error.detail)
                by_repository.append(self._served_of(repository))
        return in_order(by_repository), obstacles

    def _find_in(self, repository: Path) -> list[FoundVersion]:
        """Raises ArtifactError if what is there cannot be all that there is."""
        found, device = self._look(repository), self._device_of(repository)
        if found:
            self._devices[repository] = device
        elif self._devices.get(repository, device) != device:
            raise ArtifactError(
                f"model repository `{repository}` is empty and on another file system than when it "
                "held models, as a volume that is not mounted; what is served goes on: mount it "
                "again, or restart the service to do without"
            )
        return found

    def _served_of(self, repository: Path) -> list[FoundVersion]:
        return [one for one in self._served.values() if one.folder.parents[1] == repository]

    def _settled(self, found: Sequence[FoundVersion]) -> list[FoundVersion]:
        """Each version as it is if its files rest, else as it is served, else not at all."""
        before = self._seen
        self._seen = {version.key: version.stamp for version in found}
        resting = {
            version.key: version for version in found if before.get(version.key) == version.stamp
        }
        moving = (self._seen.keys() | before.keys()) - resting.keys()
        settled = resting | {key: self._served[key] for key in moving & self._served.keys()}
        return in_order([list(settled.values())])

    def _say_once(self, obstacles: Sequence[str]) -> None:
        for obstacle in obstacles:
            if obstacle not in self._obstacles:
                log_event(logging.ERROR, "repository_unreadable", reason=obstacle)
        self._obstacles = frozenset(obstacles)
