"""Leakage: synthetic rows that stand in the real test split, word for word, but for their dress, or nearly.

A PLM may have read the test split and write it down again; a student trained on such rows is scored on its
own training data. The indices let a caller score the student with those test rows left out, beside the plain
score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.near import near_pairs
from harness.data.normalise import normalise
from harness.errors import HarnessError


@dataclass(frozen=True, slots=True)
class Overlap:
    """Rows in common under one notion of "the same text"; shares are fractions 0..1 of that side's rows."""

    rows: int
    share: float
    test_rows: int
    test_share: float
    test_indices: tuple[int, ...]
    """Which test rows, ascending, counted from 0."""


@dataclass(frozen=True, slots=True)
class Leakage:
    """`exact`: equal strings; `normalised`: equal under `normalise.v1`; `near`: sharing long runs of words, see
    `harness.data.near`. Each takes in the one before."""

    exact: Overlap
    normalised: Overlap
    near: Overlap


def leakage(texts: Sequence[str], test_texts: Sequence[str]) -> Leakage:
    """Overlap of the synthetic `texts` with the real `test_texts`: exact, normalised and near.

    Repeats count each time they occur, on either side. A text without a single word (empty, or marks only) is
    never an overlap: it says nothing that could leak. Raises `HarnessError` when either side has no rows.
    """
    if len(texts) == 0 or len(test_texts) == 0:
        raise HarnessError(
            "Leakage compares synthetic rows with real test rows, so it needs at least 1 of each; "
            f"found {len(texts)} synthetic and {len(test_texts)} test rows."
        )
    normal, test_normal = [normalise(text) for text in texts], [normalise(text) for text in test_texts]
    in_texts, in_test = _common(_with_words(texts, normal), _with_words(test_texts, test_normal))
    normal_in_texts, normal_in_test = _common(normal, test_normal)
    near_in_texts, near_in_test = _near(normal, test_normal)
    return Leakage(
        exact=_overlap(in_texts, in_test),
        normalised=_overlap(normal_in_texts, normal_in_test),
        near=_overlap(normal_in_texts | near_in_texts, normal_in_test | near_in_test),
    )


def _with_words(texts: Sequence[str], normal: Sequence[str]) -> list[str]:
    """`texts` with those that have no word emptied."""
    return [text if form else "" for text, form in zip(texts, normal, strict=True)]


def _common(texts: Sequence[str], test_texts: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which strings stand on the other side too, the empty string left out; bool, one per text of each side."""
    common = (set(texts) & set(test_texts)) - {""}
    return np.array([text in common for text in texts]), np.array([text in common for text in test_texts])


def _near(texts: Sequence[str], test_texts: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which normalised texts have a near-duplicate on the other side; bool, one per text of each side."""
    distinct, test_distinct = list(dict.fromkeys(texts)), list(dict.fromkeys(test_texts))
    left, right = near_pairs(distinct, test_distinct)
    near, test_near = {distinct[index] for index in left.tolist()}, {test_distinct[index] for index in right.tolist()}
    return np.array([text in near for text in texts]), np.array([text in test_near for text in test_texts])


def _overlap(in_texts: NDArray[np.bool_], in_test: NDArray[np.bool_]) -> Overlap:
    rows, indices = int(in_texts.sum()), tuple(np.flatnonzero(in_test).tolist())
    return Overlap(rows, rows / len(in_texts), len(indices), len(indices) / len(in_test), indices)
