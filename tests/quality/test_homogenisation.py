import os
import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer

from harness.errors import HarnessError
from harness.quality.homogenisation import homogenisation_of_ids, rouge_l_of_ids
from harness.quality.tokens import TokenIds, intern_texts, intern_tokens, words

MIRROR = os.environ.get("HARNESS_MIRROR")
SST2 = Path(MIRROR or "") / "datasets" / "nyu-mll" / "glue" / "sst2" / "validation.parquet"


class Words:
    """The harness's tokeniser in the shape that rouge_score wants."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def assert_agrees_with_rouge_score(texts: list[str], pairs: list[tuple[int, int]]) -> None:
    scorer = RougeScorer(["rougeL"], tokenizer=Words())
    expected = [scorer.score(texts[one], texts[other])["rougeL"].fmeasure for one, other in pairs]
    left, right = np.array(pairs).T
    np.testing.assert_allclose(rouge_l_of_ids(intern_texts(texts), left, right), expected, rtol=0, atol=1e-9)


@pytest.mark.skipif(MIRROR is None, reason="HARNESS_MIRROR is not set")
def test_200_real_sentences_score_as_the_rouge_score_package_scores_them() -> None:
    sentences = pq.read_table(SST2, columns=["sentence"])["sentence"].to_pylist()
    texts = random.Random(13).sample(sentences, 200)
    assert_agrees_with_rouge_score(texts, random.Random(5).sample(list(combinations(range(200), 2)), 2_000))


def test_random_texts_short_long_empty_and_beyond_the_bmp_score_as_the_rouge_score_package_scores_them() -> None:
    rng = random.Random(7)
    texts = [" ".join(rng.choices("abcdefghij", k=rng.randint(0, 30))) for _ in range(30)]
    texts += ["", "", "a", "Ω 😀 ?", "? Ω", " ".join("abcdef" * 40), " ".join("fbdace" * 25)]
    assert_agrees_with_rouge_score(texts, list(combinations(range(len(texts)), 2)))


def test_word_numbers_that_no_character_has_still_compare() -> None:
    ids = np.array([5, 0x110000, 7, 0x110000, 7, 9], dtype=np.int32)
    corpus = TokenIds(ids, np.array([0, 3, 6]))
    assert rouge_l_of_ids(corpus, np.array([0]), np.array([1])).tolist() == [2 * 2 / 6]
    surrogates = TokenIds(np.array([0xD800, 0xDC00, 0xDC00], dtype=np.int32), np.array([0, 2, 3]))
    assert rouge_l_of_ids(surrogates, np.array([0]), np.array([1])).tolist() == [2 * 1 / 3]


def test_few_texts_are_compared_pair_by_pair_worked_by_hand() -> None:
    # ab/abc: 2·2/5; ab/cb: 2·1/4; abc/cb: 2·1/5.
    found = homogenisation_of_ids(intern_texts(["a b", "a b c", "c b"]))
    assert found.mean == pytest.approx((0.8 + 0.5 + 0.4) / 3)
    assert found.per_text is not None
    assert found.per_text.tolist() == pytest.approx([0.65, 0.6, 0.45])
    assert (found.low, found.high) == (None, None)


@pytest.fixture(scope="module")
def corpus() -> TokenIds:
    """Each text says one word 0 to 20 times, then words of its own: four fifths of the variance of pairs is that of
    texts."""
    rng = random.Random(11)
    common = [rng.randint(0, 20) for _ in range(400)]
    return intern_tokens(
        ["the"] * count + [f"{text} {place}" for place in range(20 - count)] for text, count in enumerate(common)
    )


def test_95_percent_intervals_of_a_sample_of_pairs_hold_the_mean_of_all_about_so_often(corpus: TokenIds) -> None:
    exact = homogenisation_of_ids(corpus).mean
    found = [homogenisation_of_ids(corpus, seed, pairs=2_000) for seed in range(300)]
    hits = sum(one.low is not None and one.high is not None and one.low <= exact <= one.high for one in found)
    assert 0.92 <= hits / len(found) <= 0.98  # two and a half standard errors of 300 tries either way
    assert float(np.mean([one.mean for one in found])) == pytest.approx(exact, abs=0.001)


def test_in_a_sample_every_text_counts_equally_which_makes_its_interval_narrower(corpus: TokenIds) -> None:
    found = homogenisation_of_ids(corpus, pairs=8_000)
    assert found.per_text is not None and found.low is not None and found.high is not None
    assert float(found.per_text.mean()) == pytest.approx(found.mean, abs=1e-12)
    all_pairs = rouge_l_of_ids(corpus, *np.triu_indices(corpus.n_texts, k=1))
    independent = 1.96 * float(all_pairs.std()) / np.sqrt(8_000)
    assert (found.high - found.low) / 2 < 0.6 * independent


def test_texts_have_scores_of_their_own_where_they_met_twenty_others(corpus: TokenIds) -> None:
    every = homogenisation_of_ids(corpus).per_text
    sampled = homogenisation_of_ids(corpus, pairs=40 * corpus.n_texts).per_text
    assert every is not None and sampled is not None
    assert correlation(every, sampled) > 0.95
    assert homogenisation_of_ids(corpus, pairs=9 * corpus.n_texts).per_text is None
    assert homogenisation_of_ids(corpus, pairs=10 * corpus.n_texts).per_text is not None


def correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.corrcoef(one, other)[0, 1])


@pytest.mark.parametrize("texts", [[], ["one"]])
def test_fewer_than_two_texts_are_refused(texts: list[str]) -> None:
    with pytest.raises(HarnessError, match="at least 2 texts"):
        homogenisation_of_ids(intern_texts(texts))
