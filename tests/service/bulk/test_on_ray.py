"""The parts of a run on a local Ray: the same table, and errors as on one machine."""

import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray

from service.bulk import job as jobs
from service.bulk.command import BulkOptions, encode_all
from service.errors import ServiceError
from service.settings import Settings
from tests.service.conftest import Pixels, as_file
from tests.service.tiny_rows import RowWeights, write_tiny_rows

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A small Ray on this machine."""
    ray.init(
        num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False
    )
    yield
    ray.shutdown()
    gc.collect()  # here, where what Ray leaves to the collector is no error


@pytest.mark.parametrize("ending", [".parquet", ".csv"])
def test_ray_gives_the_same_table(
    tmp_path: Path, npy: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    monkeypatch.setattr(jobs, "MOST_PART_BATCHES", 1)
    monkeypatch.chdir(tmp_path)
    here, there = Path(f"here{ending}"), Path(f"there{ending}")

    encode_all(BulkOptions(npy, here), settings)
    said = encode_all(BulkOptions(Path(npy.name), there), settings, on_ray=True)

    assert said.startswith(f"{there}: 150 images, 8 columns, by `tiny` version 1, ")
    assert there.read_bytes() == here.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {npy.name, here.name, there.name}


def test_ray_gives_the_same_table_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_PART_BATCHES", 1)
    repository = write_tiny_rows(tmp_path / "models")
    settings = Settings(model_repository=(repository,), device="cpu", lanes=2)
    columns = RowWeights().golden()["image"].shape[1]
    table = np.random.default_rng(0).normal(size=(2500, columns))  # three parts
    people = tmp_path / "people.npy"
    np.save(people, table.astype(np.float32))
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"

    encode_all(BulkOptions(people, here), settings)
    said = encode_all(BulkOptions(people, there), settings, on_ray=True)

    assert "2500 rows, 8 columns, by `rows` version 1" in said
    assert there.read_bytes() == here.read_bytes()


def test_ray_says_which_image_is_damaged_in_one_line(
    tmp_path: Path, settings: Settings, pictures: Pixels
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "a.png").write_bytes(as_file(pictures[0]))
    (scans / "b.png").write_bytes(b"nothing")

    with pytest.raises(ServiceError, match=r"^`b\.png`: an image must be .*, or pass --skip-da"):
        encode_all(BulkOptions(scans, tmp_path / "t.csv"), settings, on_ray=True)
