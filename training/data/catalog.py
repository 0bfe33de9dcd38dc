"""The sets that this program draws, by name."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from training.data import clock_faces, procedural, scenes, sprite_colors, sprites, xy_object
from training.data.ground_truth import GroundTruth
from training.data.linear_gaussian import LinearGaussian


@dataclass(frozen=True)
class Drawn:
    """A drawn set: how it is opened and what `rfvae-train datasets` says about it."""

    make: Callable[..., Any]
    summary: str
    sizes: tuple[int, ...]
    factors: GroundTruth | None


_SPRITES = sprites.FACTORS["dsprites"]
DRAWN: dict[str, Drawn] = {
    "dsprites": Drawn(
        sprites.Sprites, "square, ellipse or heart, black and white", sprites.SIZES, _SPRITES
    ),
    "oval-dsprites": Drawn(
        sprites.Sprites,
        "ellipses, black and white",
        sprites.SIZES,
        sprites.FACTORS["oval-dsprites"],
    ),
    "color-dsprites": Drawn(
        sprite_colors.ColorSprites,
        "dSprites, each in a random color, which is not a factor",
        sprites.SIZES,
        _SPRITES,
    ),
    "color-oval-dsprites": Drawn(
        sprite_colors.ColorOvals,
        "ellipses from red to violet",
        sprites.SIZES,
        sprite_colors.COLOR_OVAL_FACTORS,
    ),
    "noisy-dsprites": Drawn(
        sprite_colors.NoisySprites,
        "dSprites on colored noise, which is not a factor",
        sprites.SIZES,
        _SPRITES,
    ),
    "xy-object": Drawn(
        xy_object.XYObject, "one colored square", procedural.SIZES, xy_object.FACTORS
    ),
    "clock-faces": Drawn(
        clock_faces.ClockFaces,
        "drawn clocks, gray on white",
        procedural.SIZES,
        clock_faces.FACTORS,
    ),
    "scenes-3d": Drawn(
        scenes.Scenes, "a ray-cast room with one object", procedural.SIZES, scenes.FACTORS
    ),
    "linear-gaussian": Drawn(
        LinearGaussian, "rows of 16 numbers behind which three factors stand", (), None
    ),
}
