"""`POST /factors`: what the relevant factors say of each image; `GET /factors`: of the model."""

from typing import Any

from starlette.responses import Response

from service.api import schemas
from service.api.answers import json_answer
from service.api.call import Call, Service
from service.api.negotiation import JSON, negotiate
from service.api.openapi import (
    INFERENCE_PROBLEMS,
    QUERY_PROBLEMS,
    image_content,
    operation,
    reference,
)
from service.api.parameters import ModelQuery
from service.api.reading import read_images
from service.api.route import LeanRoute, inference_route
from service.dataplane import Factors
from service.models.served import ServedModel


async def factors(call: Call) -> Response:
    """Value, spread, percentile, range and KL of each relevant factor, and the image's novelty."""
    query = call.query(ModelQuery)
    negotiate(call.accept(), (JSON,))
    model = call.model(query)
    images, _ = await read_images(call, model)
    found = await call.service.plane.factors(model, images.images, call.record)
    drift = call.service.metrics.models
    drift.observe_mu(model.name, model.version, found.all_mu)
    drift.observe_novelty(model.name, found.novelty.tolist())
    described = [_image_factors(model, found, index) for index in range(len(found.mu))]
    about = {"model": model.name, "version": model.version}
    return json_answer({**about, "images": described, "resized": images.resized})


async def model_factors(call: Call) -> Response:
    """The model's dimensions over its training set, and which of them are relevant."""
    query = call.query(ModelQuery)
    negotiate(call.accept(), (JSON,))
    model = call.model(query)
    manifest = model.manifest
    return json_answer(
        {
            "model": model.name,
            "version": model.version,
            "n_relevant": len(manifest.relevant_dims),
            "relevance_rule": manifest.relevance_rule,
            "factors": [dim.model_dump(mode="json") for dim in manifest.relevant_first],
        }
    )


def factors_routes(service: Service) -> list[LeanRoute]:
    """Both routes."""
    of_images = operation(
        "Images to factors with percentiles and novelty",
        tag="inference",
        query=ModelQuery,
        body=image_content(schemas.ImagesBody),
        answers={JSON: reference(schemas.FactorsAnswer)},
        problems=INFERENCE_PROBLEMS,
    )
    of_model = operation(
        "The model's factors",
        tag="models",
        query=ModelQuery,
        answers={JSON: reference(schemas.ModelFactorsAnswer)},
        problems=(*QUERY_PROBLEMS, 406),
    )
    model_route = LeanRoute(
        "GET",
        "/factors",
        model_factors,
        operation="factors",
        service=service,
        documentation=of_model,
    )
    return [inference_route(factors, service, of_images), model_route]


def _image_factors(model: ServedModel, found: Factors, index: int) -> dict[str, Any]:
    space = model.space
    values = [
        {
            "dim": dim,
            "name": space.names[dim],
            "relevance": space.relevance[dim],
            "value": found.mu[index, place],
            "sigma": found.sigma[index, place],
            "percentile": found.percentile[index, place],
            "in_range": bool(found.in_range[index, place]),
            "kl": found.kl[index, place],
        }
        for place, dim in enumerate(found.dims.tolist())
    ]
    novelty = {"elbo": found.elbo[index], "percentile": found.novelty[index]}
    return {"factors": values, "novelty": novelty}
