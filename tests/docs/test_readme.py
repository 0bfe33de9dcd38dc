"""The Python of the first page runs as it stands; its commands are those of tests/e2e."""

import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_readme_python_works_as_it_stands() -> None:
    (code,) = BLOCK.findall(README.read_text(encoding="utf-8"))
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(codes.shape, images.shape)"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "(2434, 4) torch.Size([2434, 1, 64, 64])\n", done.stderr
