"""The settings that a run starts from when nobody chose any: all schedules in one place.

Found on Oval-dSprites, shown on its colored form (`configs/color-oval-dsprites-recipe.toml`),
stretched to any length. At first the KL weight is so high that nothing comes in; as it falls,
dimensions wake up one by one, while the total correlation and the turn of the latent axes align
them. Then weights are low, and the gate waits until no further dimension has woken up for a while,
so that weak factors get in. Then it opens, what carries less than a nat closes, and the codes of
the others are kept noisy (`kl_weight_min`), which lays factors out plainly before they get exact.
"""

from typing import Any

Tables = dict[str, dict[str, Any]]
Shares = list[tuple[float, float]]  # (share of the run, value)

STEPS = 21_000
SMALL_SET_STEPS = 12_000
SMALL_SET = 5000  # images
LATENT_DIM = 10
# Shares of the run: from the second on the gate waits, at most for the third, until dimensions that
# were silent at the first carry WAIT_KL nats and none has followed for a while. Schedules stand
# meanwhile, so they end before 1 - WAIT.
WAIT_FROM, FROZEN, WAIT = 0.216, 0.225, 0.16
SETTLE_STEPS = 600  # about what a factor takes from the first sign to WAIT_KL, however long the run
WAIT_KL = 1.0  # nats
CLOSE_BELOW = 0.02  # relevance
REFERENCE_PIXELS = 64 * 64
# How far the weights follow the number of pixels: nats of the reconstruction grow with it.
SCALE_RANGE = (0.25, 4.0)
VECTOR_SCALE = 0.1

_KL_WEIGHT_MIN: Shares = [(0.225, 0.1), (0.27, 5), (0.62, 5), (0.72, 1)]
_KL_WEIGHT_MAX: Shares = [
    (0.018, 300),
    (0.045, 120),
    (0.088, 40),
    (0.128, 8),
    (0.176, 2),
    (0.216, 2),
    (0.225, 0.5),
    (0.27, 10),
    (0.34, 20),
]
_TC_WEIGHT: Shares = [(0.128, 140), (0.19, 35), (0.216, 35), (0.225, 8), (0.248, 35), (0.27, 140)]
_SPARSITY_WEIGHT: Shares = [
    (0.225, 0.4),
    (0.27, 4.5),
    (0.34, 13.5),
    (0.4, 13.5),
    (0.44, 9.9),
    (0.62, 9.9),
    (0.72, 1),
]
_ENTROPY_WEIGHT: Shares = [(0.34, 0), (0.62, 100)]
# Still 0 while the total correlation takes apart what came in: it would close what is tangled.
_RELEVANCE_RATE: Shares = [(0.27, 0), (0.275, 3e-3), (0.62, 3e-3), (0.72, 1e-3)]
_LEARNING_RATE: Shares = [(0.058, 5e-4), (0.093, 1e-3), (0.66, 1e-3), (0.82, 1e-4)]
_ROTATION_RATE: Shares = [(0.128, 3e-3), (0.181, 1e-3), (0.216, 6e-4), (0.225, 0)]
_DISCRIMINATOR_RATE: Shares = [(0.66, 1e-3), (0.82, 2e-4)]


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
        "kl_weight_min": _stretched(_KL_WEIGHT_MIN, steps, scale),
        "kl_weight_max": _stretched(_KL_WEIGHT_MAX, steps, scale),
        "tc_weight": _stretched(_TC_WEIGHT, steps, scale),
        "sparsity_weight": _stretched(_SPARSITY_WEIGHT, steps, scale),
        "entropy_weight": _stretched(_ENTROPY_WEIGHT, steps, scale),
    }
    if not is_image:
        objective["likelihood_scale"] = "learned"
    return {
        "model": {"latent_dim": LATENT_DIM, "initialization": "kaiming", "encoder_slope": 0.1},
        "objective": objective,
        "relevance": {
            "initial": 0.5,
            "frozen_steps": round(FROZEN * steps),
            "wait_from": round(WAIT_FROM * steps),
            "wait_steps": round(WAIT * steps),
            "wait_kl": WAIT_KL,
            "settle_steps": min(SETTLE_STEPS, round(0.05 * steps)),
            "close_below": CLOSE_BELOW,
            "learning_rate": _stretched(_RELEVANCE_RATE, steps),
        },
        "optimizer": {
            "learning_rate": _stretched(_LEARNING_RATE, steps),
            "rotation_learning_rate": _stretched(_ROTATION_RATE, steps),
        },
        "discriminator": {
            "standardize": True,
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
