"""The models that are served: which versions there are, in which state, and which one answers.

Versions go loading → ready → draining, or loading → failed. A new version is loaded beside the
ones in use and takes over once it is ready; what is not ready never answers. All state lives on
the event loop; loading happens in a thread, one version after another, because opening sessions in
parallel can fail (onnxruntime issue 27089).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum

from service.batching.admission import RETRY_AFTER_UNKNOWN_S
from service.errors import NotReady, ServiceError, UnknownModel, UnknownVersion, default_is_gone
from service.events import log_event
from service.models.repository import FoundVersion
from service.models.served import ServedModel

Key = tuple[str, int]


class ModelState(StrEnum):
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"


@dataclass(frozen=True)
class VersionStatus:
    """One version as people see it; `reason` says why it is not ready, or why a reload failed."""

    name: str
    version: int
    state: ModelState
    reason: str | None
    model: ServedModel | None


@dataclass(frozen=True)
class SyncReport:
    """What one `sync` did."""

    loaded: tuple[Key, ...]
    failed: dict[Key, ServiceError]
    removed: tuple[Key, ...]


@dataclass
class _Slot:
    found: FoundVersion
    model: ServedModel | None = None
    error: ServiceError | None = None

    @property
    def state(self) -> ModelState:
        if self.model is not None:
            return ModelState.READY
        return ModelState.FAILED if self.error else ModelState.LOADING

    def reason(self) -> str | None:
        if self.error is not None:
            return self.error.detail
        return None if self.model else "it is being loaded"


@dataclass
class _Tables:
    """What `get` looks up; None stands for the default model."""

    latest: dict[str | None, ServedModel] = field(default_factory=dict)
    exact: dict[Key, ServedModel] = field(default_factory=dict)


class Registry:
    """Holds every version and hands out the one that a request names.

    Args:
        load: turns a found folder into a model; called in a thread, raises `ServiceError`.
        default_model: answers when no name is given; None is the first by name that is ready.
        linger_s: how long a version that was replaced or removed still takes work, so that
            requests that hold it can finish; the longest request time-out is right.
        on_change: called after each change of state.
    """

    def __init__(
        self,
        load: Callable[[FoundVersion], ServedModel],
        *,
        default_model: str | None = None,
        linger_s: float = 60.0,
        on_change: Callable[[], None] | None = None,
    ) -> None:
        self._load = load
        self._default_model = default_model
        self._linger_s = linger_s
        self._on_change = on_change or (lambda: None)
        self._slots: dict[Key, _Slot] = {}
        self._tables = _Tables()
        self._retiring: dict[asyncio.Task[None], ServedModel] = {}
        self._syncing = asyncio.Lock()
        self._closed = False
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="rfvae-load")

    def get(self, name: str | None = None, version: int | None = None) -> ServedModel:
        """The model to answer with: by default the default model's highest ready version.

        Raises:
            UnknownModel, UnknownVersion: with what there is.
            NotReady: it exists but cannot answer yet, or failed to load; or it is the default
                model and is gone.
        """
        tables = self._tables
        if version is None:
            model = tables.latest.get(name)
        else:
            model = tables.exact.get((self._owner(name), version))
        if model is None:
            raise self._why_not(name, version)
        return model

    @property
    def default_name(self) -> str:
        """The name that answers when none is given; empty when there is no model at all.

        A model that comes while others answer is the default once it can answer, and not before.
        """
        return self._default_in(self._tables)

    def names(self) -> list[str]:
        """Every known model, whatever its state."""
        return sorted({name for name, _ in self._slots})

    def statuses(self) -> list[VersionStatus]:
        """Every version by name and then from the highest down, those on their way out last."""
        slots = sorted(self._slots.items(), key=lambda item: (item[0][0], -item[0][1]))
        known = [
            VersionStatus(name, version, slot.state, slot.reason(), slot.model)
            for (name, version), slot in slots
        ]
        leaving = [
            VersionStatus(model.name, model.version, ModelState.DRAINING, "it was replaced", model)
            for model in self._retiring.values()
        ]
        return known + leaving

    def ready_models(self) -> list[ServedModel]:
        """Every version that answers."""
        return list(self._tables.exact.values())

    def retry_after_s(self) -> float:
        """When all that waits for inference should be done, whatever the model."""
        waits = [model.batcher.retry_after_s() for model in self.ready_models()]
        return max(waits, default=RETRY_AFTER_UNKNOWN_S)

    @property
    def is_ready(self) -> bool:
        """Whether the default model answers; another version being loaded changes nothing."""
        return None in self._tables.latest

    def why_not_ready(self) -> str | None:
        """None when the default model answers."""
        return None if self.is_ready else self._why_not(None, None).detail

    async def sync(self, found: Sequence[FoundVersion]) -> SyncReport:
        """Make what is served match what was found; bad versions are reported and not served.

        New and changed folders are loaded, the highest version of each model first; versions that
        are gone leave. A changed folder that fails to load leaves the loaded one in service.
        """
        async with self._syncing:
            wanted = {version.key: version for version in found}
            removed = [key for key in self._slots if key not in wanted]
            for key in removed:
                self._remove(key)
            changed = [version for version in found if self._is_changed(version)]
            for version in changed:
                self._slots.setdefault(version.key, _Slot(version))
            slots = {version.key: self._slots[version.key] for version in changed}
            self._publish()
            highest = dict(sorted(slots))
            order = sorted(changed, key=lambda one: (highest[one.name] - one.version, one.name))
            for version in order:
                if not self._closed:
                    await self._load_version(version)
            failed = {key: slot.error for key, slot in slots.items() if slot.error}
            loaded = tuple(key for key in slots if key not in failed)
            return SyncReport(loaded, failed, tuple(removed))

    async def drain(self, *, timeout_s: float | None = None) -> int:
        """Finish accepted work of every model at once; returns how many requests were cut off."""
        self._closed = True
        for task in self._retiring:
            task.cancel()
        models = [*self._tables.exact.values(), *self._retiring.values()]
        self._slots.clear()
        self._publish()
        cut_off = await asyncio.gather(*(model.drain(timeout_s=timeout_s) for model in models))
        self._loader.shutdown(wait=False)
        return sum(cut_off)

    def _is_changed(self, version: FoundVersion) -> bool:
        slot = self._slots.get(version.key)
        return slot is None or slot.found != version

    async def _load_version(self, version: FoundVersion) -> None:
        slot = self._slots[version.key]
        slot.found = version
        model = await self._try_to_load(version, slot)
        if model is None:
            _log(logging.ERROR, "model_refused", version.key, reason=slot.reason())
        elif self._closed:
            await model.drain()
        else:
            self._retire(slot.model)
            slot.model, slot.error = model, None
            _log(logging.INFO, "model_ready", version.key, load_s=round(model.load_s, 3))
        self._publish()

    async def _try_to_load(self, version: FoundVersion, slot: _Slot) -> ServedModel | None:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._loader, self._load, version)
        except ServiceError as error:
            slot.error = error
        except Exception as error:  # one version's crash must not end the others' service
            _log(logging.ERROR, "model_crashed", version.key, error)
            slot.error = ServiceError("loading ended in an unexpected error; the log says which")
        return None

    def _remove(self, key: Key) -> None:
        self._retire(self._slots.pop(key).model)
        _log(logging.INFO, "model_removed", key)

    def _retire(self, model: ServedModel | None) -> None:
        if model is not None:
            task = asyncio.get_running_loop().create_task(self._linger_and_drain(model))
            self._retiring[task] = model
            task.add_done_callback(self._retired)

    async def _linger_and_drain(self, model: ServedModel) -> None:
        await asyncio.sleep(self._linger_s)
        await model.drain(timeout_s=self._linger_s or None)

    def _retired(self, task: asyncio.Task[None]) -> None:
        self._retiring.pop(task, None)
        self._on_change()

    def _publish(self) -> None:
        """Make the look-up tables anew and swap them in one step."""
        tables = _Tables()
        for key in sorted(self._slots):  # rising versions: the highest one stays
            model = self._slots[key].model
            if model is not None:
                tables.exact[key] = tables.latest[key[0]] = model
        default = self._default_in(tables)
        if default in tables.latest:
            tables.latest[None] = tables.latest[default]
        self._tables = tables
        self._on_change()

    def _default_in(self, tables: _Tables) -> str:
        ready = sorted(name for name in tables.latest if name is not None)
        return self._default_model or next(iter(ready or self.names()), "")

    def _owner(self, name: str | None) -> str:
        return self.default_name if name is None else name

    def _why_not(self, name: str | None, version: int | None) -> ServiceError:
        if not self._slots:
            return NotReady("no model is loaded yet; see /readyz")
        is_default, name = name is None, self._owner(name)
        slots = {number: slot for (model, number), slot in self._slots.items() if model == name}
        if not slots:
            known = self.names()
            return default_is_gone(name, known) if is_default else UnknownModel(name, known)
        if version is not None and version not in slots:
            return UnknownVersion(name, version, sorted(slots))
        number = max(slots) if version is None else version
        return NotReady(f"model `{name}` version {number} is not ready: {slots[number].reason()}")


def _log(
    level: int, event: str, key: Key, error: Exception | None = None, **further: object
) -> None:
    name, version = key
    log_event(level, event, error, model=name, version=version, **further)
