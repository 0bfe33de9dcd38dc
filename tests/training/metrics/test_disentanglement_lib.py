"""The scores are those of disentanglement_lib 1.5 (Google, 2019), the public reference.

Its own dependencies (TensorFlow 1) cannot be installed any more; the metrics need none of them but
the decorator of gin, so that a stand-in for each is enough to import them.
"""

import importlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from training.metrics import (
    VoteProtocol,
    beta_vae_score,
    boosting,
    dci,
    explicitness,
    factor_vae_score,
    irs,
    mig,
    modularity,
    sap,
)
from training.metrics.inputs import make_rng, split_rows

REFERENCE = "disentanglement_lib==1.5"
SEED, N_BINS = 3, 20
THIRDS = (2 / 3, 1 / 3)
NAMES = ("mig", "modularity_explicitness", "irs", "sap_score", "dci", "beta_vae", "factor_vae")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _entangled() -> tuple[np.ndarray, np.ndarray]:
    """Codes (n, 5) and factors (n, 3): each code is mostly one factor, one is noise."""
    sizes = (3, 4, 5)
    grid = np.array(list(itertools.product(*(range(size) for size in sizes))))
    factors = np.tile(grid, (40, 1))
    mixing = np.array([[1.0, 0.3, 0.0], [0.2, 0.8, 0.1], [0.0, 0.2, 0.6], [0.4, 0.0, 0.5], [0] * 3])
    noise = np.random.default_rng(0).normal(0, 0.4, (len(factors), len(mixing)))
    return factors @ mixing.T + noise, factors


CODES, FACTORS = _entangled()
TRAIN, TEST = split_rows(len(CODES), THIRDS, make_rng(SEED))


class Table:
    """The part of the reference's data sets that its metrics ask for; an image is its row."""

    num_factors = FACTORS.shape[1]

    def sample_factors(self, num: int, random_state: np.random.RandomState) -> np.ndarray:
        return FACTORS[random_state.randint(len(FACTORS), size=num)].copy()

    def sample_observations_from_factors(
        self, factors: np.ndarray, random_state: np.random.RandomState
    ) -> np.ndarray:
        rows = [
            random_state.choice(np.flatnonzero((row == FACTORS).all(axis=1))) for row in factors
        ]
        return np.array(rows)

    def sample_observations(self, num: int, random_state: np.random.RandomState) -> np.ndarray:
        return random_state.randint(len(FACTORS), size=num)


