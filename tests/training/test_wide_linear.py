"""Wide layers in matrix tiles: near to the plain ones, and only where that is wanted and pays."""

import pytest
import torch
from torch import Generator, Tensor, nn

from training.discriminator import Discriminator
from training.networks import initialize
from training.objective import density_ratio_tc, discriminator_loss, permute_dims
from training.wide_linear import PRODUCTS, SMALLEST_WIDTH, WideLinear, has_matrix_tiles

WIDE = SMALLEST_WIDTH
EIGHT_BITS = 2.0**-8

needs_tiles = pytest.mark.skipif(
    not has_matrix_tiles(), reason="needs a processor with matrix tiles for bfloat16 (AMX)"
)


def layer(width: int = WIDE, *, tiles: bool = True) -> WideLinear:
    """One with known weights."""
    result = WideLinear(width, WIDE, tiles=tiles)
    initialize(result, scheme="kaiming", generator=Generator().manual_seed(1))
    return result


def rows(width: int = WIDE) -> Tensor:
    """(64, width), N(0, 1)."""
    return torch.randn(64, width, generator=Generator().manual_seed(2))


def results(network: nn.Module, x: Tensor) -> list[Tensor]:
    """Output, and the gradients of the input and the weights."""
    x = x.clone().requires_grad_()
    output = network(x)
    factors = torch.randn(output.shape, generator=Generator().manual_seed(3))
    return [output, *torch.autograd.grad((factors * output).sum(), [x, *network.parameters()])]


def test_tiles_agree_with_the_plain_layer_to_eight_bits_in_value_and_gradient() -> None:
    x = rows()
    for rounded, plain in zip(results(layer(), x), results(layer(tiles=False), x), strict=True):
        assert rounded.dtype == torch.float32
        assert float(((rounded - plain).norm() / plain.norm()).detach()) < EIGHT_BITS


@needs_tiles
def test_tiles_are_used_on_a_processor_that_has_them() -> None:
    x = rows()
    assert not torch.equal(layer()(x), layer(tiles=False)(x))


@pytest.mark.parametrize("case", ["narrow", "evaluation", "double", "not asked for"])
def test_elsewhere_the_layer_is_the_plain_one(case: str) -> None:
    width = WIDE - 1 if case == "narrow" else WIDE
    one, x = layer(width, tiles=case != "not asked for"), rows(width)
    if case == "double":
        one, x = one.double(), x.double()
    one.train(case != "evaluation")
    plain = nn.functional.linear(x, one.weight, one.bias)
    assert torch.equal(one(x), plain)


def test_layer_runs_in_half_precision_where_that_is_asked_for() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer()(rows()).dtype == torch.bfloat16


def test_gradients_go_only_to_what_asks_for_them() -> None:
    one = layer().requires_grad_(False)
    x = rows().requires_grad_()
    one(x).sum().backward()
    assert x.grad is not None
    assert one.weight.grad is None
    assert one.bias.grad is None


def test_other_products_stay_in_float32() -> None:
    x = rows()
    before, exact = PRODUCTS.fp32_precision, x @ x.T
    results(layer(), x)
    assert PRODUCTS.fp32_precision == before
    assert torch.equal(x @ x.T, exact)


def test_discriminator_learns_the_same_total_correlation() -> None:
    found = [learned_total_correlation(tiles=tiles) for tiles in (True, False)]
    assert found[1] > 0.2  # of .51: on its way there
    assert found[0] == pytest.approx(found[1], abs=0.05)


def learned_total_correlation(*, tiles: bool, n_steps: int = 40) -> float:
    """What a discriminator says of a normal cloud with a correlation of .8 after some steps."""
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    generator = Generator().manual_seed(4)
    codes = torch.randn(n_steps, 64, 2, generator=generator) @ torch.linalg.cholesky(covariance).T
    network = Discriminator(2, hidden_units=WIDE, hidden_layers=3, tiles=tiles)
    initialize(network, scheme="kaiming", generator=generator)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4, betas=(0.5, 0.9))
    for batch in codes:
        joint, permuted = network(batch), network(permute_dims(batch, generator=generator))
        optimizer.zero_grad()
        discriminator_loss(joint, permuted).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return float(density_ratio_tc(network(codes.flatten(0, 1))))
