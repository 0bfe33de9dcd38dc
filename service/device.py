"""The settings that say where inference runs and how much of the machine it takes."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class DeviceSettings(BaseSettings):
    """Part of `Settings`; each with its unit, its range and what happens at the limit."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    device: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto",
        description="Where inference runs; auto takes CUDA where it works, else the CPU. A device "
        "that is asked for and not active ends the start.",
    )
    cuda_graphs: bool = Field(
        False,
        description="Whether each batch on CUDA is replayed from a graph captured at the start, "
        "one for each batch size, which saves launches and costs memory; needs device cuda. A "
        "graph that gives anything else than a plain run ends the start.",
    )
    cache_folder: Path | None = Field(
        None,
        description="Folder where TensorRT keeps the engines that it built, for the next start; "
        "unset: rfvae in the user's cache folder. One that cannot be written ends the start.",
    )
    lanes: int = Field(
        0,
        ge=0,
        le=256,
        description="Batches that run at the same time, 0 to 256; 0 chooses from CPU affinity and "
        "cgroup quota. Further batches wait in the queue.",
    )
    threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads inside one batch, 0 to 256; 0 chooses: one on a CPU, since lanes "
        "scale better.",
    )

    @model_validator(mode="after")
    def _check_graphs(self) -> Self:
        if self.cuda_graphs and self.device != "cuda":
            raise ValueError(f"`cuda_graphs` needs `device` to be `cuda`; got `{self.device}`")
        return self