@contextmanager
def _stand_ins() -> Iterator[None]:
    """Modules that the reference imports and that no formula of it uses."""

    def configurable(*_: Any, **__: Any) -> Any:
        return lambda function: function

    def module(name: str, **values: Any) -> ModuleType:
        made = ModuleType(name)
        vars(made).update(values)
        return made

    gin = module("gin", configurable=configurable, REQUIRED=None)
    six = module("six.moves", range=range)
    made = {
        "gin": gin,
        "gin.tf": module("gin.tf"),
        "absl": module("absl", logging=SimpleNamespace(info=lambda *_: None)),
        "six": module("six", moves=six),
        "six.moves": six,
    }
    gin.tf = made["gin.tf"]  # type: ignore[attr-defined]
    patch = pytest.MonkeyPatch()
    for name, value in made.items():
        patch.setitem(sys.modules, name, value)
    try:
        yield
    finally:
        patch.undo()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Its metrics by name, with the settings of its studies (20 bins of equal width)."""
    folder = tmp_path_factory.mktemp("reference")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, REFERENCE], check=True)
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(folder))
    package = "disentanglement_lib.evaluation.metrics"
    with _stand_ins():
        found = {name: importlib.import_module(f"{package}.{name}") for name in (*NAMES, "utils")}
    bins = found["utils"]._histogram_discretize
    patch.setattr(found["utils"], "make_discretizer", lambda target: bins(target, N_BINS))
    yield SimpleNamespace(**found)
    patch.undo()
    for name in [name for name in sys.modules if name.startswith("disentanglement_lib")]:
        del sys.modules[name]


def test_mig_is_that_of_the_reference(reference: SimpleNamespace) -> None:
    theirs = reference.mig._compute_mig(CODES.T, FACTORS.T)["discrete_mig"]
    assert 0.1 < theirs < 0.9
    assert mig(CODES, FACTORS, seed=0).score == pytest.approx(theirs, abs=1e-9)


def test_modularity_is_that_of_the_reference(reference: SimpleNamespace) -> None:
    utils = reference.utils
    information = utils.discrete_mutual_info(utils.make_discretizer(CODES.T), FACTORS.T)
    ours = modularity(CODES, FACTORS, seed=0)
    np.testing.assert_allclose(ours.table, information, atol=1e-9)
    theirs = reference.modularity_explicitness.modularity(information)
    assert ours.score == pytest.approx(theirs, abs=1e-9)


def test_explicitness_is_that_of_the_reference(reference: SimpleNamespace) -> None:
    train, mean, stddev = reference.utils.normalize_data(CODES[TRAIN].T)
    test, _, _ = reference.utils.normalize_data(CODES[TEST].T, mean, stddev)
    theirs = [
        reference.modularity_explicitness.explicitness_per_factor(
            train, FACTORS[TRAIN, k], test, FACTORS[TEST, k]
        )[1]
        for k in range(FACTORS.shape[1])
    ]
    assert explicitness(CODES, FACTORS, seed=SEED).score == pytest.approx(np.mean(theirs), abs=1e-4)


def test_irs_is_that_of_the_reference(reference: SimpleNamespace) -> None:
    theirs = reference.irs.scalable_disentanglement_score(FACTORS, CODES, diff_quantile=0.99)
    ours = irs(CODES, FACTORS, seed=0)
    np.testing.assert_allclose(ours.table, theirs["IRS_matrix"], atol=1e-9)
    assert ours.score == pytest.approx(theirs["avg_score"], abs=1e-9)


@pytest.mark.parametrize(("kind", "tolerance"), [("values", 1e-9), ("classes", 0.01)])
def test_sap_is_that_of_the_reference(
    reference: SimpleNamespace, kind: str, tolerance: float
) -> None:
    is_continuous = kind == "values"
    train = slice(None) if is_continuous else TRAIN
    theirs = reference.sap_score.compute_score_matrix(
        CODES[train].T, FACTORS[train].T, CODES[TEST].T, FACTORS[TEST].T, is_continuous
    )
    ours = sap(CODES, FACTORS, seed=SEED, kind=kind, n_bootstrap=0)
    np.testing.assert_allclose(ours.table, theirs, atol=tolerance)
    mean_gap = reference.sap_score.compute_avg_diff_top_two(theirs)
    assert ours.score == pytest.approx(mean_gap, abs=2 * tolerance)


def test_dci_with_boosting_is_that_of_the_reference(reference: SimpleNamespace) -> None:
    theirs = reference.dci._compute_dci(
        CODES[TRAIN].T, FACTORS[TRAIN].T, CODES[TEST].T, FACTORS[TEST].T
    )
    ours = dci(CODES, FACTORS, seed=SEED, regressor=boosting(), unpredicted="keep", n_bootstrap=0)
    assert ours.disentanglement == pytest.approx(theirs["disentanglement"], abs=0.01)
    assert ours.completeness == pytest.approx(theirs["completeness"], abs=0.01)
    assert ours.informativeness == pytest.approx(theirs["informativeness_test"], abs=0.01)


def test_beta_vae_score_is_that_of_the_reference(reference: SimpleNamespace) -> None:
    theirs = reference.beta_vae.compute_beta_vae_sklearn(
        Table(), CODES.__getitem__, np.random.RandomState(0), None, 64, 1500, 1500
    )
    ours = beta_vae_score(CODES, FACTORS, seed=0, n_train=1500, n_eval=1500)
    assert ours.score == pytest.approx(theirs["eval_accuracy"], abs=0.03)


def test_factor_vae_score_is_that_of_the_reference(reference: SimpleNamespace) -> None:
    theirs = reference.factor_vae.compute_factor_vae(
        Table(), CODES.__getitem__, np.random.RandomState(0), None, 12, 3000, 3000, 2400
    )
    protocol = VoteProtocol(n_train=3000, n_eval=3000, n_images=12)
    ours = factor_vae_score(CODES, FACTORS, seed=0, protocol=protocol)
    assert 0.5 < theirs["eval_accuracy"] < 0.98
    assert ours.eval_accuracy == pytest.approx(theirs["eval_accuracy"], abs=0.03)
