"""The one place that reads images and latents from a request, in every form they may come in."""

import math
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy.typing as npt

from service.api.call import Call
from service.api.multipart import read_parts
from service.api.negotiation import JSON, NPY, PNG, WEBP
from service.api.parameters import DecodeQuery, merge, shorten
from service.api.row_schemas import ROWS_BODIES
from service.api.schemas import (
    Body,
    DecodeBody,
    ImagesBody,
    SweepBody,
    TraverseBody,
    parse_body,
)
from service.codecs import npy
from service.codecs.b64 import decode_base64
from service.codecs.fast_png import is_plain_png
from service.codecs.header import read_header
from service.codecs.images import decode_image, decode_images
from service.codecs.rows import read_npy, rows_of
from service.codecs.spec import DecodedImages
from service.errors import (
    InvalidValue,
    MalformedInput,
    TooManyPixels,
    TooManyRows,
    UnsupportedMediaType,
)
from service.intake import Load
from service.latent import DimChoice, Floats, LatentSpace, complete_latents
from service.models.artifact import ImageSpec, Manifest
from service.models.served import ServedModel
from service.settings import Settings

RAW_IMAGES: Final = (PNG, "image/jpeg", WEBP, "image/bmp")
MULTIPART: Final = "multipart/form-data"
IMAGE_FORMS: Final = (*RAW_IMAGES, MULTIPART, JSON, NPY)
LATENT_FORMS: Final = (JSON, NPY)
ROW_FORMS: Final = (JSON, NPY)
NO_QUERY: Final = DecodeQuery()
# Above these a change of thread costs less than the work would block the event loop.
LARGE_BYTES: Final = 16 * 1024
LARGE_ARRAY_BYTES: Final = 512 * 1024  # arrays are hardly more than looked at
LARGE_PIXELS: Final = 128 * 128
FITTED_NPY: Final = "npy to fit"  # beside the forms: arrays in another size than the model's
TOTAL_PIXELS_FACTOR: Final = 4  # one request's pictures together, in units of `max_pixels`


class Inputs(NamedTuple):
    """What a body held: pictures, latents, or nothing; and the JSON it came in, if it did."""

    images: DecodedImages | None = None
    latents: Floats | None = None
    body: Body | None = None

    @property
    def resized(self) -> bool:
        """Whether a picture came in another size."""
        return self.images is not None and self.images.resized


