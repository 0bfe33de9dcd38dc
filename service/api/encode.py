"""`POST /encode`: images in, posterior means of the relevant latents out."""

import time
from dataclasses import dataclass
from typing import Final

import numpy as np
from starlette.responses import Response

from service.api import schemas
from service.api.answers import Ready, to_json
from service.api.call import Call, Service
from service.api.negotiation import JSON, NPY, negotiate
from service.api.openapi import BINARY, INFERENCE_PROBLEMS, image_content, operation, reference
from service.api.parameters import EncodeQuery, merge
from service.api.reading import read_images
from service.api.rendering import array_answer
from service.api.route import LeanRoute, inference_route
from service.latent import Dims, Floats, select_dims
from service.models.served import ServedModel

TYPES: Final = (JSON, NPY)
MOST_CHOICES: Final = 256


@dataclass(frozen=True, slots=True)
class _Choice:
    """What one query asks of one model, and the beginning of its JSON answers."""

    model: ServedModel
    dims: Dims
    head: bytes


class _Choices:
    """Remembers what query strings ask for: clients send the same one again and again."""

    def __init__(self) -> None:
        self._by_query: dict[bytes, _Choice] = {}

    def get(self, query_string: bytes, query: EncodeQuery, model: ServedModel) -> _Choice:
        """What the query, already checked, asks of the model that it names."""
        known = self._by_query.get(query_string)
        if known is not None and known.model is model:
            return known
        choice = _choice(query, model)
        if len(self._by_query) >= MOST_CHOICES:
            self._by_query.clear()
        self._by_query[query_string] = choice
        return choice


def _choice(query: EncodeQuery, model: ServedModel) -> _Choice:
    dims = select_dims(model.space, query.dims, top_k=query.top_k, threshold=query.threshold)
    return _Choice(model, dims, _head(model, dims))


def encode_routes(service: Service) -> list[LeanRoute]:
    """The one route."""
    choices = _Choices()

    async def encode(call: Call) -> Response:
        """Deterministic: the posterior mean, in prior standard deviations.

        By default of the relevant dimensions in order of relevance. `dims`, `top_k` and
        `threshold` may stand in the query or in a JSON body.
        """
        query = call.query(EncodeQuery)
        kind = negotiate(call.accept(), TYPES)
        model = call.model(query)
        choice = choices.get(call.scope["query_string"], query, model)
        images, body = await read_images(call, model, schemas.EncodeBody)
        if body is not None:
            asked = merge(query, body)
            choice = choice if asked == query else _choice(asked, model)
        mu, logvar = await call.service.plane.encode(model, images.images, call.record)
        started_s = time.monotonic()
        call.service.metrics.models.observe_mu(model.name, model.version, mu)
        if kind == NPY:
            answer = array_answer(mu.take(choice.dims, axis=1), resized=images.resized)
        else:
            answer = _json(choice, mu=mu, logvar=logvar, resized=images.resized)
        call.record.encode_s = time.monotonic() - started_s
        return answer

    described = operation(
        "Images to latents",
        tag="inference",
        query=EncodeQuery,
        body=image_content(schemas.EncodeBody),
        answers={JSON: reference(schemas.EncodeAnswer), NPY: BINARY},
        problems=INFERENCE_PROBLEMS,
    )
    return [inference_route(encode, service, described)]


def _head(model: ServedModel, dims: Dims) -> bytes:
    """The part of the JSON that is the same for all images, up to the open object's last comma."""
    space = model.space
    facts = {
        "model": model.name,
        "version": model.version,
        "dims": dims,
        "names": [space.names[dim] for dim in dims],
        "relevance": space.relevance.take(dims),
    }
    return to_json(facts).removesuffix(b"}") + b","


def _json(choice: _Choice, *, mu: Floats, logvar: Floats, resized: bool) -> Ready:
    rest = to_json(
        {
            "mu": mu.take(choice.dims, axis=1),
            "sigma": np.exp(logvar.take(choice.dims, axis=1) / 2),
            "resized": resized,
        }
    )
    return Ready(choice.head + rest[1:], JSON)
