"""`POST /encode`: images in, posterior means of the relevant latents out."""

import time
from typing import Final

import numpy as np
from starlette.responses import Response

from service.api import schemas
from service.api.answers import Ready, json_answer
from service.api.call import Call, Service
from service.api.negotiation import JSON, NPY, negotiate
from service.api.openapi import BINARY, INFERENCE_PROBLEMS, image_content, operation, reference
from service.api.parameters import EncodeQuery
from service.api.reading import read_images
from service.api.rendering import array_answer
from service.api.route import LeanRoute, inference_route
from service.latent import Dims, Floats, select_dims
from service.models.served import ServedModel

TYPES: Final = (JSON, NPY)


async def encode(call: Call) -> Response:
    """Deterministic: the posterior mean, in prior standard deviations.

    By default of the relevant dimensions in order of relevance.
    """
    query = call.query(EncodeQuery)
    kind = negotiate(call.accept(), TYPES)
    model = call.model(query)
    dims = select_dims(model.space, query.dims, top_k=query.top_k, threshold=query.threshold)
    images, _ = await read_images(call, model)
    mu, logvar = await call.service.plane.encode(model, images.images, call.record)
    started_s = time.monotonic()
    call.service.metrics.models.observe_mu(model.name, mu)
    if kind == NPY:
        answer = array_answer(mu.take(dims, axis=1), resized=images.resized)
    else:
        answer = _json(model, dims, mu=mu, logvar=logvar, resized=images.resized)
    call.record.encode_s = time.monotonic() - started_s
    return answer


def encode_routes(service: Service) -> list[LeanRoute]:
    """The one route."""
    described = operation(
        "Images to latents",
        tag="inference",
        query=EncodeQuery,
        body=image_content(schemas.ImagesBody),
        answers={JSON: reference(schemas.EncodeAnswer), NPY: BINARY},
        problems=INFERENCE_PROBLEMS,
    )
    return [inference_route(encode, service, described)]


def _json(model: ServedModel, dims: Dims, *, mu: Floats, logvar: Floats, resized: bool) -> Ready:
    space = model.space
    return json_answer(
        {
            "model": model.name,
            "version": model.version,
            "dims": dims,
            "names": [space.names[dim] for dim in dims],
            "relevance": space.relevance.take(dims),
            "mu": mu.take(dims, axis=1),
            "sigma": np.exp(logvar.take(dims, axis=1) / 2),
            "resized": resized,
        }
    )
