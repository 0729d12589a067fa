"""The scores of a student as rows: one student's on a test split, and several seeds' taken together.

Fractions of 1, tier real-label, 95 % intervals. What an interval is about follows from the name of the row:

| row                            | interval                                                               |
|--------------------------------|------------------------------------------------------------------------|
| one seed                       | `score_values`; `answer_score_values` for extractive QA                |
| `accuracy`, `recall.<label>`   | over test items (Wilson)                                               |
| `macro_f1`                     | over test items (bootstrap)                                            |
| `exact_match`, `f1`            | over test items (Wilson; for F1 by its variance)                       |
| several                        | `aggregate_seeds`; `aggregate_answer_seeds` for extractive QA          |
| `accuracy`                     | mean over seeds, over test items and seeds together                    |
| `accuracy.items`               | the same mean, over test items alone: another test set, these seeds    |
| `accuracy.seeds`               | the same mean, over seeds alone: other seeds, this test set            |
| `accuracy.seed_sd`             | none; the standard deviation of one seed's accuracy                    |
| `macro_f1`                     | mean over seeds, none                                                  |
| `macro_f1.seeds`, `.seed_sd`   | as for accuracy                                                        |
| `exact_match`, `f1`            | and their `.items`, `.seeds`, `.seed_sd`: as for accuracy              |
| `<metric>.without_leaked`      | without the test rows that leaked into the training rows: items, seeds |

Where a spread cannot be known the bounds are empty, never equal: with one seed that is so for every interval
that speaks of seeds, and the `.seed_sd` rows are absent.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from harness.scoring.leaked import score_without_leaked
from harness.scoring.metrics import BoolArray, FloatArray, IntArray, accuracy, confusion_matrix, encode, macro_f1
from harness.scoring.statistics import (
    Interval,
    SeedSpread,
    bootstrap_macro_f1,
    chance_flag,
    combined_interval,
    item_interval_of_seed_mean,
    seed_interval,
    wilson,
)
from harness.values import Value


def score_values(reference: Sequence[str], predicted: Sequence[str], labels: Sequence[str], seed: int) -> list[Value]:
    """One student's scores on one test split; label names `[items]` each, `labels` the task's whole set.

    `suspected_inversion` is 1 where accuracy lies far below chance (see `chance_flag`). `seed` drives the
    bootstrap of macro-F1. A label without reference items has no recall row: there was nothing to recall.

    Raises HarnessError for a name outside `labels`, ValueError on unequal or empty input or fewer than two
    labels.
    """
    gold, guess = encode(reference, labels), encode(predicted, labels)
    confusion = confusion_matrix(gold, guess, len(labels))
    n_right, n_items = int(np.trace(confusion)), int(confusion.sum())
    inverted = chance_flag(n_right, n_items, len(labels))
    return [
        _fraction("accuracy", accuracy(gold, guess), wilson(n_right, n_items)),
        _fraction("macro_f1", macro_f1(gold, guess, len(labels)), bootstrap_macro_f1(confusion, seed)),
        Value("suspected_inversion", float(inverted), "flag", "real-label"),
        *_recalls(confusion, labels),
    ]


def aggregate_seeds(correct: BoolArray, per_seed: Sequence[Sequence[Value]]) -> list[Value]:
    """The scores of one cell over its seeds, from each seed's right answers and its `score_values`.

    `correct` is `[seeds, items]`, True where the prediction is the reference; `per_seed` has the seeds'
    order. All seeds must have been scored on the same items in the same order. Raises ValueError where the
    numbers of seeds differ, or a seed lacks its macro-F1: there is no mean of a row that lacks a cell.
    """
    if len(correct) != len(per_seed):
        raise ValueError(f"expected scores of {len(correct)} seeds, found {len(per_seed)}")
    macro_f1s = seed_interval([_value_of("macro_f1", values) for values in per_seed])
    return [
        *_crossed_rows("accuracy", correct),
        _fraction("macro_f1", macro_f1s.mean, None),
        *_seed_rows("macro_f1", macro_f1s),
    ]


def answer_score_values(exact: BoolArray, f1: FloatArray) -> list[Value]:
    """One student's scores on the questions of one test split; both `[questions]`, as `squad.answer_scores` has them.

    F1 has the interval of the aggregate over one seed (see `statistics`) rather than a bootstrap's: it needs no
    random numbers, and a flawless score keeps a width. Raises ValueError on unequal or empty input.
    """
    _check_answers(exact, f1)
    return [
        _fraction("exact_match", float(exact.mean()), wilson(int(exact.sum()), exact.size)),
        _fraction("f1", float(f1.mean()), item_interval_of_seed_mean(f1[None, :])),
    ]


def aggregate_answer_seeds(exact: BoolArray, f1: FloatArray) -> list[Value]:
    """The scores of one cell over its seeds; both `[seeds, questions]`, the same questions in the same order.

    Raises ValueError on unequal or empty input.
    """
    _check_answers(exact, f1)
    return [*_crossed_rows("exact_match", exact), *_crossed_rows("f1", f1)]


def without_leaked(scores: Mapping[str, BoolArray | FloatArray], leaked: Sequence[int]) -> list[Value]:
    """`<metric>.without_leaked` of one cell, from its scores `[seeds, items]` by metric: see `score_without_leaked`.

    `leaked`: the items of which the training rows of any seed hold a copy. Nothing where there is none, or no other.
    """
    if not leaked:
        return []
    found = {metric: score_without_leaked(of_metric, leaked) for metric, of_metric in scores.items()}
    return [
        _fraction(f"{metric}.without_leaked", score.value, score.interval)
        for metric, score in found.items()
        if score is not None
    ]


def _check_answers(exact: BoolArray, f1: FloatArray) -> None:
    if exact.shape != f1.shape or exact.size == 0:
        raise ValueError(f"expected both scores of at least one question, found shapes {exact.shape} and {f1.shape}")


def _crossed_rows(measure: str, scores: BoolArray | FloatArray) -> list[Value]:
    """The rows of a measure whose value for a seed is the mean of its items; `scores` is `[seeds, items]`."""
    spread = seed_interval(scores.mean(axis=1).tolist())
    return [
        _fraction(measure, spread.mean, combined_interval(scores)),
        _fraction(f"{measure}.items", spread.mean, item_interval_of_seed_mean(scores)),
        *_seed_rows(measure, spread),
    ]


def _recalls(confusion: IntArray, labels: Sequence[str]) -> list[Value]:
    found, totals = np.diagonal(confusion).tolist(), confusion.sum(axis=1).tolist()
    return [
        _fraction(f"recall.{label}", hits / total, wilson(hits, total))
        for label, hits, total in zip(labels, found, totals, strict=True)
        if total > 0
    ]


def _seed_rows(measure: str, spread: SeedSpread) -> list[Value]:
    rows = [_fraction(f"{measure}.seeds", spread.mean, spread.interval)]
    if spread.sd is not None:
        rows.append(_fraction(f"{measure}.seed_sd", spread.sd, None))
    return rows


def _fraction(measure: str, value: float, interval: Interval | None) -> Value:
    if interval is None:
        return Value(measure, value, "fraction", "real-label")
    # A t interval knows nothing of the ends of the scale; beyond them it says nothing.
    return Value(measure, value, "fraction", "real-label", low=max(0.0, interval.low), high=min(1.0, interval.high))


def _value_of(measure: str, values: Sequence[Value]) -> float:
    for value in values:
        if value.measure == measure:
            return value.value
    raise ValueError(f"expected a value of {measure} for every seed, found one seed without")
