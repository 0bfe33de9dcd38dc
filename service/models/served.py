"""A model version that answers: verified, opened, self-tested, warm; and how it gets there."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from service.batching.entries import Array, Outputs, Runner
from service.batching.observer import Observer
from service.batching.queue import Batcher, BatchPolicy
from service.errors import ArtifactError
from service.events import log_event
from service.latent import LatentSpace
from service.models.artifact import Manifest, load_golden, load_manifest, verify_files
from service.models.repository import FoundVersion, Verified
from service.models.signature import Signatures
from service.runtime.engine import Engine, SelfTest
from service.runtime.opening import EngineOptions
from service.runtime.sessions import CPU


@dataclass(frozen=True)
class LoadOptions:
    """How versions are loaded.

    Args:
        engine: `batch_sizes` in it are set for the batches at hand.
        batching: `lanes`, `bucket_sizes` and `inline_rows` in it are set for the model at hand.
        inline_rows: rows that may run on the event loop when nothing else is under way, on a CPU;
            a single client is answered a fifth sooner by it.
        inline_s: fewer of them if they take more of the processor than this through both graphs,
            since the loop does nothing else meanwhile.
        observer: told about batches and refusals.
        signatures: who must have signed a folder; None looks at no signature.
        verified: versions that need not be hashed once more.
    """

    engine: EngineOptions = field(default_factory=EngineOptions)
    batching: BatchPolicy = field(default_factory=BatchPolicy)
    inline_rows: int = 1
    inline_s: float = 0.003
    observer: Observer | None = None
    signatures: Signatures | None = None
    verified: Verified = field(default_factory=Verified)


@dataclass(frozen=True)
class ServedModel:
    """What a request needs of a model version; `batcher` has "encode" and "decode".

    encode: uint8 (n, channels, height, width) to mu and logvar, float32 (n, latent_dim) each.
    decode: float32 (n, latent_dim) to float32 (n, channels, height, width) in [0, 1].
    A model of rows has float32 (n, n_columns) in the place of images.
    """

    manifest: Manifest
    folder: Path
    engine: Engine
    batcher: Batcher
    space: LatentSpace
    self_test: SelfTest
    load_s: float

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> int:
        return self.manifest.version

    async def drain(self, *, timeout_s: float | None = None) -> int:
        """Finish accepted work, then close the sessions; returns how many requests were cut off."""
        cut_off = await self.batcher.drain(timeout_s=timeout_s)
        self.engine.close()
        return cut_off


def load_model(found: FoundVersion, options: LoadOptions) -> ServedModel:
    """Verify hashes, open, self-test and warm one version; blocks, so run it in a thread.

    Raises:
        ArtifactError: the folder must not be served; one clear line.
        DeviceUnavailable: the asked device is not the one in use.
    """
    started = time.perf_counter()
    manifest = load_manifest(found.folder, options.signatures)
    require_same_name(found, manifest)
    if not options.verified.take(found):
        verify_files(found.folder, manifest)
    batch_sizes = _powers_of_two(options.batching.max_batch_rows)
    engine = Engine.load(found.folder, manifest, replace(options.engine, batch_sizes=batch_sizes))
    log_event(
        logging.INFO,
        "model_opened",
        model=manifest.name,
        version=manifest.version,
        provider=engine.providers[0],
        lanes=engine.plan.lanes,
        threads=engine.plan.threads,
        spinning="off",
        budget=engine.plan.reason,
    )
    self_test = engine.self_test(load_golden(found.folder))
    policy = policy_for(engine, options)
    sizes = policy.bucket_sizes or _powers_of_two(_largest_run(engine, policy))
    engine.warm_up(sizes)
    engine.warm_lanes(sizes[-1])
    policy = replace(policy, inline_rows=_inline_rows(engine, policy, options.inline_s))
    return ServedModel(
        manifest=manifest,
        folder=found.folder,
        engine=engine,
        batcher=Batcher(_operations(engine), policy, observer=options.observer),
        space=latent_space(manifest),
        self_test=self_test,
        load_s=time.perf_counter() - started,
    )


def latent_space(manifest: Manifest) -> LatentSpace:
    """The manifest's dimensions as arrays, made once."""
    dimensions = manifest.dimensions
    return LatentSpace(
        relevant_dims=np.array(manifest.relevant_dims, dtype=np.intp),
        names=tuple(dimension.name for dimension in dimensions),
        relevance=np.array([dimension.relevance for dimension in dimensions], np.float32),
        mu_mean=np.array([dimension.mu_mean for dimension in dimensions], np.float32),
        mu_quantiles=np.array([dimension.mu_quantiles.values() for dimension in dimensions]),
        elbo_quantiles=np.array(manifest.elbo_quantiles.values()),
    )


def policy_for(engine: Engine, options: LoadOptions) -> BatchPolicy:
    """Lanes as planned; padding only on a GPU, where each new batch size costs a set-up."""
    on_cpu = engine.providers[0] == CPU
    return replace(
        options.batching,
        lanes=engine.plan.lanes,
        bucket_sizes=engine.batch_sizes,
        inline_rows=options.inline_rows if on_cpu else 0,
    )


def _inline_rows(engine: Engine, policy: BatchPolicy, most_s: float) -> int:
    """The most that both graphs do in time, of the powers of two up to the policy's number."""
    sizes = _powers_of_two(policy.inline_rows) if policy.inline_rows else ()
    return next((rows for rows in reversed(sizes) if engine.warm_up((rows,)) <= most_s), 0)


def _operations(engine: Engine) -> dict[str, Runner]:
    def decode(z: Array) -> Outputs:
        return (engine.decode(z),)

    return {"encode": engine.encode, "decode": decode}


def _largest_run(engine: Engine, policy: BatchPolicy) -> int:
    return min(policy.max_batch_rows, engine.most_at_once or policy.max_batch_rows)


def _powers_of_two(most: int) -> tuple[int, ...]:
    """1, 2, 4, … up to `most`, which is always the last."""
    return (*(1 << power for power in range(most.bit_length()) if 1 << power < most), most)


def require_same_name(found: FoundVersion, manifest: Manifest) -> None:
    """Refuse a folder that its repository has under another name or number.

    Raises:
        ArtifactError: naming where it belongs.
    """
    if found.key != (manifest.name, manifest.version):
        raise ArtifactError(
            f"`{found.folder}` must lie in `{manifest.name}/{manifest.version}`, as its manifest "
            "says; move the folder back or export under another name"
        )
