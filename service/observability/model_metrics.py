"""The metrics of the models that are served; their series come and go with the models."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

Floats = npt.NDArray[np.float32]

LOADS: Final = ("loaded", "refused")
PERCENTILES: Final = (1, 5, 10, 25, 50, 75, 90, 95, 99, 100)
LOOKED_AT_TOGETHER: Final = 64  # answers, since a look at one costs as much as at all of them


@dataclass(frozen=True, slots=True)
class ReadyModel:
    """A model version that can answer.

    Args:
        factors: the names of the relevant dimensions.
        low, high: (latent_dim,) 1 and 99 % quantiles.
        lanes: batches at a time; `threads` inside each.
    """

    name: str
    version: int
    provider: str
    factors: Mapping[int, str]
    low: Floats
    high: Floats
    lanes: int = 1
    threads: int = 1


@dataclass(slots=True)
class _Drift:
    """Counts of one version since the last scrape: counters cost too much to touch each time."""

    low: Floats
    high: Floats
    outside: npt.NDArray[np.int64]
    images: int = 0
    waiting: list[Floats] = field(default_factory=list)

    def add(self, mu: Floats) -> None:
        self.waiting.append(mu)
        if len(self.waiting) >= LOOKED_AT_TOGETHER:
            self.look()

    def look(self) -> None:
        """Compares what waits with the training range."""
        if self.waiting:
            mu = np.concatenate(self.waiting)  # (n, latent_dim)
            self.waiting.clear()
            self.images += len(mu)
            self.outside += ((mu < self.low) | (mu > self.high)).sum(axis=0)


class ModelMetrics:
    """One set of series for each model of the repository, one info series for each version."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._names: set[str] = set()  # of the models that have series
        self._drifts: dict[tuple[str, int], _Drift] = {}  # by name and version
        self._infos: set[tuple[str, str, str]] = set()
        self._info = Gauge(
            "rfvae_model_info",
            "1 for each model version that can answer, with the provider that runs it",
            ["model", "version", "provider"],
            registry=registry,
        )
        self._ready = Gauge(
            "rfvae_model_ready", "1 when the model can answer, else 0", ["model"], registry=registry
        )
        self._relevant_dims = Gauge(
            "rfvae_relevant_dims",
            "Relevant dimensions of the model, count",
            ["model"],
            registry=registry,
        )
        self._factor_info = Gauge(
            "rfvae_factor_info",
            "1 for each relevant dimension of the highest version that can answer, with its name",
            ["model", "dim", "name"],
            registry=registry,
        )
        self._lanes = Gauge(
            "rfvae_model_lanes",
            "Batches of the model that run at the same time, count",
            ["model"],
            registry=registry,
        )
        self._threads = Gauge(
            "rfvae_model_threads",
            "Threads inside one batch of the model, count",
            ["model"],
            registry=registry,
        )
        self._loads = Counter(
            "rfvae_model_loads",
            "Versions of the model that were loaded, or refused and not served, count",
            ["model", "outcome"],
            registry=registry,
        )
        self._images = Counter(
            "rfvae_images",
            "Images encoded for /encode, /factors and /v2, count",
            ["model"],
            registry=registry,
        )
        self._out_of_range = Counter(
            "rfvae_latent_out_of_range",
            "Posterior means outside the 1 to 99 % range of their version's training data, count",
            ["model", "dim"],
            registry=registry,
        )
        self._novelty = Histogram(
            "rfvae_reconstruction_novelty",
            "Share of the training images that the model explains better than the image, percent",
            ["model"],
            buckets=PERCENTILES,
            registry=registry,
        )

    def show(self, names: Iterable[str], ready: Iterable[ReadyModel]) -> None:
        """Makes the series fit what the repository holds (`names`) and what of it is ready."""
        by_version = sorted(ready, key=lambda model: model.version)
        highest = {model.name: model for model in by_version}
        self.flush()
        self._drifts = {(model.name, model.version): _drift_of(model) for model in by_version}
        before, self._names = self._names, set(names)
        for name in before - self._names:
            self._drop(name)
        for name in self._names:
            self._ready.labels(name).set(name in highest)
            for outcome in LOADS:
                self._loads.labels(name, outcome)
        for model in by_version:
            for dim in range(len(model.low)):
                self._out_of_range.labels(model.name, str(dim))
        for model in highest.values():
            self._add(model)
        self._show_infos({(m.name, str(m.version), m.provider) for m in by_version})

    def observe_loads(self, *, loaded: Iterable[str], refused: Iterable[str]) -> None:
        """Counts versions, each by its model's name; names that are not shown are left out."""
        for outcome, names in zip(LOADS, (loaded, refused), strict=True):
            for name in names:
                if name in self._names:
                    self._loads.labels(name, outcome).inc()

    def observe_mu(self, name: str, version: int, mu: Floats) -> None:
        """Counts posterior means, (batch, latent_dim), that the training data would hardly give."""
        drift = self._drifts.get((name, version))
        if drift is not None and mu.shape[1:] == drift.low.shape:
            drift.add(mu)

    def flush(self) -> None:
        """Puts the counts since the last scrape into the counters; on the event loop only."""
        for (name, _), drift in self._drifts.items():
            drift.look()
            counts, drift.outside = drift.outside, np.zeros_like(drift.outside)
            self._images.labels(name).inc(drift.images)
            drift.images = 0
            for dim in counts.nonzero()[0].tolist():
                self._out_of_range.labels(name, str(dim)).inc(int(counts[dim]))

    def observe_novelty(self, name: str, percentiles: Iterable[float]) -> None:
        """Adds the novelty of each image, unless the model left while it was encoded."""
        if name in self._names:
            histogram = self._novelty.labels(name)
            for percentile in percentiles:
                histogram.observe(percentile)

    def _add(self, model: ReadyModel) -> None:
        self._relevant_dims.labels(model.name).set(len(model.factors))
        self._lanes.labels(model.name).set(model.lanes)
        self._threads.labels(model.name).set(model.threads)
        self._factor_info.remove_by_labels({"model": model.name})
        for dim, name in model.factors.items():
            self._factor_info.labels(model.name, str(dim), name).set(1)
        self._novelty.labels(model.name)
        self._images.labels(model.name)

    def _drop(self, name: str) -> None:
        for several in (self._factor_info, self._out_of_range, self._loads):
            several.remove_by_labels({"model": name})
        numbers = (self._ready, self._relevant_dims, self._lanes, self._threads)
        for series in (*numbers, self._novelty, self._images):
            series.remove(name)

    def _show_infos(self, infos: set[tuple[str, str, str]]) -> None:
        for labels in self._infos - infos:
            self._info.remove(*labels)
        for labels in infos - self._infos:
            self._info.labels(*labels).set(1)
        self._infos = infos


def _drift_of(model: ReadyModel) -> _Drift:
    return _Drift(model.low, model.high, np.zeros(len(model.low), np.int64))
