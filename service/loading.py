"""From settings to models: which version, with what options, and whose signatures count."""

from typing import Any, Final

from service.errors import ServiceError
from service.models.artifact import load_manifest, verify_files
from service.models.repository import FoundVersion, Verified, pick, require_versions, scan
from service.models.served import LoadOptions
from service.models.signature import Signatures, load_signatures
from service.runtime.opening import EngineOptions
from service.runtime.sessions import require_built_in, resolve_device
from service.runtime.tensorrt import default_cache_folder
from service.runtime.threads import CpuBudget, cpu_budget
from service.settings import Settings

# Through both graphs; a batch, which takes one, keeps the loop from its other work for half of it.
INLINE_ON_ONE_CORE_S: Final = 0.06


def signatures_of(settings: Settings) -> Signatures | None:
    """Whose signatures count; None where none are looked at.

    Raises:
        SignatureError: a key is missing or is none, or `cryptography` is not installed.
    """
    return load_signatures(settings.public_keys, demanded=settings.require_signature)


def load_options(settings: Settings, **further: Any) -> LoadOptions:
    """What the settings say of the device and of signatures; `further` wins over them.

    Raises:
        SignatureError: see `signatures_of`.
    """
    chosen = {"engine": engine_options(settings), "signatures": signatures_of(settings)}
    return LoadOptions(**{**chosen, **inline_options(settings), **further})


def inline_options(settings: Settings, budget: CpuBudget | None = None) -> dict[str, Any]:
    """What may run on the event loop: whole batches where a lane would share the loop's core."""
    if (budget or cpu_budget()).cores > max(settings.processes, 1):
        return {}
    return {"inline_rows": settings.max_batch_rows, "inline_s": INLINE_ON_ONE_CORE_S}


def engine_options(settings: Settings) -> EngineOptions:
    """What the settings say of the device and its lanes."""
    return EngineOptions(
        device=settings.device,
        lanes=settings.lanes,
        threads=settings.threads,
        cuda_graphs=settings.cuda_graphs,
        cache_folder=settings.cache_folder or default_cache_folder(),
    )


def find_version(settings: Settings, name: str | None, version: int | None) -> FoundVersion:
    """The version of the repository that a command line names.

    Args:
        name: None for the first by name.
        version: None for the highest.

    Raises:
        ArtifactError: there is no model folder at all.
        UnknownModel, UnknownVersion: with what there is.
    """
    found = scan(settings.model_repository)
    require_versions(found, settings.model_repository)
    return pick(found, name, version)


def check_repositories(settings: Settings) -> Verified:
    """Refuse damaged folders and an unknown device before anything starts: the error is all.

    A model goes on with the versions that are sound, as it does when a bad one comes later.

    Raises:
        DeviceUnavailable: this build of ONNX Runtime does not know it.
        ServiceError: a model has no sound version; what is wrong with its highest one.
    """
    require_built_in(resolve_device(settings.device))
    found = scan(settings.model_repository)
    require_versions(found, settings.model_repository)
    signatures = signatures_of(settings)
    failures: dict[str, ServiceError] = {}
    sound: list[FoundVersion] = []
    for one in found:
        try:
            verify_files(one.folder, load_manifest(one.folder, signatures))
            sound.append(one)
        except ServiceError as error:
            failures.setdefault(one.name, error)
    served = {one.name for one in sound}
    for name, failure in failures.items():
        if name not in served:
            raise failure
    return Verified(sound)
