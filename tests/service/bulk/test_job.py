"""Stopped runs go on, and give the same bytes as those that were not stopped."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.bulk import job as jobs
from service.bulk.encoder import BulkEncoder
from service.bulk.job import Job, finish, held, plan, run_parts
from service.bulk.sources import Reading, Source, open_source
from service.errors import InvalidValue
from tests.service.conftest import RELEVANT, Pixels
from tests.service.tiny_model import TinyWeights


class Watch:
    """Counts what it is told; stops the run after `stop_after` images."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after, self.images = stop_after, 0

    def start(self, total: int, done: int) -> None: ...

    def advance(self, images: int) -> None:
        self.images += images
        if self.stop_after is not None and self.images >= self.stop_after:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of one batch, so that few images make several."""
    monkeypatch.setattr(jobs, "MOST_PART_BATCHES", 1)


@pytest.fixture
def source(npy: Path, reading: Reading) -> Source:
    return open_source(npy, reading)


def _run(out: Path, source: Source, encoder: BulkEncoder, watch: Watch | None = None) -> Job:
    job = plan(out, source, encoder)
    run_parts(job, job.missing(), source=source, encoder=encoder, progress=watch or Watch())
    finish(job, encoder.columns)
    return job


def test_table_holds_what_the_model_says(
    tmp_path: Path, source: Source, encoder: BulkEncoder, pictures: Pixels, weights: TinyWeights
) -> None:
    job = _run(tmp_path / "t.csv", source, encoder)
    mu, logvar = weights.encode(pictures[:, None])

    lines = job.out.read_text().splitlines()
    table = np.array([[float(text) for text in line.split(",")] for line in lines[1:]])
    assert lines[0].startswith("id,x_position,x_position_sigma,x_position_percentile,scale,")
    assert (table[:, 0] == np.arange(len(pictures))).all()
    np.testing.assert_allclose(table[:, [1, 4]], mu[:, RELEVANT], rtol=1e-4, atol=1e-5)
    sigma = np.exp(logvar[:, RELEVANT] / 2)
    np.testing.assert_allclose(table[:, [2, 5]], sigma, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_stopped_run_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, source: Source, encoder: BulkEncoder, ending: str
) -> None:
    whole = _run(tmp_path / f"whole{ending}", source, encoder)
    with pytest.raises(KeyboardInterrupt):
        _run(tmp_path / f"again{ending}", source, encoder, Watch(stop_after=100))
    watch = Watch()
    job = _run(tmp_path / f"again{ending}", source, encoder, watch)

    assert watch.images == len(source) - 64
    assert job.out.read_bytes() == whole.out.read_bytes()
    assert not job.folder.exists()


def test_parts_of_other_images_are_not_taken_up(
    tmp_path: Path, npy: Path, reading: Reading, encoder: BulkEncoder
) -> None:
    out = tmp_path / "t.csv"
    with pytest.raises(KeyboardInterrupt):
        _run(out, open_source(npy, reading), encoder, Watch(stop_after=100))
    np.save(npy, np.zeros((200, 16, 16), np.uint8))

    with pytest.raises(InvalidValue, match="parts of a run with another input or model"):
        plan(out, open_source(npy, reading), encoder)
    job = plan(out, open_source(npy, reading), encoder, overwrite=True)
    assert job.done_images() == 0


@pytest.mark.parametrize("state", [None, b"", b'{"format": 1', b"\xff"])
def test_parts_whose_state_is_lost_are_not_taken_up(
    tmp_path: Path, source: Source, encoder: BulkEncoder, state: bytes | None
) -> None:
    out = tmp_path / "t.csv"
    with pytest.raises(KeyboardInterrupt):
        _run(out, source, encoder, Watch(stop_after=100))
    path = jobs.parts_folder(out) / jobs.STATE
    path.unlink() if state is None else path.write_bytes(state)

    with pytest.raises(InvalidValue, match=r"sound `state\.json` .* damaged; pass --overwrite"):
        plan(out, source, encoder)
    assert plan(out, source, encoder, overwrite=True).done_images() == 0


def test_parts_in_which_damage_was_skipped_are_for_runs_that_skip_it(
    tmp_path: Path, source: Source, encoder: BulkEncoder
) -> None:
    out, skipping = tmp_path / "t.csv", replace(encoder, skip_damaged=True)
    with pytest.raises(KeyboardInterrupt):
        _run(out, source, encoder, Watch(stop_after=100))
    with pytest.raises(KeyboardInterrupt):  # which met no damage before
        _run(out, source, skipping, Watch(stop_after=1))

    with pytest.raises(InvalidValue, match="or of one with --skip-damaged; pass --overwrite"):
        plan(out, source, encoder)
    assert plan(out, source, skipping).done_images() == 64


def test_table_that_exists_is_kept(tmp_path: Path, source: Source, encoder: BulkEncoder) -> None:
    out = tmp_path / "t.csv"
    out.write_text("precious")

    with pytest.raises(InvalidValue, match=r"exists; pass --overwrite, or name another file"):
        plan(out, source, encoder)
    assert out.read_text() == "precious"


def test_table_that_another_run_writes_is_left_to_it(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"

    with (
        held(out),
        pytest.raises(InvalidValue, match=r"another run is writing `.*`; wait for it, or name"),
        held(out),
    ):
        pass


def test_run_that_finished_no_part_leaves_nothing(
    tmp_path: Path, source: Source, encoder: BulkEncoder
) -> None:
    out = tmp_path / "new" / "factors" / "t.csv"
    with held(out):
        plan(out, source, encoder)

    assert not out.parent.parent.exists()


def test_run_that_finished_no_part_leaves_the_folders_that_were_there(
    tmp_path: Path, source: Source, encoder: BulkEncoder
) -> None:
    out = tmp_path / "there" / "new" / "t.csv"
    (tmp_path / "there").mkdir()
    with held(out):
        plan(out, source, encoder)

    assert list((tmp_path / "there").iterdir()) == []


def test_run_that_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / f"{'long' * 62}.csv"  # a name for itself, but not with `.parts`
    with pytest.raises(OSError, match="too long"), held(out):
        pass

    assert list(tmp_path.iterdir()) == []


def test_state_of_a_run_that_finished_no_part_is_in_no_ones_way(
    tmp_path: Path, npy: Path, source: Source, reading: Reading, encoder: BulkEncoder
) -> None:
    plan(tmp_path / "t.csv", source, encoder)  # then killed
    np.save(npy, np.zeros((200, 16, 16), np.uint8))

    job = plan(tmp_path / "t.csv", open_source(npy, reading), encoder)

    assert job.total == 200


@pytest.mark.parametrize("out", ["/", ".", "t", "t.txt"])
def test_out_that_is_no_table_is_refused(out: str) -> None:
    with (
        pytest.raises(InvalidValue, match=r"`--out` must end in \.csv or \.parquet; got `"),
        held(Path(out)),
    ):
        pass


def test_out_that_is_a_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    out = tmp_path / "t.csv"
    out.mkdir()

    with (
        pytest.raises(InvalidValue, match=r"must name a file; got the folder `.*t\.csv`; name"),
        held(out),
    ):
        pass
    assert list(tmp_path.iterdir()) == [out]


def test_parts_are_cut_into_pieces_that_are_whole_batches() -> None:
    job = Job(Path("t.csv"), total=1500, part_rows=1024, piece_rows=512)

    assert [job.pieces(part) for part in range(2)] == [
        [(0, 512), (512, 1024)],
        [(1024, 1500)],
    ]
