"""The confident joint worked by hand and against cleanlab; planted errors; folds."""

import numpy as np
import pytest

from harness.errors import HarnessError
from harness.quality.confident_learning import (
    calibrated_joint,
    confident_joint,
    label_errors,
    stratified_folds,
)
from harness.quality.measures import MEASURES, measure_all
from harness.quality.rows import Rows
from harness.seeds import hash_order
from students.linear import Student

NAMES = ("one", "three", "two")


def test_confident_joint_of_three_labels_worked_by_hand() -> None:
    """Thresholds: the mean of each label's own column over its rows, 0.5, 0.45 and 1.42/3 = 0.473."""
    given_and_probabilities = [
        (0, (0.80, 0.10, 0.10)),  # confident of 0
        (0, (0.60, 0.30, 0.10)),  # of 0
        (0, (0.10, 0.80, 0.10)),  # of 1: an error
        (1, (0.10, 0.70, 0.20)),  # of 1
        (1, (0.40, 0.20, 0.40)),  # of none: not counted
        (2, (0.20, 0.00, 0.80)),  # of 2
        (2, (0.50, 0.48, 0.02)),  # of 0 and of 1, more probably 0: an error
        (2, (0.10, 0.30, 0.60)),  # of 2
    ]
    given = np.array([code for code, _ in given_and_probabilities])
    joint = confident_joint(given, np.array([row for _, row in given_and_probabilities]))
    assert joint.tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 2]]
    # Label 1 has two rows of which one was counted; it is scaled to two.
    expected = np.array([[2, 1, 0], [0, 2, 0], [1, 0, 2]]) / 8
    np.testing.assert_allclose(calibrated_joint(joint, np.bincount(given)), expected, rtol=0, atol=1e-15)


def test_confident_joint_is_cleanlabs() -> None:
    """What `cleanlab.count.compute_confident_joint(given, probabilities, calibrate=False)` of cleanlab 2.9.0 gives."""
    stream = np.random.default_rng(7)
    true = stream.integers(0, 4, 200)
    given = np.where(stream.random(200) < 0.25, stream.integers(0, 4, 200), true)
    logits = stream.normal(size=(200, 4))
    logits[np.arange(200), true] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    joint = confident_joint(given, probabilities)
    assert joint.tolist() == [[29, 4, 4, 6], [4, 20, 2, 9], [2, 6, 25, 2], [4, 6, 1, 26]]
    # cleanlab's joint is this one rounded to whole rows: 0.335 of the labels are wrong.
    assert 1 - np.trace(calibrated_joint(joint, np.bincount(given))) == pytest.approx(0.335, abs=2 / 200)


def test_a_label_whose_rows_are_all_alike_is_still_confident_of_itself() -> None:
    """The mean of seventy times 0.1 + 0.2 is not 0.1 + 0.2."""
    probabilities = np.tile([0.1 + 0.2, 1 - (0.1 + 0.2)], (70, 1))
    joint = confident_joint(np.repeat([0, 1], 35), probabilities)
    assert joint.sum() == 70 and (joint.sum(axis=1) == 35).all()


def separable(flipped: float, seed: int, count: int = 450) -> tuple[list[str], list[str], np.ndarray]:
    """Texts that one of three labels' own words give away, labels of which a share is another one, and which these
    are."""
    stream = np.random.default_rng(seed)
    true = np.arange(count) % 3
    texts = [
        " ".join([f"own{code}{stream.integers(8)}" for _ in range(4)] + [f"any{stream.integers(50)}" for _ in range(8)])
        for code in true
    ]
    wrong = np.zeros(count, dtype=bool)
    wrong[stream.permutation(count)[: round(flipped * count)]] = True
    given = np.where(wrong, (true + stream.integers(1, 3, count)) % 3, true)
    return texts, [NAMES[code] for code in given], wrong


