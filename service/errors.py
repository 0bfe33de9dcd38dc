"""Every error that the service answers on purpose, each with its HTTP status and a stable type.

ServiceError                500 internal-error
├── MalformedInput          400 malformed-input          the bytes are not what they say they are
├── Unauthorized            401 unauthorized
├── NotFound                404 not-found
│   ├── UnknownModel        404 unknown-model
│   ├── UnknownVersion      404 unknown-version
│   └── UnknownDimension    404 unknown-dimension
├── MethodNotAllowed        405 method-not-allowed       carries `allow`
├── NotAcceptable           406 not-acceptable           `Accept` names nothing that can be made
├── RequestTimeout          408 request-timeout          the body came too slowly
├── TooLarge                413 too-large
│   ├── PayloadTooLarge     413 payload-too-large        bytes
│   ├── TooManyPixels       413 too-many-pixels
│   ├── TooManyRows         413 too-many-rows
│   └── HeadTooLarge        431 head-too-large           request line and headers
├── UnsupportedMediaType    415 unsupported-media-type
├── Misdirected             421 misdirected              `Host` names another machine
├── InvalidValue            422 invalid-value            well formed, but a value is wrong
├── QueueFull               429 queue-full               carries `retry_after_s`
│   └── QueueTooLong        429 queue-too-long           for the deadline; likewise
├── ClientGone              499 client-gone              for accounting: nobody reads the answer
├── InferenceFailed         500 inference-failed         the model could not be run on this input
├── Unavailable             503 unavailable
│   ├── NotReady            503 not-ready
│   ├── Draining            503 draining
│   ├── ArtifactError       503 artifact-invalid         a model folder that must not be served
│   └── DeviceUnavailable   503 device-unavailable       the asked device is not the one in use
└── DeadlineExceeded        504 deadline-exceeded

`detail` is one line for people: the rule, what was received, what to do. It never holds a path of a
request's content or a stack trace, and the text of another exception only where a model folder, a
device or the input of a command is at fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final, Self

LONGEST_NAME: Final = 60
LONGEST_REASON: Final = 300


class ServiceError(Exception):
    """Base of all: the class says status, type and title, the instance says the detail."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str) -> None:
        self.detail = detail.encode(errors="replace").decode()  # a path may be no UTF-8
        super().__init__(self.detail)


class MalformedInput(ServiceError):
    status = 400
    type = "malformed-input"
    title = "Malformed input"


class Unauthorized(ServiceError):
    status = 401
    type = "unauthorized"
    title = "Unauthorized"


class NotFound(ServiceError):
    status = 404
    type = "not-found"
    title = "Not found"


class UnknownModel(NotFound):
    type = "unknown-model"
    title = "Unknown model"

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"`model` must be one of {_quoted(known)}; got {_quoted([name])}; "
            "choose one of these, or leave it out for the default model"
        )


class UnknownVersion(NotFound):
    type = "unknown-version"
    title = "Unknown version"

    def __init__(self, name: str, version: int, known: Sequence[int]) -> None:
        super().__init__(
            f"`version` of model `{name}` must be one of {_quoted(known)}; got `{version}`; "
            "leave it out for the default version"
        )


class UnknownDimension(NotFound):
    type = "unknown-dimension"
    title = "Unknown dimension"

    def __init__(self, dim: int | str, latent_dim: int) -> None:
        super().__init__(
            f"a dimension must be an integer from 0 to {latent_dim - 1} or the name of a factor; "
            f"got {_quoted([dim])}; see GET /factors for the dimensions of this model"
        )


class MethodNotAllowed(ServiceError):
    """The path exists, but not for this method; `allow` lists the methods that do."""

    status = 405
    type = "method-not-allowed"
    title = "Method not allowed"

    def __init__(self, method: str, allow: str) -> None:
        super().__init__(f"this path takes {allow}; got {method[:40]}; see /docs for the routes")
        self.allow = allow


class NotAcceptable(ServiceError):
    status = 406
    type = "not-acceptable"
    title = "Not acceptable"


class RequestTimeout(ServiceError):
    status = 408
    type = "request-timeout"
    title = "Request timeout"


