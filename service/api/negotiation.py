"""The one place that chooses an answer's media type from `Accept` (RFC 9110, 12.5.1)."""

from functools import lru_cache
from typing import Final

from service.errors import NotAcceptable

JSON: Final = "application/json"
NPY: Final = "application/x-npy"
PNG: Final = "image/png"
WEBP: Final = "image/webp"
GIF: Final = "image/gif"

_LONGEST_ACCEPT: Final = 1000  # characters; longer ones are not worth the memory of the cache


def negotiate(accept: bytes | None, offers: tuple[str, ...]) -> str:
    """Picks the offer that the client likes best; between equals, the earlier offer.

    Args:
        accept: value of the header, None when there is none.
        offers: media types that the route can make, the default first.

    Raises:
        NotAcceptable: no offer fits; the text lists them.
    """
    if accept is None or accept == b"*/*":
        return offers[0]
    if len(accept) > _LONGEST_ACCEPT:
        raise _not_acceptable(accept, offers)
    chosen = _choose(accept, offers)
    if chosen is None:
        raise _not_acceptable(accept, offers)
    return chosen


@lru_cache(maxsize=256)
def _choose(accept: bytes, offers: tuple[str, ...]) -> str | None:
    ranges = [_parse(part) for part in accept.decode("latin-1").lower().split(",")]
    qualities = [_quality(offer, ranges) for offer in offers]
    best = max(qualities)
    return offers[qualities.index(best)] if best > 0 else None


def _parse(part: str) -> tuple[str, float]:
    media_range, *parameters = (piece.strip() for piece in part.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            return media_range, _weight(value.strip())
    return media_range, 1.0


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0.0 <= weight <= 1.0 else 0.0


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    by_precision = (offer, f"{offer.partition('/')[0]}/*", "*/*")
    for wanted in by_precision:
        weights = [weight for media_range, weight in ranges if media_range == wanted]
        if weights:
            return max(weights)
    return 0.0


def _not_acceptable(accept: bytes, offers: tuple[str, ...]) -> NotAcceptable:
    shown = accept[:100].decode("latin-1")
    listed = ", ".join(f"`{offer}`" for offer in offers)
    return NotAcceptable(
        f"`Accept` must allow one of {listed}; got `{shown}`; name one of them, or leave the "
        f"header out for `{offers[0]}`"
    )
