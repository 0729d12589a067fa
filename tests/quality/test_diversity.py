import math
import random
import statistics
from collections import Counter

import numpy as np
import pytest
from nltk.util import ngrams
from scipy.stats import entropy

from harness.errors import HarnessError
from harness.quality.diversity import (
    distinct_n,
    duplicates,
    label_balance,
    lengths,
    moving_ttr_of_ids,
    ngram_entropy_of_ids,
    self_repetition_of_ids,
)
from harness.quality.tokens import intern_texts, intern_tokens, words


def test_distinct_n_worked_by_hand_counts_no_ngram_across_texts() -> None:
    # 1-grams a b a b a: 2 of 5. 2-grams ab ba | ba: 2 of 3. 3-grams aba: 1 of 1.
    assert distinct_n(["a b a", "b a"], max_order=3).tolist() == pytest.approx([2 / 5, 2 / 3, 1])


def test_distinct_n_agrees_with_sets_of_nltk_ngrams_on_random_texts() -> None:
    rng = random.Random(13)
    texts = [" ".join(rng.choices("abcdefgh", k=rng.randint(0, 12))) for _ in range(80)]
    for order, found in enumerate(distinct_n(texts), 1):
        every = [gram for text in texts for gram in ngrams(words(text), order)]
        assert found == len(set(every)) / len(every)


def test_distinct_n_is_undefined_rather_than_zero_for_an_order_no_text_reaches() -> None:
    found = distinct_n(["a b", "c"])
    assert found[:2].tolist() == [1, 1]
    assert np.isnan(found[2:]).all()


def test_entropy_of_ngrams_agrees_with_scipy_on_random_texts() -> None:
    rng = random.Random(17)
    texts = [" ".join(rng.choices("abcdefgh", range(8, 0, -1), k=rng.randint(0, 12))) for _ in range(80)]
    for order, found in enumerate(ngram_entropy_of_ids(intern_texts(texts)), 1):
        counts = Counter(gram for text in texts for gram in ngrams(words(text), order))
        assert found == pytest.approx(entropy(list(counts.values()), base=2), abs=1e-12)


def test_entropy_by_hand_and_undefined_where_no_text_is_long_enough() -> None:
    # a a b c: 1.5 bits. aa ab: 1 bit. aab: 0 bits.
    found = ngram_entropy_of_ids(intern_texts(["a a b", "c"]))
    assert found[:3].tolist() == pytest.approx([1.5, 1, 0], abs=1e-12) and np.isnan(found[3])


@pytest.mark.parametrize("window", [1, 2, 7, 50, 118, 119])
def test_mattr_is_the_mean_over_windows_counted_one_by_one(window: int) -> None:
    tokens = random.Random(5).choices("abcdefghijkl", range(12, 0, -1), k=119)
    ratios = [len(set(tokens[at : at + window])) / window for at in range(len(tokens) - window + 1)]
    corpus = intern_tokens([tokens[:30], [], tokens[30:37], tokens[37:]])
    assert moving_ttr_of_ids(corpus, window) == pytest.approx(statistics.mean(ratios), abs=1e-12)


def test_mattr_is_undefined_for_fewer_words_than_a_window() -> None:
    assert math.isnan(moving_ttr_of_ids(intern_texts(["a b c"] * 3), window=10))


def test_self_repetition_by_hand() -> None:
    # abcd stands in all three (twice in the first: counted once), bcde in the first and the second; the last has none.
    texts = ["a b c d e a b c d", "a b c d e", "a b c d", "a b c"]
    found = self_repetition_of_ids(intern_texts(texts))
    assert found.tolist() == pytest.approx([math.log(4), math.log(4), math.log(3), 0])


def test_self_repetition_agrees_with_sets_of_nltk_ngrams() -> None:
    rng = random.Random(29)
    texts = [" ".join(rng.choices("abc", k=rng.randint(0, 14))) for _ in range(60)]
    grams = [set(ngrams(words(text), 4)) for text in texts]
    others = [sum(gram in other for gram in mine for other in grams) - len(mine) for mine in grams]
    expected = [math.log(1 + count) for count in others]
    assert self_repetition_of_ids(intern_texts(texts)).tolist() == pytest.approx(expected, abs=1e-12)


def test_duplicates_count_the_repeats_and_not_the_first_of_them() -> None:
    found = duplicates(["Good film.", "good film", "Good film.", "GOOD  film!", "bad film"])
    assert (found.exact, found.normalised) == (1 / 5, 3 / 5)


def test_lengths_agree_with_the_standard_library() -> None:
    texts = ["one", "one two , three", "", "a b"]  # 1, 4, 0 and 2 words
    found = lengths(texts)
    counts = [1, 4, 0, 2]
    assert (found.min, found.median, found.max) == (0, statistics.median(counts), 4)
    assert found.mean == pytest.approx(statistics.mean(counts))
    assert found.sd == pytest.approx(statistics.pstdev(counts))


def test_label_balance_gives_shares_in_the_tasks_order_and_scipys_entropy() -> None:
    found = label_balance(["b", "a", "b", "b"], ["a", "b", "c"])
    assert list(found.shares.items()) == [("a", 0.25), ("b", 0.75), ("c", 0.0)]
    assert found.entropy == pytest.approx(entropy([0.25, 0.75, 0.0]) / math.log(3))


@pytest.mark.parametrize(("labels", "expected"), [(["a", "a"], 0.0), (["a", "b"], 1.0), (["a", "b", "c"] * 7, 1.0)])
def test_label_entropy_stays_within_zero_and_one_at_its_ends(labels: list[str], expected: float) -> None:
    found = label_balance(labels, sorted({*labels, "b"})).entropy
    assert found == pytest.approx(expected)
    assert math.copysign(1, found) == 1 and found <= 1


def test_a_label_that_is_no_name_of_the_task_is_refused_with_a_hint() -> None:
    with pytest.raises(HarnessError, match="found postive; did you mean 'positive'"):
        label_balance(["positive", "postive"], ["negative", "positive"])


def test_label_balance_needs_two_names_because_entropy_of_one_has_no_scale() -> None:
    with pytest.raises(HarnessError, match="at least 2 labels"):
        label_balance(["a"], ["a"])


@pytest.mark.parametrize("measure", [distinct_n, duplicates, lengths, lambda rows: label_balance(rows, "ab")])
def test_no_rows_at_all_are_refused_because_every_share_would_be_zero_by_zero(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(HarnessError, match="at least 1 row"):
        measure([])
