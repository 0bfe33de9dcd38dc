import torch

from onnx_export.trained_run import TrainedRun
from onnx_export.wrappers import DecoderGraph, EncoderGraph


def test_encoder_graph_scales_pixels_to_one(run: TrainedRun) -> None:
    pixels = torch.arange(2 * 32 * 32).remainder(256).to(torch.uint8).view(2, 1, 32, 32)
    mu, logvar = EncoderGraph(run.vae)(pixels)
    expected_mu, expected_logvar = run.vae.encode(pixels.float() / 255)

    torch.testing.assert_close(mu, expected_mu)
    torch.testing.assert_close(logvar, expected_logvar)


def test_decoder_graph_includes_the_sigmoid(run: TrainedRun) -> None:
    z = torch.linspace(-3, 3, 8).view(2, 4)
    torch.testing.assert_close(DecoderGraph(run.vae)(z), run.vae.decode_logits(z).sigmoid())
