"""Wrong labels estimated without gold labels: confident learning (Northcutt, Jiang and Chuang, JAIR 2021).

A classifier trained on the rows themselves is asked about rows that it was not trained on. It is *confident* of a label
where the label's probability reaches the mean that the rows given this label have. Rows counted by given label and
confident label are the confident joint; scaled to the number of rows of each given label it estimates how many rows
have which true label.

It is an estimate. It knows of "wrong" only what contradicts the other rows: labels that are wrong all alike (two
labels exchanged) are consistent, errors that all go from one label to another are half taken for a habit of the label
and come out too few, and texts that the classifier cannot tell apart count as errors though they may be
right. The classifier is the student `linear`, which cannot relate two texts: of a pair it is shown what the PLM wrote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.normalise import normalise
from harness.errors import HarnessError
from harness.scoring.metrics import FloatArray, IntArray, encode
from harness.seeds import hash_order

FOLDS = 5
SPLITS = 5
"""How often the rows are split into folds anew."""

_ROUNDING = 1e-9
"""A probability that is the mean must reach it, though the mean of equal numbers may come out larger than they are."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelErrors:
    """Estimated fractions of rows whose label is wrong, [splits]: of all rows, and of those given each label.

    `self_confidence` float64 [n_texts]: the probability out of fold of the given label, mean over the splits.
    """

    share: FloatArray
    per_label: Mapping[str, FloatArray]
    self_confidence: NDArray[np.float64]


def label_errors(texts: Sequence[str], labels: Sequence[str], label_names: Sequence[str], seed: int) -> LabelErrors:
    """Estimate the share of wrong labels `SPLITS` times, each time of another split into `FOLDS` folds.

    Rows with the same text (`normalise.v1`) are in the same fold: a copy that was trained on would vouch for its label.
    Words are counted once over all texts, which looks at no label. Time: `FOLDS` · `SPLITS` regressions on 4/5 of the
    rows. Raises `HarnessError` for fewer than two labels, a label that is none of `label_names`, one of them with
    fewer different texts than there are folds, and texts without a word in common.
    """
    from students.linear import Settings, count_words, new_vectorizer

    codes = encode(labels, label_names)
    counts = np.bincount(codes, minlength=len(label_names))
    groups = np.unique([normalise(text) for text in texts], return_inverse=True)[1]
    different = np.bincount(np.unique(np.stack([codes, groups]), axis=1)[0], minlength=len(label_names))
    if len(label_names) < 2 or different.min() < FOLDS:
        rows = ", ".join(f"{name} {count}" for name, count in zip(label_names, different.tolist(), strict=True))
        raise HarnessError(
            f"label_errors splits the texts of each of at least 2 labels into {FOLDS} folds, so each needs at least "
            f"{FOLDS} different ones; found {rows or 'no label'}. Synthesise more rows or leave label_errors out of "
            "the measures."
        )
    settings = Settings()
    try:
        features = count_words(new_vectorizer(settings, min_df=settings.min_rows), texts)
    except ValueError as error:
        raise HarnessError(f"label_errors: {error}") from None
    shares, per_label, self_confidence = [], [], np.zeros(len(codes))
    for split in range(SPLITS):
        folds = stratified_folds(codes, groups, hash_order(len(codes), "label-errors", seed, split))
        probabilities = _out_of_fold(features, codes, len(label_names), folds)
        joint = calibrated_joint(confident_joint(codes, probabilities), counts)
        shares.append(1 - np.trace(joint))
        per_label.append(1 - np.diagonal(joint) / joint.sum(axis=1))
        self_confidence += probabilities[np.arange(len(codes)), codes] / SPLITS
    by_label = dict(zip(label_names, np.array(per_label).T, strict=True))
    return LabelErrors(np.array(shares), by_label, self_confidence)


def stratified_folds(codes: IntArray, groups: IntArray, order: Sequence[int]) -> IntArray:
    """The fold 0 … `FOLDS` − 1 of each row. The first row of each group in the given order is dealt out, label by
    label, so that folds differ by at most one such row of a label and one in all; the rest of its group goes with it.
    """
    by_order = np.asarray(order, dtype=np.int64)
    first = by_order[np.sort(np.unique(groups[by_order], return_index=True)[1])]
    dealt = first[np.argsort(codes[first], kind="stable")]
    of_group = np.empty(int(groups.max()) + 1, dtype=np.int64)
    of_group[groups[dealt]] = np.arange(len(dealt)) % FOLDS
    return of_group[groups]


def confident_joint(given: IntArray, probabilities: FloatArray) -> IntArray:
    """Rows by given label and by confident label, int64 [labels, labels]; section 3.1 of the paper.

    `given` [rows] are codes, all of which occur; `probabilities` is [rows, labels], out of fold. A row confident of
    several labels counts for the most probable of them, a row confident of none not at all.
    """
    n_labels = probabilities.shape[1]
    thresholds = np.array([probabilities[given == label, label].mean() for label in range(n_labels)])
    confident = probabilities >= thresholds - _ROUNDING
    best = np.where(confident, probabilities, -1.0).argmax(axis=1)
    counted = confident.any(axis=1)
    cells = np.bincount(given[counted] * n_labels + best[counted], minlength=n_labels**2)
    return cells.reshape(n_labels, n_labels)


def calibrated_joint(joint: IntArray, counts: IntArray) -> FloatArray:
    """The joint distribution of given and true label, [labels, labels] with sum 1: each row of the confident joint
    scaled to the rows `counts` [labels] that were given its label.

    No row is empty: of the rows given a label, the one surest of it reaches their mean, so it counts somewhere.
    """
    share: FloatArray = joint / joint.sum(axis=1, keepdims=True) * counts[:, np.newaxis] / counts.sum()
    return share


def _out_of_fold(features: Any, codes: IntArray, n_labels: int, folds: IntArray) -> FloatArray:
    """Probabilities [rows, labels] of each row, by the regression on the rows of the other folds."""
    from students.linear import Settings, probabilities, regress

    found = np.empty((len(codes), n_labels))
    for fold in range(FOLDS):
        inside = folds == fold
        # The optimum is unique: the seed of the regression changes nothing.
        fitted = regress(features[~inside], codes[~inside], n_labels, Settings(), 0)
        found[inside] = probabilities(features[inside], fitted.weight, fitted.bias)
    return found
