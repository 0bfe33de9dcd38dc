"""A folder of pictures, read recursively: each file is checked once, then kept or read on demand.

Pictures become gray or RGB of one size; their transparent parts show white, or black where the
pictures are light on dark.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from training.data import array_files
from training.data.factor_table import FactorTable
from training.data.pictures import BLACK, WHITE, Bytes, has_pages, open_picture, picture_bytes
from training.data.polarity import polarity_of
from training.data.stored_images import is_dark
from training.errors import DataError
from training.run_folder import COMPARISON, COMPARISON_PICTURES, INFO

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".pgm", ".ppm")
# Files by which a folder is known that training or export made: a run, and an exported model.
MADE = ((INFO,), ("manifest.json", "encoder.onnx"))
PROBES = 64  # pictures that are looked at before all are read
GRAY_SIDE, GRAY_TOLERANCE = 32, 12
LISTED = 5  # endings in a message
OnBroken = Literal["fail", "skip"]


def image_files(folder: Path) -> list[Path]:
    """All pictures below a folder in the order of their names; hidden ones are left out.

    Raises:
        DataError: The folder is missing, has none, or one inside it may not be read.
    """
    if not folder.is_dir():
        raise DataError(f"`data.path` must name a folder of images: `{folder}` is none")
    try:
        paths = sorted(_image_files(folder))
    except OSError as error:
        raise DataError(f"`{error.filename}` cannot be read: {error.strerror}") from error
    if not paths:
        others = sorted({path.suffix for path in folder.rglob("*") if path.suffix})[:LISTED]
        got = f"; it has files that end in {', '.join(others)}: convert them" if others else ""
        raise DataError(
            f"`{folder}` holds no images: files must end in {', '.join(IMAGE_SUFFIXES)}{got}"
        )
    return paths


def _image_files(folder: Path, above: frozenset[tuple[int, int]] = frozenset()) -> Iterator[Path]:
    """Pictures at any depth, also through links to folders, but not in a circle.

    Those of a run, a comparison or an exported model are of the images, not among them.
    """
    here = above | {_identity(folder.stat())}
    made = COMPARISON_PICTURES if (folder / COMPARISON).is_file() else ()
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith(".") or entry.name in made:
                continue
            if entry.is_dir():
                if not _is_made(path) and _identity(entry.stat()) not in here:
                    yield from _image_files(path, here)
            elif path.suffix.lower() in IMAGE_SUFFIXES and entry.is_file():
                yield path


def _is_made(folder: Path) -> bool:
    return any(all((folder / name).is_file() for name in names) for names in MADE)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def ground_of(paths: Sequence[Path], image_shape: tuple[int, int, int]) -> int:
    """The level for transparent parts: black where a spread of the pictures is light on dark.

    The service lays them on the ground of the model's polarity. Here they lie on white to find it;
    what is light on dark even so is more so on black, and thus both take the same ground.
    """
    found = []
    for path in spread(paths, PROBES):
        with suppress(ValueError, OSError):  # a broken file is reported when all are read
            found.append(picture_bytes(path.read_bytes(), image_shape))
    if not found:
        return WHITE
    images = torch.from_numpy(np.stack(found)).float() / 255  # (probes, channels, height, width)
    return BLACK if polarity_of(images) == "light_on_dark" else WHITE


def looks_gray(paths: Sequence[Path]) -> bool:
    """Whether a spread of readable pictures shows no color beyond compression noise."""
    for path in spread(paths, PROBES):
        try:
            image = open_picture(path.read_bytes(), wanted=GRAY_SIDE).convert("RGB")
        except (ValueError, OSError):
            continue
        pixels = np.asarray(image.resize((GRAY_SIDE, GRAY_SIDE))).astype(np.int64)
        if np.ptp(pixels, axis=2).max() > GRAY_TOLERANCE:
            return False
    return True


def spread(paths: Sequence[Path], n: int) -> list[Path]:
    """At most `n` paths at equal distances."""
    return [paths[row] for row in np.unique(np.linspace(0, len(paths) - 1, n).astype(int))]


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _printable(name: str) -> str:
    """A file name that is no UTF-8 with the bytes that are none written out."""
    return name.encode(errors="backslashreplace").decode()


class ImageFolder:
    """An image source over the pictures of a folder.

    Args:
        name: Of the set.
        folder: Searched recursively.
        size: Height and width to give.
        channels: 1 or 3.
        on_broken: Whether a file that cannot be read ends it all, or is left out.

    Raises:
        DataError: There are no images, all are nearly black, or one is broken and that is not
            allowed.
    """

    source = "file"

    def __init__(
        self, name: str, folder: Path, *, size: int, channels: int, on_broken: OnBroken = "fail"
    ) -> None:
        self.name = name
        self.folder = folder
        self.image_shape = (channels, size, size)
        self.factors: FactorTable | None = None
        self.broken: list[str] = []
        self.paged: list[str] = []
        self.dark: list[str] = []
        self.n_repeated = 0
        self._on_broken = on_broken
        self._digest = hashlib.sha256()
        paths = image_files(folder)
        self._ground = ground_of(paths, self.image_shape)
        self.paths = self._check(paths)
        self.n_images = len(self.paths)

    def _check(self, paths: Sequence[Path]) -> list[Path]:
        """Read every file once; keep the pixels where all of them fit in memory."""
        n_bytes = int(np.prod(self.image_shape)) * len(paths)
        pixels = (
            np.empty((len(paths), *self.image_shape), dtype=np.uint8)
            if n_bytes <= array_files.MEMORY_LIMIT
            else None
        )
        good: list[Path] = []
        seen: set[bytes] = set()
        brightest = 0
        for path in paths:
            picture = self._read(path)
            if picture is None:
                continue
            peak = int(picture.max())
            brightest = max(brightest, peak)
            if peak > 0 and is_dark(peak, WHITE):
                self.dark.append(_printable(self._relative(path)))
            seen.add(hashlib.blake2b(picture.tobytes()).digest())
            if pixels is not None:
                pixels[len(good)] = picture
            good.append(path)
        if not good:
            raise DataError(f"none of the {len(paths)} images in `{self.folder}` can be read")
        if is_dark(brightest, WHITE):
            raise DataError(
                f"pictures must use the range of their format: the brightest pixel in "
                f"`{self.folder}` is {brightest} of 255, which is nearly black; scale them, also "
                "those that the service will see"
            )
        self.n_repeated = len(good) - len(seen)
        self._pixels = None if pixels is None else torch.from_numpy(pixels[: len(good)])
        return good

    def _read(self, path: Path) -> Bytes | None:
        try:
            content = path.read_bytes()
            picture = picture_bytes(content, self.image_shape, ground=self._ground)
        except (ValueError, OSError) as error:
            if self._on_broken == "fail":
                raise DataError(
                    f"`{path}` is broken: {_reason(error)}; repair or remove it, or leave out "
                    'broken files with `data.on_broken = "skip"`'
                ) from error
            self.broken.append(_printable(self._relative(path)))
            return None
        if has_pages(content):
            self.paged.append(_printable(self._relative(path)))
        self._digest.update(os.fsencode(f"{self._relative(path)} {len(content)} ") + content)
        return picture

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    @property
    def file_names(self) -> list[str]:
        """Paths of the images below the folder, in the order of their numbers."""
        return [self._relative(path) for path in self.paths]

    @property
    def subfolders(self) -> list[str]:
        """For each image the first folder on its path, which is empty beside the folders."""
        return [name.rpartition("/")[0].partition("/")[0] for name in self.file_names]

    def sha256(self) -> str:
        """Hash of the names and bytes of all good files."""
        return self._digest.hexdigest()

    def images(self, indices: Tensor) -> Tensor:
        """(batch,) int64 -> (batch, channels, size, size) float32 in [0, 1]."""
        if self._pixels is not None:
            return (self._pixels[indices.cpu()].float() / 255).to(indices.device)
        pictures = [self._read_again(self.paths[index]) for index in indices.tolist()]
        return torch.from_numpy(np.stack(pictures)).to(indices.device).float() / 255

    def _read_again(self, path: Path) -> Bytes:
        try:
            return picture_bytes(path.read_bytes(), self.image_shape, ground=self._ground)
        except (ValueError, OSError) as error:
            raise DataError(
                f"`{path}` could be read before and is broken now: {_reason(error)}; restore it"
            ) from error
