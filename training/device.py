"""Where a run computes: which device, which processes together, and what it says about that."""

import platform
from pathlib import Path

import torch
from rich.console import Console

from training.config import Config
from training.discriminator import uses_tiles
from training.errors import ConfigError
from training.ranks import Ranks, launch
from training.terms import uses_discriminator

CPU_INFO = Path("/proc/cpuinfo")


def join(config: Config, console: Console) -> tuple[Ranks, torch.device]:
    """This process's place among those that train together, and its device; sets the threads."""
    device = choose_device(config)
    ranks, own_device = launch(config, accelerator=device.type)
    if config.run.threads:  # after the launch, which sets another number
        torch.set_num_threads(config.run.threads)
    if ranks.rank == 0:
        for line in describe_device(config, device):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
        if ranks.size > 1:
            console.print(f"Processes: {ranks.size}, each on an equal part of every batch")
    return ranks, own_device or device


def choose_device(config: Config) -> torch.device:
    """The device that `run.device` asks for.

    Raises:
        ConfigError: CUDA is asked for and cannot be used.
    """
    wanted, has_cuda = config.run.device, torch.cuda.is_available()
    if wanted == "cuda" and not has_cuda:
        raise ConfigError(
            "`run.device` is `cuda` and PyTorch finds no usable CUDA device; "
            "use `auto` or `cpu`, or install a CUDA build of torch"
        )
    return torch.device("cuda" if has_cuda and wanted != "cpu" else "cpu")


def describe_device(config: Config, device: torch.device) -> list[str]:
    """Lines for a person: what computes, and why."""
    is_cuda = device.type == "cuda"
    reason = "`run.device` asks for it"
    if config.run.device == "auto":
        reason = 'found by `run.device = "auto"`' if is_cuda else "no CUDA device found"
    if is_cuda:
        return [f"Device: CUDA, {torch.cuda.get_device_name()} ({reason})"]
    lines = [f"Device: CPU, {_threads()} ({reason})"]
    if uses_discriminator(config) and uses_tiles(config):
        lines.append(
            "Discriminator: its products take bfloat16 and add up in float32 (found AMX; "
            '`discriminator.precision = "float32"` turns this off)'
        )
    return lines


def machine_name(device: torch.device) -> str:
    """The GPU, or the processor and how many threads of it are used; costs mean nothing without."""
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    lines = CPU_INFO.read_text(encoding="utf-8").splitlines() if CPU_INFO.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name}, {_threads()}"


def _threads() -> str:
    count = torch.get_num_threads()
    return f"{count} thread{'s' if count > 1 else ''}"
