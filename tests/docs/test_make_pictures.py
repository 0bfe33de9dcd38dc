"""The folders that the documentation trains on."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "docs" / "make_pictures.py"


def make(what: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), what, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_digits_become_a_folder_of_pictures_and_are_never_mixed_with_others(tmp_path: Path) -> None:
    assert make("digits", tmp_path / "digits").stdout.startswith("1,797 pictures in")
    pictures = sorted((tmp_path / "digits").iterdir())
    first = np.asarray(Image.open(pictures[0]))
    assert (len(pictures), first.shape, first.min(), first.max()) == (1797, (8, 8), 0, 239)
    again = make("digits", tmp_path / "digits")
    assert (again.returncode, "FOLDER must be new" in again.stderr) == (2, True)


def test_clock_faces_come_with_a_table_whose_rows_are_theirs(tmp_path: Path) -> None:
    make("clock-faces", tmp_path / "faces")
    with (tmp_path / "factors.csv").open() as file:
        rows = list(csv.DictReader(file))
    pictures = sorted((tmp_path / "faces").iterdir())
    assert len(rows) == len(pictures) == 5000
    ink = [float((np.asarray(Image.open(path)) < 128).sum()) for path in pictures[:200]]
    strokes = [float(row["size"]) * float(row["pen_width"]) for row in rows[:200]]
    assert np.corrcoef(ink, strokes)[0, 1] > 0.7
