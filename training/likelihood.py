"""What the decoder's output says about a sample: Bernoulli pixels, or Gaussian pixels and columns.

The mean of pixels is the logistic function of the output, in [0, 1]; that of a vector's columns is
the output itself. A Gaussian has one standard deviation for all pixels or columns, `scale`: fixed,
or learned with the weights (arXiv 2006.13202, section 3).
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from training.objective import bernoulli_reconstruction, gaussian_reconstruction


class Likelihood(nn.Module, ABC):
    """p(x | z) given the decoder's output for z."""

    @abstractmethod
    def mean(self, output: Tensor) -> Tensor:
        """E[x | z], of the shape of `output`."""

    @abstractmethod
    def reconstruction_loss(self, output: Tensor, images: Tensor) -> Tensor:
        """-ln p(x | z), (batch,), nats per image."""


class Bernoulli(Likelihood):
    """Pixels in [0, 1] whose output is a logit."""

    def mean(self, output: Tensor) -> Tensor:
        """In [0, 1]."""
        return output.sigmoid()

    def reconstruction_loss(self, output: Tensor, images: Tensor) -> Tensor:
        """Cross-entropy, summed over pixels."""
        return bernoulli_reconstruction(output, images)


class Gaussian(Likelihood):
    """Pixels or columns around a mean, with one standard deviation for all.

    Args:
        scale: Standard deviation, or `learned` to start at 1 and follow the gradient: its optimum
            is the root mean square error.
        bounded: Whether the samples are images, whose mean stays in [0, 1].
    """

    def __init__(self, scale: float | str = 1.0, *, bounded: bool) -> None:
        super().__init__()
        self.bounded = bounded
        self.log_scale: Tensor | nn.Parameter
        if isinstance(scale, str):
            self.log_scale = nn.Parameter(torch.zeros(()))
        else:
            log_scale = torch.tensor(math.log(scale))
            self.register_buffer("log_scale", log_scale, persistent=False)

    def mean(self, output: Tensor) -> Tensor:
        """In [0, 1] for images, any number for vectors."""
        return output.sigmoid() if self.bounded else output

    def reconstruction_loss(self, output: Tensor, images: Tensor) -> Tensor:
        """Squared error in units of the scale, summed over pixels or columns."""
        return gaussian_reconstruction(self.mean(output), images, log_scale=self.log_scale)


def make_likelihood(name: str, *, scale: float | str, is_image: bool) -> Likelihood:
    """The likelihood that `objective.likelihood` names."""
    return Bernoulli() if name == "bernoulli" else Gaussian(scale, bounded=is_image)
