"""Images of an array, whatever the order of its sides and the range of its values."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.data.array_files import Rows
from training.data.factor_table import FactorTable
from training.data.ground_truth import GroundTruth
from training.data.polarity import polarity_of
from training.errors import DataError

PROBE_IMAGES = 2048  # of a set on disk, looked at to find the range of values
GROUND_PROBES = 64  # transparent images that are looked at to find what they lie on
WITH_ALPHA = 4  # channels: red, green, blue and alpha
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's conversion to gray
RANGES = (1.0, 255.0, 65_535.0)
# Part of the range that the brightest pixel must reach: label maps, digits of 0 to 16 and 12 bits
# kept in 16 do not, and would be nearly black.
LEAST_BRIGHT = 1 / 15
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Layout:
    """Where an array keeps its images.

    Attributes:
        n_images: Number of images.
        channels: 1 or 3.
        height: Pixels.
        width: Pixels.
        order: Axes of one image, after the image number, as (channels, height, width); None for a
            gray image without a channel axis, and for flat rows of pixels.
        has_alpha: Whether a fourth channel says how far the ground shows through.
    """

    n_images: int
    channels: int
    height: int
    width: int
    order: tuple[int, int, int] | None
    has_alpha: bool = False


def find_layout(shape: Sequence[int], *, origin: str) -> Layout:
    """Read the sides (N, H, W), (N, H, W, C), (N, C, H, W) or (N, H * W) of square images.

    C is 1, 3, or 4 of red, green, blue and alpha.

    Raises:
        DataError: None of these fits.
    """
    n, *sides = shape
    if len(sides) == 1 and math.isqrt(sides[0]) ** 2 == sides[0]:
        side = math.isqrt(sides[0])
        return Layout(n, 1, side, side, None)
    if len(sides) == 2:
        return Layout(n, 1, sides[0], sides[1], None)
    if len(sides) == 3 and sides[2] in (1, 3):
        return Layout(n, sides[2], sides[0], sides[1], (2, 0, 1))
    if len(sides) == 3 and sides[0] in (1, 3):
        return Layout(n, sides[0], sides[1], sides[2], (0, 1, 2))
    if len(sides) == 3 and sides[2] == WITH_ALPHA:
        return Layout(n, 3, sides[0], sides[1], (2, 0, 1), has_alpha=True)
    if len(sides) == 3 and sides[0] == WITH_ALPHA:
        return Layout(n, 3, sides[1], sides[2], (0, 1, 2), has_alpha=True)
    raise DataError(
        f"images are (N, H, W), (N, H, W, C), (N, C, H, W) with 1, 3 or 4 channels, or rows of "
        f"square gray ones: {origin} has the shape {tuple(shape)}; change `data.key`, or convert it"
    )


def images_last(rows: Rows) -> bool:
    """Whether the last axis counts images, (H, W, N) or (H, W, C, N), as in MATLAB files."""
    shape = rows.shape
    if len(shape) == 3:
        return shape[0] == shape[1] != shape[2]
    if len(shape) != 4 or shape[0] != shape[1]:
        return False
    if shape[2] == WITH_ALPHA:
        return shape[3] not in (1, 3, WITH_ALPHA)
    return shape[2] in (1, 3) and shape[3] not in (1, 3)


def find_divisor(rows: Rows, *, origin: str) -> float:
    """What takes the values to [0, 1]: 1 for {0, 1} and [0, 1], 255 for bytes, 65,535 above.

    Where that would leave all nearly black, the largest value of so many bits: 4,095 for 12, or 16
    where that is the largest value.

    Raises:
        DataError: A value is below 0, or not a number.
    """
    if isinstance(rows, np.memmap) or not isinstance(rows, np.ndarray):
        rows = rows[np.unique(np.linspace(0, rows.shape[0] - 1, PROBE_IMAGES).astype(np.int64))]
    sample = np.asarray(rows)
    if sample.dtype == np.bool_:
        return 1.0
    if sample.dtype.kind not in "iuf":
        raise DataError(f"pixels must be numbers: {origin} holds {sample.dtype}; convert it")
    low, high = float(sample.min()), float(sample.max())
    overshoots = 1 + _ROUNDING < high < 2  # as sharpened and enlarged pictures of 0 to 1 do
    for divisor in RANGES if not overshoots else ():
        if low >= 0 and high <= divisor + _ROUNDING:
            return _largest_of_its_bits(high) if is_dark(high, divisor) else divisor
    raise DataError(
        f"pixels must lie in 0 to 1, 0 to 255 or 0 to 65535: {origin} has {low:g} to {high:g}; "
        "shift and scale them"
    )


def is_dark(high: float, divisor: float) -> bool:
    """Whether values up to `high` are no pixels of 0 to `divisor`; fractions may be dark."""
    return divisor > 1 and high < LEAST_BRIGHT * divisor


def _largest_of_its_bits(high: float) -> float:
    power = float(2 ** math.ceil(math.log2(high)))  # 16 for 9 to 16
    return power - 1 if high <= power - 1 else power


class StoredImages:
    """An image source over the rows of an array.

    Args:
        name: Of the set.
        rows: Array of images; see `find_layout`.
        files: What the hash covers.
        size: Height and width to give; others are resized (bilinear with antialiasing), as the
            service does.
        channels: 1 or 3; as found by default.
        factors: Behind the images, if known.
    """

    source = "file"

    def __init__(
        self,
        name: str,
        rows: Rows,
        *,
        files: Sequence[Path],
        size: int,
        channels: int | None = None,
        factors: GroundTruth | FactorTable | None = None,
    ) -> None:
        self._files = files
        origin = f"`{files[0]}`"
        if images_last(rows):
            rows = np.moveaxis(np.asarray(rows), -1, 0)
        self._rows = rows
        self._layout = find_layout(rows.shape, origin=origin)
        self.divisor = find_divisor(rows, origin=origin)  # the value that becomes 1
        self.name = name
        self.n_images = self._layout.n_images
        self.image_shape = (channels or self._layout.channels, size, size)
        self.factors = factors
        self._ground = 1.0
        if self._layout.has_alpha and self._is_light():
            self._ground = 0.0

    @property
    def ground(self) -> float | None:
        """What shows through transparent parts, 0 (black) or 1; None of images without alpha."""
        return self._ground if self._layout.has_alpha else None

    def _is_light(self) -> bool:
        """Whether images on white are light on dark even so, as `image_folder.ground_of` asks."""
        probes = torch.linspace(0, self.n_images - 1, min(GROUND_PROBES, self.n_images))
        return polarity_of(self.images(probes.long())) == "light_on_dark"

    def sha256(self) -> str:
        """Hash of the files' bytes."""
        return hash_files(self._files)

    def images(self, indices: Tensor) -> Tensor:
        """(batch,) int64 -> (batch, channels, size, size) float32 in [0, 1]."""
        raw = np.ascontiguousarray(self._rows[indices.cpu().numpy()])
        pixels = self._ordered(torch.from_numpy(_plain(raw)).to(indices.device))
        pixels = pixels.float() / self.divisor  # (batch, channels, height, width)
        if pixels.numel():
            low, high = torch.stack(torch.aminmax(pixels)).tolist()  # NaN where one pixel is
            if not (low >= 0 and high <= 1 + _ROUNDING):
                raise self._out_of_range(pixels, indices)
        return fit_pixels(self._on_ground(pixels), self.image_shape)

    def _on_ground(self, pixels: Tensor) -> Tensor:
        if not self._layout.has_alpha:
            return pixels
        color, alpha = pixels[:, :3], pixels[:, 3:]
        return color * alpha + self._ground * (1 - alpha)

    def _out_of_range(self, pixels: Tensor, indices: Tensor) -> DataError:
        """Of a set too large to be looked at whole when it was opened."""
        lows, highs = torch.aminmax(pixels.flatten(1), dim=1)  # (batch,)
        wrong = int((~((lows >= 0) & (highs <= 1 + _ROUNDING))).nonzero()[0])
        low, high = (float(ends[wrong]) * self.divisor for ends in (lows, highs))
        return DataError(
            f"`{self._files[0]}` mixes ranges of values: most images are within 0 to "
            f"{self.divisor:g} and image {int(indices[wrong]) + 1:,} has {low:g} to {high:g}; "
            "repair it, or leave it out"
        )

    def _ordered(self, raw: Tensor) -> Tensor:
        layout = self._layout
        if layout.order is None:
            return raw.reshape(-1, 1, layout.height, layout.width)
        return raw.permute(0, *(axis + 1 for axis in layout.order))


