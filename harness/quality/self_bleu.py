"""Self-BLEU-n: how much each text of a corpus repeats the others, exactly and in near-linear time.

Self-BLEU (Zhu et al., SIGIR 2018, arXiv 1802.01886) is the mean over texts of the BLEU (Papineni et al., ACL
2002) of one text against all others as references; higher means less diverse. Taken literally that is
quadratic in the number of texts, which is why it is mostly computed on a sample. It need not be: references
enter BLEU only through the largest count that any of them has of each n-gram and through the closest length.
"The largest count among the others" is the largest in the corpus, except for the one text that alone holds
it, for which it is the second largest. So a sort per order gives every text's score, with no sampling.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.quality.ngrams import Ngrams, ngrams_by_order, starts_run
from harness.quality.tokens import TokenIds, intern_texts

SMOOTHING_EPSILON = 0.1
"""What stands in for a count of no matches: `method1` of nltk (Chen and Cherry, WMT 2014, smoothing 1)."""


@dataclass(frozen=True, slots=True, eq=False)
class SelfBleu:
    """Scores as fractions 0..1; column n − 1 holds Self-BLEU-n.

    `per_text` is float64 [n_texts, max_order], `mean` float64 [max_order].
    """

    per_text: NDArray[np.float64]
    mean: NDArray[np.float64]


def self_bleu(texts: Sequence[str], max_order: int = 5) -> SelfBleu:
    """Self-BLEU-1 … Self-BLEU-`max_order` of `texts` under the `words.v1` tokeniser.

    Each text's score equals nltk's `sentence_bleu(all other texts, text, uniform weights over n orders)` with
    `SmoothingFunction().method1`. Raises `HarnessError` for fewer than two texts or an order below 1.
    """
    return self_bleu_of_ids(intern_texts(texts), max_order)


def self_bleu_of_ids(corpus: TokenIds, max_order: int = 5) -> SelfBleu:
    """`self_bleu` for a corpus that is already tokenised, by whichever tokeniser."""
    if corpus.n_texts < 2:
        raise HarnessError(
            "Self-BLEU compares each text with the others, so it needs at least 2 texts; "
            f"found {corpus.n_texts}. Synthesise more rows or leave self_bleu out of the measures."
        )
    if max_order < 1:
        raise HarnessError(f"Self-BLEU needs a largest n-gram order of at least 1; found {max_order}.")
    log_precision = np.empty((corpus.n_texts, max_order))
    matches_a_word = np.zeros(corpus.n_texts, dtype=np.bool_)
    for ngrams in ngrams_by_order(corpus, max_order):
        matches = _clipped_matches(ngrams, corpus.n_texts)
        if ngrams.order == 1:
            matches_a_word = matches > 0
        log_precision[:, ngrams.order - 1] = _log_precision(matches, corpus.lengths, ngrams.order)
    orders = np.arange(1, max_order + 1)
    geometric_mean = np.exp(np.cumsum(log_precision, axis=1) / orders)
    # Without a single matching word BLEU is 0 whatever the smoothing; that covers the empty text as well.
    per_text = geometric_mean * (_brevity_penalty(corpus.lengths) * matches_a_word)[:, np.newaxis]
    return SelfBleu(per_text, per_text.mean(axis=0))


def _clipped_matches(ngrams: Ngrams, n_texts: int) -> NDArray[np.float64]:
    """Numerator of the modified precision against all other texts, whole numbers as float64 [n_texts].

    A run is one n-gram in one text; its length is the count of that n-gram there.
    """
    run_starts = np.flatnonzero(starts_run(ngrams.gram) | starts_run(ngrams.text))
    count = np.diff(run_starts, append=ngrams.n_occurrences).astype(np.int32)
    clipped = np.minimum(count, _largest_elsewhere(count, ngrams.gram[run_starts]))
    return np.bincount(ngrams.text[run_starts], weights=clipped, minlength=n_texts).astype(np.float64)


def _largest_elsewhere(count: NDArray[np.int32], gram: NDArray[np.int32]) -> NDArray[np.int32]:
    """For each run, the largest count that the same n-gram has in any other text; int32 [n_runs], 0 for none.

    `gram` is sorted and numbered without gaps from 0, so that its values index the per-n-gram arrays.
    """
    gram_starts = np.flatnonzero(starts_run(gram))
    largest = np.maximum.reduceat(count, gram_starts)[gram]
    holds_largest = count == largest
    second = np.maximum.reduceat(np.where(holds_largest, 0, count), gram_starts)[gram]
    alone = np.add.reduceat(holds_largest, gram_starts, dtype=np.int32)[gram] == 1
    return np.where(holds_largest & alone, second, largest)


def _log_precision(matches: NDArray[np.float64], lengths: NDArray[np.int64], order: int) -> NDArray[np.float64]:
    """Natural logarithm of the smoothed modified precision; float64 [n_texts].

    A text of fewer than `order` tokens has no n-gram; nltk divides by 1 then: its precision is epsilon.
    """
    possible = np.maximum(1, lengths - order + 1)
    return np.log(np.where(matches == 0, SMOOTHING_EPSILON, matches) / possible)


def _brevity_penalty(lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """exp(1 − r/c) for a text of c tokens, r being the closest length among the others; 1 where c ≥ r.

    float64 [n_texts]. The empty text scores 0 by the caller's rule for texts without a match; all that is
    asked here is not to divide by its length.
    """
    shortfall = np.maximum(0, _closest_other_length(lengths) - lengths)
    penalty: NDArray[np.float64] = np.exp(-shortfall / np.maximum(1, lengths))
    return penalty


def _closest_other_length(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """The closest length among all other texts, the shorter of two equally close; int64 [n_texts]."""
    distinct, which, shared_by = np.unique(lengths, return_inverse=True, return_counts=True)
    if len(distinct) == 1:
        return lengths
    shorter, longer = np.roll(distinct, 1), np.roll(distinct, -1)
    shorter[0], longer[-1] = longer[0], shorter[-1]  # the ends have a neighbour on one side only
    nearest = np.where(distinct - shorter <= longer - distinct, shorter, longer)
    return np.where(shared_by > 1, distinct, nearest)[which]
