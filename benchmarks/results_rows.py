"""The rows of the results table, and what was published for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A method on a set: `training/configs/NAME.toml`, to be run with `n_seeds` seeds.

    Attributes:
        earlier: How the method was run before. Its runs stay, below the others, and their networks
            may differ from those of the set's other rows.
    """

    name: str
    method: str
    data: str
    n_seeds: int = 1
    earlier: bool = False

    @property
    def config(self) -> str:
        """Its file, from the repository's root."""
        return f"training/configs/{self.name}.toml"


OVAL, SPRITES = "Oval-dSprites", "dSprites, three shapes"
COLOR, CLOCKS, ROOM = "Color-Oval-dSprites", "clock faces", "ray-cast room"
OVAL_CIRCLE = f"{OVAL}, the circle of orientation in two dimensions"
BY_RECIPE = "by the settings of a run without a configuration"
OVAL_RECIPE, COLOR_RECIPE, ROOM_RECIPE = (f"{data}, {BY_RECIPE}" for data in (OVAL, COLOR, ROOM))
ROWS = (
    Row("oval-dsprites", "RF-VAE", OVAL, 3),
    Row("oval-factor-vae", "FactorVAE", OVAL, 3),
    Row("oval-vae", "VAE", OVAL),
    Row("oval-beta-vae", "beta-VAE", OVAL),
    Row("oval-rf-vae-0", "RF-VAE-0", OVAL),
    Row("oval-bf-vae-1", "BF-VAE-1", OVAL),
    Row("oval-dsprites-relu", "RF-VAE, ReLU", OVAL, 4, earlier=True),
    Row("oval-dsprites-slow-start", "RF-VAE, slow start", OVAL, 5, earlier=True),
    Row("oval-dsprites-standardized", "RF-VAE, standardized", OVAL, 4, earlier=True),
    Row("oval-dsprites-fast-start", "RF-VAE, fast start", OVAL, 3, earlier=True),
    Row("dsprites", "RF-VAE", SPRITES, 2),
    Row("dsprites-factor-vae", "FactorVAE", SPRITES),
    Row("color-oval-dsprites", "RF-VAE", COLOR),
    Row("oval-dsprites-circle", "RF-VAE", OVAL_CIRCLE, 3),
    Row("oval-dsprites-recipe", "RF-VAE", OVAL_RECIPE, 3),
    Row("color-oval-dsprites-recipe", "RF-VAE", COLOR_RECIPE, 3),
    Row("scenes-3d-recipe", "RF-VAE", ROOM_RECIPE),
    Row("clock-faces", "RF-VAE", CLOCKS),
)


COMPARED = ("oval-vae", "oval-factor-vae", "oval-dsprites")  # in the picture, the last one swept


@dataclass(frozen=True)
class Published:
    """Metrics I and II in percent with their deviation, and DCI with a random forest."""

    metric_1: tuple[float, float]
    metric_2: tuple[float, float]
    dci: tuple[float, float, float]


SOURCE = "arXiv 1909.02820, table 1"  # ten dimensions; the authors' code takes 300,000 steps
PUBLISHED = {
    (OVAL, "VAE"): Published((97.2, 0.4), (53.2, 1.5), (0.32, 0.55, 0.46)),
    (OVAL, "beta-VAE"): Published((75.3, 0.6), (70.2, 1.2), (0.56, 0.58, 0.36)),
    (OVAL, "FactorVAE"): Published((100.0, 0.0), (80.6, 1.1), (0.81, 0.84, 0.24)),
    (OVAL, "RF-VAE"): Published((100.0, 0.0), (95.4, 0.5), (0.93, 0.87, 0.22)),
    (OVAL, "BF-VAE-0"): Published((100.0, 0.0), (97.8, 0.7), (0.99, 0.93, 0.22)),
    (OVAL, "BF-VAE-1"): Published((100.0, 0.0), (99.8, 0.2), (0.99, 0.92, 0.21)),
    (OVAL, "BF-VAE-2"): Published((100.0, 0.0), (97.1, 0.8), (0.98, 0.91, 0.23)),
    (SPRITES, "VAE"): Published((80.2, 0.3), (58.2, 1.4), (0.57, 0.69, 0.46)),
    (SPRITES, "beta-VAE"): Published((80.8, 0.8), (76.8, 0.9), (0.72, 0.84, 0.40)),
    (SPRITES, "FactorVAE"): Published((81.9, 1.0), (77.6, 1.4), (0.73, 0.82, 0.41)),
    (SPRITES, "RF-VAE"): Published((85.4, 1.2), (79.1, 1.3), (0.73, 0.83, 0.41)),
    (SPRITES, "BF-VAE-0"): Published((87.9, 0.9), (82.7, 1.1), (0.75, 0.83, 0.44)),
    (SPRITES, "BF-VAE-1"): Published((93.8, 0.6), (82.2, 0.6), (0.75, 0.83, 0.34)),
    (SPRITES, "BF-VAE-2"): Published((85.5, 0.8), (85.9, 1.2), (0.75, 0.86, 0.48)),
}
# Nats of the dimensions that carry any, on Oval-dSprites, one run each.
KL_SOURCE = "`scripts_for_kl_inds_latent_ranges.py` of the authors' code for Bayes-Factor VAE"
PUBLISHED_KL = {
    "VAE": (5.06, 4.60, 4.19, 3.74, 3.49),
    "FactorVAE": (5.00, 4.99, 3.70, 3.03, 2.41, 0.39),
    "RF-VAE": (69.9, 17.9, 8.82, 5.55),
    "BF-VAE-2": (5.04, 5.01, 3.64, 3.10, 3.06),
}
