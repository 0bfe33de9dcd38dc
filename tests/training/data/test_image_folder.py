"""A folder of pictures: what is found, how it is read, and what a broken file does."""

import errno
import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFile

from service.codecs.images import decode_image
from service.models.manifest import ImageSpec
from training.config import DataConfig
from training.data import ImageSource, array_files, notes_on, open_images
from training.data.image_folder import ImageFolder, image_files
from training.errors import DataError

N = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Gray pictures of many formats in two levels, and files that are none."""
    rng = np.random.default_rng(3)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    names = ["a.png", "b.bmp", "deep/c.tif", "deep/d.PNG", "deep/er/e.pgm", "f.webp"]
    for name in names:
        image = Image.fromarray(rng.integers(0, 256, (12, 20), dtype=np.uint8))
        image.save(tmp_path / name, **({"lossless": True} if name == "f.webp" else {}))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".cache.png").write_bytes(b"hidden")
    return tmp_path


def opened(folder: Path, **changes: object) -> ImageSource:
    return open_images(DataConfig(**({"name": "images", "path": folder, "size": 16} | changes)))


def test_folder_is_read_recursively_in_the_order_of_names(folder: Path) -> None:
    source = opened(folder)
    assert (source.n_images, source.image_shape) == (N, (1, 16, 16))
    wanted = Image.open(folder / "b.bmp").resize((16, 16), Image.Resampling.BILINEAR)
    torch.testing.assert_close(
        source.images(torch.tensor([1]))[0, 0], torch.from_numpy(np.array(wanted)) / 255
    )


def test_links_to_folders_are_followed_but_not_in_a_circle(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path.parent / "elsewhere"
    elsewhere.mkdir()
    Image.new("L", (20, 12), 200).save(elsewhere / "g.png")
    (elsewhere / "back").symlink_to(folder, target_is_directory=True)
    (folder / "deep" / "linked").symlink_to(elsewhere, target_is_directory=True)
    (folder / "deep" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    assert [path.relative_to(folder).as_posix() for path in image_files(folder)] == [
        "a.png",
        "b.bmp",
        "deep/c.tif",
        "deep/d.PNG",
        "deep/er/e.pgm",
        "deep/linked/g.png",
        "f.webp",
    ]


def test_figures_of_a_run_are_no_pictures_of_the_folder_that_it_lies_in(folder: Path) -> None:
    before = image_files(folder)
    (folder / "runs/mine/figures").mkdir(parents=True)
    (folder / "runs/mine/run.json").write_text("{}")
    Image.new("RGB", (20, 12)).save(folder / "runs/mine/figures/traversals.png")
    assert image_files(folder) == before


def test_pictures_of_a_comparison_are_none_of_the_folder_that_it_lies_in(folder: Path) -> None:
    Image.new("RGB", (20, 12)).save(folder / "deep/matches.png")
    before = image_files(folder)
    (folder / "deep/compare.json").write_text("{}")
    assert image_files(folder) == [path for path in before if path.name != "matches.png"]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.linspace(0, 4000, 240, dtype=np.float32), "its values are 0 to 4000"),
        (np.linspace(0, 1, 240, dtype=np.float32), "its values are 0 to 1"),
        (np.arange(240, dtype=np.int32) * 1000, "its values are 0 to 239000"),
    ],
)
def test_picture_of_more_than_sixteen_bits_is_refused(
    folder: Path, values: NDArray[np.generic], text: str
) -> None:
    Image.fromarray(values.reshape(12, 20)).save(folder / "deep/c.tif")
    with pytest.raises(DataError, match=rf"c\.tif.*{text}: scale them and save 8 or 16 bits"):
        opened(folder)


def test_folder_that_may_not_be_read_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "er":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"deep/er` cannot be read: Permission denied"):
        image_files(folder)


def test_folder_too_large_for_memory_is_read_on_demand(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indices = torch.tensor([4, 0, 4])
    kept, digest = opened(folder).images(indices), opened(folder).sha256()
    monkeypatch.setattr(array_files, "MEMORY_LIMIT", 100)
    streaming = opened(folder)
    assert torch.equal(streaming.images(indices), kept)
    assert streaming.sha256() == digest


@pytest.mark.parametrize("content", [b"broken", None], ids=["damaged", "gone"])
def test_file_of_a_large_folder_that_breaks_meanwhile_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    monkeypatch.setattr(array_files, "MEMORY_LIMIT", 100)
    source = opened(folder)
    (folder / "b.bmp").unlink()
    if content is not None:
        (folder / "b.bmp").write_bytes(content)
    with pytest.raises(
        DataError, match=r"b\.bmp` could be read before and is broken now: .*; rest"
    ):
        source.images(torch.tensor([1]))


def test_folder_with_color_has_three_channels_unless_told_otherwise(folder: Path) -> None:
    Image.new("RGB", (20, 12), (250, 10, 10)).save(folder / "red.png")
    assert opened(folder).image_shape[0] == 3
    gray = opened(folder, channels=1)
    assert gray.image_shape[0] == 1
    expected = round(0.299 * 250 + 0.587 * 10 + 0.114 * 10) / 255
    assert float(gray.images(torch.tensor([N]))[0].mean()) == pytest.approx(expected, abs=1 / 255)


@pytest.mark.parametrize("content", [b"", b"not a picture", None], ids=["empty", "text", "cut"])
def test_broken_file_is_named_and_fatal(folder: Path, content: bytes | None) -> None:
    path = folder / "b.bmp"
    path.write_bytes(path.read_bytes()[:100] if content is None else content)
    with pytest.raises(DataError, match=r"b\.bmp` is broken: .*; repair or remove it"):
        opened(folder)


def test_broken_file_is_named_and_left_out_by_choice(folder: Path) -> None:
    intact = opened(folder)
    (folder / "b.bmp").write_bytes(b"broken")
    source = opened(folder, on_broken="skip")
    assert source.n_images == N - 1
    assert notes_on(source) == ["left out 1 broken files: b.bmp"]
    assert torch.equal(source.images(torch.tensor([1])), intact.images(torch.tensor([2])))


def test_folder_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no images: files must end in"):
        opened(tmp_path)
    (tmp_path / "a.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="none of the 1 images"):
        opened(tmp_path, on_broken="skip")
    with pytest.raises(DataError, match="must name a folder of images"):
        opened(tmp_path / "nowhere")


def test_huge_picture_is_refused_before_it_is_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.pictures.MAX_PIXELS", 100)
    with pytest.raises(DataError, match=r"20 x 12 pixels are more than 100"):
        opened(folder)


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(tmp_path / "a.png")
    assert torch.all(opened(tmp_path).images(torch.tensor([0])) == 1)


def test_transparency_lies_on_the_ground_that_the_service_gives_it(tmp_path: Path) -> None:
    for name in "abc":
        Image.fromarray(np.pad(np.full((8, 8), 255, np.uint8), 4)).save(tmp_path / f"{name}.png")
    drawn = np.zeros((16, 16, 4), np.uint8)
    drawn[4:12, 4:12] = 255  # a white square on nothing
    Image.fromarray(drawn).save(tmp_path / "d.png")
    source = opened(tmp_path)
    assert torch.equal(source.images(torch.tensor([3])), source.images(torch.tensor([0])))
    served = ImageSpec(channels=1, height=16, width=16, polarity="light_on_dark")
    seen = decode_image((tmp_path / "d.png").read_bytes(), served, max_pixels=1000).images
    np.testing.assert_allclose(source.images(torch.tensor([3])).numpy(), seen / 255, atol=1e-6)


def test_dark_pictures_among_others_are_named(folder: Path) -> None:
    Image.fromarray(np.eye(16, dtype=np.uint16) * 4095).save(folder / "k.png")  # 12 bits in 16
    (note,) = notes_on(opened(folder))
    assert note.startswith("1 of 7 pictures are nearly black: k.png; if they hold 12 bits")


def test_copies_of_a_picture_are_counted(folder: Path) -> None:
    for copy in ("k.png", "l.png"):
        (folder / copy).write_bytes((folder / "a.png").read_bytes())
    (note,) = notes_on(opened(folder))
    assert note.startswith("2 pictures are the same as another one: where copies are held out")


def test_folder_of_other_files_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "scan.dcm").write_bytes(b"DICM")
    with pytest.raises(DataError, match=r"it has files that end in \.dcm: convert them"):
        opened(tmp_path)


@pytest.mark.parametrize("suffix", ["tif", "gif"])
def test_further_pages_are_left_out_in_words(folder: Path, suffix: str) -> None:
    pages = [Image.new("L", (16, 16), level) for level in (200, 100)]
    pages[0].save(folder / f"stack.{suffix}", save_all=True, append_images=pages[1:])
    source = opened(folder)
    assert isinstance(source, ImageFolder)
    number = source.file_names.index(f"stack.{suffix}")
    assert torch.all(source.images(torch.tensor([number])) == 200 / 255)
    (note,) = notes_on(source)
    assert note.startswith(f"only the first page or frame is taken of 1 files: stack.{suffix}; ")


def test_sixteen_bits_keep_the_upper_eight(tmp_path: Path) -> None:
    Image.fromarray(np.full((16, 16), 0x8040, np.uint16)).save(tmp_path / "a.png")
    assert torch.all(opened(tmp_path).images(torch.tensor([0])) == 0x80 / 255)


def test_large_photo_is_close_to_its_exact_reduction(tmp_path: Path) -> None:
    ramp = np.linspace(0, 255, 400).astype(np.uint8)[None, :].repeat(400, axis=0)
    Image.fromarray(ramp).save(tmp_path / "a.jpg", quality=95)
    found = opened(tmp_path).images(torch.tensor([0]))[0, 0]
    assert float((found[8] - torch.linspace(0, 1, 16)).abs().max()) < 0.06


@pytest.mark.parametrize(
    ("pixels", "brightest"),
    [
        (np.eye(16, dtype=np.uint8), 1),
        (np.eye(16, dtype=np.uint16) * 255, 0),
        (np.eye(16, dtype=np.uint16) * 4095, 15),
    ],
    ids=["mask", "8 bits in 16", "12 bits in 16"],
)
def test_pixels_of_another_range_are_refused_and_not_read_as_black(
    tmp_path: Path, pixels: np.ndarray, brightest: int
) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    expected = f"the brightest pixel in `{tmp_path}` is {brightest} of 255, which is nearly black"
    with pytest.raises(DataError) as caught:
        opened(tmp_path)
    assert expected in str(caught.value)


TURNED = struct.pack(">HHI4s", 0x112, 3, 1, b"\0\6\0\0")
MISTYPED = struct.pack(">HHI4s", 0x128, 2, 1, b"A\0\0\0") + b"\0" * 4


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff junk junk",
        b"Exif\0\0XX*garb",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x02" + TURNED + MISTYPED,
    ],
    ids=["cut", "no header", "text for a number"],
)
@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_picture_with_damaged_exif_is_read_as_it_lies_without_a_warning(
    tmp_path: Path, exif: bytes, suffix: str
) -> None:
    halves = np.repeat(np.array([[40], [200]], np.uint8), 8, axis=0).repeat(16, axis=1)
    Image.fromarray(halves).save(tmp_path / f"a.{suffix}", exif=exif)
    (image,) = opened(tmp_path).images(torch.tensor([0]))
    assert float(image[0, :8].max()) < 0.5 < float(image[0, 8:].min())


def test_cut_animation_counts_as_its_first_frame(folder: Path) -> None:
    file = io.BytesIO()
    pages = [Image.new("L", (16, 16), level) for level in (200, 100)]
    pages[0].save(file, "GIF", save_all=True, append_images=pages[1:])
    content = file.getvalue()
    later = content.rindex(b"\x2c")  # the second frame's block
    (folder / "cut.gif").write_bytes(content[: later + 3])
    source = opened(folder)
    assert (source.n_images, notes_on(source)) == (N + 1, [])


@pytest.mark.parametrize("error", [struct.error("cut"), IndexError(), SyntaxError("cut")])
def test_whatever_a_decoder_raises_means_that_the_file_is_broken(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    load = ImageFile.ImageFile.load

    def fail(image: ImageFile.ImageFile) -> object:
        if image.size == (3, 3):
            raise error
        return load(image)

    Image.new("L", (3, 3), 200).save(folder / "z.ppm")
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    assert notes_on(opened(folder, on_broken="skip")) == ["left out 1 broken files: z.ppm"]
    with pytest.raises(DataError, match=r"z\.ppm` is broken: (cut|IndexError); repair"):
        opened(folder)


def test_file_names_need_not_be_utf_8(folder: Path) -> None:
    latin = os.fsencode(folder) + b"/B\xe4r.png"
    os.rename(folder / "a.png", latin)
    assert (opened(folder).n_images, len(opened(folder).sha256())) == (N, 64)
    Path(os.fsdecode(latin)).write_bytes(b"broken")
    assert notes_on(opened(folder, on_broken="skip")) == [r"left out 1 broken files: B\udce4r.png"]


def test_file_that_may_not_be_read_counts_as_broken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == "b.bmp":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"b\.bmp` is broken: Permission denied; repair"):
        opened(folder)
    assert notes_on(opened(folder, on_broken="skip")) == ["left out 1 broken files: b.bmp"]


def test_hash_changes_with_a_file(folder: Path) -> None:
    before = opened(folder).sha256()
    Image.new("L", (5, 5), 9).save(folder / "a.png")
    assert opened(folder).sha256() != before


def test_folder_agrees_with_what_the_service_does_to_an_upload(folder: Path) -> None:
    images = pytest.importorskip("service.codecs.images")
    spec = pytest.importorskip("service.models.artifact").ImageSpec(
        channels=1, height=16, width=16, polarity="dark_on_light"
    )
    served = images.decode_image((folder / "a.png").read_bytes(), spec, max_pixels=10**6).images
    trained = opened(folder).images(torch.tensor([0]))
    assert torch.equal(trained, torch.from_numpy(served.copy()) / 255)


def test_folder_agrees_with_what_bulk_encoding_reads(folder: Path) -> None:
    sources = pytest.importorskip("service.bulk.sources")
    deep = np.random.default_rng(4).integers(0, 2**16, (12, 20), dtype=np.uint16)
    Image.fromarray(deep).save(folder / "g.TIFF")
    Image.fromarray(deep.astype(np.uint8)).save(folder / "h.gif")
    Image.fromarray(deep.astype(np.uint8)).convert("RGB").save(folder / "i.ppm")
    spec = ImageSpec(channels=1, height=16, width=16, polarity="dark_on_light")
    bulk = sources.open_source(folder, sources.Reading(spec, max_pixels=10**6))
    trained = opened(folder)

    assert bulk.read(0, len(bulk)).ids == trained.file_names
    pixels = torch.from_numpy(bulk.read(0, len(bulk)).images) / 255
    assert torch.equal(trained.images(torch.arange(trained.n_images)), pixels)
