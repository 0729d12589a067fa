import math
import os
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from numpy.typing import NDArray

from harness.errors import HarnessError
from harness.quality.self_bleu import self_bleu, self_bleu_of_ids
from harness.quality.tokens import intern_tokens, words

TOLERANCE = 1e-12
MIRROR = Path(os.environ.get("HARNESS_MIRROR") or Path(__file__).parents[3] / "shared" / "mirror")
SST2 = MIRROR / "datasets" / "nyu-mll" / "glue" / "sst2" / "validation.parquet"

EDGE_CASES = {
    "two empty texts": ["", ""],
    "an empty text among others": ["", "a b c", "a b d"],
    "one-token texts": ["a", "a", "b"],
    "identical texts": ["a b c d e f"] * 3,
    "identical texts shorter than the order": ["a b"] * 3,
    "nothing in common": ["a b c", "d e f", "g h i"],
    "a text that matches nothing": ["x y z", "a b c d e", "a b c d f"],
    "closest length tied between shorter and longer": ["a b c d", "a b", "a b c d e f"],
    "only longer others": ["a", "a b c", "a b c d e"],
    "only shorter others": ["a b c d e f g", "a b", "c"],
    "an n-gram held most often by one text alone": ["a a a a b", "a a c", "a d"],
    "the largest count held by two texts": ["a a a b", "a a a c", "a d"],
    "one n-gram filling every text": ["a a a a a a", "a a a", "a"],
}


def nltk_scores(texts: list[str], max_order: int = 5) -> NDArray[np.float64]:
    """The definition taken literally, each text against all others; one call scores a text at every order."""
    tokenised = [words(text) for text in texts]
    weights = [(1 / order,) * order for order in range(1, max_order + 1)]
    smoothing = SmoothingFunction().method1
    return np.array(
        [
            sentence_bleu(tokenised[:row] + tokenised[row + 1 :], text, weights, smoothing)
            for row, text in enumerate(tokenised)
        ],
        dtype=np.float64,
    )


def assert_agrees_with_nltk(texts: list[str]) -> None:
    expected = nltk_scores(texts)
    found = self_bleu(texts)
    np.testing.assert_allclose(found.per_text, expected, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(found.mean, expected.mean(axis=0), rtol=0, atol=TOLERANCE)


@pytest.mark.skipif(not SST2.exists(), reason=f"no mirror with {SST2}")
def test_real_sentences_score_as_nltk_scores_them_so_that_figures_compare_with_the_literature() -> None:
    sentences = pq.read_table(SST2, columns=["sentence"])["sentence"].to_pylist()
    assert_agrees_with_nltk(random.Random(13).sample(sentences, 300))


def test_120_random_texts_score_as_nltk_scores_them_without_any_mirror() -> None:
    rng = random.Random(21)
    vocabulary = [f"w{rank}" for rank in range(40)]
    weights = [1 / (rank + 1) for rank in range(40)]
    texts = [" ".join(rng.choices(vocabulary, weights, k=rng.randint(0, 14))) for _ in range(100)]
    texts += [*rng.sample(texts, 14), "", "w0", "w0 w0 w0 w0 w0 w0 w0", "alone", "quite alone here", "w1 w2"]
    assert len(texts) == 120
    assert_agrees_with_nltk(texts)


@pytest.mark.parametrize("texts", EDGE_CASES.values(), ids=EDGE_CASES.keys())
def test_edge_cases_follow_nltk_where_the_formula_alone_leaves_a_choice(texts: list[str]) -> None:
    assert_agrees_with_nltk(texts)


def test_many_tiny_corpora_follow_nltk_because_ties_are_commonest_there() -> None:
    rng = random.Random(42)
    for _ in range(60):
        letters = "abcdef"[: rng.randint(1, 6)]
        texts = [" ".join(rng.choices(letters, k=rng.randint(0, 7))) for _ in range(rng.randint(2, 6))]
        assert_agrees_with_nltk(texts)


def test_a_case_worked_by_hand_pins_the_smoothing_and_the_brevity_penalty() -> None:
    # "a b c" against "a b": precisions 2/3 and 1/2, longer than the reference. "a b" against "a b c": both
    # precisions are 1, with 2 tokens against 3.
    found = self_bleu(["a b c", "a b"], max_order=2)
    penalty = math.exp(1 - 3 / 2)
    assert found.per_text.tolist() == [
        pytest.approx([2 / 3, math.sqrt(2 / 3 * 1 / 2)], abs=TOLERANCE),
        pytest.approx([penalty, penalty], abs=TOLERANCE),
    ]


def test_one_sentence_repeated_scores_one_at_every_order() -> None:
    assert self_bleu(["a fine film , and short ."] * 4).mean.tolist() == [1.0] * 5


def test_scores_belong_to_texts_whatever_the_order_of_the_rows() -> None:
    texts = EDGE_CASES["an n-gram held most often by one text alone"] + EDGE_CASES["only longer others"]
    backwards = self_bleu(texts[::-1]).per_text[::-1]
    np.testing.assert_allclose(self_bleu(texts).per_text, backwards, rtol=0, atol=TOLERANCE)


def test_a_callers_own_tokens_give_the_same_scores_whatever_numbers_stand_for_them() -> None:
    texts = ["a b a c", "c b a", "a b a b"]
    letters = intern_tokens(text.split() for text in texts)
    numbered_otherwise = type(letters)(7 - 2 * letters.ids, letters.offsets)
    np.testing.assert_array_equal(self_bleu_of_ids(numbered_otherwise, 3).per_text, self_bleu(texts, 3).per_text)


@pytest.mark.parametrize("texts", [[], ["only one text"]])
def test_fewer_than_two_texts_are_refused_with_what_is_needed(texts: list[str]) -> None:
    with pytest.raises(HarnessError, match=f"at least 2 texts; found {len(texts)}"):
        self_bleu(texts)


def test_an_order_below_one_is_refused() -> None:
    with pytest.raises(HarnessError, match="at least 1; found 0"):
        self_bleu(["a", "b"], max_order=0)