def _plain(raw: NDArray[Any]) -> NDArray[Any]:
    """Numbers that torch reads: in this machine's byte order, 16 bits as 32."""
    if raw.dtype.kind == "u" and raw.dtype.itemsize > 1:
        return raw.astype(np.int64)
    return raw.astype(raw.dtype.newbyteorder("="), copy=False)


def fit_pixels(pixels: Tensor, image_shape: tuple[int, int, int]) -> Tensor:
    """Bring (batch, channels, height, width) in [0, 1] to `image_shape`."""
    channels, height, width = image_shape
    if channels == 1 and pixels.shape[1] == 3:
        weights = torch.tensor(LUMA, device=pixels.device).view(1, 3, 1, 1)
        pixels = (pixels * weights).sum(dim=1, keepdim=True)  # (batch, 1, height, width)
    if pixels.shape[1] != channels:
        pixels = pixels.expand(-1, channels, -1, -1)
    if pixels.shape[2:] != (height, width):
        pixels = F.interpolate(
            pixels, (height, width), mode="bilinear", antialias=True, align_corners=False
        ).clamp(0, 1)
    return pixels.contiguous()


def shrink_to_bytes(rows: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """uint8 images (n, H, W) or (n, H, W, 3) at `size` x `size`, of the same order."""
    pixels = torch.from_numpy(np.array(rows)).float() / 255
    pixels = pixels.unsqueeze(1) if rows.ndim == 3 else pixels.permute(0, 3, 1, 2)
    fitted = fit_pixels(pixels, (pixels.shape[1], size, size))
    found = (255 * fitted).round().byte().permute(0, 2, 3, 1).numpy()
    return found[..., 0] if rows.ndim == 3 else found


def hash_files(files: Sequence[Path]) -> str:
    """Hash of one file's bytes, or of the names and hashes of several."""
    digests = []
    for path in files:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    if len(files) == 1:
        return digests[0]
    lines = [f"{path.name} {digest}\n" for path, digest in zip(files, digests, strict=True)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
