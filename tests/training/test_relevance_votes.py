import dataclasses

import pytest

from training.relevance_votes import (
    RULE,
    Evidence,
    disagreements,
    is_relevant,
    ordered_rows,
    relevant_order,
    votes_of,
)

FACTOR = Evidence(
    dim=0,
    relevance=0.98,
    gate_votes=True,
    mean_kl=4.0,
    active_variance=0.97,
    decoder_sensitivity=30.0,
    sensitivity_share=0.25,
    traversal_effect=200.0,
    n_pixels=4096,
    mutual_information=3.2,
)
NUISANCE = dataclasses.replace(
    FACTOR,
    relevance=0.01,
    mean_kl=0.002,
    active_variance=0.001,
    sensitivity_share=0.0,
    traversal_effect=0.4,
    mutual_information=0.0,
)


def changed(evidence=FACTOR, **fields):
    return dataclasses.replace(evidence, **fields)


def test_clear_factor_and_clear_nuisance_are_unanimous():
    assert set(votes_of(FACTOR).values()) == {True}
    assert set(votes_of(NUISANCE).values()) == {False}
    assert is_relevant(FACTOR)
    assert not is_relevant(NUISANCE)
    assert disagreements([FACTOR, NUISANCE]) == []


def test_factor_with_a_half_open_gate_is_still_found():
    """The case of arXiv 1909.02820: relevance 0.40 at 5.04 nats."""
    half_open = changed(relevance=0.40, mean_kl=5.04)
    assert is_relevant(half_open)
    assert disagreements([half_open]) == [
        "dimension 0 counts as relevant in spite of relevance 0.40; "
        "the gate may not have settled: look at its curve, or train longer"
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"active_variance": 0.01},
        {"mean_kl": 0.09},
        {"relevance": 0.4, "mean_kl": 0.49},
        {"relevance": 0.4, "sensitivity_share": 0.009},
    ],
)
def test_dimension_that_lacks_one_condition_is_a_nuisance(fields):
    assert not is_relevant(changed(**fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"mean_kl": 0.1, "sensitivity_share": 0.0, "traversal_effect": 0.0},
        {"relevance": 0.5},
        {"relevance": 0.0, "mean_kl": 0.5, "sensitivity_share": 0.01},
    ],
)
def test_dimension_that_just_meets_the_conditions_is_relevant(fields):
    assert is_relevant(changed(**fields))


def test_open_gate_on_a_silent_dimension_is_told():
    silent = changed(NUISANCE, dim=7, relevance=0.97)
    assert not is_relevant(silent)
    assert disagreements([silent]) == [
        "dimension 7 counts as a nuisance in spite of relevance 0.97; "
        "the gate may not have settled: look at its curve, or train longer"
    ]


def test_disagreement_names_each_finding_with_its_number():
    odd = changed(sensitivity_share=0.004, traversal_effect=3.0, mutual_information=0.05)
    assert disagreements([odd]) == [
        "dimension 0 counts as relevant in spite of 0.4% of the decoder's sensitivity, "
        "a traversal that changes 3.0 pixels, mutual information 0.05 nats"
    ]


def test_gate_without_a_vote_abstains_and_the_rest_decides():
    plain = changed(gate_votes=False, relevance=1.0)
    assert votes_of(plain)["relevance"] is None
    assert is_relevant(plain)
    assert not is_relevant(changed(plain, mean_kl=0.3))
    assert disagreements([plain]) == []


def test_relevant_order_is_by_relevance_to_two_decimals_then_kl():
    dims = [
        changed(dim=0, relevance=0.991, mean_kl=2.0),
        changed(dim=1, relevance=0.994, mean_kl=1.0),
        changed(NUISANCE, dim=2),
        changed(dim=3, relevance=0.60, mean_kl=9.0),
    ]
    assert relevant_order(dims) == [0, 1, 3]


def test_ordered_rows_put_nuisances_last_by_kl():
    rows = [
        {"dim": 0, "relevant": False, "mean_kl": 0.01},
        {"dim": 1, "relevant": True, "mean_kl": 3.0},
        {"dim": 2, "relevant": False, "mean_kl": 0.2},
        {"dim": 3, "relevant": True, "mean_kl": 5.0},
    ]
    report = {"dims": rows, "relevant_dims": [3, 1]}
    assert [row["dim"] for row in ordered_rows(report)] == [3, 1, 2, 0]


def test_rule_states_every_threshold():
    for number in ("0.01", "0.1 nats", "0.5", "0.5 nats", "1%"):
        assert number in RULE


def test_sweep_of_a_row_votes_by_standard_deviations():
    """Nuisances of a trained model moved sixteen columns by 0.2 in all."""
    row = changed(n_pixels=None, traversal_effect=0.5)
    assert votes_of(row)["traversal"] is True
    assert disagreements([row]) == []
    assert disagreements([changed(row, traversal_effect=0.2)]) == [
        "dimension 0 counts as relevant in spite of a traversal that moves columns by 0.20 "
        "standard deviations"
    ]


def test_sensitivity_has_no_vote_where_no_dimension_carries_anything():
    """Shares of next to nothing sum to 1 as well."""
    dead = changed(NUISANCE, sensitivity_share=0.334, sensitivity_votes=False)
    assert votes_of(dead)["sensitivity"] is None
    assert not is_relevant(dead)
    assert disagreements([dead]) == []
