"""`POST /decode`: latents in, images out."""

from starlette.responses import Response

from service.api import schemas
from service.api.call import Call, Service
from service.api.negotiation import JSON, NPY, PNG
from service.api.openapi import BINARY, INFERENCE_PROBLEMS, either, operation, reference
from service.api.parameters import DecodeQuery
from service.api.reading import read_latents
from service.api.rendering import IMAGE_TYPES, images_answer, negotiate_samples
from service.api.route import LeanRoute, inference_route
from service.api.row_schemas import DecodeRowsAnswer


async def decode(call: Call) -> Response:
    """Rows of latents to images, or to rows of numbers from a model of those.

    Dimensions that a row leaves out become the training mean. `dims` may stand in the query or in
    a JSON body.
    Several rows as PNG make one sprite grid, row by row, whose free places are black.
    """
    query = call.query(DecodeQuery)
    model = call.model(query)
    kind = negotiate_samples(call, model, IMAGE_TYPES)
    z = await read_latents(call, model, query)
    images = await call.service.plane.decode(model, z, call.record)
    return await images_answer(call, model, images, kind)


def decode_routes(service: Service) -> list[LeanRoute]:
    """The one route."""
    described = operation(
        "Latents to images",
        tag="inference",
        query=DecodeQuery,
        body={JSON: reference(schemas.DecodeBody), NPY: BINARY},
        answers={PNG: BINARY, NPY: BINARY, JSON: either(schemas.DecodeAnswer, DecodeRowsAnswer)},
        problems=INFERENCE_PROBLEMS,
    )
    return [inference_route(decode, service, described)]
