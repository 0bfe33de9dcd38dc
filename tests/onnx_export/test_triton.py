import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from onnx_export.errors import ExportError
from onnx_export.request import Exported
from onnx_export.triton import triton_config, write_triton

ENCODER_CONFIG = """\
name: "oval-dsprites-32-encoder"
backend: "onnxruntime"
max_batch_size: 64
input [
  { name: "image" data_type: TYPE_UINT8 dims: [1, 32, 32] }
]
output [
  { name: "mu" data_type: TYPE_FP32 dims: [4] },
  { name: "logvar" data_type: TYPE_FP32 dims: [4] }
]
dynamic_batching {
  preferred_batch_size: [8, 16, 32]
  max_queue_delay_microseconds: 500
}
instance_group [ { kind: KIND_CPU } ]
parameters { key: "intra_op_thread_count" value: { string_value: "1" } }
parameters { key: "inter_op_thread_count" value: { string_value: "1" } }
"""
PARSE = """\
import sys
from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2
config = text_format.Parse(sys.stdin.read(), model_config_pb2.ModelConfig())
print(json_format.MessageToJson(config, preserving_proto_field_name=True))
"""


def write(exported: Exported, repository: Path) -> None:
    write_triton(exported.folder, exported.manifest, repository=repository, target="cpu")


def everything_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_triton_repository_has_a_model_for_each_graph(exported: Exported, tmp_path: Path) -> None:
    write(exported, tmp_path)

    assert everything_in(tmp_path) == [
        "oval-dsprites-32-decoder/1/model.onnx",
        "oval-dsprites-32-decoder/config.pbtxt",
        "oval-dsprites-32-encoder/1/model.onnx",
        "oval-dsprites-32-encoder/config.pbtxt",
    ]
    copied = tmp_path / "oval-dsprites-32-encoder" / "1" / "model.onnx"
    assert copied.read_bytes() == (exported.folder / "encoder.onnx").read_bytes()
    config = tmp_path / "oval-dsprites-32-encoder" / "config.pbtxt"
    assert config.read_text() == ENCODER_CONFIG


def test_triton_config_for_gpus_sets_no_threads(exported: Exported) -> None:
    config = triton_config(exported.manifest, part="decoder", target="gpu")
    assert "kind: KIND_GPU" in config
    assert "thread_count" not in config
    assert '{ name: "image" data_type: TYPE_FP32 dims: [1, 32, 32] }' in config


def test_triton_never_overwrites_a_version(exported: Exported, tmp_path: Path) -> None:
    write(exported, tmp_path)
    message = f"a version is never overwritten: `{tmp_path}/oval-dsprites-32-encoder/1` exists"
    with pytest.raises(ExportError, match=re.escape(message)):
        write(exported, tmp_path)


def fill_disk(monkeypatch: pytest.MonkeyPatch, *, at: str) -> None:
    """Let the disk be full when a file of this name below NAME-decoder is written."""
    copy, write = shutil.copyfile, Path.write_bytes

    def require_room(path: Path) -> None:
        if at in path.name and any(p.name.endswith("-decoder") for p in path.parents):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def copyfile(source: Path, target: Path) -> None:
        require_room(target)
        copy(source, target)

    def write_bytes(path: Path, content: bytes) -> int:
        require_room(path)
        return write(path, content)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    monkeypatch.setattr(Path, "write_bytes", write_bytes)


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every path below, folders too, with what its file holds."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("at", ["model.onnx", "config.pbtxt"])
@pytest.mark.parametrize("has_version", [False, True])
def test_triton_out_of_disk_leaves_no_half(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, has_version: bool
) -> None:
    if has_version:
        former = exported.manifest.model_copy(update={"version": 7})
        write_triton(exported.folder, former, repository=tmp_path, target="gpu")
    before = tree(tmp_path)

    fill_disk(monkeypatch, at=at)
    with pytest.raises(ExportError, match=r"is full: nothing was written"):
        write(exported, tmp_path)

    assert tree(tmp_path) == before


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_triton_config_is_read_by_tritons_own_definitions(
    exported: Exported, make_environment: Callable[..., Path]
) -> None:
    python = make_environment("tritonclient[grpc]==2.73.0")
    for part, n_outputs in (("encoder", 2), ("decoder", 1)):
        text = triton_config(exported.manifest, part=part, target="cpu")
        parsed = subprocess.run(
            [python, "-c", PARSE], input=text, capture_output=True, text=True, check=True
        )
        config = json.loads(parsed.stdout)
        assert config["max_batch_size"] == 64
        assert config["dynamic_batching"]["preferred_batch_size"] == [8, 16, 32]
        assert len(config["output"]) == n_outputs
        assert config["instance_group"] == [{"kind": "KIND_CPU"}]
