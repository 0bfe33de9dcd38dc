"""Folders that the system cannot list, as on a machine out of files or a volume that went away."""

import os
from pathlib import Path
from typing import Any

import pytest


def cannot_list(folder: Path, number: int, patch: pytest.MonkeyPatch) -> None:
    """Makes `os.scandir` fail with this error number for one folder."""
    scandir = os.scandir

    def failing(path: Any) -> Any:
        if Path(path) == folder:
            raise OSError(number, os.strerror(number), str(path))
        return scandir(path)

    patch.setattr(os, "scandir", failing)
