from dataclasses import replace

import numpy as np
import pytest

from onnx_export.card import model_card
from onnx_export.errors import ExportError
from onnx_export.facts import draft_manifest, name_dimensions
from onnx_export.prune import prune_run
from onnx_export.trained_run import TrainedRun


def test_prune_run_numbers_the_relevant_dimensions_anew_and_keeps_their_names(
    run: TrainedRun,
) -> None:
    pruned, sentence = prune_run(name_dimensions(run, "scale=3"))

    rows = pruned.report["dims"]
    assert [(row["dim"], row["name"]) for row in rows] == [(0, "scale"), (1, "z1")]
    assert pruned.report["relevant_dims"] == [0, 1]
    assert pruned.vae.latent_dim == 2
    assert "of 4 latent dimensions only the 2 relevant ones are left" in sentence
    assert "at their mean over the training images. The reconstruction loss goes from " in sentence


def test_prune_run_takes_the_elbo_of_the_smaller_model(run: TrainedRun) -> None:
    pruned, _ = prune_run(run)
    values = list(pruned.report["elbo_quantiles"].values())

    assert values == sorted(values)
    assert np.isfinite(values).all()
    assert values != list(run.report["elbo_quantiles"].values())


def test_prune_run_numbers_the_disagreements_anew_and_drops_the_others(run: TrainedRun) -> None:
    disagreements = [
        "dimension 1 counts as relevant in spite of 0.4% of the decoder's sensitivity",
        "dimension 2 counts as a nuisance in spite of relevance 0.90",
        "dimension 3 counts as relevant in spite of relevance 0.10",
    ]
    pruned, _ = prune_run(replace(run, report={**run.report, "disagreements": disagreements}))
    assert pruned.report["disagreements"] == [
        "dimension 0 counts as relevant in spite of relevance 0.10",
        "dimension 1 counts as relevant in spite of 0.4% of the decoder's sensitivity",
    ]


def test_prune_run_says_what_is_of_the_model_before(run: TrainedRun) -> None:
    pruned, sentence = prune_run(name_dimensions(run, "scale=3"))
    images = np.zeros((4, 1, 32, 32), dtype=np.uint8)
    manifest = draft_manifest(pruned, name="small", version=1, images=images)

    assert manifest.scores == {}
    assert "scores and pictures are those of the model before." in sentence
    assert "## Scores of the model before pruning" in model_card(pruned, manifest, pictures=[])


def test_prune_run_needs_a_relevant_dimension(run: TrainedRun) -> None:
    empty = replace(run, report={**run.report, "relevant_dims": []})
    with pytest.raises(ExportError, match="pruning keeps the relevant dimensions: this run has"):
        prune_run(empty)
