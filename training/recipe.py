"""The settings that a run starts from when nobody chose any: all schedules in one place.

Found on Oval-dSprites (`configs/oval-dsprites-fast-start.toml` says how it gets there) and
stretched to any length. At first the KL weight is so high that dimensions wake up one by one,
while the total correlation and the turn of the latent axes align them; then it is low until a
further dimension carries something, so that weak factors get in; then the gate opens and what
carries little closes.
"""

from typing import Any

Tables = dict[str, dict[str, Any]]
Shares = list[tuple[float, float]]  # (share of the run, value)

STEPS = 21_000
SMALL_SET_STEPS = 12_000
SMALL_SET = 5000  # images
LATENT_DIM = 10
# Shares of the run: the gate may open from the second on, and waits at most the third for a
# dimension that was silent at the first and carries WAIT_KL nats.
WAIT_FROM, FROZEN, WAIT = 0.219, 0.229, 0.095
WAIT_KL = 1.6  # nats
CLOSE_BELOW = 0.01  # relevance
REFERENCE_PIXELS = 64 * 64
# How far the weights follow the number of pixels: nats of the reconstruction grow with it.
SCALE_RANGE = (0.25, 4.0)
VECTOR_SCALE = 0.1

_KL_WEIGHT_MAX: Shares = [
    (0.033, 120),
    (0.081, 40),
    (0.124, 8),
    (0.176, 2),
    (0.219, 2),
    (0.229, 0.5),
    (0.276, 4),
    (0.348, 10),
]
_TC_WEIGHT: Shares = [(0.124, 140), (0.19, 35), (0.219, 35), (0.229, 8), (0.248, 140)]
_SPARSITY_WEIGHT: Shares = [(0.229, 0.4), (0.276, 3.9), (0.348, 9.9), (0.526, 9.9), (0.62, 1)]
_ENTROPY_WEIGHT: Shares = [(0.348, 0), (0.705, 100)]
_RELEVANCE_RATE: Shares = [(0.348, 3e-3), (0.419, 1e-3)]
_LEARNING_RATE: Shares = [(0.048, 5e-4), (0.086, 1e-3), (0.762, 1e-3), (0.905, 1e-4)]
_ROTATION_RATE: Shares = [(0.124, 3e-3), (0.181, 1e-3), (0.219, 6e-4), (0.229, 0)]
_DISCRIMINATOR_RATE: Shares = [(0.762, 1e-3), (0.905, 2e-4)]


def recipe(*, steps: int, image_shape: tuple[int, ...]) -> Tables:
    """All sections but `data`, as plain tables.

    Args:
        steps: Length of the run; every schedule is stretched to it.
        image_shape: (channels, height, width), or (n_columns,); decides likelihood and weights.
    """
    is_image = len(image_shape) == 3
    scale = weight_scale(image_shape)
    objective = {
        "likelihood": "bernoulli" if is_image else "gaussian",
        "kl_weight_min": 0.1,
        "kl_weight_max": _stretched(_KL_WEIGHT_MAX, steps, scale),
        "tc_weight": _stretched(_TC_WEIGHT, steps, scale),
        "sparsity_weight": _stretched(_SPARSITY_WEIGHT, steps, scale),
        "entropy_weight": _stretched(_ENTROPY_WEIGHT, steps, scale),
    }
    if not is_image:
        objective["likelihood_scale"] = "learned"
    return {
        "model": {"latent_dim": LATENT_DIM, "initialization": "kaiming"},
        "objective": objective,
        "relevance": {
            "initial": 0.5,
            "frozen_steps": round(FROZEN * steps),
            "wait_from": round(WAIT_FROM * steps),
            "wait_steps": round(WAIT * steps),
            "wait_kl": WAIT_KL,
            "close_below": CLOSE_BELOW,
            "learning_rate": _stretched(_RELEVANCE_RATE, steps),
        },
        "optimizer": {
            "learning_rate": _stretched(_LEARNING_RATE, steps),
            "rotation_learning_rate": _stretched(_ROTATION_RATE, steps),
        },
        "discriminator": {
            "hidden_units": 256,
            "hidden_layers": 3,
            "learning_rate": _stretched(_DISCRIMINATOR_RATE, steps),
            "history": 8,
        },
        "run": {"steps": steps, "batch_size": 32},
    }


def default_steps(n_images: int) -> int:
    """Fewer for small sets, which are seen many times over anyway."""
    return STEPS if n_images > SMALL_SET else SMALL_SET_STEPS


def weight_scale(image_shape: tuple[int, ...]) -> float:
    """Weights of the loss terms beside those of a 64 x 64 image."""
    if len(image_shape) == 1:
        return VECTOR_SCALE
    low, high = SCALE_RANGE
    return min(high, max(low, image_shape[1] * image_shape[2] / REFERENCE_PIXELS))


def _stretched(shares: Shares, steps: int, scale: float = 1.0) -> list[list[float]]:
    """Points (share, value) as (step, value) with rising steps; of two on one step the later."""
    points = {round(share * steps): round(scale * value, 6) for share, value in shares}
    return [[step, value] for step, value in sorted(points.items())]
