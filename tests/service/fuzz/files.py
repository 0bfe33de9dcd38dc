"""Bodies that are nearly right: valid files of every kind, then cut, flipped, doubled, filled."""

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
from hypothesis import strategies as st
from PIL import Image

from tests.service.conftest import LATENT_DIM, SIZE, as_file, as_npy, picture

FEW_BITS, LONGEST_PIECE = 8, 64
Strategy = st.SearchStrategy[bytes]


def png_files() -> list[bytes]:
    """Gray, color, of another size, with alpha, a palette, one bit, 16 bits, and a GIF."""
    color = picture(1, channels=3)
    gray = Image.fromarray(picture(2))
    return [
        as_file(picture(0)),
        as_file(color),
        as_file(picture(3, size=40)),
        _saved(Image.fromarray(color).convert("RGBA")),
        _saved(Image.fromarray(color).convert("P")),
        _saved(gray.convert("1")),
        _saved(Image.fromarray(picture(4).astype(np.uint16) * 257)),
        _saved(gray, transparency=7),
        _saved(gray, "GIF"),
    ]


def jpeg_files() -> list[bytes]:
    """Gray, color, progressive, four inks."""
    color = Image.fromarray(picture(1, channels=3))
    return [
        as_file(picture(0), "JPEG"),
        _saved(color, "JPEG"),
        _saved(color, "JPEG", progressive=True),
        _saved(color.convert("CMYK"), "JPEG"),
    ]


def webp_files() -> list[bytes]:
    """Lossy, lossless, animated."""
    frames = [Image.fromarray(picture(seed, channels=3)) for seed in range(3)]
    return [
        _saved(frames[0], "WEBP"),
        _saved(frames[0], "WEBP", lossless=True),
        _saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
    ]


def bmp_files() -> list[bytes]:
    """Gray, color, of one bit."""
    return [
        as_file(picture(0), "BMP"),
        as_file(picture(1, channels=3), "BMP"),
        _saved(Image.fromarray(picture(2)).convert("1"), "BMP"),
    ]


def image_arrays() -> list[bytes]:
    """npy of uint8 and float32, with and without channels, in either order."""
    images = np.stack([picture(seed) for seed in range(2)])
    return [
        as_npy(images),
        as_npy(images[..., None]),
        as_npy((images / 255).astype(np.float32)),
        as_npy(np.asfortranarray(images)),
        as_npy(np.stack([picture(1, channels=3)])),
        as_npy(images.astype(object)),
    ]


def latent_arrays() -> list[bytes]:
    """npy of float32 and float64, whole and with the relevant dimensions only."""
    rng = np.random.default_rng(0)
    return [
        as_npy(rng.standard_normal((3, LATENT_DIM)).astype(np.float32)),
        as_npy(rng.standard_normal((3, 2))),
        as_npy(np.array([[np.nan, 1e300]])),
    ]


def image_json() -> list[bytes]:
    """Pictures as base64."""
    texts = [base64.b64encode(data).decode() for data in (png_files()[0], jpeg_files()[0])]
    return [orjson.dumps({"images": texts}), orjson.dumps({"images": texts[:1]})]


def latent_json() -> list[bytes]:
    """Rows, dims, and how a traversal walks."""
    return [
        orjson.dumps({"latents": [[0, 1.5, -2, 0.25]]}),
        orjson.dumps({"latents": [[0.5], [1]], "dims": ["scale"]}),
        orjson.dumps({"latents": [[0, 1]], "dims": "relevant"}),
        orjson.dumps({"latents": [[0, 1]], "steps": 3, "low": -1, "high": 1, "dims": [1]}),
    ]


def row_json() -> list[bytes]:
    """Rows of three columns in a list, by name, and far away."""
    return [
        orjson.dumps({"rows": [[170, 70, 40], [160.5, 60, 1e3]]}),
        orjson.dumps({"rows": [{"height": 170, "weight": 70, "age": 40}]}),
        orjson.dumps([[1e30, -1e38, 0]]),
    ]