class TooLarge(ServiceError):
    status = 413
    type = "too-large"
    title = "Too large"


class PayloadTooLarge(TooLarge):
    type = "payload-too-large"
    title = "Payload too large"


class TooManyPixels(TooLarge):
    type = "too-many-pixels"
    title = "Too many pixels"


class TooManyRows(TooLarge):
    type = "too-many-rows"
    title = "Too many rows"

    @classmethod
    def of_bytes(cls, n_bytes: int, most_bytes: int) -> Self:
        """Rows that are few enough, but large."""
        return cls(
            f"the rows of a request may have {most_bytes} bytes at most as the model takes and "
            f"gives them; got {n_bytes}; send several requests, or raise RFVAE_MAX_QUEUE_BYTES"
        )


class HeadTooLarge(TooLarge):
    status = 431
    type = "head-too-large"
    title = "Request head too large"


class UnsupportedMediaType(ServiceError):
    status = 415
    type = "unsupported-media-type"
    title = "Unsupported media type"


class Misdirected(ServiceError):
    status = 421
    type = "misdirected"
    title = "Misdirected request"


class InvalidValue(ServiceError):
    status = 422
    type = "invalid-value"
    title = "Invalid value"


class QueueFull(ServiceError):
    """Raised at once when the work does not fit now.

    Args:
        retry_after_s: when there should be room again, from the measured rate; not rounded.
    """

    status = 429
    type = "queue-full"
    title = "Queue full"

    def __init__(self, retry_after_s: float, detail: str | None = None) -> None:
        super().__init__(
            detail or f"the queue is full; retry in {retry_after_s:.1f} s or send fewer rows"
        )
        self.retry_after_s = retry_after_s


class QueueTooLong(QueueFull):
    """Raised at once when what waits already would make the work late."""

    type = "queue-too-long"
    title = "Queue too long"

    def __init__(self, retry_after_s: float, detail: str | None = None) -> None:
        super().__init__(
            retry_after_s,
            detail
            or "the queue is too long for the request's deadline at the present rate; retry in "
            f"{retry_after_s:.1f} s, raise `X-Request-Timeout-Ms` or send fewer rows",
        )


class ClientGone(ServiceError):
    status = 499
    type = "client-gone"
    title = "Client gone"


class InferenceFailed(ServiceError):
    type = "inference-failed"
    title = "Inference failed"


class Unavailable(ServiceError):
    status = 503
    type = "unavailable"
    title = "Unavailable"


class NotReady(Unavailable):
    type = "not-ready"
    title = "Not ready"


def default_is_gone(name: str, known: Sequence[str]) -> NotReady:
    """For a caller who named no model, where the one that was set to answer is not there."""
    return NotReady(
        f"the default model must be in the repository, which holds {_quoted(known)}; `{name}` is "
        "not; name one of these as `model`, put it there, or change RFVAE_DEFAULT_MODEL"
    )


class Draining(Unavailable):
    type = "draining"
    title = "Draining"

    def __init__(
        self, detail: str = "the service is shutting down and takes no new work; retry elsewhere"
    ) -> None:
        super().__init__(detail)


class ArtifactError(Unavailable):
    type = "artifact-invalid"
    title = "Invalid model folder"


class DeviceUnavailable(Unavailable):
    type = "device-unavailable"
    title = "Device unavailable"


class DeadlineExceeded(ServiceError):
    status = 504
    type = "deadline-exceeded"
    title = "Deadline exceeded"

    def __init__(
        self,
        detail: str = "the answer must be ready before the request's deadline, which passed; "
        "raise `X-Request-Timeout-Ms` (`parameters.timeout` under /v2), or ask for fewer rows, "
        "dimensions or steps",
    ) -> None:
        super().__init__(detail)


def one_line(error: BaseException) -> str:
    """The text of a library's error as a part of a `detail` or of a log line."""
    return " ".join(str(error).split())[:LONGEST_REASON]


def _quoted(values: Sequence[object]) -> str:
    texts = [str(value) for value in values]
    shown = [text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}…" for text in texts]
    return ", ".join(f"`{text}`" for text in shown) or "(none)"
