"""Measures of the labels: are they right, and who says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.data.normalise import NORMALISE_V1
from harness.quality.rows import Measure, Measured, Rows
from harness.values import Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def _oracle_agreement(rows: Rows) -> Measured:
    from harness.quality.oracle import oracle_agreement
    from harness.scoring.statistics import wilson

    def share(name: str, right: int, items: int) -> Value:
        interval = wilson(right, items)
        return Value(name, right / items, "fraction", "real-label", interval.low, interval.high)

    assert rows.labels is not None and rows.oracle is not None
    found = oracle_agreement(rows.labels, rows.label_names, rows.oracle)
    values = [
        share("oracle_agreement", found.agreed, found.judged),
        *(share(f"oracle_agreement.{name}", *counts) for name, counts in found.per_label.items() if counts[1]),
        Value("oracle_kappa", found.kappa, "kappa", "real-label"),
        share("oracle_ceiling", rows.oracle.right, rows.oracle.items),
    ]
    return Measured(values, {"oracle_probability": found.given})


def _label_errors(rows: Rows) -> Measured:
    from harness.quality.confident_learning import label_errors

    assert rows.labels is not None
    found = label_errors(rows.texts, rows.labels, rows.label_names, rows.seed)
    values = [_over_splits("label_errors_estimated", found.share)]
    values += [_over_splits(f"label_errors_estimated.{name}", shares) for name, shares in found.per_label.items()]
    return Measured(values, {"self_confidence": found.self_confidence})


def _over_splits(name: str, shares: NDArray[np.float64]) -> Value:
    """The mean, and what another split into folds would give in 95 of 100 cases."""
    from harness.quality.draws import over_draws

    return over_draws(shares.tolist()).value(name, "fraction", "unreferenced")


LABEL_MEASURES = (
    Measure("oracle_agreement", "real-label", "v1", _oracle_agreement, frozenset({"labels", "oracle"})),
    Measure(
        "label_errors",
        "unreferenced",
        f"v1+linear.v1+{NORMALISE_V1}",
        _label_errors,
        frozenset({"labels"}),
        sized=("label_errors_",),
    ),
)
