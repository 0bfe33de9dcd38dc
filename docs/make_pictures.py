"""Writes a folder of pictures to try `rfvae-train run --data FOLDER` with.

    python docs/make_pictures.py digits FOLDER          # 1,797 digits, from scikit-learn
    python docs/make_pictures.py clock-faces FOLDER     # 5,000 drawn faces, and factors.csv

`factors.csv`, beside FOLDER, holds what varies in each clock face. Training does not read it;
`--set data.factors=...` lets `rfvae-train evaluate` score what was found against it.
"""

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from training.config import DataConfig
from training.data import open_images

N_FACES = 5000
SIDE = 64  # pixels


def write_digits(folder: Path) -> int:
    """8 x 8 gray pictures of the test set of UCI's optical digits; returns how many."""
    from sklearn.datasets import load_digits

    digits = load_digits().images  # (1797, 8, 8), 0 to 16
    return _write(folder, np.round(digits / digits.max() * 255).astype(np.uint8))


def write_clock_faces(folder: Path, *, n_faces: int = N_FACES, seed: int = 0) -> int:
    """Faces whose ten factors are drawn evenly and independently; returns how many."""
    source = open_images(DataConfig(name="clock-faces", size=SIDE))
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randint(source.n_images, (n_faces,), generator=generator)
    faces = torch.cat([source.images(part) for part in indices.split(256)])  # (n, 1, SIDE, SIDE)
    written = _write(folder, (faces[:, 0] * 255).round().to(torch.uint8).numpy())
    assert source.factors is not None
    with folder.with_name("factors.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(source.factors.factor_names)
        table.writerows(source.factors.values_at(indices).tolist())
    return written


def _write(folder: Path, pictures: np.ndarray) -> int:
    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:05d}.png")
    return len(pictures)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("digits", "clock-faces"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"FOLDER must be new: `{arguments.folder}` is there; name another")
    write = write_digits if arguments.what == "digits" else write_clock_faces
    sys.stdout.write(f"{write(arguments.folder):,} pictures in {arguments.folder}\n")


if __name__ == "__main__":
    main()
