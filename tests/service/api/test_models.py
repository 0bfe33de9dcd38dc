"""`GET /models` and `GET /models/{name}`."""

from pathlib import Path

import httpx

from service.api.schemas import ModelAnswer, ModelsAnswer
from service.models.manifest import Manifest
from service.models.repository import scan
from tests.service.conftest import StartService
from tests.service.tiny_model import write_tiny_model, write_tiny_repository


async def test_models_lists_versions_and_states(client: httpx.AsyncClient) -> None:
    answer = ModelsAnswer.model_validate((await client.get("/models")).json(), strict=True)

    assert answer.default_model == "tiny"
    (model,) = answer.models
    assert (model.name, model.default, model.default_version) == ("tiny", True, 1)
    assert [(version.version, version.state) for version in model.versions] == [(1, "ready")]
    assert model.versions[0].providers == ["CPUExecutionProvider"]


async def test_models_shows_the_manifest_of_one(client: httpx.AsyncClient) -> None:
    answer = ModelAnswer.model_validate((await client.get("/models/tiny")).json(), strict=True)

    manifest = Manifest.model_validate(answer.manifests["1"])
    assert (manifest.name, manifest.latent_dim) == ("tiny", 4)


async def test_models_shows_the_manifest_that_answers_and_not_the_replaced_one(
    start_service: StartService, tmp_path: Path
) -> None:
    root = write_tiny_repository(tmp_path)
    async with start_service(model_repository=(root,), repository_poll_s=0) as started:
        write_tiny_model(root / "tiny/1", seed=3, relevant_dims=(1,))
        await started.service.registry.sync(scan([root]))
        answer = (await started.client.get("/models/tiny")).json()

    assert [version["state"] for version in answer["versions"]] == ["ready", "draining"]
    assert answer["manifests"]["1"]["relevant_dims"] == [1]


async def test_models_answers_404_for_an_unknown_one(client: httpx.AsyncClient) -> None:
    answer = await client.get("/models/huge")

    assert answer.status_code == 404
    assert answer.json()["type"] == "urn:rfvae:problem:unknown-model"
    assert answer.json()["detail"].startswith("`model` must be one of `tiny`; got `huge`")


async def test_models_refuses_another_media_type(client: httpx.AsyncClient) -> None:
    assert (await client.get("/models", headers={"Accept": "text/html"})).status_code == 406
