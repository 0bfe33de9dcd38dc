"""A model repository for Triton Inference Server, whose ONNX Runtime backend runs the same graphs.

REPOSITORY/NAME-encoder/config.pbtxt and VERSION/model.onnx, and the same for NAME-decoder. Triton
batches requests of several clients itself.
"""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from onnx_export.errors import ExportError
from onnx_export.folder import published, replaced
from onnx_export.forms import Target
from service.models.artifact import Manifest
from service.runtime.graph_spec import TensorSpec, graph_specs

MAX_BATCH_SIZE = 64
PREFERRED_BATCH_SIZES = (8, 16, 32)
MAX_QUEUE_DELAY_US = 500
TRITON_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}


def triton_folders(manifest: Manifest, repository: Path) -> dict[str, Path]:
    """Where each graph of this version belongs.

    Raises:
        ExportError: the version is there already.
    """
    folders = {
        part: repository / f"{manifest.name}-{part}" / str(manifest.version)
        for part in ("encoder", "decoder")
    }
    for folder in folders.values():
        if folder.exists():
            raise ExportError(
                f"a version is never overwritten: `{folder}` exists; choose another `--version` or "
                "another folder for `--triton`"
            )
    return folders


def write_triton(
    model_folder: Path, manifest: Manifest, *, repository: Path, target: Target
) -> None:
    """Add this version to the repository; a failure leaves the repository as it was.

    Both configurations change when all else is in place.

    Args:
        model_folder: the checked folder that the graphs are copied from.
        manifest: of that folder.
        repository: created if missing.
        target: the processor that Triton shall run the graphs on.
    """
    folders = triton_folders(manifest, repository)
    with ExitStack() as written:
        for part, folder in folders.items():
            copy = partial(_copy, model_folder / f"{part}.onnx")
            written.enter_context(published(folder, copy))
        for part, folder in folders.items():
            config = triton_config(manifest, part=part, target=target)
            written.enter_context(replaced(folder.parent / "config.pbtxt", config))


def triton_config(manifest: Manifest, *, part: str, target: Target) -> str:
    """The text of `config.pbtxt`; dims leave out the batch, as `max_batch_size` implies it.

    A second thread inside an operation makes these small graphs slower on CPUs, so instances there
    have one thread each.
    """
    encoder, decoder = graph_specs(manifest)
    graph = encoder if part == "encoder" else decoder
    lines = [
        f'name: "{manifest.name}-{part}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {MAX_BATCH_SIZE}",
        _tensor_list("input", [graph.input]),
        _tensor_list("output", graph.outputs),
        "dynamic_batching {",
        f"  preferred_batch_size: {list(PREFERRED_BATCH_SIZES)}",
        f"  max_queue_delay_microseconds: {MAX_QUEUE_DELAY_US}",
        "}",
        f"instance_group [ {{ kind: KIND_{target.upper()} }} ]",
    ]
    if target == "cpu":
        lines += [_parameter(f"{kind}_op_thread_count", "1") for kind in ("intra", "inter")]
    return "\n".join(lines) + "\n"


def _tensor_list(field: str, tensors: Sequence[TensorSpec]) -> str:
    entries = ",\n".join(
        f'  {{ name: "{tensor.name}" data_type: {TRITON_TYPES[tensor.dtype]} '
        f"dims: {list(tensor.row)} }}"
        for tensor in tensors
    )
    return f"{field} [\n{entries}\n]"


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}'


def _copy(graph: Path, hidden: Path) -> None:
    shutil.copyfile(graph, hidden / "model.onnx")
