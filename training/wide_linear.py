"""Wide linear layers whose products a processor's matrix tiles take in half the time.

Intel's AMX multiplies bfloat16 and adds up in float32. Weights, activations, gradients and their
sums stay in float32; only what enters a product is rounded, to eight bits, as PyTorch on NVIDIA
GPUs rounds what enters a convolution to TF32. Narrow layers gain nothing from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

SMALLEST_WIDTH = 512
PRODUCTS = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]


def has_matrix_tiles() -> bool:
    """Whether this processor multiplies bfloat16 in tiles (AMX)."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16", False))


class WideLinear(nn.Linear):
    """A linear layer; with `tiles` its products take bfloat16 while it trains on a CPU.

    In evaluation mode, on other devices, under autocast, in other dtypes and below
    `SMALLEST_WIDTH` on either side it is the plain layer.
    """

    def __init__(self, in_features: int, out_features: int, *, tiles: bool) -> None:
        super().__init__(in_features, out_features)
        self.tiles = tiles and min(in_features, out_features) >= SMALLEST_WIDTH

    def forward(self, x: Tensor) -> Tensor:
        """(batch, in_features) -> (batch, out_features)."""
        if not (self.tiles and self.training and _is_plain(x)):
            return super().forward(x)
        output: Tensor = _Product.apply(x, self.weight, self.bias)  # type: ignore[no-untyped-call]
        return output


def _is_plain(x: Tensor) -> bool:
    is_float = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    return is_float and x.device.type == "cpu"


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        with _bfloat16_products():
            return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        with _bfloat16_products():
            return (
                grad @ weight if needs_x else None,
                grad.t() @ x if needs_weight else None,
                grad.sum(dim=0) if needs_bias else None,
            )


@contextmanager
def _bfloat16_products() -> Iterator[None]:
    before = PRODUCTS.fp32_precision
    PRODUCTS.fp32_precision = "bf16"
    try:
        yield
    finally:
        PRODUCTS.fp32_precision = before
