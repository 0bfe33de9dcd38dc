"""The rectifier that writes over its maps is the plain one, in value and gradient."""

import pytest
import torch
from torch import Tensor, nn

from training.rectifier import ReLU


def results(rectifier: nn.Module, images: Tensor) -> list[Tensor]:
    """Output and gradients of a small network around `rectifier`."""
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), rectifier, nn.Conv2d(4, 2, 3)).double()
    output = network(images)
    return [output, *torch.autograd.grad(output.sin().sum(), list(network.parameters()))]


@pytest.mark.parametrize("mode", [True, False])
def test_relu_equals_the_plain_layer_in_value_and_gradient(mode: bool) -> None:
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    expected = results(nn.ReLU(), images)
    for found, wanted in zip(results(ReLU().train(mode), images), expected, strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize(("mode", "is_written_over"), [(True, True), (False, False)])
def test_relu_writes_over_its_input_only_while_training(mode: bool, is_written_over: bool) -> None:
    x = torch.tensor([-1.0, 1.0])
    assert ReLU().train(mode)(x).tolist() == [0, 1]
    assert (x.tolist() == [0, 1]) == is_written_over


def test_relu_can_be_gone_through_twice() -> None:
    network = nn.Sequential(nn.Linear(3, 4), ReLU(), nn.Linear(4, 1))
    loss = network(torch.randn(5, 3)).sum()
    weights = list(network.parameters())
    first = torch.autograd.grad(loss, weights, retain_graph=True)
    for once, again in zip(first, torch.autograd.grad(loss, weights), strict=True):
        assert torch.equal(once, again)
