"""Near-duplicates between two sets of texts: pairs that share long runs of words though they are not equal.

The n-grams are of eight words, as PaLM's contamination test has them (Chowdhery et al., 2022, section 8). Their test
asks which share of a test text's 8-grams stands anywhere in the training data; over 100,000 film reviews that adds up
the phrases all reviews share. Here one row must account for it, so that what is found is a text written down again:

* The pair shares at least half of the 8-grams of the text that has fewer: of a long review, synthetic rows of forty
  words can only hold a part, and a short test sentence may stand inside a longer row.
* It shares at least six of them, what a run of 13 words holds (the n-gram of Brown et al., 2020, appendix C), or all
  of the test text's where it has fewer. "This is one of the best movies I have ever seen" is three 8-grams and no leak
  of the review it opens.
* An 8-gram of more than ten different test texts counts for nothing, as there.

A text of fewer than eight words has no 8-gram and is near nothing but its equals.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.quality.ngrams import starts_run
from harness.quality.tokens import TokenIds, intern_tokens

ORDER = 8
COVERAGE = 0.5
MIN_SHARED = 6
COMMON = 10


def near_pairs(texts: Sequence[str], test_texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the texts and of the test texts that are near each other, pair by pair: int64 [pairs] each.

    Both sides in `normalise.v1` and without repeats (a repeated test text would make its own 8-grams common).
    Time O(N log N) for N words in all.
    """
    corpus = intern_tokens(text.split() for text in (*texts, *test_texts))
    gram, text = _distinct_grams(corpus)
    n_grams, size = int(gram.max(initial=-1)) + 1, np.bincount(text, minlength=corpus.n_texts)
    of_test = text >= len(texts)
    in_test = np.bincount(gram[of_test], minlength=n_grams)
    counts = (np.bincount(gram[~of_test], minlength=n_grams) > 0) & (in_test > 0) & (in_test <= COMMON)
    # Sorted by 8-gram, the test texts of one lie together: from `begin`, `in_test` of them, each paired with every row.
    partner = text[of_test & counts[gram]]
    in_test = np.where(counts, in_test, 0)
    begin = np.cumsum(in_test) - in_test
    of_row = ~of_test & counts[gram]
    times = in_test[gram[of_row]]
    step = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    left, right = np.repeat(text[of_row], times), partner[np.repeat(begin[gram[of_row]], times) + step]
    pair = np.sort(left * corpus.n_texts + right)
    first = np.flatnonzero(starts_run(pair))
    shared, pair = np.diff(first, append=len(pair)), pair[first]
    left, right = np.divmod(pair, corpus.n_texts)
    enough = np.minimum(MIN_SHARED, size[right])
    near = (shared >= enough) & (shared >= COVERAGE * np.minimum(size[left], size[right]))
    return left[near], right[near] - len(texts)


def _distinct_grams(corpus: TokenIds) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different 8-grams of each text, as (8-gram, text) sorted by both; int64, 8-grams numbered from 0.

    An n-gram is the pair of its halves, so three sorts number them (prefix doubling: Karp, Miller and Rosenberg, STOC
    1972).
    """
    gram = corpus.ids.astype(np.int64)
    left_at = np.repeat(corpus.offsets[1:], corpus.lengths) - np.arange(len(gram))
    width = 1
    while width < ORDER:
        starts = np.flatnonzero(left_at >= 2 * width)
        key = gram[starts] * (gram.max(initial=0) + 1) + gram[starts + width]
        by_key = np.argsort(key, kind="stable")  # radix or merge sort: twice as fast here as the default
        gram[starts[by_key]] = np.cumsum(starts_run(key[by_key])) - 1
        width *= 2
    starts = np.flatnonzero(left_at >= ORDER)
    text_at = np.repeat(np.arange(corpus.n_texts), corpus.lengths)[starts]
    both = np.sort(gram[starts] * corpus.n_texts + text_at)
    distinct, text = np.divmod(both[starts_run(both)], corpus.n_texts)
    return distinct, text
