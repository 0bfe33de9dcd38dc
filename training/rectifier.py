"""The rectifier between two layers, without a second copy of its map forward or backward.

The maps are the largest tensors of a step, so that on a CPU a rectifier costs what it moves through
memory.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class ReLU(nn.ReLU):
    """max(x, 0), written over x while training on a CPU; the plain layer everywhere else.

    The gradient is written over the one that comes in. So the layer before must not need its own
    output for its gradient, and the layer after must make its gradient anew, as linear layers and
    convolutions do; and nothing else may read the map.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        output: Tensor = _Rectify.apply(x)  # type: ignore[no-untyped-call]
        return output


class _Rectify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.mark_dirty(x)
        ctx.save_for_backward(x.relu_())
        return x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (output,) = ctx.saved_tensors
        result: Tensor = torch.ops.aten.threshold_backward.grad_input(
            grad, output, 0, grad_input=grad
        )
        return result
