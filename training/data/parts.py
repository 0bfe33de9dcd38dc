"""A share of the images that training never sees."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from training.data.factor_table import FactorTable
from training.data.source import Factors, ImageSource

_SEED = 20_190_204  # the same images are held out by every run on a set


def split_indices(n_images: int, holdout: float) -> tuple[Tensor, Tensor]:
    """Numbers of the images to train on and of the held-out ones, each rising.

    Args:
        n_images: All of them.
        holdout: Share to hold out, in [0, 1); at least one image where it is above 0.
    """
    n_held = max(1, round(holdout * n_images)) if holdout else 0
    order = np.random.default_rng(_SEED).permutation(n_images)
    held, kept = np.sort(order[:n_held]), np.sort(order[n_held:])
    return torch.from_numpy(kept), torch.from_numpy(held)


def split_groups(groups: Sequence[str], holdout: float) -> tuple[Tensor, Tensor]:
    """The same, for images of which those of a group stay together.

    Args:
        groups: (n_images,) the group of each image, of two groups at least.
        holdout: Share of the images to hold out, in (0, 1): as many whole groups as fit into it,
            and one at least, the smallest, if none does.
    """
    members: dict[str, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    in_order = list(members.values())
    shuffled = [in_order[row] for row in np.random.default_rng(_SEED).permutation(len(in_order))]
    most, held = holdout * len(groups), list[int]()
    for rows in shuffled:
        if len(held) + len(rows) <= most:
            held.extend(rows)
    held_rows = sorted(held or min(shuffled, key=len))
    kept_rows = sorted(set(range(len(groups))).difference(held_rows))
    return torch.tensor(kept_rows), torch.tensor(held_rows)


class Part:
    """Some images of a source, as a source.

    Args:
        whole: The source.
        rows: (n,) the numbers of its images.
    """

    def __init__(self, whole: ImageSource, rows: Tensor) -> None:
        self.whole = whole
        self._rows = rows
        self.name = whole.name
        self.source = whole.source
        self.image_shape = whole.image_shape
        self.n_images = len(rows)
        self.factors = _factors_of_part(whole.factors, rows)

    def sha256(self) -> str:
        """Hash of the whole set."""
        return self.whole.sha256()

    def images(self, indices: Tensor) -> Tensor:
        """(batch,) int64 -> (batch, *image_shape)."""
        return self.whole.images(self._rows.to(indices.device)[indices])


def whole_source(source: ImageSource) -> ImageSource:
    """All images of the set that `source` is a part of, or is."""
    return source.whole if isinstance(source, Part) else source


def _factors_of_part(factors: Factors | None, rows: Tensor) -> FactorTable | None:
    if factors is None:
        return None
    return FactorTable(factors.factor_names, factors.values_at(rows), factors.factors_of(rows))
