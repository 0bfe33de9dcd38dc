"""Files for TensorBoard: scalars, grids of images, and codes with thumbnails for its projector."""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from training.data import ImageSource
from training.fit import SCALARS, Record
from training.state import TrainingState

N_PAIRS = 16  # images in the grid, above their reconstructions
N_POINTS = 500  # codes in the projector


class Board:
    """One folder of event files.

    Args:
        folder: Where TensorBoard is pointed at.
        first: Step at which this process begins; what a killed one wrote later is hidden.
    """

    def __init__(self, folder: Path, *, first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first + 1)

    def add_record(self, record: Record) -> None:
        """The terms, and relevance and KL of each dimension."""
        step = record["step"]
        values = {f"terms/{name}": record[name] for name in SCALARS}
        values["speed/steps_per_s"] = record["steps_per_s"]
        for name in ("relevance", "kl_per_dim"):
            values |= {f"{name}/{dim}": value for dim, value in enumerate(record[name])}
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def add_pictures(self, state: TrainingState, images: ImageSource) -> None:
        """Images above their reconstructions, and the means of codes; vectors have only these."""
        spread = torch.linspace(0, images.n_images - 1, min(N_POINTS, images.n_images))
        some = images.images(spread.long().to(state.device))  # (n, *image_shape)
        with torch.no_grad():
            mu, _ = state.vae.encode(some)
            is_image = some.ndim == 4
            if is_image:
                shown = slice(None, None, max(1, len(some) // N_PAIRS))
                pairs = torch.cat([some[shown][:N_PAIRS], state.vae.decode(mu[shown][:N_PAIRS])])
                grid = image_grid(pairs, n_columns=len(pairs) // 2)
                self._writer.add_image("reconstructions", grid.cpu(), state.step)
        self._writer.add_embedding(
            mu.float().cpu(),
            label_img=thumbnails(some).cpu() if is_image else None,
            global_step=state.step,
            tag="mu",
        )
        self._writer.flush()

    def close(self) -> None:
        """Nothing more will come."""
        self._writer.close()


def image_grid(images: Tensor, *, n_columns: int) -> Tensor:
    """(n_rows * n_columns, channels, height, width) -> (channels, all heights, all widths)."""
    framed = pad(images, (1, 1, 1, 1), value=0.5)
    rows = [torch.cat(list(row), dim=2) for row in torch.split(framed, n_columns)]
    return torch.cat(rows, dim=1)


def thumbnails(images: Tensor) -> Tensor:
    """Three channels, as the projector wants them."""
    return images.expand(-1, 3, -1, -1)
