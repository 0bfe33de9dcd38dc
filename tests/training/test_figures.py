import io
from types import SimpleNamespace

import numpy as np
import torch
from PIL import Image

from training.column_figures import effects_figure, explained_figure, explained_variance
from training.data.sprites import Sprites
from training.figures import (
    draw_report_figures,
    reconstructions_figure,
    save_figure,
    traversals_figure,
)
from training.networks import VAE

QUANTILES = {"1": -1.5, "5": -1.0, "25": -0.5, "50": 0.0, "75": 0.5, "95": 1.0, "99": 1.5}
ROWS = [
    {"dim": 1, "relevance": 0.98, "mean_kl": 4.0, "mu_quantiles": QUANTILES, "relevant": True},
    {"dim": 0, "relevance": 0.01, "mean_kl": 0.0, "mu_quantiles": QUANTILES, "relevant": False},
]
LOG = [
    {
        "step": 10,
        "reconstruction": 50.0,
        "total_correlation": 0.1,
        "discriminator_loss": 0.6,
        "relevance": [0.5, 0.5],
        "kl_per_dim": [0.1, 0.0],
    }
]


def pixels(figure):
    file = io.BytesIO()
    save_figure(figure, file)
    return np.asarray(Image.open(file).convert("RGB"))


def labels(figure):
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_reconstructions_show_pixels_unblurred_and_differences_in_two_colors():
    images = torch.zeros(3, 1, 32, 32)
    images[0, 0, :16] = 1.0
    reconstructions = torch.zeros(3, 1, 32, 32)
    reconstructions[1, 0, :, :16] = 1.0
    figure = reconstructions_figure(images, reconstructions)
    original, _, difference = (axis.images[0].get_array() for axis in figure.axes)
    assert np.unique(original[:, :64]).tolist() == [0.0, 1.0]
    assert original[:32, :64].min() == 1.0
    too_dark, too_bright = difference[0, 0], difference[0, 68]
    assert too_dark[2] > too_dark[0]
    assert too_bright[0] > too_bright[2]
    assert (difference[40, 20] == 1.0).all()
    shown = pixels(figure)
    top = shown.shape[0] - 16 - 64  # first row: 16 pixels from the top
    assert top > 0
    assert set(np.unique(shown[16:80, 130:194])) == {0, 255}


def test_traversals_label_rows_with_relevance_kl_and_range():
    figure = traversals_figure(torch.rand(2, 5, 3, 8, 8), ROWS)
    found = labels(figure)
    assert "dimension 1" in found
    assert "relevance 0.98 · 4.00 nats" in found
    assert "-1.50 to +1.50" in found
    assert found.index("dimension 1") < found.index("dimension 0")


def test_traversals_of_color_images_keep_their_colors():
    frames = torch.zeros(1, 2, 3, 8, 8)
    frames[0, 0, 0] = 1.0
    figure = traversals_figure(frames, ROWS[:1])
    assert figure.axes[0].images[0].get_array()[0, 0].tolist() == [1.0, 0.0, 0.0]


def test_traversals_with_no_relevant_dimension_are_drawn():
    assert len(traversals_figure(torch.rand(1, 3, 1, 8, 8), ROWS[1:]).axes) == 1


def test_draw_report_figures_writes_the_same_bytes_again(tmp_path):
    torch.manual_seed(0)
    vae = VAE((1, 32, 32), latent_dim=2, hidden_units=8).eval()
    source = Sprites("oval-dsprites", size=32)
    report = {"dims": [ROWS[1], ROWS[0]], "relevant_dims": [1]}
    for folder in ("first", "second"):
        draw_report_figures(tmp_path / folder, vae, source, report=report, log=LOG)
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == ["reconstructions.png", "relevance.png", "training.png", "traversals.png"]
    for name in names:
        first, second = ((tmp_path / folder / name).read_bytes() for folder in ("first", "second"))
        assert first == second


def test_draw_report_figures_without_a_log_leaves_the_curves_out(tmp_path):
    vae = VAE((1, 32, 32), latent_dim=2, hidden_units=8).eval()
    source = Sprites("oval-dsprites", size=32)
    report = {"dims": [ROWS[1], ROWS[0]], "relevant_dims": [1]}
    paths = draw_report_figures(tmp_path / "figures", vae, source, report=report, log=[])
    assert [path.stem for path in paths] == ["reconstructions", "traversals", "relevance"]


def test_dollars_in_the_names_of_columns_make_no_formula():
    columns = ["US$_to_$", "$x", "cost in $"]
    rows = [row | {"column_effects": [0.5, -0.2, 0.1]} for row in ROWS]
    for figure in (effects_figure(rows, columns), explained_figure(np.ones(3), columns)):
        assert pixels(figure).size > 0


def test_constant_column_keeps_no_share_of_a_variance():
    rows = torch.cat([torch.randn(50, 1), torch.full((50, 1), 0.1)], dim=1)
    vae = SimpleNamespace(encode=lambda x: (x, None), decode=lambda z: z + 0.5)
    source = SimpleNamespace(n_images=50, images=lambda indices: rows[indices])
    explained = explained_variance(vae, source)
    assert explained[0] < 1
    assert np.isnan(explained[1])
    axis = explained_figure(explained, ["height", "shape"]).axes[0]
    assert [text.get_text() for text in axis.texts] == [f"{explained[0]:.2f}", "constant"]
    assert axis.patches[1].get_width() == 0
