"""The graphs open with an ONNX Runtime two years older than the one that checked them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from onnx_export.request import Exported

OLD_RUNTIME = "1.19.2"  # September 2024
RUN = """\
import json, sys
import numpy as np, onnxruntime as ort
folder = sys.argv[1]
golden = np.load(f"{folder}/golden.npz")
encoder = ort.InferenceSession(f"{folder}/encoder.onnx", providers=["CPUExecutionProvider"])
decoder = ort.InferenceSession(f"{folder}/decoder.onnx", providers=["CPUExecutionProvider"])
mu, logvar = encoder.run(["mu", "logvar"], {"image": golden["image"]})
(image,) = decoder.run(["image"], {"z": golden["z"]})
pairs = {"mu": mu, "logvar": logvar, "decoded": image}
errors = {name: float(abs(golden[name] - got).max()) for name, got in pairs.items()}
print(json.dumps({"version": ort.__version__, **errors}))
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_graphs_run_the_same_on_a_runtime_two_years_older(
    exported: Exported, make_environment: Callable[..., Path]
) -> None:
    python = make_environment("--no-deps", f"onnxruntime=={OLD_RUNTIME}", "numpy<2.3")
    done = subprocess.run(
        [python, "-c", RUN, str(exported.folder)], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)

    assert found.pop("version") == OLD_RUNTIME
    assert max(found.values()) <= 1e-4
