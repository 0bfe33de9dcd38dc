from onnx_export.scores import score_section, scores
from onnx_export.trained_run import TrainedRun


def test_scores_are_named_by_metric_and_by_the_way_it_was_taken(run: TrainedRun) -> None:
    assert scores(run.evaluation) == {
        "factor_vae_score": 1.0,
        "factor_vae_score_robust": 0.9875,
        "factor_vae_score_relevant": 1.0,
        "one_factor_varied_score": 0.954,
        "one_factor_varied_score_robust": 0.95,
        "mig": 0.41,
    }
    assert scores(None) == {}


def test_score_section_has_each_way_and_each_factor(run: TrainedRun) -> None:
    assert score_section(run.evaluation).splitlines() == [
        "## Scores",
        "",
        "|  | as in the paper | held-out votes, dead dimensions masked | held-out, relevant only |",
        "| --- | --- | --- | --- |",
        "| Metric I (FactorVAE score: one factor fixed) | 100.0 % | 98.8 % (97.0 % to 99.5 %) "
        "| 100.0 % |",
        "| Metric II (one factor varied) | 95.4 % (94.0 % to 97.0 %) | 95.0 % (93.0 % to 97.0 %) "
        "| not measured |",
        "",
        "| by factor, as in the paper | scale | orientation |",
        "| --- | --- | --- |",
        "| Metric I (FactorVAE score: one factor fixed) | 100.0 % | 100.0 % |",
        "| Metric II (one factor varied) | 100.0 % | 90.0 % |",
        "",
        "`mig` 0.410",
        "",
        "With 95 % intervals; 800 votes, seed 0. Constant dimensions get no vote.",
    ]


def test_score_section_says_that_a_run_was_not_evaluated() -> None:
    text = score_section(None)
    assert "Not evaluated. `rfvae-train evaluate RUN` before the export adds Metrics I" in text
