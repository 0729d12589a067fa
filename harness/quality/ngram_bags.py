"""Texts as bags of n-grams, and how many different ones they amount to."""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from harness.quality.draws import DRAWS, drawn_rows
from harness.quality.ngrams import ngrams_by_order, starts_run
from harness.quality.tokens import TokenIds
from harness.quality.vendi import vendi_score

VENDI_ROWS = 1500
"""Rows of which a Vendi score is taken at most: it solves a matrix of that size, in time that grows with its cube."""


def bags_of_ngrams(corpus: TokenIds, max_order: int = 4) -> scipy.sparse.csr_array[np.float64, tuple[int, int]]:
    """Counts of all 1- to `max_order`-grams of each text, each row divided by its length; [n_texts, n-grams].

    Texts without a word are equal to one another and like nothing else: they share a column of their own.
    """
    empty = np.flatnonzero(corpus.lengths == 0)
    rows, columns, counts = [empty], [np.zeros(len(empty), dtype=np.int64)], [np.ones(len(empty))]
    n_columns = 1
    for ngrams in ngrams_by_order(corpus, max_order):
        starts = np.flatnonzero(starts_run(ngrams.gram) | starts_run(ngrams.text))
        rows.append(ngrams.text[starts].astype(np.int64))
        columns.append(ngrams.gram[starts].astype(np.int64) + n_columns)
        counts.append(np.diff(starts, append=ngrams.n_occurrences).astype(np.float64))
        n_columns += ngrams.n_distinct
    row, count = np.concatenate(rows), np.concatenate(counts)
    count /= np.sqrt(np.bincount(row, count**2, corpus.n_texts))[row]
    return scipy.sparse.csr_array((count, (row, np.concatenate(columns))), shape=(corpus.n_texts, n_columns))


def vendi_of_draws(corpus: TokenIds, size: int, seed: int, draws: int = DRAWS) -> list[float]:
    """The Vendi score of the bags of 1- to 4-grams of `size` random texts, once per draw; of all texts, once, where
    there are no more than that. Raises `HarnessError` for no texts."""
    if corpus.n_texts <= size:
        return [vendi_score(bags_of_ngrams(corpus))]
    chosen: list[NDArray[np.int64]] = [drawn_rows(corpus.n_texts, size, "vendi", seed, draw) for draw in range(draws)]
    return [vendi_score(bags_of_ngrams(corpus.take(rows))) for rows in chosen]
