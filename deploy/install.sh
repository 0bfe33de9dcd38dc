#!/bin/sh
# What the images install. `install.sh ENVIRONMENT EXTRAS` makes the environment and installs what the
# package needs, from `pyproject.toml` and `constraints.txt` alone, so that this layer stays cached while the code
# changes; `install.sh ENVIRONMENT` then adds the package itself.
# PYTHON is the interpreter that the environment is made of, PIP the pip that installs into it.
set -eu
environment=$1
extras=${2:-}
PYTHON=${PYTHON:-python3}
PIP=${PIP:-$PYTHON -m pip}

install() {
    # PIP may be several words.
    $PIP --python "$environment/bin/python" --disable-pip-version-check --no-input install \
        --quiet --no-cache-dir --constraint constraints.txt "$@"
}

if [ -z "$extras" ]; then
    install --no-deps .
    exit
fi

"$PYTHON" -m venv --without-pip "$environment"
"$PYTHON" - "$extras" > "$environment/requirements.txt" <<'PYTHON'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
extras = [project["optional-dependencies"][name] for name in sys.argv[1].split(",")]
print(*project["dependencies"], *sum(extras, []), sep="\n")
PYTHON
install --requirement "$environment/requirements.txt"
# Packages bring their own tests, which no image needs.
find "$environment/lib" -type d -name tests -prune -exec rm -rf {} +
