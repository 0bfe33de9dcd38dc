"""`POST /factors` for images, `GET /factors` for the model."""

import httpx
import numpy as np
import pytest

from service.api.schemas import FactorsAnswer, ModelFactorsAnswer
from tests.service.conftest import RELEVANT, as_file, picture
from tests.service.tiny_model import TinyWeights

PNG = {"Content-Type": "image/png"}


async def test_factors_describe_each_relevant_factor_of_each_image(
    client: httpx.AsyncClient, weights: TinyWeights
) -> None:
    pictures = [picture(1), picture(2)]
    files = [("images", (f"{i}.png", as_file(p), "image/png")) for i, p in enumerate(pictures)]
    mu, logvar = weights.encode(np.stack(pictures)[:, None])

    answer = FactorsAnswer.model_validate((await client.post("/factors", files=files)).json())

    assert [len(image.factors) for image in answer.images] == [2, 2]
    for index, image in enumerate(answer.images):
        first = image.factors[0]
        assert (first.dim, first.name) == (2, "x position")
        assert first.value == pytest.approx(mu[index, 2], abs=1e-4)
        assert first.sigma == pytest.approx(np.exp(logvar[index, 2] / 2), abs=1e-4)
        assert first.kl > 0
        assert 1 <= first.percentile <= 99
        assert 1 <= image.novelty.percentile <= 99


async def test_factors_agree_on_range_and_percentile(client: httpx.AsyncClient) -> None:
    contents = [as_file(np.full((16, 16), level, np.uint8)) for level in range(0, 256, 32)]
    files = [("images", (f"{i}.png", c, "image/png")) for i, c in enumerate(contents)]

    answer = FactorsAnswer.model_validate((await client.post("/factors", files=files)).json())

    values = [factor for image in answer.images for factor in image.factors]
    assert {factor.in_range for factor in values} == {True, False}
    for factor in values:
        assert factor.in_range == (1 < factor.percentile < 99)


async def test_factors_count_novelty(client: httpx.AsyncClient) -> None:
    await client.post("/factors", content=as_file(picture()), headers=PNG)

    text = (await client.get("/metrics")).text
    assert 'rfvae_reconstruction_novelty_count{model="tiny"} 1.0' in text


async def test_factors_of_the_model_put_the_relevant_ones_first(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/factors?model=tiny")

    facts = ModelFactorsAnswer.model_validate(answer.json())
    assert facts.n_relevant == 2
    assert [factor.dim for factor in facts.factors] == [*RELEVANT, 1, 3]
    assert [factor.relevant for factor in facts.factors] == [True, True, False, False]
    assert facts.factors[0].changes == ["grows 2.0 times as large"]
    assert facts.factors[2].changes == []
    assert set(facts.factors[0].mu_quantiles) == {"p1", "p5", "p25", "p50", "p75", "p95", "p99"}
    assert answer.headers["x-model"] == "tiny"
