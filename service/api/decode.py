"""`POST /decode`: latents in, images out."""

from starlette.responses import Response

from service.api import schemas
from service.api.call import Call, Service
from service.api.negotiation import JSON, NPY, PNG, negotiate
from service.api.openapi import BINARY, INFERENCE_PROBLEMS, operation, reference
from service.api.parameters import ModelQuery
from service.api.reading import read_latents
from service.api.rendering import IMAGE_TYPES, images_answer
from service.api.route import LeanRoute, inference_route


async def decode(call: Call) -> Response:
    """Rows of latents to images; dimensions that a row leaves out become the training mean.

    Several rows as PNG make one sprite grid, row by row, whose free places are black.
    """
    query = call.query(ModelQuery)
    kind = negotiate(call.accept(), IMAGE_TYPES)
    model = call.model(query)
    z = await read_latents(call, model)
    images = await call.service.plane.decode(model, z, call.record)
    return await images_answer(call, model, images, kind)


def decode_routes(service: Service) -> list[LeanRoute]:
    """The one route."""
    described = operation(
        "Latents to images",
        tag="inference",
        query=ModelQuery,
        body={JSON: reference(schemas.DecodeBody), NPY: BINARY},
        answers={PNG: BINARY, NPY: BINARY, JSON: reference(schemas.DecodeAnswer)},
        problems=INFERENCE_PROBLEMS,
    )
    return [inference_route(decode, service, described)]
