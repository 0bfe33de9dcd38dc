"""Lines and sheets about the drawn sets."""

from training.config import DataConfig
from training.data import DRAWN, open_images
from training.sample_sheet import COLUMNS, SAMPLE_ROWS, describe_sets, samples_figure


def test_describe_sets_has_a_line_for_each_set() -> None:
    lines = describe_sets(None)
    assert [line.partition(":")[0] for line in lines if not line.startswith(" ")] == list(DRAWN)


def test_samples_figure_has_a_row_for_each_factor() -> None:
    source = open_images(DataConfig(name="xy-object", size=32))
    figure = samples_figure(source, seed=0)
    assert len(figure.axes) == SAMPLE_ROWS + 4
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert [text for text in texts if text][:3] == ["samples", "x", "25 values"]


def test_samples_figure_moves_one_factor_in_its_row() -> None:
    source = open_images(DataConfig(name="xy-object", size=32))
    figure = samples_figure(source, seed=0)
    canvas = figure.axes[SAMPLE_ROWS].images[0].get_array()  # the row of x
    width = canvas.shape[1] // COLUMNS
    assert not (canvas[:, :width] == canvas[:, -width:]).all()