class _Reader(NamedTuple):
    """How to read the bodies of one route: the model's needs, the limits, the JSON it takes.

    `query` may say which dimensions rows of latents give.
    """

    manifest: Manifest
    space: LatentSpace
    settings: Settings
    schema: type[Body]
    query: DecodeQuery = NO_QUERY

    @property
    def spec(self) -> ImageSpec:
        """Of a model of images."""
        return self.manifest.require_image()

    def raw(self, body: bytes) -> Inputs:
        return Inputs(decode_image(body, self.spec, max_pixels=self.settings.max_pixels))

    def multipart(self, body: bytes, content_type: bytes) -> Inputs:
        parts = read_parts(body, content_type, max_parts=self.settings.max_rows)
        others = sorted({name for name, _ in parts if name != "images"})
        if others or not parts:
            got = ", ".join(f"`{shorten(name, 40)}`" for name in others) or "none"
            raise InvalidValue(f"multipart parts must be named `images`; got {got}")
        return Inputs(self._decode([content for _, content in parts]))

    def json(self, body: bytes) -> Inputs:
        parsed = parse_body(body, self.schema)
        samples = "images" if self.manifest.vector is None else "rows"
        given = getattr(parsed, samples, None)
        if isinstance(parsed, DecodeBody | SweepBody) and parsed.latents is not None:
            if given is not None:
                raise InvalidValue(f"a body must hold `{samples}` or `latents`; got both")
            return Inputs(latents=self._complete(parsed), body=parsed)
        if given is None:
            return Inputs(body=parsed)
        self._check_rows(len(given))
        return Inputs(self._decode_json(given), body=parsed)

    def _decode_json(self, given: list[Any]) -> DecodedImages:
        if self.manifest.vector is not None:
            return DecodedImages(rows_of(given, self.manifest.vector.columns), resized=False)
        files = [decode_base64(text, what=f"images[{i}]") for i, text in enumerate(given)]
        return self._decode(files)

    def image_npy(self, body: bytes) -> Inputs:
        settings, vector = self.settings, self.manifest.vector
        if vector is not None:
            table = read_npy(body, vector.columns, max_rows=settings.max_rows)
            return Inputs(DecodedImages(table, resized=False))
        return Inputs(
            npy.read_images(
                body, self.spec, max_rows=settings.max_rows, max_pixels=settings.max_pixels
            )
        )

    def latent_npy(self, body: bytes) -> Inputs:
        rows = npy.read_latents(body, max_rows=self.settings.max_rows)
        return Inputs(latents=self._in_order(rows, rows.shape[1], self.query.dims))

    def any_npy(self, body: bytes) -> Inputs:
        """Two dimensions of fractions are rows of latents, all else is images."""
        header = npy.read_npy_header(body)
        is_latents = len(header.shape) == 2 and header.descr in npy.LATENT_TYPES
        return self.latent_npy(body) if is_latents else self.image_npy(body)

    def _complete(self, parsed: DecodeBody | SweepBody) -> Floats:
        assert parsed.latents is not None
        self._check_rows(len(parsed.latents))
        dims = merge(self.query, parsed).dims if isinstance(parsed, DecodeBody) else None
        return self._in_order(parsed.latents, len(parsed.latents[0]), dims)

    def _in_order(self, rows: npt.ArrayLike, width: int, dims: DimChoice | None) -> Floats:
        """A traversal's `dims` are those that it varies: its row is in order of dimension."""
        if self.schema is not DecodeBody and width == self.space.latent_dim:
            dims = "all"
        return complete_latents(self.space, rows, dims=dims)

    def _decode(self, files: list[bytes]) -> DecodedImages:
        self.require_bytes(len(files))
        most = self.settings.max_pixels
        if len(files) > TOTAL_PIXELS_FACTOR:
            total = sum(read_header(data, max_pixels=most).pixels for data in files)
            if total > TOTAL_PIXELS_FACTOR * most:
                raise TooManyPixels(
                    f"the images of one request may have {TOTAL_PIXELS_FACTOR * most} pixels "
                    f"together; got {total}; send several requests"
                )
        return decode_images(files, self.spec, max_pixels=most)

    def require_bytes(self, rows: int) -> None:
        """Refuse pictures that would take too much memory in the model's size; they may be tiny."""
        n_bytes, most_bytes = rows * math.prod(self.spec.shape), self.settings.max_queue_bytes
        if n_bytes > most_bytes:
            raise TooManyRows.of_bytes(n_bytes, most_bytes)

    def _check_rows(self, rows: int) -> None:
        if rows > self.settings.max_rows:
            raise TooManyRows(
                f"a request must not have over {self.settings.max_rows} rows; got {rows}; send "
                "several requests, or raise RFVAE_MAX_ROWS"
            )


async def read_images(
    call: Call, model: ServedModel, schema: type[Body] = ImagesBody
) -> tuple[DecodedImages, Body | None]:
    """One or more pictures, and the JSON that they came in, if they did.

    Raises:
        MalformedInput, InvalidValue, UnsupportedMediaType, TooLarge: what `Inputs` must not be.
    """
    inputs = await _read(call, model, schema, IMAGE_FORMS)
    if inputs.images is None:
        forms = IMAGE_FORMS if model.manifest.vector is None else ROW_FORMS
        raise MalformedInput(f"the body must hold images; got nothing; send {_listed(forms)}")
    return inputs.images, inputs.body


async def read_start(call: Call, model: ServedModel) -> Inputs:
    """Where a traversal starts: one picture, one row of latents, or nothing."""
    inputs = await _read(call, model, TraverseBody, IMAGE_FORMS)
    rows = inputs.latents if inputs.images is None else inputs.images.images
    if rows is not None and len(rows) != 1:
        raise InvalidValue(f"a traversal starts at one image or row; got {len(rows)}")
    return inputs


async def read_latents(call: Call, model: ServedModel, query: DecodeQuery) -> Floats:
    """Rows of latents, completed: float32 (n, latent_dim)."""
    inputs = await _read(call, model, DecodeBody, LATENT_FORMS, query)
    if inputs.latents is None:
        raise MalformedInput("the body must hold latents; got nothing; send JSON or npy")
    return inputs.latents


