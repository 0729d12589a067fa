"""Scores of predicted labels against gold labels: accuracy, macro-F1, confusion matrix.

Labels travel by name. `encode` turns names into positions in the task's label list, the only integer codes
there are; everything after it is arithmetic on arrays.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import HarnessError, did_you_mean, one_of

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def encode(names: Sequence[str], labels: Sequence[str]) -> IntArray:
    """Each name's position in `labels`: `[items]`, values in `0 … len(labels) − 1`.

    Raises HarnessError for a name that is not in `labels`, ValueError where `labels` repeats a name.
    """
    position = {label: index for index, label in enumerate(labels)}
    if len(position) != len(labels):
        raise ValueError(f"expected every label once, found {list(labels)}")
    unknown = sorted(set(names) - position.keys())
    if unknown:
        raise HarnessError(
            f"expected the task's labels ({one_of(labels)}), found {one_of(map(repr, unknown))}"
            f"{did_you_mean(unknown[0], labels)}; labels travel by name: spell them as the task file does"
        )
    return np.fromiter((position[name] for name in names), dtype=np.int64, count=len(names))


def accuracy(reference: IntArray, predicted: IntArray) -> float:
    """The fraction of items whose two codes agree; both `[items]`.

    Raises ValueError on unequal or empty input.
    """
    _check_pair(reference, predicted)
    return float(np.mean(reference == predicted))


def confusion_matrix(reference: IntArray, predicted: IntArray, n_labels: int) -> IntArray:
    """Counts of items, `[n_labels, n_labels]`: rows are the reference label, columns the predicted one.

    Raises ValueError on unequal or empty input and on a code outside `0 … n_labels − 1`.
    """
    _check_pair(reference, predicted)
    for codes in (reference, predicted):
        if codes.min() < 0 or codes.max() >= n_labels:
            raise ValueError(f"expected codes in 0 … {n_labels - 1}, found {codes.min()} … {codes.max()}")
    cells = np.bincount(reference * n_labels + predicted, minlength=n_labels * n_labels)
    return cells.reshape(n_labels, n_labels)


def macro_f1(reference: IntArray, predicted: IntArray, n_labels: int) -> float:
    """The unweighted mean of the labels' F1 over the whole label set; codes are `[items]`.

    A label that is neither referred to nor predicted counts 0, as in scikit-learn's
    `f1_score(average="macro", labels=<all>, zero_division=0)`. Raises what `confusion_matrix` raises.
    """
    confusion = confusion_matrix(reference, predicted, n_labels)
    return float(macro_f1_from_totals(np.diagonal(confusion), confusion.sum(axis=1), confusion.sum(axis=0)))


def macro_f1_from_totals(
    true_positives: npt.NDArray[Any], reference_totals: npt.NDArray[Any], predicted_totals: npt.NDArray[Any]
) -> FloatArray:
    """Macro-F1 from counts per label, each `[…, labels]`; returns `[…]`, to score all resamples at once.

    F1 = 2·TP / (2·TP + FP + FN) (van Rijsbergen, 1979), whose denominator is the sum of the label's two
    totals.
    """
    totals = np.asarray(reference_totals + predicted_totals, dtype=np.float64)
    f1 = np.divide(2.0 * true_positives, totals, out=np.zeros_like(totals), where=totals > 0)
    return np.asarray(f1.mean(axis=-1))


def _check_pair(reference: IntArray, predicted: IntArray) -> None:
    if reference.ndim != 1 or reference.shape != predicted.shape or reference.size == 0:
        raise ValueError(
            f"expected two equally long lists with at least one item, "
            f"found shapes {reference.shape} (reference) and {predicted.shape} (predicted)"
        )
