"""Events for the log: a name and fields, which `observability.logging` writes as one line each."""

import logging

LOGGER = "service"


def log_event(level: int, event: str, error: BaseException | None = None, **fields: object) -> None:
    """Logs one event; fields are ids, counts and durations, never the content of an image."""
    logging.getLogger(LOGGER).log(level, event, exc_info=error, extra={"fields": fields})
