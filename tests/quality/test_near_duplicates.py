import random

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components
from sklearn.preprocessing import MultiLabelBinarizer

from harness.data.normalise import normalise
from harness.errors import HarnessError
from harness.quality.diversity import duplicates
from harness.quality.near_duplicates import NearDuplicates, near_duplicates


def planted(n_texts: int, n_copies: int) -> list[str]:
    """Random texts, and copies of some with up to four changes each, in random order."""
    rng = random.Random(23)
    vocabulary = [f"w{rank}" for rank in range(2_000)]
    texts = [rng.choices(vocabulary, k=rng.randint(1, 60)) for _ in range(n_texts)]
    for _ in range(n_copies):
        copy = list(rng.choice(texts))  # of a copy, too: chains
        for _ in range(rng.randint(0, 4)):
            place = rng.choice([0, len(copy), rng.randint(0, len(copy))])
            copy[place : place + rng.randint(0, 1)] = rng.choices(vocabulary, k=rng.randint(0, 1))
        texts.append(copy)
    rng.shuffle(texts)
    return [" ".join(text).capitalize() + rng.choice(["", ".", " !"]) for text in texts]


def brute_force(texts: list[str]) -> NearDuplicates:
    """All pairs: sets of tuples of words, incidence by sklearn, true Jaccard, components by scipy."""
    sets = []
    for text in texts:
        words = normalise(text).split()
        sets.append({tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))})
    incidence = MultiLabelBinarizer(sparse_output=True).fit_transform(sets).astype(np.int64)
    common = (incidence @ incidence.T).toarray()
    sizes = np.diag(common)
    near = common / (sizes[:, None] + sizes - common) >= 0.8
    return NearDuplicates(np.tril(near, -1).any(axis=1), connected_components(near)[1].astype(np.int64))


def test_the_share_and_the_clusters_are_those_of_all_pairs() -> None:
    texts = planted(2_000, 1_000)
    found, expected = near_duplicates(texts), brute_force(texts)
    np.testing.assert_array_equal(found.repeats, expected.repeats)
    np.testing.assert_array_equal(found.cluster, expected.cluster)
    assert found.clusters() == expected.clusters()
    assert duplicates(texts).normalised < 0.6 * found.share < found.share < 1 / 3
    assert max(map(len, found.clusters())) >= 5


def test_templates_with_one_word_changed_are_told_apart_by_the_threshold() -> None:
    # 20 words are 16 shingles. With the last word changed, 15 of 17 are shared: 0.88; with one in the middle 11 of 21.
    words = [f"t{index}" for index in range(20)]
    last = [" ".join([*words[:19], f"v{index}"]) for index in range(60)]
    middle = [" ".join([*words[:10], f"v{index}", *words[11:]]) for index in range(60)]
    assert near_duplicates(last).share == 59 / 60
    assert near_duplicates(last).clusters() == [list(range(60))]
    assert near_duplicates(middle).share == 0
    assert near_duplicates(middle).clusters() == []


@pytest.mark.parametrize(("n_words", "near"), [(13, False), (14, True), (15, True)])
def test_the_threshold_itself_counts(n_words: int, near: bool) -> None:
    # All n − 6 shingles without the last two words are among the n − 4: at 14 words 8 of 10, 0.8 exactly.
    words = [f"w{index}" for index in range(n_words)]
    found = near_duplicates([" ".join(words), " ".join(words[:-2])])
    assert found.repeats.tolist() == [False, near]


def test_the_first_of_a_kind_is_no_repeat_and_rows_equal_but_for_dress_are() -> None:
    found = near_duplicates(["A b!", "c", "a  B", "", "...", "C."])
    assert found.repeats.tolist() == [False, False, True, False, True, True]
    assert found.cluster.tolist() == [0, 1, 0, 2, 2, 1]
    assert found.clusters() == [[0, 2], [1, 5], [3, 4]]
    assert found.share == duplicates(["A b!", "c", "a  B", "", "...", "C."]).normalised == 1 / 2


def test_a_text_shorter_than_a_shingle_is_no_near_duplicate_of_one_that_holds_it() -> None:
    assert near_duplicates(["a b c d", "a b c", "a b c d e"]).share == 0


def test_a_row_between_two_links_them_though_they_are_no_near_duplicates_of_each_other() -> None:
    words = [f"w{index}" for index in range(18)]
    # 12 shingles each: neighbours share 11 of 13, the outer ones 10 of 14.
    one, between, other = (" ".join(words[at : at + 16]) for at in (0, 1, 2))
    found = near_duplicates([one, other, between])
    assert near_duplicates([one, other]).share == 0
    assert found.repeats.tolist() == [False, False, True]
    assert found.clusters() == [[0, 1, 2]]


def test_no_rows_are_refused() -> None:
    with pytest.raises(HarnessError, match="at least 1 row"):
        near_duplicates([])
