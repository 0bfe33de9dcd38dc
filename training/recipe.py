"""The settings that a run starts from when nobody chose any: all schedules in one place.

Found on Oval-dSprites (`configs/oval-dsprites.toml` says how it gets there) and stretched to any
length. At first the KL weight is so high that dimensions wake up one by one, while the total
correlation and the turn of the latent axes align them; then it is low for a moment, so that weak
factors get in; then the gate opens and what carries little closes.
"""

from typing import Any

Tables = dict[str, dict[str, Any]]
Shares = list[tuple[float, float]]  # (share of the run, value)

STEPS = 21_000
SMALL_SET_STEPS = 12_000
SMALL_SET = 5000  # images
LATENT_DIM = 10
GATE_OPENS = 0.24
REFERENCE_PIXELS = 64 * 64
# How far the weights follow the number of pixels: nats of the reconstruction grow with it.
SCALE_RANGE = (0.25, 4.0)
VECTOR_SCALE = 0.1

_KL_WEIGHT_MAX: Shares = [
    (0.024, 120),
    (0.057, 40),
    (0.095, 8),
    (0.167, 2),
    (0.219, 2),
    (0.229, 0.5),
    (0.24, 0.5),
    (0.288, 4),
    (0.36, 10),
]
_TC_WEIGHT: Shares = [
    (0.071, 140),
    (0.167, 35),
    (0.219, 35),
    (0.229, 8),
    (0.24, 8),
    (0.26, 140),
]
_SPARSITY_WEIGHT: Shares = [(0.24, 0.4), (0.288, 3.9), (0.36, 9.9), (0.526, 9.9), (0.62, 1)]
_ENTROPY_WEIGHT: Shares = [(0.36, 0), (0.717, 100)]
_RELEVANCE_RATE: Shares = [(0.36, 3e-3), (0.43, 1e-3)]
_LEARNING_RATE: Shares = [(0.029, 5e-4), (0.057, 1e-3), (0.8, 1e-3), (0.976, 1e-4)]
_ROTATION_RATE: Shares = [(0.071, 3e-3), (0.143, 1e-3), (0.219, 6e-4), (0.229, 0)]
_DISCRIMINATOR_RATE: Shares = [(0.8, 1e-3), (0.976, 2e-4)]


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
            "frozen_steps": round(GATE_OPENS * steps),
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
