"""`POST /reconstruct`, `/interpolate` and `/swap`: what the model makes of one or two images."""

from typing import Any

from starlette.responses import Response

from service.api import schemas
from service.api.call import Call, Service
from service.api.openapi import INFERENCE_PROBLEMS, Content, grid_answers, image_content, operation
from service.api.parameters import InterpolateQuery, ModelQuery, SwapQuery, merge
from service.api.reading import read_images
from service.api.rendering import GRID_TYPES, grid_answer, negotiate_samples
from service.api.route import LeanRoute, inference_route
from service.errors import InvalidValue


async def reconstruct(call: Call) -> Response:
    """One row an image: the image as the model got it, and its reconstruction."""
    query = call.query(ModelQuery)
    model = call.model(query)
    kind = negotiate_samples(call, model, GRID_TYPES)
    images, _ = await read_images(call, model)
    grid = await call.service.plane.reconstruct(model, images.images, call.record)
    return await grid_answer(call, model, grid, kind, resized=images.resized)


async def interpolate(call: Call) -> Response:
    """One row: a straight walk between two images in the latent space, both ends included."""
    query = call.query(InterpolateQuery)
    model = call.model(query)
    kind = negotiate_samples(call, model, GRID_TYPES)
    images, body = await read_images(call, model, schemas.InterpolateBody)
    steps = merge(query, body).steps
    grid = await call.service.plane.interpolate(model, images.images, steps, call.record)
    return await grid_answer(call, model, grid, kind, resized=images.resized)


async def swap(call: Call) -> Response:
    """One row: the first image, the second, and the first with `dims` taken from the second."""
    query = call.query(SwapQuery)
    model = call.model(query)
    kind = negotiate_samples(call, model, GRID_TYPES)
    images, body = await read_images(call, model, schemas.SwapBody)
    dims = merge(query, body).dims
    if dims is None:
        raise InvalidValue(
            "`dims` must name what to take from the second image; got none; say `?dims=` with "
            "numbers or names from GET /factors"
        )
    grid = await call.service.plane.swap(model, images.images, dims, call.record)
    return await grid_answer(call, model, grid, kind, resized=images.resized)


def compare_routes(service: Service) -> list[LeanRoute]:
    """The three routes."""

    def described(summary: str, query: type[ModelQuery], body: Content) -> dict[str, Any]:
        return operation(
            summary,
            tag="inference",
            query=query,
            body=body,
            answers=grid_answers(),
            problems=INFERENCE_PROBLEMS,
        )

    one = image_content(schemas.ImagesBody)
    walk = image_content(schemas.InterpolateBody, single=False)
    two = image_content(schemas.SwapBody, single=False)
    return [
        inference_route(reconstruct, service, described("Images rebuilt", ModelQuery, one)),
        inference_route(
            interpolate, service, described("From one image to another", InterpolateQuery, walk)
        ),
        inference_route(
            swap, service, described("One image with factors of another", SwapQuery, two)
        ),
    ]
