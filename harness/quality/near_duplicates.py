"""Near duplicates: rows that are another row but for a few words, found without comparing all pairs.

MinHash (Broder, 1997): under a random order of all shingles, two sets have the same first shingle with the probability
of their Jaccard similarity. 32 bands of 4 such firsts (Indyk and Motwani, STOC 1998; Leskovec et al., Mining of Massive
Datasets, 3.4) make candidates of two rows at the threshold but for a chance of (1 − 0.8⁴)³² = 5e-8; every candidate is
then judged by its true similarity. So nothing is counted that is no near duplicate, and next to nothing is missed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from harness.data.normalise import normalise
from harness.quality.diversity import need_rows
from harness.quality.ngrams import ngrams_by_order, starts_run
from harness.quality.tokens import TokenIds, intern_tokens
from harness.seeds import derive_seed

Sets: TypeAlias = "scipy.sparse.csr_array[np.int32, tuple[int, int]]"
"""Which shingles stand in which text, 1 each; [n_texts, different shingles]."""

SHINGLE_WORDS = 5
THRESHOLD = 0.8
BANDS, BAND_ROWS = 32, 4

REACH = 100
"""With how many rows before it a row is compared in one band. Rows are ordered by the next band as well, so that those
alike stand together; only in a band where more than this many *different* rows agree are rows further apart not
compared."""

_CHUNK = 500_000
"""Pairs that are judged at a time: their shingles lie in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class NearDuplicates:
    """`repeats` bool [n_texts]: the row is a near duplicate of an earlier one. `cluster` int64 [n_texts]: rows that are
    linked by near duplicates, over others where need be, have the same number, counted from 0 by first rows."""

    repeats: NDArray[np.bool_]
    cluster: NDArray[np.int64]

    @property
    def share(self) -> float:
        return float(self.repeats.mean())

    def clusters(self) -> list[list[int]]:
        """The rows of each cluster of two or more, ascending; the largest clusters first."""
        by_cluster = np.argsort(self.cluster, kind="stable")
        sizes = np.bincount(self.cluster)
        members = np.split(by_cluster, np.cumsum(sizes)[:-1])
        largest = np.argsort(-sizes, kind="stable")[: int(np.sum(sizes > 1))]
        return [members[index].tolist() for index in largest.tolist()]


def near_duplicates(texts: Sequence[str]) -> NearDuplicates:
    """Rows whose sets of word 5-grams have a Jaccard similarity of at least 0.8.

    Words are those of `normalise.v1` (no case, no marks), so that rows equal in that form are near duplicates too; a
    text of fewer words is one shingle as a whole. Linear in the number of rows but for rows that share most of their
    shingles. Raises `HarnessError` for no texts.
    """
    need_rows(len(texts), "near_duplicates")
    first_with: dict[str, int] = {}
    # The place, among the different normal forms, of each row's own.
    form = np.array([first_with.setdefault(normalise(text), len(first_with)) for text in texts])
    later_forms, links = _linked(shingles(intern_tokens(map(str.split, first_with))), len(first_with))
    repeats = np.ones(len(texts), dtype=np.bool_)
    first_rows = np.unique(form, return_index=True)[1]
    repeats[first_rows] = later_forms  # forms are numbered in the order of their first rows: earlier stays earlier
    return NearDuplicates(repeats, _numbered_by_first(_components(links, len(first_with))[form]))


def shingles(corpus: TokenIds, words: int = SHINGLE_WORDS) -> Sets:
    """The different `words`-grams of each text; a shorter text is one shingle as a whole, so that no set is empty."""
    empty = np.flatnonzero(corpus.lengths == 0)
    rows, columns, n_columns = [empty], [np.zeros(len(empty), dtype=np.int64)], 1
    for ngrams in ngrams_by_order(corpus, words):
        kept = starts_run(ngrams.gram) | starts_run(ngrams.text)
        if ngrams.order < words:
            kept &= corpus.lengths[ngrams.text] == ngrams.order
        rows.append(ngrams.text[kept].astype(np.int64))
        columns.append(ngrams.gram[kept].astype(np.int64) + n_columns)
        n_columns += ngrams.n_distinct
    row, column = np.concatenate(rows), np.concatenate(columns)
    ones = np.ones(len(row), dtype=np.int32)
    return scipy.sparse.csr_array((ones, (row, column)), shape=(corpus.n_texts, n_columns))


