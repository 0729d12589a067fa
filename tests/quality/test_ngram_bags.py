import math
import random

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics.pairwise import cosine_similarity

from harness.quality.ngram_bags import bags_of_ngrams, vendi_of_draws
from harness.quality.tokens import intern_texts, words


def random_texts(count: int, shortest: int = 1) -> list[str]:
    rng = random.Random(19)
    return [" ".join(rng.choices("abcdefgh", range(8, 0, -1), k=rng.randint(shortest, 12))) for _ in range(count)]


def test_cosines_of_bags_are_those_of_sklearns_counts() -> None:
    texts = random_texts(60)
    counts = CountVectorizer(tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 4))
    bags = bags_of_ngrams(intern_texts(texts))
    np.testing.assert_allclose((bags @ bags.T).toarray(), cosine_similarity(counts.fit_transform(texts)), atol=1e-12)


def test_vendi_of_bags_agrees_with_a_dense_solver_over_sklearns_cosines() -> None:
    texts = random_texts(60)
    counts = CountVectorizer(tokenizer=words, token_pattern=None, lowercase=False, ngram_range=(1, 4))
    eigenvalues = np.linalg.eigvalsh(cosine_similarity(counts.fit_transform(texts)) / len(texts))
    expected = math.exp(float(entropy(np.clip(eigenvalues, 0, None))))
    assert vendi_of_draws(intern_texts(texts), 60, seed=0) == [pytest.approx(expected, abs=1e-8)]


def test_empty_texts_are_one_more_kind_of_text() -> None:
    # Two empty ones, "a" and "b": shares 1/2, 1/4, 1/4 and 1.5 bits.
    assert vendi_of_draws(intern_texts(["", "a", "", "b"]), 4, seed=0) == [pytest.approx(2**1.5, abs=1e-12)]


def test_of_more_texts_than_the_size_each_draw_takes_that_many_others() -> None:
    texts = [f"w{index}" for index in range(30)]
    assert vendi_of_draws(intern_texts(texts), 10, seed=0) == pytest.approx([10.0] * 5)
    halves = vendi_of_draws(intern_texts([f"w{index % 15}" for index in range(30)]), 10, seed=0)
    assert len(set(halves)) > 1 and all(5 <= score <= 10 for score in halves)
