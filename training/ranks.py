"""The processes that train one model together, and the precision they compute in.

Every rank holds the whole state and draws the same random numbers. A batch is drawn whole, and each
rank works on its rows; codes are gathered before columns are permuted, and gradients averaged. So
any number of ranks takes the step that one would take, and any of them could write the checkpoint.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from training.config import Config
from training.errors import ConfigError

FABRIC_PRECISION = {"float32": "32-true", "bfloat16": "bf16-mixed"}


class Ranks:
    """One process in single precision: nothing to share."""

    rank, size = 0, 1

    def own(self, rows: Tensor) -> Tensor:
        """This rank's part of (all_rows, …), in the order of ranks."""
        return rows

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, in their order; gradients come back to each."""
        return rows

    def average(self, tensors: Sequence[Tensor | None]) -> None:
        """Replace each tensor by its mean over the ranks."""

    def any(self, flag: bool) -> bool:
        """Whether any rank says so."""
        return flag

    def autocast(self) -> AbstractContextManager[Any]:
        """Where networks run in the precision that was asked for."""
        return nullcontext()


class FabricRanks(Ranks):
    """What lightning-fabric launched: several processes, another precision, or both.

    Args:
        fabric: A launched `lightning_fabric.Fabric`.
    """

    def __init__(self, fabric: Any) -> None:
        self._fabric = fabric
        self.rank, self.size = fabric.global_rank, fabric.world_size

    def own(self, rows: Tensor) -> Tensor:
        """This rank's part of (all_rows, …), in the order of ranks."""
        return rows.chunk(self.size)[self.rank] if self.size > 1 else rows

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all ranks, in their order; gradients come back to each."""
        if self.size == 1:
            return rows
        parts: Tensor = self._fabric.all_gather(rows, sync_grads=rows.requires_grad)
        return parts.flatten(0, 1)

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor | None]) -> None:
        """One exchange for all: a message a tensor would cost more than the sums."""
        present = [tensor for tensor in tensors if tensor is not None]
        if self.size == 1 or not present:
            return
        joined = torch.cat([tensor.reshape(-1) for tensor in present])
        means: Tensor = self._fabric.all_reduce(joined, reduce_op="mean")
        sizes = [tensor.numel() for tensor in present]
        for tensor, mean in zip(present, torch.split(means, sizes), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def any(self, flag: bool) -> bool:
        """Whether any rank says so."""
        if self.size == 1:
            return flag
        flags = torch.tensor(float(flag), device=self._fabric.device)
        return bool(self._fabric.all_reduce(flags, reduce_op="sum") > 0)

    def autocast(self) -> AbstractContextManager[Any]:
        """Where networks run in the precision that was asked for."""
        context: AbstractContextManager[Any] = self._fabric.autocast()
        return context


def launch(config: Config, *, accelerator: str) -> tuple[Ranks, torch.device | None]:
    """Join, or start, the processes that the configuration or the launcher asks for.

    Args:
        config: `run.devices` on each of `run.nodes` machines; torchrun's numbers come first.
        accelerator: `cpu` or `cuda`.

    Returns:
        The ranks, and this process's device where several share a machine.

    Raises:
        ConfigError: The batch cannot be divided by the number of processes.
    """
    devices, nodes = _world(config)
    if config.run.batch_size % (devices * nodes):
        raise ConfigError(
            f"every process takes an equal part of a batch: got `run.batch_size` = "
            f"{config.run.batch_size} for {devices * nodes} processes; choose a multiple"
        )
    if devices * nodes == 1 and config.run.precision == "float32":
        return Ranks(), None
    from lightning_fabric import Fabric

    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if devices * nodes > 1 else "auto",
        precision=FABRIC_PRECISION[config.run.precision],
    )
    fabric.launch()
    return FabricRanks(fabric), fabric.device


def _world(config: Config) -> tuple[int, int]:
    """Processes a machine, and machines."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return config.run.devices, config.run.nodes
    local = int(os.environ["LOCAL_WORLD_SIZE"])
    return local, int(os.environ["WORLD_SIZE"]) // local
