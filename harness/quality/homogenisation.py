"""Homogenisation: how alike two texts of a corpus are, by the longest word sequence that both contain."""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cpdist

from harness.errors import HarnessError
from harness.quality.tokens import TokenIds
from harness.seeds import derive_seed

PAIRS = 100_000
"""Pairs of texts that are compared: all of them where there are no more, else about so many drawn at random."""

MIN_PARTNERS = 20
"""A text has a score of its own where it was compared with at least so many others."""


@dataclass(frozen=True, slots=True, eq=False)
class Homogenisation:
    """Means of ROUGE-L F1, fractions 0..1: `mean` over all pairs, with the 95 % interval of what comparing all pairs
    would give (None where all were); `per_text` [n_texts] over the pairs of a text, None where those are too few."""

    mean: float
    low: float | None
    high: float | None
    per_text: NDArray[np.float64] | None


def homogenisation_of_ids(corpus: TokenIds, seed: int = 0, pairs: int = PAIRS) -> Homogenisation:
    """Mean pairwise ROUGE-L F1 = 2·LCS/(m + n) over words (Lin, 2004; as a measure of a corpus: Shaib et al., 2024).

    Higher means less diverse. All pairs are compared where there are at most `pairs`; else about so many, in whole
    rounds: a round puts the texts on a circle in random order and compares neighbours, so that each text is compared
    twice per round and no text counts more than another. What makes a text alike to all others (its length, its common
    words) then adds no error at all; the interval holds what is particular to the pairs, estimated as the variance of
    the pairs less twice the covariance of pairs that share a text (Hoeffding, 1948).

    Raises:
        HarnessError: fewer than two texts.
    """
    n_texts = corpus.n_texts
    if n_texts < 2:
        raise HarnessError(
            f"Homogenisation compares each text with others, so it needs at least 2 texts; found {n_texts}."
        )
    if math.comb(n_texts, 2) <= pairs:
        left, right = np.triu_indices(n_texts, k=1)
        scores = rouge_l_of_ids(corpus, left, right)
        return Homogenisation(float(scores.mean()), None, None, _per_text(scores, left, right, n_texts))
    rounds = max(1, round(pairs / n_texts))
    rng = np.random.default_rng(derive_seed("homogenisation", seed))
    circles = np.stack([rng.permutation(n_texts) for _ in range(rounds)])
    left, right = circles.ravel(), np.roll(circles, -1, axis=1).ravel()
    scores = rouge_l_of_ids(corpus, left, right)
    mean = float(scores.mean())
    residual = (scores - mean).reshape(rounds, n_texts)
    shared = float(np.mean(residual * np.roll(residual, -1, axis=1)))
    error = 1.96 * math.sqrt(max(0.0, float(np.mean(residual**2)) - 2 * shared) / len(scores))
    per_text = _per_text(scores, left, right, n_texts) if 2 * rounds >= MIN_PARTNERS else None
    return Homogenisation(mean, max(0.0, mean - error), min(1.0, mean + error), per_text)


def rouge_l_of_ids(corpus: TokenIds, left: NDArray[np.int64], right: NDArray[np.int64]) -> NDArray[np.float64]:
    """ROUGE-L F1 of the texts `left[k]` and `right[k]`; float64 [pairs]. 0 where either has no word."""
    texts = _as_strings(corpus)
    common: NDArray[np.int32] = cpdist(
        [texts[index] for index in left.tolist()],
        [texts[index] for index in right.tolist()],
        scorer=LCSseq.similarity,
        dtype=np.int32,
    )
    scores: NDArray[np.float64] = 2 * common / np.maximum(1, corpus.lengths[left] + corpus.lengths[right])
    return scores


def _as_strings(corpus: TokenIds) -> list[str] | list[list[int]]:
    """Texts in which each word is one character, which rapidfuzz reads four times as fast as lists of numbers; as these
    lists where there are more different words than characters."""
    if int(corpus.ids.max(initial=0)) < 0x110000:
        codes = corpus.ids.astype("<u4").tobytes()
        bounds = (4 * corpus.offsets).tolist()
        return [codes[start:end].decode("utf-32-le", "surrogatepass") for start, end in itertools.pairwise(bounds)]
    ids = corpus.ids.tolist()
    return [ids[start:end] for start, end in itertools.pairwise(corpus.offsets.tolist())]


def _per_text(
    scores: NDArray[np.float64], left: NDArray[np.int64], right: NDArray[np.int64], n_texts: int
) -> NDArray[np.float64]:
    sums = np.bincount(left, scores, n_texts) + np.bincount(right, scores, n_texts)
    return sums / (np.bincount(left, minlength=n_texts) + np.bincount(right, minlength=n_texts))
