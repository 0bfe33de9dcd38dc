"""Virtual environments of the systems that we do not depend on, outside the tree, pinned here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "rfvae-benchmarks"
COMMON = ("onnxruntime==1.32.0", "pillow==13.0.0")
PACKAGES = {"litserve": "litserve==0.2.19", "triton": "nvidia-pytriton==0.7.0"}
NUMPY = {"litserve": "numpy==2.4.6", "triton": "numpy==1.26.4"}  # PyTriton wants numpy 1


def environment(name: str) -> Path:
    """The folder of the environment, made on the first call."""
    folder = CACHE / name
    done = folder / "complete"
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        install = [
            folder / "bin/python",
            "-m",
            "pip",
            "install",
            "-q",
            PACKAGES[name],
            NUMPY[name],
            *COMMON,
        ]
        subprocess.run(install, check=True)
        done.touch()
    return folder


def site_packages(folder: Path) -> Path:
    """Where an environment has its packages."""
    return next(folder.glob("lib/python3.*/site-packages"))
