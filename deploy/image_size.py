"""What the service stage of the Dockerfile adds to its base: `python deploy/image_size.py`.

Installs into a temporary folder by deploy/install.sh, the script of the build, and downloads the
same versions as wheels. Sizes are sums of files, in MB of 1,000,000 bytes; the base image comes on
top. Prints a table, the largest packages, then one line of JSON.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
MB = 1e6
SHOWN = 8


def main() -> None:
    """Measure and print."""
    extras = parse_arguments().extras
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "src"
        copy_build_context(source)
        environment = install(source, Path(name) / "rfvae", extras)
        wheels = download(source, environment, Path(name) / "wheels")
        sizes = {
            "installed_mb": size_mb(environment),
            "wheels_mb": size_mb(wheels),
            "models_mb": size_mb(bundled_models(environment)),
        }
        say(f"extras {extras}: {sizes['installed_mb']:.0f} MB installed, from")
        say(f"{len(list(wheels.iterdir()))} wheels of {sizes['wheels_mb']:.0f} MB;")
        say(f"{sizes['models_mb']:.1f} MB of each are the bundled models; the largest packages:")
        for package, megabytes in largest(environment):
            say(f"  {package:24} {megabytes:6.1f} MB")
    say(json.dumps({name: round(value) for name, value in sizes.items()}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extras", default="cpu", help="cpu, gpu, or cpu,train,export")
    return parser.parse_args()


def copy_build_context(to: Path) -> None:
    """What `COPY . .` would copy: .dockerignore leaves everything out and then lets some in."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    for rule in rules[1:]:
        if rule.startswith("!"):
            source, target = ROOT / rule[1:], to / rule[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)


def install(source: Path, environment: Path, extras: str) -> Path:
    """As the build does: first what the package needs, then the package."""
    variables = os.environ | {"PYTHON": sys.executable, "PIP": f"{sys.executable} -m pip"}
    for arguments in ([extras], []):
        command = ["sh", "deploy/install.sh", str(environment), *arguments]
        subprocess.run(command, cwd=source, env=variables, check=True)
    return environment


def download(source: Path, environment: Path, wheels: Path) -> Path:
    """The wheels of what was installed, the package's own among them."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    pinned = ["--quiet", "--constraint", "constraints.txt"]
    needed = ["--requirement", str(environment / "requirements.txt"), "--only-binary", ":all:"]
    for arguments in (
        ["download", *pinned, *needed, "--dest", str(wheels)],
        ["wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), "."],
    ):
        subprocess.run([*pip, *arguments], cwd=source, check=True)
    return wheels


def bundled_models(environment: Path) -> Path:
    """Where the models that come with the package are installed."""
    (folder,) = environment.glob("lib/python*/site-packages/service/bundled")
    return folder


def size_mb(folder: Path) -> float:
    """The sum of the files below a folder."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files) / MB


def largest(environment: Path) -> list[tuple[str, float]]:
    """The largest folders among the installed packages."""
    (packages,) = environment.glob("lib/python*/site-packages")
    sizes = [(path.name, size_mb(path)) for path in packages.iterdir() if path.is_dir()]
    return sorted(sizes, key=lambda pair: -pair[1])[:SHOWN]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
