"""Every form of input gives the same images in a fixed order."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from service.bulk.sources import Reading, open_source
from service.errors import InvalidValue, MalformedInput
from tests.service.conftest import Pixels, as_file


@pytest.fixture
def folder(tmp_path: Path, pictures: Pixels) -> Path:
    folder = tmp_path / "scans"
    (folder / "b").mkdir(parents=True)
    for name, picture in zip(("b/2.png", "b/10.PNG", "a.png"), pictures, strict=False):
        (folder / name).write_bytes(as_file(picture))
    (folder / "notes.txt").write_text("no image")
    return folder


def _parquet(path: Path, pictures: Pixels, *, as_struct: bool = False, n: int = 7) -> Path:
    files = [as_file(picture) for picture in pictures[:n]]
    values = [{"bytes": file, "path": None} for file in files] if as_struct else files
    table = pa.table({"patient": [f"p{i}" for i in range(n)], "image": values})
    pq.write_table(table, path, row_group_size=3)
    return path


def test_folder_is_read_by_name_below_all_folders(
    folder: Path, reading: Reading, pictures: Pixels
) -> None:
    source = open_source(folder, reading)
    chunk = source.read(0, len(source))

    assert chunk.ids == ["a.png", "b/10.PNG", "b/2.png"]
    assert (chunk.images[:, 0] == pictures[[2, 1, 0]]).all()
    assert source.read(1, 2).ids == ["b/10.PNG"]


def test_scans_in_every_format_of_training_are_read(
    folder: Path, reading: Reading, pictures: Pixels
) -> None:
    Image.fromarray(pictures[3]).save(folder / "c.TIF")
    Image.fromarray(pictures[4]).save(folder / "d.pgm")
    source = open_source(folder, reading)

    chunk = source.read(0, len(source))

    assert chunk.ids == ["a.png", "b/10.PNG", "b/2.png", "c.TIF", "d.pgm"]
    assert (chunk.images[3:, 0] == pictures[3:5]).all()


def test_hidden_files_are_left_out_and_links_followed_but_not_in_a_circle(
    folder: Path, reading: Reading, pictures: Pixels
) -> None:
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "c.png").write_bytes(as_file(pictures[3]))
    (elsewhere / "back").symlink_to(folder, target_is_directory=True)
    (folder / "b" / "linked").symlink_to(elsewhere, target_is_directory=True)
    (folder / "up").symlink_to(folder, target_is_directory=True)
    (folder / "._a.png").write_bytes(b"what macOS leaves beside a file")
    source = open_source(folder, reading)

    chunk = source.read(0, len(source))

    assert chunk.ids == ["a.png", "b/10.PNG", "b/2.png", "b/linked/c.png"]
    assert (chunk.images[3, 0] == pictures[3]).all()


def test_pictures_of_runs_models_and_comparisons_are_left_out(
    folder: Path, reading: Reading, pictures: Pixels
) -> None:
    charts = {
        "run": ("run.json", "figures/traversals.png"),
        "models/mine/1": ("manifest.json", "encoder.onnx", "traversal.png"),
        "b": ("compare.json", "matches.png", "traversals.png"),
        "other": ("manifest.json", "mine.png"),
    }
    for place, names in charts.items():
        for name in names:
            path = folder / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(as_file(pictures[3]))
    source = open_source(folder, reading)

    assert source.read(0, len(source)).ids == ["a.png", "b/10.PNG", "b/2.png", "other/mine.png"]


def test_names_that_are_not_utf8_are_read_and_escaped(
    folder: Path, reading: Reading, pictures: Pixels
) -> None:
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(as_file(pictures[3]))
    (folder / "café.png").write_bytes(as_file(pictures[4]))
    source = open_source(folder, reading)
    chunk = source.read(0, len(source))

    images = dict(zip(chunk.ids, chunk.images[:, 0], strict=True))
    assert (images["caf\\xe9.png"] == pictures[3]).all()
    assert (images["café.png"] == pictures[4]).all()
    assert source.fingerprint() == open_source(folder, reading).fingerprint()


def test_folder_fingerprint_changes_with_a_file(folder: Path, reading: Reading) -> None:
    before = open_source(folder, reading).fingerprint()
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes())

    assert open_source(folder, reading).fingerprint() != before


def test_damaged_file_is_named(folder: Path, reading: Reading) -> None:
    (folder / "b/2.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")

    with pytest.raises(MalformedInput, match=r"^`b/2\.png`: .*; remove it, or pass --skip-damaged"):
        open_source(folder, reading).read(0, 3)


def test_damaged_file_is_marked_when_it_may_be_skipped(folder: Path, reading: Reading) -> None:
    (folder / "b/2.png").write_bytes(b"")

    chunk = open_source(folder, replace(reading, skip_damaged=True)).read(0, 3)

    assert chunk.damaged.tolist() == [False, False, True]
    assert not chunk.images[2].any()


def test_npy_is_read_by_rows(npy: Path, reading: Reading, pictures: Pixels) -> None:
    source = open_source(npy, reading)
    chunk = source.read(60, 64)

    assert len(source) == len(pictures)
    assert chunk.ids == ["60", "61", "62", "63"]
    assert (chunk.images[:, 0] == pictures[60:64]).all()


def test_npy_of_objects_is_refused(tmp_path: Path, reading: Reading) -> None:
    path = tmp_path / "objects.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)

    with pytest.raises(MalformedInput, match="never unpickled"):
        open_source(path, reading)


def test_npy_without_content_is_refused(tmp_path: Path, reading: Reading) -> None:
    path = tmp_path / "empty.npy"
    path.touch()

    with pytest.raises(MalformedInput, match=r"must be a plain array as `numpy\.save` writes it"):
        open_source(path, reading)


def test_npy_that_is_a_zip_is_refused(tmp_path: Path, reading: Reading) -> None:
    np.savez(tmp_path / "arrays.npz", images=np.zeros((3, 16, 16), np.uint8))
    path = (tmp_path / "arrays.npz").rename(tmp_path / "arrays.npy")

    with pytest.raises(MalformedInput, match=r"arrays\.npy` must be .*; it is damaged, in another"):
        open_source(path, reading)


def test_npy_of_a_single_number_is_refused(tmp_path: Path, reading: Reading) -> None:
    np.save(tmp_path / "one.npy", np.uint8(7))

    message = r"^`one\.npy` must hold images of the shape \(n, height, .*; got a single number$"
    with pytest.raises(InvalidValue, match=message):
        open_source(tmp_path / "one.npy", reading)


def test_npy_of_another_shape_is_refused_at_once(tmp_path: Path, reading: Reading) -> None:
    path = tmp_path / "flat.npy"
    np.save(path, np.zeros((3, 5), np.uint8))

    with pytest.raises(InvalidValue, match=r"images must have the shape \(n, height, width\)"):
        open_source(path, reading)


def test_npy_says_which_rows_hold_no_images(
    tmp_path: Path, reading: Reading, pictures: Pixels
) -> None:
    floats = pictures[:9] / np.float32(255)
    floats[6] = np.nan
    np.save(tmp_path / "floats.npy", floats)

    with pytest.raises(InvalidValue, match=r"^rows 5 to 8 of `floats\.npy`: float32 images must"):
        open_source(tmp_path / "floats.npy", reading).read(5, 9)


@pytest.mark.parametrize("as_struct", [False, True], ids=["bytes", "struct"])
@pytest.mark.parametrize(("start", "stop"), [(0, 7), (2, 4), (3, 6), (6, 7)])
def test_parquet_is_read_across_row_groups(
    tmp_path: Path, reading: Reading, pictures: Pixels, as_struct: bool, start: int, stop: int
) -> None:
    path = _parquet(tmp_path / "images.parquet", pictures, as_struct=as_struct)
    chunk = open_source(path, replace(reading, id_column="patient")).read(start, stop)

    assert chunk.ids == [f"p{i}" for i in range(start, stop)]
    assert (chunk.images[:, 0] == pictures[start:stop]).all()


def test_parquet_without_ids_numbers_the_rows(
    tmp_path: Path, reading: Reading, pictures: Pixels
) -> None:
    source = open_source(_parquet(tmp_path / "images.parquet", pictures), reading)

    assert source.read(4, 6).ids == ["4", "5"]


def test_parquet_without_the_column_names_those_it_has(
    tmp_path: Path, reading: Reading, pictures: Pixels
) -> None:
    path = _parquet(tmp_path / "images.parquet", pictures)

    with pytest.raises(InvalidValue, match="column `scan`; it has `patient`, `image`; name the"):
        open_source(path, replace(reading, image_column="scan"))


def test_parquet_column_of_text_is_refused_at_once(tmp_path: Path, reading: Reading) -> None:
    path = tmp_path / "images.parquet"
    pq.write_table(pa.table({"image": ["scans/1.png"]}), path)

    with pytest.raises(InvalidValue, match=r"`images\.parquet` must hold image files.* string"):
        open_source(path, reading)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nowhere", "does not exist"),
        ("notes.txt", "must be a folder of images"),
        (".", "found none"),
    ],
)
def test_other_inputs_are_refused(tmp_path: Path, reading: Reading, name: str, text: str) -> None:
    (tmp_path / "notes.txt").write_text("no image")

    with pytest.raises(InvalidValue, match=text):
        open_source(tmp_path / name, reading)
