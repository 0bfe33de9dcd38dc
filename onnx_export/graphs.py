"""From a torch module to a small, checked, reproducible ONNX graph.

The exporter's own notes (stack traces, paths, versions) are stripped, so that the same weights
give the same bytes. A graph that draws random numbers or keeps weights elsewhere is refused.
"""

import copy
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import onnx
import torch
from onnx import ModelProto, TensorProto
from torch import Tensor, nn

from onnx_export.errors import ExportError

OPSET = 18
# The oldest file format that carries opset 18: the older the format, the more runtimes open it.
IR_VERSION = 8
# Of the graphs, not of the package: a new release alone must not change their bytes.
PRODUCER_VERSION = "1"
RANDOM_OPS = frozenset(
    {"Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike"}
    | {"RandomUniform", "RandomUniformLike", "Dropout"}
)


def export_graph(
    module: nn.Module, example: Tensor, *, inputs: Sequence[str], outputs: Sequence[str]
) -> ModelProto:
    """Trace `module` on `example` (a batch of 2) with a free batch dimension."""
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            (example,),
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export returned no graph")
    model: ModelProto = program.model_proto
    return model


def tidy(model: ModelProto, facts: Mapping[str, str]) -> ModelProto:
    """Strip what differs between machines, add `facts` as metadata, infer shapes, and check."""
    clean = copy.deepcopy(model)
    _strip(clean)
    onnx.helper.set_model_props(clean, dict(sorted(facts.items())))
    check_portable(clean)
    clean = onnx.shape_inference.infer_shapes(
        clean, check_type=True, strict_mode=True, data_prop=True
    )
    onnx.checker.check_model(clean, full_check=True)
    return clean


def serialize(model: ModelProto) -> bytes:
    """The same model gives the same bytes."""
    return bytes(model.SerializeToString(deterministic=True))


def check_portable(model: ModelProto) -> None:
    """Refuse a graph that is random, keeps weights elsewhere, or needs operators of one vendor.

    Raises:
        ExportError: naming the node or tensor.
    """
    for node in model.graph.node:
        if node.op_type in RANDOM_OPS:
            raise ExportError(
                f"a graph draws no random numbers: node `{node.name}` is `{node.op_type}`; export "
                "the mean, not a sample"
            )
        if node.domain not in ("", "ai.onnx"):
            raise ExportError(
                f"a graph uses standard operators only: node `{node.name}` is "
                f"`{node.domain}::{node.op_type}`"
            )
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            raise ExportError(
                f"a graph file holds its own weights: tensor `{tensor.name}` is kept in another "
                "file"
            )


def _strip(model: ModelProto) -> None:
    model.producer_name = "rfvae"
    model.producer_version = PRODUCER_VERSION
    model.ir_version = IR_VERSION
    model.doc_string = ""
    del model.metadata_props[:]
    graph = model.graph
    del graph.metadata_props[:]
    del graph.value_info[:]
    graph.doc_string = ""
    graph.name = "rfvae"
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the exporter's remarks on its own deprecated calls and on packages we do not use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
