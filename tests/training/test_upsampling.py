"""The faster transposed convolution is the plain one, in value and gradient."""

import pytest
import torch

from training.upsampling import UpConv2d


@pytest.mark.parametrize(("channels", "kernel"), [(1, 4), (3, 4), (1, 3), (8, 4), (8, 3)])
def test_upconv_equals_the_plain_layer_in_value_and_gradient(channels: int, kernel: int) -> None:
    layer = UpConv2d(8, channels, kernel).double()
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64, requires_grad=True)
    results = []
    for mode in (True, False):
        output = layer.train(mode)(x)
        results.append([output, *torch.autograd.grad(output.sin().sum(), [x, *layer.parameters()])])
    for faster, plain in zip(*results, strict=True):
        torch.testing.assert_close(faster, plain)


def test_upconv_gives_gradients_only_to_what_asks_for_them() -> None:
    layer = UpConv2d(8, 4, 4)
    layer.bias.requires_grad_(False)  # type: ignore[union-attr]
    layer(torch.randn(2, 8, 5, 5)).sum().backward()
    assert layer.bias.grad is None  # type: ignore[union-attr]
    assert layer.weight.grad is not None
    assert layer.weight.grad.shape == (8, 4, 4, 4)


def test_upconv_runs_in_half_precision_where_that_is_asked_for() -> None:
    layer, x = UpConv2d(8, 4, 4), torch.randn(2, 8, 5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