def row_arrays() -> list[bytes]:
    """npy of float32 and float64 rows."""
    rows = np.array([[170, 70, 40], [160.5, 60, 1]])
    return [as_npy(rows), as_npy(rows.astype(np.float32)), as_npy(np.array([[1e39, 3e38, -3e38]]))]


def any_arrays() -> list[bytes]:
    """Every npy of the above."""
    return [*image_arrays(), *latent_arrays(), *row_arrays()]


def multipart_bodies() -> list[bytes]:
    """Two pictures in parts, whose boundary is `edge`."""
    parts = b"".join(
        b'--edge\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + data + b"\r\n"
        for data in (png_files()[0], jpeg_files()[1])
    )
    return [parts + b"--edge--\r\n"]


def oip_json() -> list[bytes]:
    """Requests of the Open Inference Protocol with their numbers in JSON."""
    row = {"name": "row", "shape": [2, 3], "datatype": "FP32", "data": [170, 70, 40, 1e38, 0, -1]}
    return [
        orjson.dumps(oip_request({"data": picture(0).ravel().tolist()})),
        orjson.dumps({"inputs": [row]}),
    ]


def oip_binary() -> tuple[int, bytes]:
    """A request with bytes behind the JSON, and the length of the JSON."""
    text = orjson.dumps(oip_request({"parameters": {"binary_data_size": SIZE * SIZE}}))
    return len(text), text + picture(0).tobytes()


def oip_request(content: dict[str, Any]) -> dict[str, Any]:
    """One image for the tiny model."""
    tensor = {"name": "image", "shape": [1, 1, SIZE, SIZE], "datatype": "UINT8", **content}
    return {"id": "1", "inputs": [tensor], "parameters": {"binary_data_output": True}}


@st.composite
def mutated(draw: st.DrawFn, files: Sequence[bytes]) -> bytes:
    """One of the files with up to three changes."""
    data = draw(st.sampled_from(files))
    for change in draw(st.lists(st.sampled_from(CHANGES), max_size=3)):
        data = change(draw, data)
    return data


def _cut(draw: st.DrawFn, data: bytes) -> bytes:
    return data[: draw(_place(data))]


def _flip(draw: st.DrawFn, data: bytes) -> bytes:
    changed = bytearray(data or b"\0")
    for place in draw(st.lists(_place(changed[1:]), min_size=1, max_size=FEW_BITS)):
        changed[place] ^= 1 << draw(st.integers(0, 7))
    return bytes(changed)


def _double(draw: st.DrawFn, data: bytes) -> bytes:
    start, stop = sorted((draw(_place(data)), draw(_place(data))))
    return data[:stop] + data[start:stop] + data[stop:]


def _drop(draw: st.DrawFn, data: bytes) -> bytes:
    start, stop = sorted((draw(_place(data)), draw(_place(data))))
    return data[:start] + data[stop:]


def _fill(draw: st.DrawFn, data: bytes) -> bytes:
    start = draw(_place(data))
    piece = draw(st.sampled_from([b"\0", b"\xff", b"\x7f", b"9"])) * draw(st.integers(1, 16))
    return data[:start] + piece + data[start + len(piece) :]


def _insert(draw: st.DrawFn, data: bytes) -> bytes:
    start = draw(_place(data))
    return data[:start] + draw(st.binary(max_size=LONGEST_PIECE)) + data[start:]


CHANGES: Sequence[Callable[[st.DrawFn, bytes], bytes]] = (
    _cut,
    _flip,
    _double,
    _drop,
    _fill,
    _insert,
)


def _place(data: Sequence[int]) -> st.SearchStrategy[int]:
    """Anywhere, more often in the header."""
    return st.integers(0, min(40, len(data))) | st.integers(0, len(data))


def _saved(image: Image.Image, image_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()
