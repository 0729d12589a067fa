import math
import random
import statistics

import numpy as np
import pytest
from nltk.util import ngrams
from scipy.stats import entropy

from harness.errors import HarnessError
from harness.quality.diversity import distinct_n, duplicates, label_balance, lengths
from harness.quality.tokens import words


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
