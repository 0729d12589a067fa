from collections import Counter
from itertools import product

import numpy as np
import pytest

from harness.data.leakage import Overlap, leakage
from harness.errors import HarnessError


def test_overlap_worked_by_hand_counts_both_sides_with_their_repeats() -> None:
    texts = ["A fine film.", "a fine film", "A fine film.", "my own words", "Dull !"]
    test_texts = ["dull!", "A fine film.", "something else", "Dull !"]
    found = leakage(texts, test_texts)
    # Exact: rows 0, 2 and 4 with test rows 1 and 3. Normalised: every row but "my own words" with every test
    # row but "something else".
    assert found.exact == Overlap(3, 3 / 5, 2, 2 / 4, (1, 3))
    assert found.normalised == Overlap(4, 4 / 5, 3, 3 / 4, (0, 1, 3))


def test_texts_in_no_way_shared_leak_nothing() -> None:
    found = leakage(["a", "b"], ["c"])
    assert found.exact == found.normalised == found.near == Overlap(0, 0.0, 0, 0.0, ())


def test_texts_without_a_word_are_no_leak_though_they_are_all_alike() -> None:
    found = leakage(["", "...", "!"], ["", "...", "?"])
    assert (found.exact.rows, found.normalised.rows, found.normalised.test_indices) == (0, 0, ())


@pytest.mark.parametrize(("texts", "test_texts"), [([], ["a"]), (["a"], [])])
def test_an_empty_side_is_refused_because_a_share_of_it_means_nothing(texts: list[str], test_texts: list[str]) -> None:
    with pytest.raises(HarnessError, match="at least 1 of each"):
        leakage(texts, test_texts)


def near_by_sets(texts: list[str], test_texts: list[str]) -> tuple[set[int], set[int]]:
    """The definition of `harness.data.near` with sets, pair by pair; indices of near texts and of near test texts."""

    def grams(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[start : start + 8]) for start in range(len(words) - 7)}

    of_texts, of_test = [grams(text) for text in texts], [grams(text) for text in test_texts]
    in_test = Counter(gram for one in map(grams, set(test_texts)) for gram in one)
    near, near_test = set(), set()
    for (row, left), (item, right) in product(enumerate(of_texts), enumerate(of_test)):
        shared = sum(in_test[gram] <= 10 for gram in left & right)
        fewer = min(len(left), len(right))
        if texts[row] == test_texts[item] or (fewer and shared >= max(fewer / 2, min(6, len(right)))):
            near.add(row)
            near_test.add(item)
    return near, near_test


def test_near_overlap_is_that_of_sets_of_8_grams() -> None:
    """Random texts cut from few sources, some altered: shared runs of all lengths, repeats and common phrases."""
    stream = np.random.default_rng(5)
    sources = [[f"w{word}" for word in stream.integers(0, 300, 60)] for _ in range(12)]
    phrase = [f"p{index}" for index in range(14)]  # in every test text: too common to count

    def cut() -> str:
        source = sources[stream.integers(12)]
        start, length = stream.integers(0, 50), stream.integers(1, 40)
        words = [word if stream.random() > 0.03 else "other" for word in source[start : start + length]]
        return " ".join(words)

    texts = [cut() for _ in range(150)] + [" ".join(phrase)]
    test_texts = [f"{cut()} {' '.join(phrase)}" if index % 2 else cut() for index in range(120)]
    test_texts += test_texts[:9]
    near, near_test = near_by_sets(texts, test_texts)
    found = leakage(texts, test_texts)
    assert set(found.near.test_indices) == near_test and found.near.rows == len(near)
    assert 20 < len(near) < 140 and 20 < len(near_test) < 120 and found.normalised.rows < len(near)


WORDS = [f"w{index}" for index in range(40)]


@pytest.mark.parametrize(
    ("row", "test_row", "near"),
    [
        (WORDS[:13], [*WORDS[:13], "x", "y"], True),  # six 8-grams in common
        (WORDS[:12], [*WORDS[:12], "x", "y"], False),  # five: all of the row's, yet 12 words may be a phrase
        ([*WORDS[:10], "x", "y"], WORDS[:10], True),  # the whole test row, three 8-grams
        ([*WORDS[:9], "x", "y"], WORDS[:10], False),  # two of its three
        (WORDS[:20], [*WORDS[:13], *"abcdefg"], False),  # six of thirteen on either side
        (WORDS[:20], [*WORDS[:14], *"abcdef"], True),  # seven of thirteen
        (WORDS[5:25], WORDS, True),  # a row of 20 words out of a test row of 40
        (WORDS[:7], [*WORDS[:7], "x"], False),  # no 8-gram
        (WORDS[:7], WORDS[:7], True),  # no 8-gram, but equal
    ],
)
def test_what_counts_as_near_worked_by_hand(row: list[str], test_row: list[str], near: bool) -> None:
    assert (leakage([" ".join(row)], [" ".join(test_row)]).near.rows == 1) is near


def test_near_takes_in_what_is_normalised_and_does_not_depend_on_dress() -> None:
    row = "The film, which I saw twice: a slow, lovely and funny story about two sisters in Lisbon."
    test_row = "the film which i saw twice a slow lovely and FUNNY story about two brothers in lisbon"
    found = leakage([row, "Dull !", row], ["dull", test_row])
    assert found.near == Overlap(3, 1.0, 2, 1.0, (0, 1))
    assert found.normalised == Overlap(1, 1 / 3, 1, 1 / 2, (0,))
