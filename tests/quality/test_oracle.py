"""Agreement with an oracle, worked by hand and against scikit-learn."""

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from harness.errors import HarnessError
from harness.quality.measures import measure_all
from harness.quality.oracle import cohen_kappa, oracle_agreement
from harness.quality.rows import Oracle, Rows

NAMES = ("negative", "neutral", "positive")
LABELS = ["positive", "negative", "negative", "neutral", "positive"]
# Asked about rows 4, 1, 2, 0: right, right (equal: the first label), wrong, right.
PROBABILITIES = np.array([[0.1, 0.3, 0.6], [0.4, 0.2, 0.4], [0.2, 0.7, 0.1], [0.0, 0.0, 1.0]])
ORACLE = Oracle("oracle", np.array([4, 1, 2, 0]), PROBABILITIES, 872, 1000)


def test_agreement_worked_by_hand() -> None:
    found = measure_all(["oracle_agreement"], Rows([""] * 5, NAMES, LABELS, oracle=ORACLE))
    values = {value.measure: value for value in found.values}
    by_hand = {
        "oracle_agreement": 3 / 4,
        "oracle_agreement.negative": 1 / 2,
        "oracle_agreement.positive": 2 / 2,  # no row of "neutral" was judged
        "oracle_kappa": (3 / 4 - 6 / 16) / (1 - 6 / 16),  # by chance: (2·1 + 0·1 + 2·2)/16
        "oracle_ceiling": 0.872,
    }
    assert {name: value.value for name, value in values.items()} == pytest.approx(by_hand)
    np.testing.assert_array_equal(found.per_text["oracle_probability"], [1.0, 0.4, 0.2, np.nan, 0.6])
    # Wilson's bounds of 3 of 4 and of 872 of 1,000, by statsmodels 0.15 (proportion_confint, method "wilson").
    for name, low, high in (
        ("oracle_agreement", 0.30064184258240184, 0.9544127391902995),
        ("oracle_ceiling", 0.8498604138497563, 0.8912924778369906),
    ):
        assert (values[name].low, values[name].high) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize("n_labels", [2, 5])
def test_kappa_is_scikit_learns(n_labels: int) -> None:
    stream = np.random.default_rng(n_labels)
    first = stream.integers(0, n_labels, 300)
    second = np.where(stream.random(300) < 0.6, first, stream.integers(0, n_labels, 300))
    assert cohen_kappa(confusion_matrix(first, second)) == pytest.approx(cohen_kappa_score(first, second), abs=1e-12)


def test_kappa_says_nothing_where_both_sides_know_one_label_alone() -> None:
    assert math.isnan(cohen_kappa(np.array([[7, 0], [0, 0]])))
    assert cohen_kappa(np.array([[7, 1], [0, 0]])) == 0


@pytest.mark.parametrize(
    ("rows", "probabilities", "message"),
    [
        ([], np.empty((0, 3)), "at least 1 of 5 rows.*found 0 rows"),
        ([1, 1], PROBABILITIES[:2], "each at most once; found 2 rows"),
        ([0, 5], PROBABILITIES[:2], "found 2 rows from 0 to 5"),
        ([0, 4], PROBABILITIES[:3], "3 probabilities.*each of 2 rows; found shape"),
        ([0, 4], PROBABILITIES[:2, :2], "3 probabilities"),
    ],
)
def test_answers_that_cannot_be_those_of_these_rows_are_refused(
    rows: list[int], probabilities: np.ndarray, message: str
) -> None:
    oracle = Oracle("oracle", np.array(rows, dtype=np.int64), probabilities, 1, 1)
    with pytest.raises(HarnessError, match=message):
        oracle_agreement(LABELS, NAMES, oracle)
