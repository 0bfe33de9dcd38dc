"""What a run is, as frozen pydantic models in which an unknown key is an error.

Defaults are the constants of the authors' code for Oval-dSprites (arXiv 1902.01568).
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from training.schedules import Schedule

Probability = Annotated[float, Field(ge=0, le=1)]
Betas = tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]]


def _holds_a_switch(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_holds_a_switch(item) for item in value)
    return isinstance(value, bool)


class Section(BaseModel):
    """A table of the configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python counts true as 1: what was meant for a switch would be a number in silence."""
        field = cls.model_fields[info.field_name or ""]
        if field.annotation is not bool and _holds_a_switch(value):
            raise ValueError(
                f"true and false are for settings that are on or off: got {value!r}; give the "
                "value itself"
            )
        return value


class DataConfig(Section):
    """Which images: a set by `name`, drawn or read from `path`; `size` in pixels.

    `images` are any folder or array file, `vectors` any table of numbers. `key` names the array in
    a file of several, `columns` those of a table, `factors` a CSV file of labels. `holdout` is the
    share of images kept from training; `holdout_by` "folder" keeps all pictures of a folder
    together, as those of one patient. `training/data/opening.py` says which of them a set reads; a
    further one is refused when it is opened.
    """

    name: str = "oval-dsprites"
    path: Path | None = None
    size: int = Field(default=64, gt=0)
    channels: Literal[1, 3] | None = None
    key: str | None = None
    columns: tuple[str, ...] | None = None
    standardize: bool = False
    factors: Path | None = None
    on_broken: Literal["fail", "skip"] = "fail"
    holdout: float = Field(default=0.0, ge=0, lt=1)
    holdout_by: Literal["image", "folder"] = "image"

    @field_validator("path", "factors")
    @classmethod
    def _name_in_utf8(cls, path: Path | None) -> Path | None:
        """A configuration is UTF-8 and could not say the name."""
        if path is not None and any("\ud800" <= character <= "\udfff" for character in str(path)):
            raise ValueError(f"a path is a name in UTF-8: got {os.fsencode(path)!r}; rename it")
        return path


class ModelConfig(Section):
    """Width of the code and of the fully connected layers, and how weights start.

    `encoder_slope` is the slope of the encoder's rectifiers below 0: a unit with 0, the paper's,
    that falls silent for all images does not come back.
    """

    latent_dim: int = Field(default=10, gt=0, le=4096)
    hidden_units: int = Field(default=128, gt=0)
    encoder_slope: float = Field(default=0.0, ge=0, lt=1)
    initialization: Literal["authors", "kaiming"] = "authors"


class ObjectiveConfig(Section):
    """Weights of the loss terms (`training/objective.py`); each may be a schedule.

    `likelihood_scale` is the standard deviation of a Gaussian likelihood, in the units of the
    samples: a small one asks for sharp reconstructions, `learned` follows the error.
    `capacity`, in nats, holds the KL at a value instead of pressing it to 0 (arXiv 1804.03599).
    `tc_estimator` is the discriminator of FactorVAE or the minibatch of beta-TCVAE.
    `prior` and `prior_weight`: `training/prior.py`; other priors than `standard` are those of
    Bayes-Factor VAE.
    """

    likelihood: Literal["bernoulli", "gaussian"] = "bernoulli"
    likelihood_scale: Annotated[float, Field(gt=0)] | Literal["learned"] = 1.0
    kl_weight_min: Schedule = 0.1
    kl_weight_max: Schedule = 10.0
    capacity: Schedule | None = None
    tc_weight: Schedule = 35.0
    tc_estimator: Literal["discriminator", "minibatch"] = "discriminator"
    sparsity_weight: Schedule = 1.0
    entropy_weight: Schedule = 100.0
    prior: Literal["standard", "variance", "gamma", "gated-gamma"] = "standard"
    prior_weight: Schedule = 1.0

    @model_validator(mode="after")
    def _one_weight_with_capacity(self) -> "ObjectiveConfig":
        if self.capacity is not None and self.kl_weight_min != self.kl_weight_max:
            raise ValueError(
                "`capacity` holds the sum of all KL, so all have one weight: got "
                f"`kl_weight_min` = {self.kl_weight_min} and `kl_weight_max` = "
                f"{self.kl_weight_max}; make them equal, or leave `capacity` out"
            )
        return self


class RelevanceConfig(Section):
    """The gate: learned, or `fixed` to the mask `initial` (RF-VAE-0).

    A learned gate is held for `frozen_steps`. With `wait_steps` it is held for at most so many
    more, until `wait_dims` dimensions that carried less than `wait_kl` nats at step `wait_from` (at
    the latest when the wait begins) carry more and none has followed for `settle_steps`; all
    schedules stand still while it waits. A learned relevance below `close_below` closes its
    dimension for good: its posterior becomes the prior, N(0, 1), and the decoder reads it no more.
    """

    mode: Literal["learned", "fixed"] = "learned"
    initial: Probability | tuple[Probability, ...] = 0.5
    initial_spread: float = Field(default=0.0, ge=0)
    frozen_steps: int = Field(default=0, ge=0)
    wait_steps: int = Field(default=0, ge=0)
    wait_from: int = Field(default=0, ge=0)
    wait_kl: float = Field(default=1.0, gt=0)
    wait_dims: int = Field(default=1, ge=1)
    settle_steps: int = Field(default=0, ge=0)
    close_below: float = Field(default=0.0, ge=0, lt=0.5)
    learning_rate: Schedule = 1e-4

    @model_validator(mode="after")
    def _learnable(self) -> "RelevanceConfig":
        values = self.initial if isinstance(self.initial, tuple) else (self.initial,)
        if self.mode == "learned" and not all(0 < value < 1 for value in values):
            raise ValueError(
                "a learned relevance starts strictly between 0 and 1 (a gate at 0 or 1 cannot "
                f'move): got {self.initial}; use mode = "fixed" for a mask'
            )
        return self


class OptimizerConfig(Section):
    """Adam for encoder and decoder, and for the turn of the latent axes (0: no turn)."""

    learning_rate: Schedule = 1e-4
    rotation_learning_rate: Schedule = 0.0
    betas: Betas = (0.9, 0.999)


class DiscriminatorConfig(Section):
    """The density-ratio discriminator, its Adam, and the codes it sees.

    With `standardize` it sees each dimension around its mean and in units of its spread, and tells
    the encoder nothing about either (`training/discriminator.py`).
    With `precision` `auto` the products of wide layers take bfloat16 where the processor has matrix
    tiles for it (`training/wide_linear.py`); with `float32` nowhere.
    """

    hidden_units: int = Field(default=1000, gt=0)
    hidden_layers: int = Field(default=5, gt=0)
    learning_rate: Schedule = 1e-4
    betas: Betas = (0.5, 0.9)
    history: int = Field(default=1, gt=0)
    second_batch: bool = True
    standardize: bool = False
    precision: Literal["auto", "float32"] = "auto"


class RunConfig(Section):
    """Length and habits of the run; `threads` 0 means all cores.

    `devices` on each of `nodes` machines train together, each on an equal part of every batch.
    """

    seed: int = Field(default=1, ge=0)
    steps: int = Field(default=300_000, gt=0)
    batch_size: int = Field(default=64, gt=1)
    log_every: int = Field(default=100, gt=0)
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    threads: int = Field(default=0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(default=1, gt=0)
    nodes: int = Field(default=1, gt=0)
    precision: Literal["float32", "bfloat16"] = "float32"
    tensorboard: bool = False


class Config(Section):
    """Everything that decides a run."""

    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    relevance: RelevanceConfig = RelevanceConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    run: RunConfig = RunConfig()

    @model_validator(mode="after")
    def _one_initial_per_dim(self) -> "Config":
        initial = self.relevance.initial
        if isinstance(initial, tuple) and len(initial) != self.model.latent_dim:
            raise ValueError(
                "`relevance.initial` needs one value, or one per dimension: got "
                f"{len(initial)} values for `model.latent_dim` = {self.model.latent_dim}"
            )
        return self

    @model_validator(mode="after")
    def _mask_for_the_minibatch(self) -> "Config":
        initial = self.relevance.initial
        values = initial if isinstance(initial, tuple) else (initial,)
        is_mask = self.relevance.mode == "fixed" and all(value in (0, 1) for value in values)
        if self.objective.tc_estimator == "minibatch" and not is_mask:
            raise ValueError(
                '`objective.tc_estimator` = "minibatch" needs `relevance.mode` = "fixed" and a '
                f"mask of 0 and 1: got {self.relevance.mode}, {initial}; a total correlation does "
                "not change when a dimension is scaled, so that estimator teaches no relevance"
            )
        return self
