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
    assert found.exact == found.normalised == Overlap(0, 0.0, 0, 0.0, ())


def test_texts_without_a_word_are_no_leak_though_they_are_all_alike() -> None:
    found = leakage(["", "...", "!"], ["", "...", "?"])
    assert (found.exact.rows, found.normalised.rows, found.normalised.test_indices) == (0, 0, ())


@pytest.mark.parametrize(("texts", "test_texts"), [([], ["a"]), (["a"], [])])
def test_an_empty_side_is_refused_because_a_share_of_it_means_nothing(texts: list[str], test_texts: list[str]) -> None:
    with pytest.raises(HarnessError, match="at least 1 of each"):
        leakage(texts, test_texts)
