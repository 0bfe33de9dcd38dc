"""The settings that keep strangers in bounds: API keys, connections, and what is under way."""

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

ExemptGroup = Literal["health", "metrics", "docs"]
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def _require_hashes(hashes: tuple[str, ...]) -> tuple[str, ...]:
    for number, text in enumerate(hashes):
        if not _SHA256.fullmatch(text):  # not shown: it may be the key itself
            raise ValueError(
                "must hold SHA-256 hashes, 64 hex digits each, as `rfvae-serve key` prints them; "
                f"got {len(text)} characters that are none at place {number}"
            )
    return hashes


class SafetySettings(BaseSettings):
    """Part of `Settings`; each with its unit, its range and what happens at the limit."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    max_in_flight: int = Field(
        1024,
        ge=1,
        le=2**20,
        description="POST requests that may be under way, 1 to 2^20; one more is answered 429 with "
        "Retry-After before its body is read.",
    )
    max_in_flight_bytes: int = Field(
        64 * 2**20,
        ge=1024,
        le=2**40,
        description="Bytes of the bodies of those requests together, 1 KiB to 1 TiB; a body that "
        "does not fit is answered 429 with Retry-After. Not below max_body_bytes.",
    )
    max_connections: int = Field(
        4096,
        ge=1,
        le=2**20,
        description="Connections that stay open at a time, 1 to 2^20; one more takes the place of "
        "an idle one or is answered 429. Less where the system allows fewer open files.",
    )
    head_timeout_s: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Time in seconds from a connection, or from the first byte of a later request, "
        "to the last header, up to 3,600; then 408 and the end of the connection.",
    )
    body_timeout_s: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Time in seconds for the body of a request, up to 3,600, beside what "
        "min_body_bytes_per_s grants; then 408. The request's own time-out holds besides.",
    )
    min_body_bytes_per_s: int = Field(
        16 * 1024,
        ge=1,
        le=2**40,
        description="A body that takes longer than body_timeout_s must have come at this rate, in "
        "bytes a second, 1 to 2^40.",
    )
    send_timeout_s: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Time in seconds in which a client must read some of its answer, up to 3,600; "
        "then the connection is cut.",
    )
    auth: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Whether requests need an API key; auto asks for one if there are hashes of "
        "keys; without them it does not start where other machines reach the service, and "
        "elsewhere answers 421 to a `Host` that may be a web site's; on does not start without "
        "them anywhere; off asks for none.",
    )
    api_key_hashes: Annotated[tuple[str, ...], NoDecode, AfterValidator(_require_hashes)] = Field(
        (),
        description="SHA-256 hashes of the API keys in hex, separated by commas; `rfvae-serve key` "
        "makes a key and its hash. Default: none.",
    )
    auth_exempt: Annotated[tuple[ExemptGroup, ...], NoDecode] = Field(
        ("health", "metrics", "docs"),
        description="Routes that need no key, separated by commas, of: health (the probes), "
        "metrics, docs (the page and the OpenAPI document); empty exempts none.",
    )

    @property
    def asks_for_keys(self) -> bool:
        """Whether a request needs a key; who listens openly must have decided, see `auth`."""
        return self.auth != "off" and bool(self.api_key_hashes)

    @property
    def is_for_this_machine(self) -> bool:
        """Whether nobody decided on keys, so that it may listen on loopback only."""
        return self.auth == "auto" and not self.api_key_hashes

    @field_validator("api_key_hashes", "auth_exempt", mode="before")
    @classmethod
    def _split_words(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(word for part in value.split(",") if (word := part.strip().lower()))
        return value

    @model_validator(mode="after")
    def _check_keys(self) -> Self:
        if self.auth == "on" and not self.api_key_hashes:
            raise ValueError(
                "`auth` is on, which needs `api_key_hashes`; got none; make a key with "
                "`rfvae-serve key`"
            )
        return self
