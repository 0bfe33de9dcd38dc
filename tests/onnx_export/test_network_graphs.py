import numpy as np
import pytest
import torch
from onnx import ModelProto

from onnx_export.forms import Target
from onnx_export.graphs import serialize, tidy
from onnx_export.inputs import random_inputs
from onnx_export.network_graphs import Graphs, arrange, trace_graphs
from onnx_export.quantize import to_int8
from onnx_export.verify import Reference
from service.runtime.sessions import open_session
from training.networks import VAE


@pytest.fixture(scope="module", params=[0.0, 0.1])
def color_vae(request: pytest.FixtureRequest) -> VAE:
    torch.manual_seed(0)
    sizes = {"latent_dim": 5, "hidden_units": 8}
    return VAE((3, 16, 16), **sizes, encoder_slope=request.param).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def color_graphs(color_vae: VAE) -> Graphs:
    return trace_graphs(color_vae)


def operators(graph: ModelProto) -> list[str]:
    return [node.op_type for node in graph.graph.node]


def test_graphs_for_cpus_hold_no_scaling_and_one_transposed_convolution(graphs: Graphs) -> None:
    assert "Div" not in operators(graphs["encoder"])
    assert operators(graphs["decoder"]).count("ConvTranspose") == 1  # to one channel


def test_graphs_for_gpus_keep_transposed_convolutions_whole(color_graphs: Graphs) -> None:
    plain, arranged = color_graphs["decoder"], arrange(color_graphs, "gpu")["decoder"]
    assert operators(arranged) == operators(plain)


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_graphs_of_color_images_give_what_torch_gives(
    color_vae: VAE, color_graphs: Graphs, target: Target
) -> None:
    sessions = {
        name: open_session(serialize(tidy(graph, {})))
        for name, graph in arrange(color_graphs, target).items()
    }
    reference = Reference(color_vae)
    images = random_inputs(color_vae.image_shape, color_vae.latent_dim).images[:7]
    mu, logvar = reference.encode(images)

    got = sessions["encoder"].run(["mu", "logvar"], {"image": images})
    np.testing.assert_allclose(got, [mu, logvar], rtol=0, atol=1e-5)
    (pixels,) = sessions["decoder"].run(["image"], {"z": mu})
    np.testing.assert_allclose(pixels, reference.decode(mu), rtol=0, atol=1e-5)


def test_int8_encoders_keep_their_rectifiers_between_quantized_values(
    color_vae: VAE, color_graphs: Graphs
) -> None:
    images = random_inputs(color_vae.image_shape, color_vae.latent_dim).images
    plain = arrange(color_graphs, "cpu")["encoder"]
    reduced = to_int8(plain, {"image": images})

    made_by = {name: node.op_type for node in reduced.graph.node for name in node.output}
    rectifiers = [n for n in reduced.graph.node if n.op_type in ("Relu", "LeakyRelu")]
    assert {made_by[node.input[0]] for node in rectifiers} <= {"DequantizeLinear"}
    before, after = (
        open_session(serialize(tidy(graph, {}))).run(["mu"], {"image": images})[0]
        for graph in (plain, reduced)
    )
    assert 0 < np.abs(after - before).max() < 0.2 * before.std()
