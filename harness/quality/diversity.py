"""Cheap measures of a synthetic dataset's variety: distinct n-grams, repeats, lengths, label balance."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.normalise import normalise
from harness.errors import HarnessError, did_you_mean, one_of
from harness.quality.ngrams import ngrams_by_order, starts_run
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
    need_rows(corpus.n_texts, "distinct_n")
    return np.array(
        [
            ngrams.n_distinct / ngrams.n_occurrences if ngrams.n_occurrences else math.nan
            for ngrams in ngrams_by_order(corpus, max_order)
        ]
    )


def ngram_entropy_of_ids(corpus: TokenIds, max_order: int = 4) -> NDArray[np.float64]:
    """Shannon's entropy of the corpus's n-grams for n = 1 … `max_order`, in bits; float64 [max_order].

    H_n = −Σ p log2 p over the different n-grams, p being their share of all occurrences (Shannon, 1948); no n-gram
    crosses from one text into the next; NaN for an order that no text is long enough for. The shares are those of the
    rows at hand, so the figure grows with the number of rows: compare corpora of one size. Raises `HarnessError` for no
    texts.
    """
    need_rows(corpus.n_texts, "entropy")
    return np.array([_entropy(np.bincount(ngrams.gram)) for ngrams in ngrams_by_order(corpus, max_order)])


def _entropy(counts: NDArray[np.int64]) -> float:
    """In bits, of counts that are all above 0; NaN without any."""
    total = int(counts.sum())
    return math.log2(total) - float(np.sum(counts * np.log2(counts))) / total if total else math.nan


def moving_ttr_of_ids(corpus: TokenIds, window: int = 50) -> float:
    """MATTR: mean type-token ratio (different words over words) of all windows of `window` words; fraction 0..1.

    After Covington and McFall (Journal of Quantitative Linguistics, 2010), who move the window over one long text. Here
    that is the texts joined in the order of `corpus`: most rows are shorter than a window, and a row's own ratio says
    nothing of what the rows share. NaN where there are fewer words than a window. Time O(N log N) for N words, whatever
    the window: a word is new in just those windows that hold it and not the last occurrence before it.
    """
    ids, n_tokens = corpus.ids, len(corpus.ids)
    n_windows = n_tokens - window + 1
    if n_windows < 1:
        return math.nan
    by_word = np.argsort(ids, kind="stable")
    again = ids[by_word[1:]] == ids[by_word[:-1]]
    before = np.full(n_tokens, -1)
    before[by_word[1:][again]] = by_word[:-1][again]
    position = np.arange(n_tokens)
    first_window = np.maximum(before, np.maximum(position - window, -1)) + 1
    last_window = np.minimum(position, n_windows - 1)
    return float(np.maximum(last_window - first_window + 1, 0).sum()) / (n_windows * window)


def self_repetition_of_ids(corpus: TokenIds, order: int = 4) -> NDArray[np.float64]:
    """ln(1 + Σ (df − 1)) over the different n-grams of each text, df being in how many texts the n-gram stands;
    float64 [n_texts].

    Salkar et al. (AACL 2022), who take the mean over the texts with n = 4: 0 where no text has an n-gram of another. A
    text without an n-gram scores 0. The figure grows with the number of rows. Raises `HarnessError` for no texts.
    """
    need_rows(corpus.n_texts, "self_repetition")
    *_, ngrams = ngrams_by_order(corpus, order)
    once_per_text = starts_run(ngrams.gram) | starts_run(ngrams.text)
    gram, text = ngrams.gram[once_per_text], ngrams.text[once_per_text]
    in_others = np.bincount(gram)[gram] - 1
    per_text: NDArray[np.float64] = np.log1p(np.bincount(text, weights=in_others, minlength=corpus.n_texts))
    return per_text


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Share of rows that repeat an earlier row: as they stand, and under `normalise.v1`. Fractions 0..1."""

    exact: float
    normalised: float


def duplicates(texts: Sequence[str]) -> Duplicates:
    """Share of rows of `texts` that repeat an earlier one. Raises `HarnessError` for no texts."""
    need_rows(len(texts), "duplicates")
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
    need_rows(corpus.n_texts, "lengths")
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
    need_rows(len(labels), "label_balance")
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


def need_rows(n_rows: int, measure: str) -> None:
    """Raises `HarnessError` for no rows: a share of them would be zero by zero."""
    if n_rows == 0:
        raise HarnessError(f"{measure} needs at least 1 row; found none. Did synthesis keep any row?")
