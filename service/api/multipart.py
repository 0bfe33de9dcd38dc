"""Reads `multipart/form-data` bodies in memory: they are bounded already, no file is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import MalformedInput, TooManyRows

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_CURE: Final = "send parts as a browser's form or `curl -F images=@picture.png` does"


class _Parts:
    """Collects what the parser reports; one part is its name and its content."""

    def __init__(self, max_parts: int) -> None:
        self._max_parts = max_parts
        self._header = self._value = b""
        self.names: list[str] = []
        self.contents: list[bytearray] = []
        self.ended = False

    def callbacks(self) -> MultipartCallbacks:
        names = ("part_begin", "part_data", "header_field", "header_value", "header_end", "end")
        return cast("MultipartCallbacks", {f"on_{name}": getattr(self, name) for name in names})

    def part_begin(self) -> None:
        if len(self.names) == self._max_parts:
            raise TooManyRows(
                f"a multipart body must not have over {self._max_parts} parts; got more; send "
                "fewer images"
            )
        self.names.append("")
        self.contents.append(bytearray())

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self.contents[-1] += data[start:end]

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            options = parse_options_header(self._value)[1]
            self.names[-1] = options.get(b"name", b"").decode("utf-8", "replace")
        self._header = self._value = b""

    def end(self) -> None:
        self.ended = True


def read_parts(body: bytes, content_type: bytes, *, max_parts: int) -> list[tuple[str, bytes]]:
    """The name and the content of each part, in order.

    Raises:
        MalformedInput: no boundary, or a body that does not keep to it.
        TooManyRows: more parts than `max_parts`.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise MalformedInput(
            f"`Content-Type: multipart/form-data` must name a `boundary`; got none; {_CURE}"
        )
    collected = _Parts(max_parts)
    try:
        parser = MultipartParser(boundary, collected.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        collected.ended = False
    if not collected.ended:
        raise MalformedInput(
            f"a multipart body must keep to its boundary to the end; got {len(body)} bytes that "
            f"do not; {_CURE}"
        )
    return list(zip(collected.names, map(bytes, collected.contents), strict=True))
