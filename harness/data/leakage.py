"""Leakage: synthetic rows that stand in the real test split, word for word or but for their dress.

A PLM may have read the test split and write it down again; a student trained on such rows is scored on its
own training data. The indices let a caller score the student with those test rows left out, beside the plain
score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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
    """`exact`: equal strings; `normalised`: equal under `normalise.v1`, which takes in every exact
    overlap."""

    exact: Overlap
    normalised: Overlap


def leakage(texts: Sequence[str], test_texts: Sequence[str]) -> Leakage:
    """Overlap of the synthetic `texts` with the real `test_texts`, exact and normalised.

    Repeats count each time they occur, on either side. A text without a single word (empty, or marks only) is
    never an overlap: it says nothing that could leak. Raises `HarnessError` when either side has no rows.
    """
    if len(texts) == 0 or len(test_texts) == 0:
        raise HarnessError(
            "Leakage compares synthetic rows with real test rows, so it needs at least 1 of each; "
            f"found {len(texts)} synthetic and {len(test_texts)} test rows."
        )
    normal, test_normal = [normalise(text) for text in texts], [normalise(text) for text in test_texts]
    return Leakage(
        exact=_overlap(_with_words(texts, normal), _with_words(test_texts, test_normal)),
        normalised=_overlap(normal, test_normal),
    )


def _with_words(texts: Sequence[str], normal: Sequence[str]) -> list[str]:
    """`texts` with those that have no word emptied."""
    return [text if form else "" for text, form in zip(texts, normal, strict=True)]


def _overlap(texts: Sequence[str], test_texts: Sequence[str]) -> Overlap:
    """Overlap of equal strings, the empty string left out."""
    synthetic, test = set(texts), set(test_texts)
    common = (synthetic & test) - {""}
    rows = sum(text in common for text in texts)
    indices = tuple(index for index, text in enumerate(test_texts) if text in common)
    return Overlap(rows, rows / len(texts), len(indices), len(indices) / len(test_texts), indices)
