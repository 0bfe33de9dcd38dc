"""One safetensors file holds all of a run's state; reading it runs no code."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Generator, Tensor, nn

from training.config import Config
from training.config_file import config_json, parse_config
from training.errors import CheckpointError
from training.networks import VAE, SampleShape, make_vae
from training.prior import make_prior
from training.run_folder import FORMAT_VERSION, RunFolder, write_atomically
from training.state import TrainingState, check_tensors, restore_state, state_tensors


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read: tensors on the CPU, and what its metadata says."""

    path: Path
    config: Config
    step: int
    image_shape: SampleShape
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class LoadedRun:
    """A trained model ready to use: `vae` in evaluation mode and `relevance` on the CPU.

    Its prior is N(0, 1), whichever it learned: the code's unit is that of its prior.
    """

    config: Config
    vae: VAE
    relevance: Tensor  # (latent_dim,)
    step: int
    run_info: dict[str, Any]


def save_checkpoint(path: Path, state: TrainingState, *, config: Config) -> None:
    """Write the whole state in one step: a crash leaves the former checkpoint."""
    write_checkpoint(
        path,
        state_tensors(state),
        config=config,
        step=state.step,
        image_shape=state.vae.image_shape,
    )


def write_checkpoint(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    config: Config,
    step: int,
    image_shape: SampleShape,
) -> None:
    """Write tensors by name with what is needed to build their networks again."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {
        "format_version": str(FORMAT_VERSION),
        "config": config_json(config),
        "step": str(step),
        "image_shape": json.dumps(image_shape),
        "sha256": _sha256(contiguous),
    }
    write_atomically(path, save(contiguous, metadata=metadata))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint without unpickling.

    Raises:
        CheckpointError: It is missing, damaged, or of a later format.
    """
    if not path.is_file():
        raise CheckpointError(f"`{path}` is missing: the folder holds no checkpoint to go on from")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        digest = _sha256(tensors)
        if metadata.get("sha256", digest) != digest:  # older ones have none
            raise ValueError("its tensors are not those that were written")
        return _interpret(path, metadata, tensors)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"`{path}` is damaged and cannot be read ({error}); restore it from a copy, "
            "or start the run again"
        ) from error


def _sha256(tensors: Mapping[str, Tensor]) -> str:
    """Of the tensors' bytes; safetensors itself sees only whether a file is as long as it says."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _interpret(path: Path, metadata: Mapping[str, str], tensors: dict[str, Tensor]) -> Checkpoint:
    version = int(metadata["format_version"])
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"`{path}` has format {version} and this version reads up to {FORMAT_VERSION}; "
            "upgrade the package"
        )
    return Checkpoint(
        path=path,
        config=parse_config(json.loads(metadata["config"]), origin=f"the config in `{path}`"),
        step=int(metadata["step"]),
        image_shape=tuple(int(side) for side in json.loads(metadata["image_shape"])),
        tensors=tensors,
    )


def restore(state: TrainingState, checkpoint: Checkpoint) -> None:
    """Fill a fresh state of the same configuration; training then goes on as if never stopped."""
    restore_state(state, checkpoint.tensors, step=checkpoint.step)


def load_model(run_dir: Path) -> LoadedRun:
    """The model of a run folder.

    Raises:
        RunError: The folder is not that of a run.
        CheckpointError: Its checkpoint cannot be read or does not fit its configuration.
    """
    folder = RunFolder(run_dir)
    run_info = folder.read_info()
    checkpoint = read_checkpoint(folder.checkpoint)
    vae = make_vae(checkpoint.config, checkpoint.image_shape)
    _fill(vae, "vae.", checkpoint.tensors)
    check_tensors({"relevance_logits": torch.empty(vae.latent_dim)}, checkpoint.tensors)
    if any(name.startswith("prior.") for name in checkpoint.tensors):  # not in a pruned run
        prior = make_prior(
            checkpoint.config.objective.prior, latent_dim=vae.latent_dim, generator=Generator()
        )
        _fill(prior, "prior.", checkpoint.tensors)
        prior.fold_into(vae)
    return LoadedRun(
        config=checkpoint.config,
        vae=vae.eval().requires_grad_(False),
        relevance=checkpoint.tensors["relevance_logits"].sigmoid(),
        step=checkpoint.step,
        run_info=run_info,
    )


def _fill(network: nn.Module, prefix: str, tensors: dict[str, Tensor]) -> None:
    """Load the tensors of `network` from those of a checkpoint, where their names have `prefix`."""
    wanted = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    check_tensors(wanted, tensors)
    network.load_state_dict({name.removeprefix(prefix): tensors[name] for name in wanted})
