"""Label correctness by an oracle: a student trained on gold labels, asked about synthetic rows (ZeroGen, section 4.3).

The oracle errs too. Its own accuracy on the real test split stands beside the agreement: a dataset whose labels are
all right would reach about that, not 1, and synthetic text is none the oracle was trained on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.quality.rows import Oracle
from harness.scoring.metrics import IntArray, confusion_matrix, encode


@dataclass(frozen=True, slots=True, eq=False)
class OracleAgreement:
    """`agreed` of `judged` rows have the oracle's label (the most probable; the first of equals), overall and per
    generating label. `kappa`: Cohen's, NaN where both give one label alone. `given` float64 [n_texts]: the oracle's
    probability of the generating label, NaN where it was not asked."""

    agreed: int
    judged: int
    per_label: Mapping[str, tuple[int, int]]
    kappa: float
    given: NDArray[np.float64]


def oracle_agreement(labels: Sequence[str], label_names: Sequence[str], oracle: Oracle) -> OracleAgreement:
    """How far the generating `labels` [n_texts] are those the oracle would give.

    Raises `HarnessError` for a label that is none of `label_names`, and where the oracle was asked about no row, about
    a row twice or one that does not exist, or with other labels than these.
    """
    codes = encode(labels, label_names)
    _check(oracle, len(codes), len(label_names))
    generating, found = codes[oracle.rows], oracle.probabilities.argmax(axis=1)
    table = confusion_matrix(generating, found, len(label_names))
    given = np.full(len(codes), np.nan)
    given[oracle.rows] = oracle.probabilities[np.arange(len(generating)), generating]
    right, of_label = np.diagonal(table).tolist(), table.sum(axis=1).tolist()
    per_label = dict(zip(label_names, zip(right, of_label, strict=True), strict=True))
    return OracleAgreement(sum(right), len(generating), per_label, cohen_kappa(table), given)


def cohen_kappa(table: IntArray) -> float:
    """Cohen's kappa (1960) of a confusion matrix [labels, labels]: agreement beyond what the shares of the labels
    give by chance, over the most there can be. NaN where both sides give the same one label alone."""
    n_items = int(table.sum())
    agreement = float(np.trace(table)) / n_items
    by_chance = float(table.sum(axis=0) @ table.sum(axis=1)) / n_items**2
    return (agreement - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def _check(oracle: Oracle, n_texts: int, n_labels: int) -> None:
    rows = oracle.rows
    if len(rows) == 0 or rows.min() < 0 or rows.max() >= n_texts or len(np.unique(rows)) < len(rows):
        raise HarnessError(
            f"Oracle '{oracle.name}' must be asked about at least 1 of {n_texts} rows, and about each at most once; "
            f"found {len(rows)} rows" + (f" from {rows.min()} to {rows.max()}." if len(rows) else ".")
        )
    if oracle.probabilities.shape != (len(rows), n_labels):
        raise HarnessError(
            f"Oracle '{oracle.name}' must give {n_labels} probabilities, one per label, for each of {len(rows)} rows; "
            f"found shape {oracle.probabilities.shape}."
        )