def band_keys(sets: Sets) -> NDArray[np.uint64]:
    """Of each set (none may be empty) and band, one number that stands for the MinHashes of the band; uint64
    [BANDS, n_sets].

    The random orders are those of a·x + b modulo 2⁶⁴, a odd, over well mixed numbers x of the shingles.
    """
    mixed = _mixed(sets.indices.astype(np.uint64))
    firsts = sets.indptr[:-1].astype(np.int64)
    keys = np.zeros((BANDS, sets.shape[0]), dtype=np.uint64)
    for band in range(BANDS):
        for row in range(BAND_ROWS):
            factor = np.uint64(2 * derive_seed("minhash", "factor", band, row) + 1)
            order = mixed * factor
            order += np.uint64(derive_seed("minhash", "term", band, row))
            keys[band] = _mixed(keys[band] ^ np.minimum.reduceat(order, firsts))
    return keys


def _mixed(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele et al., OOPSLA 2014): a bijection that looks random."""
    mixed = numbers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _linked(sets: Sets, n_sets: int) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which sets have an earlier near duplicate, bool [n_sets], and pairs [p, 2] that join all near duplicates into
    clusters (not each pair of them)."""
    sizes = np.diff(sets.indptr)
    keys = band_keys(sets)
    shared = sets[:, np.flatnonzero(np.bincount(sets.indices, minlength=sets.shape[1]) > 1)]
    found = np.zeros(n_sets, dtype=np.bool_)
    cluster = np.arange(n_sets)
    links: list[NDArray[np.int64]] = [np.empty((0, 2), dtype=np.int64)]
    for band in range(BANDS):
        order = np.lexsort((keys[(band + 1) % BANDS], keys[band]))
        key = keys[band][order]
        for reach in range(1, REACH + 1):
            together = np.flatnonzero(key[reach:] == key[:-reach])
            if not len(together):
                break
            pairs = np.sort(np.stack([order[together], order[together + reach]], axis=1), axis=1)
            earlier, later = pairs.T
            # Nothing is learnt of a row known to repeat an earlier one from another row of its cluster; and two sets
            # whose sizes differ too much cannot have enough in common.
            news = ~(found[later] & (cluster[earlier] == cluster[later]))
            news &= _jaccard(np.minimum(sizes[earlier], sizes[later]), sizes[earlier], sizes[later]) >= THRESHOLD
            pairs = pairs[news]
            near = pairs[_are_near(shared, sizes, pairs)]
            if len(near):
                found[near[:, 1]] = True
                links.append(near)
                cluster = _components(np.concatenate(links), n_sets)
    return found, np.concatenate(links)


def _are_near(shared: Sets, sizes: NDArray[np.int32], pairs: NDArray[np.int64]) -> NDArray[np.bool_]:
    near = np.zeros(len(pairs), dtype=np.bool_)
    for start in range(0, len(pairs), _CHUNK):
        one, other = pairs[start : start + _CHUNK].T
        common = shared[one].multiply(shared[other]).sum(axis=1)
        near[start : start + _CHUNK] = _jaccard(common, sizes[one], sizes[other]) >= THRESHOLD
    return near


def _jaccard(common: NDArray[np.int32], size: NDArray[np.int32], other_size: NDArray[np.int32]) -> NDArray[np.float64]:
    return common / (size + other_size - common)


def _components(links: NDArray[np.int64], n_nodes: int) -> NDArray[np.int64]:
    """Number of the connected component of each node; int64 [n_nodes]."""
    ones = np.ones(len(links), dtype=np.int8)
    graph = scipy.sparse.csr_array((ones, (links[:, 0], links[:, 1])), shape=(n_nodes, n_nodes))
    labels: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels


def _numbered_by_first(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """`labels` renumbered from 0 in order of first appearance."""
    _, first, which = np.unique(labels, return_index=True, return_inverse=True)
    numbers: NDArray[np.int64] = np.argsort(np.argsort(first))[which]
    return numbers
