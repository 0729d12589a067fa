"""Metrics against scikit-learn on random codes in which some classes never occur."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score
from sklearn.metrics import confusion_matrix as sklearn_confusion_matrix

from harness.errors import HarnessError
from harness.scoring.metrics import IntArray, accuracy, confusion_matrix, encode, macro_f1


def random_codes(seed: int) -> tuple[IntArray, IntArray, int]:
    """Reference and prediction from subsets of the labels, so that most draws lack a class on one side."""
    generator = np.random.default_rng(seed)
    n_labels = int(generator.integers(2, 9))
    n_items = int(generator.integers(1, 60))
    reference = generator.choice(generator.integers(0, n_labels, size=4), size=n_items)
    predicted = generator.choice(generator.integers(0, n_labels, size=4), size=n_items)
    return reference, predicted, n_labels


@pytest.mark.parametrize("seed", range(40))
def test_scores_are_those_of_scikit_learn_so_that_they_can_be_compared_with_published_ones(seed: int) -> None:
    reference, predicted, n_labels = random_codes(seed)
    labels = list(range(n_labels))
    expected_f1 = f1_score(reference, predicted, labels=labels, average="macro", zero_division=0)
    assert accuracy(reference, predicted) == pytest.approx(accuracy_score(reference, predicted))
    assert macro_f1(reference, predicted, n_labels) == pytest.approx(expected_f1)
    np.testing.assert_array_equal(
        confusion_matrix(reference, predicted, n_labels),
        sklearn_confusion_matrix(reference, predicted, labels=labels),
    )


def test_a_label_without_any_item_counts_zero_so_that_a_missing_class_cannot_raise_macro_f1() -> None:
    codes = np.array([0, 0, 1, 1])
    assert macro_f1(codes, codes, n_labels=2) == 1.0
    assert macro_f1(codes, codes, n_labels=4) == 0.5


def test_rows_are_the_reference_so_that_recall_is_not_read_as_precision() -> None:
    confusion = confusion_matrix(np.array([0, 0, 0]), np.array([0, 1, 1]), n_labels=2)
    np.testing.assert_array_equal(confusion, [[1, 2], [0, 0]])


def test_labels_are_coded_by_name_so_that_the_order_of_a_source_cannot_invert_scores() -> None:
    names = ["positive", "negative", "positive"]
    np.testing.assert_array_equal(encode(names, ["negative", "positive"]), [1, 0, 1])
    np.testing.assert_array_equal(encode(names, ["positive", "negative"]), [0, 1, 0])


def test_an_unknown_label_name_is_reported_with_the_known_ones_and_a_guess() -> None:
    with pytest.raises(HarnessError, match=r"negative, positive.*'positve'.*did you mean 'positive'"):
        encode(["negative", "positve"], ["negative", "positive"])


def test_a_label_list_that_repeats_a_name_is_refused_for_its_codes_would_be_ambiguous() -> None:
    with pytest.raises(ValueError, match="every label once"):
        encode(["a"], ["a", "b", "a"])


@pytest.mark.parametrize("predicted", [np.array([0, 1]), np.array([], dtype=np.int64), np.array([[0, 1, 1]])])
def test_unequal_lists_are_refused_rather_than_broadcast(predicted: IntArray) -> None:
    with pytest.raises(ValueError, match="equally long"):
        accuracy(np.array([0, 1, 1]), predicted)


def test_no_items_have_no_score() -> None:
    nothing = np.array([], dtype=np.int64)
    with pytest.raises(ValueError, match="at least one item"):
        macro_f1(nothing, nothing, n_labels=2)


@pytest.mark.parametrize("outside", [-1, 3])
def test_a_code_outside_the_labels_is_refused_for_it_would_land_in_another_cell(outside: int) -> None:
    with pytest.raises(ValueError, match=r"codes in 0 … 2"):
        confusion_matrix(np.array([0, outside]), np.array([0, 1]), n_labels=3)
