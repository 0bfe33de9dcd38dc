"""Images by index. `open_images` is the one way in; every source has the same few members."""

from training.data.catalog import DRAWN
from training.data.factor_table import FactorTable
from training.data.ground_truth import GroundTruth
from training.data.opening import (
    held_out_part,
    notes_on,
    open_images,
    require_enough,
)
from training.data.source import Factors, ImageSource

__all__ = [
    "DRAWN",
    "FactorTable",
    "Factors",
    "GroundTruth",
    "ImageSource",
    "held_out_part",
    "notes_on",
    "open_images",
    "require_enough",
]
