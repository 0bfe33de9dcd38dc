"""Sees the useless ends that a run may come to, and says what to change."""

import math

from training.config import Config
from training.fit import Record
from training.relevance_votes import RELEVANCE
from training.terms import uses_discriminator

GRACE_STEPS = 1000  # A gate released a moment ago has not had the time to decide anything.
LEARNING_STEPS = 2000  # within which a discriminator has seen a difference, if it ever will
CHANCE_MARGIN = 0.001  # nats below ln 2
LIVELY_KL = 0.5  # nats; a discriminator has something to see where two dimensions have more
SILENT_KL = 0.01  # nats, of all dimensions

NONE_RELEVANT = (
    "every relevance is below 0.5: the total correlation sees almost nothing and the model is "
    "close to a beta-VAE with `objective.kl_weight_max`; lower `objective.sparsity_weight` or "
    "`objective.entropy_weight`, or raise `relevance.frozen_steps`"
)
ALL_RELEVANT = (
    "every relevance is above 0.5: no dimension was found to be a nuisance and the model is close "
    "to a FactorVAE with `objective.kl_weight_min`; raise `objective.sparsity_weight` or "
    "`objective.tc_weight`, or `model.latent_dim`"
)
NOTHING_ENCODED = (
    "the codes say nothing about the images (KL near 0): the decoder ignores them; lower "
    "`objective.kl_weight_max`, or let it rise from 0 over some thousand steps"
)
AT_CHANCE = (
    "the discriminator has seen no difference between codes and permuted codes since the start "
    "(its loss is ln 2), so the total correlation pushes nowhere; raise "
    '`discriminator.learning_rate`, or use `model.initialization` = "kaiming"'
)


class Diagnosis:
    """Looks at each record; says each thing once.

    Args:
        config: Of the run.
        first: Step at which this process began to look.
    """

    def __init__(self, config: Config, *, first: int) -> None:
        self._config, self._first = config, first
        self._said: set[str] = set()
        self._below_chance = not uses_discriminator(config) or first > 0

    def look(self, record: Record) -> list[str]:
        """New findings, a sentence each."""
        if record["discriminator_loss"] < math.log(2) - CHANCE_MARGIN:
            self._below_chance = True
        found = [*self._gate(record), *self._codes(record)]
        new = [sentence for sentence in found if sentence not in self._said]
        self._said.update(new)
        return new

    def _gate(self, record: Record) -> list[str]:
        relevance = self._config.relevance
        if (
            relevance.mode != "learned"
            or record["schedule_step"] < relevance.frozen_steps + GRACE_STEPS
        ):
            return []
        above = [value >= RELEVANCE for value in record["relevance"]]
        finished = record["step"] == self._config.run.steps
        if not any(above):
            return [NONE_RELEVANT]
        return [ALL_RELEVANT] if finished and all(above) else []

    def _codes(self, record: Record) -> list[str]:
        if record["step"] < LEARNING_STEPS:
            return []
        if record["kl"] < SILENT_KL:
            return [NOTHING_ENCODED]
        n_lively = sum(kl > LIVELY_KL for kl in record["kl_per_dim"])
        return [AT_CHANCE] if n_lively > 1 and not self._below_chance else []
