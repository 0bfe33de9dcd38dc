"""When the gate opens, and where the schedules stand meanwhile.

Opened early, the gate closes factors that no dimension carries yet; opened late, it finds a factor
spread over several. How many steps are right differs from seed to seed. So the gate can wait for
what it needs to see: a dimension that was silent and now carries information. All schedules stand
still while it waits, and go on from there.
"""

import torch
from torch import Tensor

from training.config import RelevanceConfig

WINDOW = 25  # steps over which a dimension's KL is averaged
LOOK_EVERY = 25  # steps: each look waits for the device
NOT_OPENED = -1


class GateClock:
    """Schedule time beside training steps.

    Args:
        config: `frozen_steps`, and what to wait for after them.
        latent_dim: Number of latent dimensions.
        device: Where the KL is computed.
    """

    def __init__(self, config: RelevanceConfig, *, latent_dim: int, device: torch.device) -> None:
        self._config = config
        self._waits = config.mode == "learned" and config.wait_steps > 0
        self.kl = torch.zeros(latent_dim, device=device)  # nats, averaged over the last steps
        self.silent = torch.ones(latent_dim, device=device)  # 1: below `wait_kl` at `wait_from`
        # Step of the opening, dimensions that woke, and the last step at which one did.
        self.numbers = torch.tensor([NOT_OPENED, 0, 0])

    def position(self, step: int) -> int:
        """Where the schedules stand in step number `step` (from 0): never later than `step`."""
        frozen, opened = self._config.frozen_steps, int(self.numbers[0])
        if not self._waits:
            return step
        return min(step, frozen) if opened == NOT_OPENED else step - (opened - frozen)

    def is_open(self, step: int) -> bool:
        """Whether a learned gate learns in step number `step`."""
        if self._config.mode != "learned":
            return False
        if self._waits:
            return int(self.numbers[0]) != NOT_OPENED
        return step >= self._config.frozen_steps

    @torch.no_grad()
    def observe(self, step: int, kl: Tensor) -> None:
        """Take in the KL of step number `step`, (latent_dim,) nats; the next one may be open."""
        if not self._waits or self.is_open(step):
            return
        self.kl.lerp_(kl, 1 / WINDOW)
        if step + 1 == min(self._config.wait_from, self._config.frozen_steps):
            self.silent.copy_(self.kl < self._config.wait_kl)
        waited = step + 1 - self._config.frozen_steps
        is_last = waited == self._config.wait_steps
        if waited >= 0 and (waited % LOOK_EVERY == 0 or is_last):
            self._look(step + 1, waited)

    def _look(self, step: int, waited: int) -> None:
        _, n_woken, last = self.numbers.tolist()
        n_now = int(((self.kl > self._config.wait_kl) * self.silent).sum())
        if n_now > n_woken:
            n_woken, last = n_now, step
        woken = n_woken >= self._config.wait_dims
        settled = woken and step - last >= self._config.settle_steps
        opens = settled or waited >= self._config.wait_steps
        self.numbers.copy_(torch.tensor([step if opens else NOT_OPENED, n_woken, last]))
