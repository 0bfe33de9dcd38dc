import numpy as np
import pytest
import torch

from training.comparison import KnownFactors, RunCodes, compare_codes, describe, factor_shares
from training.data.factor_table import factor_table
from training.metrics.matching import Matching

N = 2000
CLASSES = np.random.default_rng(0).integers(8, size=(N, 2))
FACTORS = KnownFactors(["size", "turn"], CLASSES)


def run_of(columns, *, name="run", relevant=None):
    """A run whose relevant dimensions have these codes, given as (factor, sign) or None."""
    rng = np.random.default_rng(len(columns) + 7 * len(name))
    codes = [
        rng.normal(size=N) if one is None else one[1] * (CLASSES[:, one[0]] + 0.1 * rng.random(N))
        for one in columns
    ]
    dims = list(range(len(columns))) if relevant is None else relevant
    report = {"dims": [{"mean_kl": 2.0} for _ in columns], "relevant_dims": dims}
    return RunCodes(name, {"seed": 1}, report=report, codes=np.stack(codes, axis=1))


def compared(*runs, factors=FACTORS):
    return compare_codes(runs, factors=factors, matching=Matching(), seed=0)


def test_cluster_takes_the_name_of_the_factor_it_follows():
    comparison = compared(run_of([(1, 1), (0, 1)]), run_of([(0, -1), (1, 1)], name="other"))
    found = {one.factor: one for one in comparison.found}
    assert found["size"].members == ((0, 1), (1, 0))
    assert found["size"].signs == (1, -1)
    assert found["turn"].members == ((0, 0), (1, 1))
    assert found["size"].share == pytest.approx(1.0, abs=0.01)
    assert comparison.runs_with("size") == [0, 1]


def test_dimension_that_follows_no_factor_has_no_name():
    comparison = compared(run_of([(0, 1), None]), run_of([(0, 1)], name="other"))
    assert [one.factor for one in comparison.found] == ["size", None]
    assert comparison.found[1].share < 0.1
    assert comparison.runs_with("turn") == []


def test_only_relevant_dimensions_are_matched():
    first = run_of([(0, 1), (1, 1)], relevant=[1])
    comparison = compared(first, run_of([(0, 1), (1, 1)], name="other", relevant=[1]))
    assert [one.members for one in comparison.found] == [((0, 1), (1, 1))]


def test_comparison_without_factors_names_nothing():
    runs = (run_of([(0, 1)]), run_of([(0, 1)], name="other"))
    comparison = compared(*runs, factors=None)
    assert [(one.factor, one.share) for one in comparison.found] == [(None, 0.0)]
    assert describe(comparison, similarity="spearman")["factors"] == []


def test_factor_shares_are_information_over_entropy():
    codes = np.column_stack([CLASSES[:, 0], np.zeros(N)]).astype(float)
    constant = KnownFactors(["size", "none"], np.column_stack([CLASSES[:, 0], np.zeros(N, int)]))
    np.testing.assert_allclose(factor_shares(codes, constant), [[1, 0], [0, 0]], atol=1e-12)


def test_description_says_how_often_with_the_exact_interval():
    runs = [run_of([(0, 1), (1, 1)], name=name) for name in ("a", "bb")] + [run_of([(0, -1)])]
    content = describe(compared(*runs), similarity="spearman")
    size, turn = content["clusters"]
    assert (size["factor"], size["n_found"], size["n_runs"]) == ("size", 3, 3)
    assert size["ci95"] == pytest.approx([0.025 ** (1 / 3), 1.0])
    assert (turn["n_found"], turn["members"][0]) == (2, {"run": 0, "dim": 1, "sign": 1})
    assert [factor["runs"] for factor in content["factors"]] == [[0, 1, 2], [0, 1]]


def test_description_has_every_pair_with_its_matches():
    content = describe(
        compared(run_of([(0, 1), (1, 1)]), run_of([(1, -1)], name="b")), similarity="spearman"
    )
    (pair,) = content["pairs"]
    assert pair["runs"] == [0, 1]
    (only,) = pair["matches"]
    assert only["dims"] == [1, 0]
    assert only["correlation"] == pytest.approx(-1.0, abs=0.02)
    assert pair["agreement"] == pytest.approx(0.5, abs=0.01)


def test_runs_without_relevant_dimensions_share_nothing():
    comparison = compared(run_of([None], relevant=[]), run_of([None], name="other", relevant=[]))
    assert list(comparison.found) == []


@pytest.mark.parametrize("n", [100, 120, 200, 1000])
def test_noise_follows_no_factor_on_few_images(n):
    rng = np.random.default_rng(n)
    table = factor_table(("x", "y"), np.column_stack([rng.random(n), rng.integers(20, size=n)]))
    report = {"dims": [{"mean_kl": 2.0}] * 3, "relevant_dims": [0, 1, 2]}
    runs = [RunCodes(name, {}, report=report, codes=rng.normal(size=(n, 3))) for name in "ab"]
    factors = KnownFactors(["x", "y"], table.factors_of(torch.arange(n)).numpy())
    comparison = compared(*runs, factors=factors)
    assert {one.factor for one in comparison.found} == {None}
    assert max(one.share for one in comparison.found) < 0.1


def test_factor_shares_of_few_images_are_one_for_a_code_that_tells_all():
    classes = np.random.default_rng(0).integers(12, size=(100, 1))
    found = factor_shares(classes.astype(float), KnownFactors(["size"], classes))
    assert found == pytest.approx(1.0)


def test_factor_shares_are_zero_where_every_image_has_a_class_of_its_own():
    codes = np.random.default_rng(0).normal(size=(30, 2))
    names = KnownFactors(["name"], np.arange(30)[:, None])
    assert factor_shares(codes, names) == pytest.approx(np.zeros((2, 1)), abs=1e-9)
    alone = np.arange(6.0)[:, None]  # in bins of their own as well
    assert factor_shares(alone, KnownFactors(["name"], np.arange(6)[:, None])) == pytest.approx(0)
