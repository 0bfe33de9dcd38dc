"""Every setting of the online service in one frozen class, read from `RFVAE_…` variables."""

import difflib
import os
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from service.device import DeviceSettings
from service.safety import SafetySettings

ENV_PREFIX = "RFVAE_"
_OTEL_MODULES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
BUNDLED = Path(__file__).parent / "bundled"
BUNDLED_DEFAULT = "color-oval-dsprites"  # color shows best what a factor is


class SettingsError(ValueError):
    """A setting is unknown or out of its range; the text is one line for a person."""


def _require_folders(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    if not folders:
        raise ValueError("must name at least one folder; got none")
    return folders


def _default_model(repository: tuple[Path, ...] | None) -> str | None:
    return BUNDLED_DEFAULT if repository == (BUNDLED,) else None


class Settings(DeviceSettings, SafetySettings):
    """What can be set, each with its unit, its range and what happens at the limit."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, extra="forbid", protected_namespaces=()
    )

    host: str = Field(
        "127.0.0.1",
        min_length=1,
        description="Address to listen on; 0.0.0.0 listens on every interface.",
    )
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        description="TCP port, 0 to 65535; 0 takes any free one. A port in use ends the start.",
    )
    processes: int = Field(
        0,
        ge=0,
        le=64,
        description="Processes that answer behind the one address, 0 to 64; 0 chooses: on a CPU "
        "one a core up to 4, on a GPU one. Each has lanes, queues and limits of its own; further "
        "connections go to the one with the fewest.",
    )
    model_repository: Annotated[tuple[Path, ...], NoDecode, AfterValidator(_require_folders)] = (
        Field(
            (BUNDLED,),
            description="Folders that hold NAME/VERSION/ model folders, separated by the system's "
            "path separator (`:`); the first folder that has a name wins. Default: the bundled "
            "models. A folder that is missing ends the start.",
        )
    )
    default_model: str | None = Field(
        default_factory=lambda earlier: _default_model(earlier.get("model_repository")),
        description="Model that answers when a request names none; unset: the first by name "
        f"of those that are ready, of the bundled ones `{BUNDLED_DEFAULT}`. A name that is not in "
        "the repository ends the start.",
    )
    public_keys: Annotated[tuple[Path, ...], NoDecode] = Field(
        (),
        description="PEM files of Ed25519 public keys, separated by the system's path separator "
        "(`:`); a model folder signed by none of them, or changed after it was signed, is "
        "refused. Default: no signature is looked at. Needs the extra `signatures`.",
    )
    require_signature: bool = Field(
        False,
        description="Whether a model folder without a signature is refused too; needs "
        "public_keys. The bundled models are not signed.",
    )
    repository_poll_s: float = Field(
        5.0,
        ge=0,
        le=3600,
        description="Time in seconds between two looks at the model folders, 0 to 3,600; new and "
        "changed versions are loaded beside those in use, removed ones leave; 0 never looks.",
    )
    image_threads: int = Field(
        0,
        ge=0,
        le=64,
        description="Threads that decode large pictures, and as many that encode them, 0 to 64; "
        "0 takes one a core. Further pictures wait; one that would not be decoded before its "
        "deadline is answered 429 with Retry-After.",
    )
    max_body_bytes: int = Field(
        16 * 2**20,
        ge=1024,
        le=2**31,
        description="Largest request body in bytes, 1 KiB to 2 GiB; a larger one is answered 413, "
        "also while it streams in.",
    )
    max_pixels: int = Field(
        4096 * 4096,
        ge=1,
        le=2**30,
        description="Largest picture in pixels (width x height), 1 to 2^30; a larger one is "
        "answered 413 from its header, before it is decoded.",
    )
    max_rows: int = Field(
        1024,
        ge=1,
        le=2**20,
        description="Most images or latent rows of one request, traversal frames included, 1 to "
        "2^20; more are answered 413. Not above max_queue_rows.",
    )
    max_steps: int = Field(
        101,
        ge=2,
        le=10_000,
        description="Most steps of a traversal or interpolation, 2 to 10,000; more are answered "
        "422.",
    )
    max_queue_rows: int = Field(
        4096,
        ge=1,
        le=2**24,
        description="Rows that may wait for inference, a model, 1 to 2^24; a request that does not "
        "fit is answered 429 with Retry-After.",
    )
    max_queue_bytes: int = Field(
        64 * 2**20,
        ge=1024,
        le=2**40,
        description="Bytes of rows that may wait for inference, a model, 1 KiB to 1 TiB; a request "
        "that does not fit is answered 429 with Retry-After, one that is larger alone 413, and so "
        "is one whose decoded samples would be.",
    )
    max_batch_rows: int = Field(
        64,
        ge=1,
        le=4096,
        description="Most rows of one inference batch, 1 to 4,096; larger requests are split.",
    )
    batch_wait_ms: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="Longest time in milliseconds that a batch waits for more rows, 0 to 1,000, "
        "and never longer than half of the time that a request in it has; 0 never waits.",
    )
    request_timeout_ms: int = Field(
        10_000,
        ge=1,
        le=3_600_000,
        description="Time in milliseconds that a request may take when it sends no "
        "X-Request-Timeout-Ms, 1 ms to 1 h; then 504. Not above max_request_timeout_ms.",
    )
    max_request_timeout_ms: int = Field(
        60_000,
        ge=1,
        le=3_600_000,
        description="Longest time in milliseconds that X-Request-Timeout-Ms may ask for, 1 ms to "
        "1 h; longer ones are cut to this.",
    )
    drain_s: float = Field(
        2.0,
        ge=0,
        le=600,
        description="Time in seconds between SIGTERM and the refusal of new requests, 0 to 600, "
        "during which /readyz says not ready so that balancers turn away. Ctrl-C skips it.",
    )
    grace_s: int = Field(
        30,
        ge=1,
        le=3600,
        description="Time in seconds in which accepted requests may finish after that, 1 to "
        "3,600; those left over are cut off.",
    )
    keep_alive_s: int = Field(
        75,
        ge=1,
        le=3600,
        description="Time in seconds that an idle connection stays open, 1 to 3,600; should be "
        "above the proxy's idle time.",
    )
    log_format: Literal["auto", "json", "text"] = Field(
        "auto",
        description="Form of the log lines on standard error; auto is text on a terminal, else "
        "JSON.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe event that is logged."
    )
    access_log: Literal["all", "errors", "none"] = Field(
        "all",
        description="Which requests get a log line: all of them, those answered 400 and above, "
        "or none.",
    )
    otlp_endpoint: str | None = Field(
        None,
        description="Address of an OpenTelemetry collector that takes OTLP over HTTP, such as "
        "http://localhost:4318; unset: no traces and no cost. Needs the extra `otel`; without it "
        "the start ends. Spans that the collector does not take are lost.",
    )
    trace_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the requests that are traced, 0 to 1, where the caller's "
        "`traceparent` does not decide.",
    )

    @field_validator("model_repository", "public_keys", mode="before")
    @classmethod
    def _split_folders(cls, value: object) -> object:
        if isinstance(value, str | Path):
            return tuple(Path(part) for part in str(value).split(os.pathsep) if part.strip())
        return value

    @field_validator("default_model", mode="before")
    @classmethod
    def _leave_unset(cls, value: object, info: ValidationInfo) -> object:
        """An empty variable, as env files leave it, is one that is not set."""
        return _default_model(info.data.get("model_repository")) if value == "" else value

    @field_validator("otlp_endpoint")
    @classmethod
    def _require_otel(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/]+\S*", value):
            raise ValueError("must be an address such as `http://localhost:4318`")
        if value is not None and not all(map(_is_installed, _OTEL_MODULES)):
            raise ValueError(
                "needs OpenTelemetry, which is not installed; install it with "
                "`pip install 'rfvae[otel]'`, or unset it"
            )
        return value

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.max_rows > self.max_queue_rows:
            raise ValueError(
                f"`max_rows` must not be above `max_queue_rows` ({self.max_queue_rows}); got "
                f"{self.max_rows}"
            )
        if self.require_signature and not self.public_keys:
            raise ValueError(
                "`require_signature` needs `public_keys` to check signatures with; got none"
            )
        if self.request_timeout_ms > self.max_request_timeout_ms:
            raise ValueError(
                "`request_timeout_ms` must not be above `max_request_timeout_ms` "
                f"({self.max_request_timeout_ms}); got {self.request_timeout_ms}"
            )
        if self.max_body_bytes > self.max_in_flight_bytes:
            raise ValueError(
                "`max_body_bytes` must not be above `max_in_flight_bytes` "
                f"({self.max_in_flight_bytes}); got {self.max_body_bytes}"
            )
        return self


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):  # a package above it is not there
        return False


def load_settings(**overrides: object) -> Settings:
    """Reads the environment; `overrides` (a command line's options) win where they are not None.

    Raises:
        SettingsError: a variable names no setting, or a value is out of its range.
    """
    _refuse_unknown_variables()
    chosen = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**chosen)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def _refuse_unknown_variables() -> None:
    known = {f"{ENV_PREFIX}{name}".upper() for name in Settings.model_fields}
    for variable in os.environ:
        if variable.upper().startswith(ENV_PREFIX) and variable.upper() not in known:
            nearest = difflib.get_close_matches(variable.upper(), sorted(known), n=1, cutoff=0.0)
            raise SettingsError(
                f"`{variable}` is not a setting of this service; the nearest one is "
                f"`{nearest[0]}`. Correct or unset the variable."
            )


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    text = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return f"Settings disagree: {text}."
    name = str(first["loc"][0])
    received = "" if "got" in text else f"; got `{first['input']}`"
    return (
        f"Setting `{name}`: {text[0].lower()}{text[1:]}{received}. "
        f"Set it with the option or with `{ENV_PREFIX}{name.upper()}`."
    )
