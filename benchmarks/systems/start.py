"""Starts each system on the same encoder, the way its documentation says; threads of 1 in all."""

import base64
import json
import os
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from served import free_port
from systems.environments import environment, site_packages
from systems.process import ENCODER, MODEL, ROOT, Dialect, System
from wrk import Request

HERE = Path(__file__).parent
REPOSITORY = ROOT / ".make/served"  # the one model that the others serve too
PNG, JSON = "image/png", "application/json"
LATENT_DIM = 10
TRITON_MODEL = f"""backend: "python"
max_batch_size: 32
input [ {{ name: "png" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [ {{ name: "mu" data_type: TYPE_FP32 dims: [ {LATENT_DIM} ] }},
         {{ name: "logvar" data_type: TYPE_FP32 dims: [ {LATENT_DIM} ] }} ]
instance_group [ {{ count: 2 kind: KIND_CPU }} ]
dynamic_batching {{ }}
"""


def start_ours() -> System:
    """With its default settings; the request lines go nowhere, as those of the others."""
    port, script = free_port(), str(Path(sys.executable).parent / "rfvae-serve")
    shutil.copytree(MODEL, REPOSITORY / MODEL.parent.name / MODEL.name, dirs_exist_ok=True)
    command = [script, "serve", "--port", str(port), "--models", str(REPOSITORY)]
    return System("ours", command, port, Dialect(_raw, _read_ours)).wait_until_up("/readyz")


def start_plain() -> System:
    """FastAPI without batching in two workers."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(HERE), "plain_app:app"]
    command += ["--workers", "2", "--no-access-log", "--port", str(port)]
    system = System("plain", command, port, Dialect(_base64, _read_json), ENCODER=str(ENCODER))
    return system.wait_until_up("/openapi.json")


def start_litserve() -> System:
    """One worker beside the server, LitServe's default; `LITSERVE_WORKERS` changes it."""
    port, python = free_port(), environment("litserve") / "bin/python"
    command = [str(python), str(HERE / "litserve_app.py"), str(port)]
    settings = {"ENCODER": str(ENCODER), "WORKERS": os.environ.get("LITSERVE_WORKERS", "1")}
    system = System("litserve", command, port, Dialect(_base64, _read_json), **settings)
    return system.wait_until_up("/health")


def start_triton() -> System:
    """Two instances of the Python backend; the server comes with the wheel of PyTriton."""
    folder = environment("triton")
    packages = site_packages(folder)
    server = packages / "pytriton/tritonserver"
    _lay_out(folder, packages, server)
    port = free_port()
    command = [
        *(str(server / "bin/tritonserver"), f"--model-repository={folder / 'models'}"),
        *(f"--backend-directory={server / 'backends'}", f"--http-port={port}"),
        *("--http-address=127.0.0.1", "--allow-grpc=false", "--allow-metrics=false"),
    ]
    settings = {
        "ENCODER": str(ENCODER),
        "PACKAGES": str(packages),
        "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}:{Path(sys.base_prefix) / 'lib'}",
    }
    system = System("triton", command, port, Dialect(_oip, read_oip), **settings)
    return system.wait_until_up("/v2/health/ready")


STARTS: dict[str, Callable[[], System]] = {
    "ours": start_ours,
    "plain": start_plain,
    "litserve": start_litserve,
    "triton": start_triton,
}


def _lay_out(folder: Path, packages: Path, server: Path) -> None:
    """The backend's stub for this Python where Triton looks for it, and a model repository."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = packages / "pytriton/tritonserver/python_backend_stubs" / version
    shutil.copy(stub / "triton_python_backend_stub", server / "backends/python")
    (server / "backends/python/triton_python_backend_stub").chmod(0o755)
    (server / "bin/tritonserver").chmod(0o755)
    model = folder / "models/encoder"
    (model / "1").mkdir(parents=True, exist_ok=True)
    (model / "config.pbtxt").write_text(TRITON_MODEL)
    shutil.copy(HERE / "triton_model.py", model / "1/model.py")


def _raw(png: bytes) -> Request:
    return Request("/encode", png, {"Content-Type": PNG})


def _base64(png: bytes) -> Request:
    body = json.dumps({"image": base64.b64encode(png).decode()}).encode()
    return Request("/encode", body, {"Content-Type": JSON})


def _oip(png: bytes) -> Request:
    """Open Inference Protocol with binary tensors, as Triton's own client sends it."""
    content = struct.pack("<I", len(png)) + png
    tensor = {"name": "png", "shape": [1, 1], "datatype": "BYTES"}
    tensor["parameters"] = {"binary_data_size": len(content)}  # type: ignore[assignment]
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    headers["Content-Type"] = "application/octet-stream"
    return Request("/v2/models/encoder/infer", head + content, headers)


def _read_ours(answer: bytes) -> tuple[list[int], list[float]]:
    read = json.loads(answer)
    return read["dims"], read["mu"][0]


def _read_json(answer: bytes) -> tuple[list[int], list[float]]:
    return list(range(LATENT_DIM)), json.loads(answer)["mu"][0]


def read_oip(answer: bytes) -> tuple[list[int], list[float]]:
    """Dimensions and mu; the tensors stand behind the JSON in the order in which it names them."""
    head, end = json.JSONDecoder().raw_decode(answer.decode("latin-1"))
    for tensor in head["outputs"]:
        size = tensor["parameters"]["binary_data_size"]
        if tensor["name"] == "mu":
            mu = np.frombuffer(answer[end : end + size], "<f4")
            return list(range(LATENT_DIM)), mu.tolist()
        end += size
    raise ValueError(f"no `mu` in {head}")
