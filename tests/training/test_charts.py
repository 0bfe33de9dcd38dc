import pytest

from training.charts import relevance_figure, training_figure

ROWS = [
    {"dim": 3, "relevance": 0.99, "mean_kl": 5.25, "relevant": True},
    {"dim": 0, "relevance": 0.02, "mean_kl": 0.004, "relevant": False},
]
LOG = [
    {
        "step": step,
        "reconstruction": 500.0 / step,
        "total_correlation": 0.1,
        "discriminator_loss": 0.6,
        "relevance": [0.5, 0.5, 0.5],
        "kl_per_dim": [0.1 * step, 0.0, 0.2],
    }
    for step in (100, 200, 300)
]


def texts(axis):
    return [text.get_text() for text in axis.texts]


def test_relevance_figure_labels_bars_in_the_order_given():
    left, right = relevance_figure(ROWS).axes
    labels = [label.get_text() for label in left.get_yticklabels()]
    assert labels == ["dimension 3", "dimension 0"]
    assert left.yaxis_inverted()
    assert texts(left) == ["0.99", "0.02"]
    assert texts(right) == ["5.25", "0.00"]
    assert [bar.get_width() for bar in left.patches] == [0.99, 0.02]


def test_relevance_figure_colors_relevant_bars_apart():
    left, _ = relevance_figure(ROWS).axes
    relevant, nuisance = (bar.get_facecolor() for bar in left.patches)
    assert relevant != nuisance


def test_training_figure_draws_each_dimension_and_names_the_relevant():
    axes = training_figure(LOG, relevant_dims=[2, 0]).axes
    legend = [text.get_text() for text in axes[3].get_legend().get_texts()]
    assert legend == ["dimension 2", "dimension 0", "nuisances"]
    named = {line.get_label(): line.get_ydata().tolist() for line in axes[3].lines}
    assert named["dimension 0"] == pytest.approx([10.0, 20.0, 30.0])
    assert named["dimension 2"] == [0.2, 0.2, 0.2]


def test_training_figure_of_a_single_record_has_a_finite_range():
    axis = training_figure(LOG[:1], relevant_dims=[]).axes[0]
    low, high = axis.get_ylim()
    assert low < 5.0 < high


def test_training_figure_of_a_single_record_draws_dots():
    single = training_figure(LOG[:1], relevant_dims=[2]).axes
    several = training_figure(LOG, relevant_dims=[2]).axes
    for axes, marker in ((single, "o"), (several, "None")):
        drawn = [line for axis in axes for line in axis.lines if len(line.get_xdata())]
        assert len(drawn) == 9
        assert {line.get_marker() for line in drawn} == {marker}


@pytest.mark.parametrize("sample", ["image", "row"])
def test_training_figure_names_what_nats_are_counted_of(sample):
    axis = training_figure(LOG, relevant_dims=[], sample=sample).axes[0]
    assert axis.get_title(loc="left") == f"reconstruction (nats per {sample})"
