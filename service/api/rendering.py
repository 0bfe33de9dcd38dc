"""The one place that turns images and grids into files: PNG, GIF, WebP, npy, JSON."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, ParamSpec

import numpy as np
import numpy.typing as npt

from service.api.answers import RESIZED, Header, Ready, json_answer
from service.api.call import Call
from service.api.negotiation import GIF, JSON, NPY, PNG, WEBP, negotiate
from service.codecs.b64 import encode_base64
from service.codecs.images import encode_png, to_pixels
from service.codecs.npy import write_npy
from service.codecs.spec import Pixels
from service.codecs.sprites import encode_animation, encode_grid
from service.dataplane import Grid, GridRow
from service.errors import NotAcceptable
from service.latent import Floats
from service.models.served import ServedModel

IMAGE_TYPES: Final = (PNG, NPY, JSON)
ROW_TYPES: Final = (JSON, NPY)
GRID_TYPES: Final = (PNG, GIF, WEBP, NPY, JSON)
# Above this a change of thread costs less than the work would block the event loop.
LARGE_PIXELS: Final = 64 * 64 * 2

P = ParamSpec("P")


def negotiate_samples(call: Call, model: ServedModel, offers: tuple[str, ...]) -> str:
    """The form of images or grids in the answer; of a model of rows, one that holds numbers.

    Raises:
        NotAcceptable: no offer fits, or pictures are asked of a model of rows.
    """
    if model.manifest.vector is None:
        return negotiate(call.accept(), offers)
    try:
        return negotiate(call.accept(), ROW_TYPES)
    except NotAcceptable as error:
        raise NotAcceptable(
            f"model `{model.name}` gives rows of numbers and no pictures: {error.detail}"
        ) from None


def array_answer(array: npt.NDArray[Any], *, resized: bool = False) -> Ready:
    """An array as an npy file."""
    return Ready(write_npy(array), NPY, headers=_headers(resized))


async def images_answer(call: Call, model: ServedModel, images: Floats, kind: str) -> Ready:
    """Decoded images, float32 (n, channels, height, width), in the negotiated form; or rows."""
    if model.manifest.vector is not None:
        columns = model.manifest.vector.columns
        return await _timed(call, images.size > LARGE_PIXELS, _rows, model, images, columns, kind)
    return await _timed(call, images.size > LARGE_PIXELS, _images, model, images, kind)


async def grid_answer(
    call: Call, model: ServedModel, grid: Grid, kind: str, *, resized: bool
) -> Ready:
    """A grid of frames in the negotiated form; `X-Grid` says rows and columns."""
    if model.manifest.vector is not None:
        columns = model.manifest.vector.columns
        large = grid.frames.size > LARGE_PIXELS
        return await _timed(call, large, _grid_of_rows, model, grid, columns, kind)
    return await _timed(call, grid.frames.size > LARGE_PIXELS, _grid, model, grid, kind, resized)


async def _timed(
    call: Call, large: bool, render: Callable[P, Ready], *args: P.args, **kwargs: P.kwargs
) -> Ready:
    started_s = time.monotonic()
    answer = await call.service.offload.run(large, render, *args, **kwargs)
    call.record.encode_s = time.monotonic() - started_s
    return answer


def _images(model: ServedModel, images: Floats, kind: str) -> Ready:
    pixels = to_pixels(images)
    if kind == NPY:
        return array_answer(pixels.transpose(0, 2, 3, 1))  # (n, height, width, channels)
    if kind == JSON:
        return json_answer({**_about(model), "images": [_base64_png(one) for one in pixels]})
    if len(pixels) == 1:
        return Ready(encode_png(_picture(pixels[0])), PNG)
    columns = math.ceil(math.sqrt(len(pixels)))
    rows = math.ceil(len(pixels) / columns)
    filled = np.zeros((rows * columns, *pixels.shape[1:]), np.uint8)
    filled[: len(pixels)] = pixels
    frames = filled.reshape(rows, columns, *pixels.shape[1:])
    return Ready(encode_grid(frames), PNG, headers=[_x_grid(frames)])


def _grid(model: ServedModel, grid: Grid, kind: str, resized: bool) -> Ready:
    frames = to_pixels(grid.frames)  # (rows, steps, channels, height, width)
    headers = [_x_grid(frames), *_headers(resized)]
    if kind == JSON:
        return json_answer(_grid_facts(model, grid, frames, resized), headers=headers)
    if kind == NPY:
        return Ready(write_npy(frames.transpose(0, 1, 3, 4, 2)), NPY, headers=headers)
    if kind == PNG:
        return Ready(encode_grid(frames), PNG, headers=headers)
    image_format: Any = "GIF" if kind == GIF else "WEBP"
    return Ready(encode_animation(frames, image_format=image_format), kind, headers=headers)


def _rows(model: ServedModel, rows: Floats, columns: Sequence[str], kind: str) -> Ready:
    if kind == NPY:
        return array_answer(rows)
    return json_answer({**_about(model), "columns": columns, "rows": rows})


def _grid_of_rows(model: ServedModel, grid: Grid, columns: Sequence[str], kind: str) -> Ready:
    headers = [_x_grid(grid.frames)]
    if kind == NPY:
        return Ready(write_npy(grid.frames), NPY, headers=headers)
    rows = [
        {**_label(row), "frames": frames}
        for row, frames in zip(grid.rows, grid.frames, strict=True)
    ]
    facts = {**_about(model), "rows": rows, "columns": grid.columns, "frame_columns": columns}
    return json_answer(facts, headers=headers)


def _label(row: GridRow) -> dict[str, Any]:
    return {"dim": row.dim, "name": row.name, "values": row.values}


def _grid_facts(model: ServedModel, grid: Grid, frames: Pixels, resized: bool) -> dict[str, Any]:
    rows = [
        {**_label(row), "frames": [_base64_png(frame) for frame in frames_of_row]}
        for row, frames_of_row in zip(grid.rows, frames, strict=True)
    ]
    return {**_about(model), "rows": rows, "columns": grid.columns, "resized": resized}


def _about(model: ServedModel) -> dict[str, Any]:
    return {"model": model.name, "version": model.version}


def _picture(pixels: Pixels) -> Pixels:
    """(channels, height, width) to (height, width[, 3])."""
    picture: Pixels = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    return picture[..., 0] if len(pixels) == 1 else picture


def _base64_png(pixels: Pixels) -> str:
    return encode_base64(encode_png(_picture(pixels)))


def _x_grid(frames: npt.NDArray[Any]) -> Header:
    return (b"x-grid", b"%d,%d" % frames.shape[:2])


def _headers(resized: bool) -> list[Header]:
    return [RESIZED] if resized else []