def test_planted_errors_are_estimated_in_number_and_found_among_the_least_confident() -> None:
    estimated = []
    for flipped in (0.0, 0.1, 0.2, 0.3):
        texts, labels, wrong = separable(flipped, seed=2)
        found = label_errors(texts, labels, NAMES, seed=13)
        estimated.append(float(found.share.mean()))
        if flipped:
            assert found.self_confidence[wrong].mean() < 0.25 < 0.5 < found.self_confidence[~wrong].mean()
    assert estimated == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=0.02)
    assert estimated[0] == 0


def test_errors_of_one_label_alone_are_seen_in_that_label() -> None:
    texts, labels, _ = separable(0.0, seed=3)
    # Every fourth row of "two" is told to be "one": 38 of then 188 rows of "one" are wrong.
    moved = {index for index, label in enumerate(labels) if label == "two" and index // 3 % 4 == 0}
    labels = ["one" if index in moved else label for index, label in enumerate(labels)]
    values = {value.measure: value for value in measure_all(["label_errors"], Rows(texts, NAMES, labels)).values}
    share = {name: values[f"label_errors_estimated{name}"].value for name in ("", ".one", ".two", ".three")}
    # Errors that all go one way look half like a habit of the label: fewer are found than there are, 0.2.
    assert 0.05 < share[".one"] < 0.2 and share[".two"] < 0.01 and share[".three"] == 0
    assert share[""] == pytest.approx((188 * share[".one"] + 112 * share[".two"]) / 450)
    whole, sure = values["label_errors_estimated.one"], values["label_errors_estimated.three"]
    assert whole.low is not None and whole.high is not None and whole.low < whole.value < whole.high < whole.low + 0.1
    assert (sure.low, sure.high) == (None, None)  # all splits agree


def test_the_same_seed_gives_the_same_and_another_seed_other_folds() -> None:
    texts, labels, _ = separable(0.3, seed=4, count=90)
    first, again, other = (label_errors(texts, labels, NAMES, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.self_confidence, again.self_confidence)
    assert (first.self_confidence != other.self_confidence).any()
    assert len(first.share) == 5 and len(set(first.share.tolist())) > 1


def test_folds_differ_by_at_most_one_row_of_a_label_and_one_in_all() -> None:
    codes = np.array([0] * 13 + [1] * 5 + [2] * 9)
    folds = stratified_folds(codes, np.arange(len(codes)), hash_order(len(codes), "a test"))
    assert sorted(np.bincount(folds).tolist()) == [5, 5, 5, 6, 6]
    for code in range(3):
        in_folds = np.bincount(folds[codes == code], minlength=5)
        assert in_folds.max() - in_folds.min() <= 1


def test_copies_of_a_text_vouch_for_no_label() -> None:
    texts, labels, _ = separable(0.3, seed=6, count=300)
    estimated = float(label_errors(texts, labels, NAMES, seed=1).share.mean())
    copied = float(label_errors([*texts, *(text.upper() for text in texts)], labels * 2, NAMES, seed=1).share.mean())
    assert estimated == pytest.approx(0.3, abs=0.03) and copied == pytest.approx(0.3, abs=0.03)
    groups = np.tile(np.arange(300), 2)
    folds = stratified_folds(np.zeros(600, dtype=np.int64), groups, hash_order(600, "a test"))
    assert folds[:300].tolist() == folds[300:].tolist() and np.bincount(folds).tolist() == [120] * 5


def test_labels_with_fewer_texts_than_folds_and_texts_without_common_words_are_refused() -> None:
    texts = [*(f"a good film {index}" for index in range(10)), *(f"a bad film {index % 4}" for index in range(9))]
    with pytest.raises(HarnessError, match="at least 5 different ones; found one 10, three 4, two 0"):
        label_errors(texts, ["one"] * 10 + ["three"] * 9, NAMES, 0)
    with pytest.raises(HarnessError, match=r"at least 2 labels.*found one 14"):
        label_errors(texts, ["one"] * 19, ["one"], 0)
    with pytest.raises(HarnessError, match="label_errors: expected words that stand in at least"):
        label_errors([f"word{index}" for index in range(10)], ["one", "two"] * 5, ["one", "two"], 0)


def test_the_version_names_the_classifier() -> None:
    assert f"linear.v{Student.VERSION}" in MEASURES["label_errors"].version.split("+")
