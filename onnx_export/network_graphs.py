"""The two graphs of a model, arranged for the processor that will run them."""

from collections.abc import Mapping

import torch
from onnx import ModelProto

from onnx_export.forms import Target
from onnx_export.graphs import export_graph
from onnx_export.phases import split_transposed_convolutions
from onnx_export.rewrite import fold_input_scale
from onnx_export.wrappers import DecoderGraph, EncoderGraph, RowEncoderGraph
from training.networks import VAE

Graphs = Mapping[str, ModelProto]


def trace_graphs(vae: VAE) -> Graphs:
    """The encoder and the decoder as torch exports them; of a model of rows, standardized ones.

    Args:
        vae: in evaluation mode.
    """
    is_image = len(vae.image_shape) == 3
    sample = torch.zeros(2, *vae.image_shape, dtype=torch.uint8 if is_image else torch.float32)
    name = "image" if is_image else "row"
    encoder = EncoderGraph(vae) if is_image else RowEncoderGraph(vae)
    z = torch.zeros(2, vae.latent_dim)
    return {
        "encoder": export_graph(encoder, sample, inputs=[name], outputs=["mu", "logvar"]),
        "decoder": export_graph(DecoderGraph(vae), z, inputs=["z"], outputs=[name]),
    }


def arrange(graphs: Graphs, target: Target) -> Graphs:
    """Rewrite both, exactly, to do the least work on the processor that will run them.

    Args:
        graphs: from `trace_graphs`; left as they are.
        target: GPUs have a fast kernel for transposed convolutions, which stay whole for them.
    """
    decoder = graphs["decoder"]
    if target == "cpu":
        decoder = split_transposed_convolutions(decoder)
    return {"encoder": fold_input_scale(graphs["encoder"]), "decoder": decoder}