async def _read(
    call: Call,
    model: ServedModel,
    schema: type[Body],
    forms: tuple[str, ...],
    query: DecodeQuery = NO_QUERY,
) -> Inputs:
    content_type = call.record.headers.get(b"content-type")
    if model.manifest.vector is not None:
        forms, schema = ROW_FORMS, ROWS_BODIES.get(schema, schema)
    try:
        form = _form_of(content_type, forms)
    except UnsupportedMediaType as error:
        raise _explain(error, model.manifest) from None
    body = await call.read_body()
    if form is None:
        if body:
            raise _unsupported("none", forms)
        return Inputs()
    started_s = time.monotonic()
    reader = _Reader(model.manifest, model.space, call.service.settings, schema, query)
    read = _reading(reader, form, content_type or b"")
    kind, amount = _large_amount(body, form, reader)
    if amount:
        load = Load(kind, amount, call.record.deadline_s)
        inputs = await call.service.intake.run(load, read, body)
    else:
        inputs = read(body)
    call.record.decode_s = time.monotonic() - started_s
    return inputs


def _form_of(content_type: bytes | None, forms: tuple[str, ...]) -> str | None:
    if content_type is None:
        return None
    form = content_type.partition(b";")[0].strip().lower().decode("latin-1")
    if form not in forms:
        raise _unsupported(form, forms)
    return form


def _explain(error: UnsupportedMediaType, manifest: Manifest) -> UnsupportedMediaType:
    if manifest.vector is None:
        return error
    n_columns = len(manifest.vector.columns)
    return UnsupportedMediaType(
        f"model `{manifest.name}` takes rows of {n_columns} numbers and no images: {error.detail}"
    )


def _reading(reader: _Reader, form: str, content_type: bytes) -> Callable[[bytes], Inputs]:
    latents_only = reader.schema is DecodeBody
    if form == MULTIPART:
        return lambda body: reader.multipart(body, content_type)
    if form == JSON:
        return reader.json
    if form == NPY:
        starts = reader.schema is TraverseBody
        return reader.latent_npy if latents_only else reader.any_npy if starts else reader.image_npy
    return reader.raw


def _large_amount(body: bytes, form: str, reader: _Reader) -> tuple[str, int]:
    """The kind, and how much there is to read if that is worth a change of thread, else 0.

    Pixels of one picture, or its bytes if those are more; pixels and bytes of an npy that is to be
    fitted; bytes of all else, as the pictures in it are only found by reading it.
    """
    n_bytes = len(body)
    if form == NPY:
        fitted = _pixels_to_fit(body, reader)
        if fitted:
            return FITTED_NPY, fitted + n_bytes if fitted > LARGE_PIXELS else 0
        return form, n_bytes if n_bytes > LARGE_ARRAY_BYTES else 0
    if form in RAW_IMAGES:
        pixels = _pixels(body, reader)
        is_large = pixels > LARGE_PIXELS or n_bytes > LARGE_BYTES
        return form, max(pixels, n_bytes) if is_large else 0
    # pictures in base64, or long JSON
    return form, n_bytes if reader.schema in ROWS_BODIES or n_bytes > LARGE_BYTES else 0


def _pixels_to_fit(body: bytes, reader: _Reader) -> int:
    """Of the pictures that an npy becomes; 0 if they have the model's size, or if it has none."""
    spec = reader.manifest.image
    if spec is None or reader.schema is DecodeBody:
        return 0
    try:
        shape = npy.read_npy_header(body).shape
    except MalformedInput:  # reading it says why
        return 0
    fits = (*shape[1:], 1)[:3] == (spec.height, spec.width, spec.channels)
    if fits or len(shape) not in {3, 4}:
        return 0
    rows = min(shape[0], reader.settings.max_rows)
    reader.require_bytes(rows)
    return rows * spec.height * spec.width


def _pixels(body: bytes, reader: _Reader) -> int:
    """Of a picture; 0 if its size stands further back than the event loop may look."""
    spec = reader.spec
    if spec.channels == 1 and is_plain_png(body, height=spec.height, width=spec.width):
        return spec.height * spec.width
    try:
        return read_header(body[:LARGE_BYTES], max_pixels=reader.settings.max_pixels).pixels
    except MalformedInput:
        if len(body) <= LARGE_BYTES:
            raise
        return 0


def _unsupported(form: str, forms: tuple[str, ...]) -> UnsupportedMediaType:
    return UnsupportedMediaType(
        f"`Content-Type` must be one of {_listed(forms)}; got `{form[:80]}`; with curl say "
        f"-H 'Content-Type: {forms[0]}'"
    )


def _listed(forms: tuple[str, ...]) -> str:
    return ", ".join(f"`{form}`" for form in forms)
