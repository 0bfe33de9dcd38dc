"""`POST /traverse`: one image or row of latents in, a grid of what each factor changes out."""

from starlette.responses import Response

from service.api import schemas
from service.api.call import Call, Service
from service.api.openapi import INFERENCE_PROBLEMS, grid_answers, image_content, operation
from service.api.parameters import TraverseQuery, merge
from service.api.reading import Inputs, read_start
from service.api.rendering import GRID_TYPES, grid_answer, negotiate_samples
from service.api.route import LeanRoute, inference_route
from service.dataplane import Range
from service.latent import Floats
from service.models.served import ServedModel


async def traverse(call: Call) -> Response:
    """Row = factor in order of relevance, column = step from low to high.

    Starts at one image, at `latents`, or with an empty body at the training mean. `dims`, `steps`,
    `low` and `high` may stand in the query or in a JSON body.
    """
    query = call.query(TraverseQuery)
    model = call.model(query)
    kind = negotiate_samples(call, model, GRID_TYPES)
    start = await read_start(call, model)
    choice = merge(query, start.body)
    base = await _base(call, model, start)
    walk = Range(choice.steps, choice.low, choice.high)
    grid = await call.service.plane.traverse(model, base, choice.dims, walk, call.record)
    return await grid_answer(call, model, grid, kind, resized=start.resized)


def traverse_routes(service: Service) -> list[LeanRoute]:
    """The one route."""
    described = operation(
        "A grid of what each factor changes",
        tag="inference",
        query=TraverseQuery,
        body=image_content(schemas.TraverseBody),
        answers=grid_answers(),
        problems=INFERENCE_PROBLEMS,
    )
    described["requestBody"]["required"] = False
    return [inference_route(traverse, service, described)]


async def _base(call: Call, model: ServedModel, start: Inputs) -> Floats:
    rows = start.latents
    if rows is None and start.images is not None:
        rows, _ = await call.service.plane.encode(model, start.images.images, call.record)
    base: Floats = model.space.mu_mean if rows is None else rows[0]
    return base
