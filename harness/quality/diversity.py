"""Cheap measures of a synthetic dataset's variety: distinct n-grams, repeats, lengths, label balance."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.normalise import normalise
from harness.errors import HarnessError, did_you_mean, one_of
from harness.quality.ngrams import ngrams_by_order
from harness.quality.tokens import TokenIds, intern_texts


def distinct_n(texts: Sequence[str], max_order: int = 4) -> NDArray[np.float64]:
    """Distinct-1 … Distinct-`max_order`: different n-grams over all n-grams of the corpus.

    float64 [max_order], fractions 0..1 over words of `words.v1`; NaN for an order that no text is long enough
    for. After Li et al. (NAACL 2016), who divide by the number of words. The figure falls with the size of
    the corpus: compare corpora of equal size only. Raises `HarnessError` for no texts.
    """
    return distinct_n_of_ids(intern_texts(texts), max_order)


def distinct_n_of_ids(corpus: TokenIds, max_order: int = 4) -> NDArray[np.float64]:
    """`distinct_n` for a corpus that is already tokenised, by whichever tokeniser."""
    _need_rows(corpus.n_texts, "distinct_n")
    return np.array(
        [
            ngrams.n_distinct / ngrams.n_occurrences if ngrams.n_occurrences else math.nan
            for ngrams in ngrams_by_order(corpus, max_order)
        ]
    )


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Share of rows that repeat an earlier row: as they stand, and under `normalise.v1`. Fractions 0..1."""

    exact: float
    normalised: float


def duplicates(texts: Sequence[str]) -> Duplicates:
    """Share of rows of `texts` that repeat an earlier one. Raises `HarnessError` for no texts."""
    _need_rows(len(texts), "duplicates")
    return Duplicates(_repeated(texts), _repeated([normalise(text) for text in texts]))


def _repeated(texts: Sequence[str]) -> float:
    return (len(texts) - len(set(texts))) / len(texts)


@dataclass(frozen=True, slots=True)
class Lengths:
    """Words per text, marks counted as words; `sd` is that of the rows at hand (divisor n)."""

    mean: float
    sd: float
    min: int
    median: float
    max: int


def lengths(texts: Sequence[str]) -> Lengths:
    """Lengths of `texts` in words of `words.v1`. Raises `HarnessError` for no texts."""
    return lengths_of_ids(intern_texts(texts))


def lengths_of_ids(corpus: TokenIds) -> Lengths:
    """`lengths` for a corpus that is already tokenised, by whichever tokeniser."""
    _need_rows(corpus.n_texts, "lengths")
    n_words = corpus.lengths
    return Lengths(
        mean=float(n_words.mean()),
        sd=float(n_words.std()),
        min=int(n_words.min()),
        median=float(np.median(n_words)),
        max=int(n_words.max()),
    )


@dataclass(frozen=True, slots=True)
class LabelBalance:
    """`shares`: fraction of the rows per label name, in the order given. `entropy`: 1 when all are equal, 0
    when every row has the same label."""

    shares: Mapping[str, float]
    entropy: float


def label_balance(labels: Sequence[str], label_names: Sequence[str]) -> LabelBalance:
    """Share of each of `label_names` among `labels`, and the normalised entropy of the shares.

    That is Shannon's entropy over its maximum, the logarithm of the number of names. Raises `HarnessError`
    for no labels, fewer than two names, or a label that is none of the names.
    """
    _need_rows(len(labels), "label_balance")
    if len(label_names) < 2:
        raise HarnessError(
            "label_balance needs the names of at least 2 labels, those without rows included; "
            f"found {one_of(label_names)}."
        )
    counts = Counter(labels)
    unknown = sorted(counts.keys() - set(label_names))
    if unknown:
        raise HarnessError(
            f"label_balance expects the labels {one_of(label_names)}; found {one_of(unknown)}"
            f"{did_you_mean(unknown[0], label_names)}."
        )
    shares = {name: counts[name] / len(labels) for name in label_names}
    entropy = sum(share * math.log(1 / share) for share in shares.values() if share > 0)
    # Rounding can carry equal shares past the maximum.
    return LabelBalance(shares, min(1.0, entropy / math.log(len(label_names))))


def _need_rows(n_rows: int, measure: str) -> None:
    if n_rows == 0:
        raise HarnessError(f"{measure} needs at least 1 row; found none. Did synthesis keep any row?")
