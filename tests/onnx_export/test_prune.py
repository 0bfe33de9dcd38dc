from dataclasses import replace

import numpy as np
import pytest

from onnx_export.errors import ExportError
from onnx_export.facts import name_dimensions
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
    assert "The reconstruction loss goes from " in sentence


def test_prune_run_takes_the_elbo_of_the_smaller_model(run: TrainedRun) -> None:
    pruned, _ = prune_run(run)
    values = list(pruned.report["elbo_quantiles"].values())

    assert values == sorted(values)
    assert np.isfinite(values).all()
    assert values != list(run.report["elbo_quantiles"].values())


def test_prune_run_needs_a_relevant_dimension(run: TrainedRun) -> None:
    empty = replace(run, report={**run.report, "relevant_dims": []})
    with pytest.raises(ExportError, match="pruning keeps the relevant dimensions: this run has"):
        prune_run(empty)
