from dataclasses import replace

import numpy as np
import pytest
import torch

from onnx_export.errors import ExportError
from onnx_export.facts import name_dimensions
from onnx_export.prune import prune_run, prune_vae
from onnx_export.trained_run import TrainedRun
from training.networks import VAE

KEPT = [3, 1]
MEANS = torch.tensor([0.5, 9.0, -1.5, 9.0])


@pytest.fixture(scope="module")
def vae() -> VAE:
    torch.manual_seed(0)
    return VAE((3, 16, 16), latent_dim=4, hidden_units=8).eval().requires_grad_(False)


def test_pruned_decoder_is_the_full_one_with_the_rest_at_its_mean(vae: VAE) -> None:
    relevant = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    full = MEANS.repeat(5, 1)
    full[:, KEPT] = relevant

    pruned = prune_vae(vae, KEPT, means=MEANS)

    torch.testing.assert_close(pruned.decode(relevant), vae.decode(full))


def test_pruned_encoder_gives_the_kept_dimensions_in_order(vae: VAE) -> None:
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    mu, logvar = vae.encode(images)

    pruned_mu, pruned_logvar = prune_vae(vae, KEPT, means=MEANS).encode(images)

    torch.testing.assert_close(pruned_mu, mu[:, KEPT])
    torch.testing.assert_close(pruned_logvar, logvar[:, KEPT])


def test_prune_leaves_the_full_model_as_it_was(vae: VAE) -> None:
    before = {name: tensor.clone() for name, tensor in vae.state_dict().items()}
    prune_vae(vae, KEPT, means=MEANS)

    assert vae.latent_dim == 4
    for name, tensor in vae.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


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
