"""Rows of numbers through the HTTP door."""

from pathlib import Path

import pytest

from tests.service.conftest import StartService
from tests.service.tiny_rows import write_tiny_rows


@pytest.mark.parametrize("far", [[3e38, -3e38, 1], [1e30, 0, 0], [170, 5000, 40]])
@pytest.mark.parametrize("path", ["/encode", "/factors", "/reconstruct", "/traverse"])
async def test_row_far_from_the_training_data_is_refused_by_its_number(
    start_service: StartService, tmp_path: Path, path: str, far: list[float]
) -> None:
    rows = [far] if path == "/traverse" else [[170, 70, 40], far]

    async with start_service(model_repository=(write_tiny_rows(tmp_path),)) as started:
        answer = await started.client.post(path, json={"rows": rows})

    assert answer.status_code == 422
    assert answer.json()["detail"] == (
        f"row {len(rows) - 1} must lie nearer to the training data: the model's numbers for it "
        "overflow; check its columns and their units"
    )


async def test_rows_are_encoded_to_the_dims_that_their_body_asks_for(
    start_service: StartService, tmp_path: Path
) -> None:
    async with start_service(model_repository=(write_tiny_rows(tmp_path),)) as started:
        body = {"rows": [[170, 70, 40]], "dims": "all", "top_k": 1}
        answer = await started.client.post("/encode", json=body)

    assert answer.json()["dims"] == [0]
    assert len(answer.json()["mu"][0]) == 1
