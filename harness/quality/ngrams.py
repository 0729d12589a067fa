"""All n-grams of a corpus, one order at a time, by sorting integers instead of hashing tuples of words."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.quality.tokens import TokenIds


@dataclass(frozen=True, slots=True, eq=False)
class Ngrams:
    """Every occurrence of an n-gram of one order, sorted by n-gram and, within one n-gram, by text.

    `gram` and `text` are int32 [n_occurrences]: which n-gram (numbered 0, 1, … in sorted order) stands in
    which text.
    """

    order: int
    gram: NDArray[np.int32]
    text: NDArray[np.int32]

    @property
    def n_occurrences(self) -> int:
        return len(self.gram)

    @property
    def n_distinct(self) -> int:
        return int(self.gram[-1]) + 1 if len(self.gram) else 0


def ngrams_by_order(corpus: TokenIds, max_order: int) -> Iterator[Ngrams]:
    """Yield the `Ngrams` of order 1, 2, …, `max_order`; no n-gram crosses from one text into the next.

    An n-gram is the pair (its first n − 1 tokens, its last token), so two numbers below 2**31 name it and one
    sort of int64 keys per order finds equal ones. Time O(max_order · N log N) for N tokens; memory below
    100 bytes per token.
    """
    n_tokens = len(corpus.ids)
    text_at = np.repeat(np.arange(corpus.n_texts, dtype=np.int32), corpus.lengths)
    # Tokens from each position to the end of its text: an n-gram starts only where n are left.
    left_at = (np.repeat(corpus.offsets[1:], corpus.lengths) - np.arange(n_tokens)).astype(np.int32)
    n_words = int(corpus.ids.max(initial=-1)) + 1
    gram_at = np.zeros(n_tokens, dtype=np.int32)  # of order 0: every position starts the same, empty one
    for order in range(1, max_order + 1):
        starts = np.flatnonzero(left_at >= order)
        key = gram_at[starts].astype(np.int64) * n_words + corpus.ids[starts + order - 1]
        # A stable sort leaves the occurrences of one n-gram in the order of their texts.
        by_gram = np.argsort(key, kind="stable")
        gram = np.cumsum(starts_run(key[by_gram]), dtype=np.int32) - np.int32(1)
        sorted_starts = starts[by_gram]
        gram_at[sorted_starts] = gram
        yield Ngrams(order, gram, text_at[sorted_starts])


def starts_run(values: NDArray[np.int32] | NDArray[np.int64]) -> NDArray[np.bool_]:
    """True at the first place and where a value differs from the one before; bool [len(values)]."""
    starts = np.ones(len(values), dtype=np.bool_)
    starts[1:] = values[1:] != values[:-1]
    return starts
