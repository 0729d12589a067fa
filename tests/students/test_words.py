"""Words to numbers: what is a word, which words are kept, and that batches lose no row."""

import numpy as np
import pytest

from students.words import PAD, UNKNOWN, Vocabulary, length_batches, pad, words


def test_words_are_lower_cased_and_punctuation_stands_alone() -> None:
    assert words("It's GREAT!!  Ça va: 3.5/5") == ["it", "'", "s", "great", "!", "!", "ça", "va", ":", *"3.5/5"]


def test_the_most_frequent_words_are_kept_and_ties_go_by_the_alphabet() -> None:
    assert Vocabulary.build(["d c b", "B a", "e c"], 4).words == ("b", "c", "a", "d")


def test_the_order_of_the_rows_does_not_change_the_vocabulary() -> None:
    texts = ["z y x", "x w", "w v", "a"]
    assert Vocabulary.build(texts, 4) == Vocabulary.build(texts[::-1], 4)


def test_ids_leave_room_for_padding_and_unknown_words() -> None:
    vocabulary = Vocabulary.build(["b b a"], 10)
    assert vocabulary.encode(["a b c"], 10) == [[3, 2, UNKNOWN]]
    assert len(vocabulary) == 4  # so an embedding of that many rows has one for every id


def test_a_text_is_cut_after_max_words_and_an_empty_one_is_one_unknown_word() -> None:
    vocabulary = Vocabulary.build(["a b"], 10)
    assert vocabulary.encode(["a a b b", "", " \n"], 3) == [[2, 2, 3], [UNKNOWN], [UNKNOWN]]


def test_padding_fills_the_end_of_the_shorter_rows() -> None:
    padded = pad([[5, 6, 7], [8]])
    assert padded.tolist() == [[5, 6, 7], [8, PAD, PAD]]
    assert padded.dtype == np.int64


@pytest.mark.parametrize("count", [1, 31, 32, 33, 1000])
def test_the_batches_of_an_epoch_hold_every_row_once(count: int) -> None:
    lengths = np.random.default_rng(1).integers(1, 50, count).tolist()
    batches = length_batches(lengths, 32, np.random.default_rng(2), chunk_batches=3)
    assert sorted(np.concatenate(batches).tolist()) == list(range(count))
    assert max(map(len, batches)) <= 32
    assert len(batches) == -(-count // 32)


def test_batches_hold_rows_of_similar_length_so_that_little_is_padding() -> None:
    lengths = np.random.default_rng(1).integers(1, 100, 3200)
    batches = length_batches(lengths.tolist(), 32, np.random.default_rng(2))
    cells = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
    assert cells < 1.05 * int(lengths.sum())


def test_epochs_differ_but_not_between_runs_of_the_same_stream() -> None:
    lengths = [3] * 100
    stream, again = np.random.default_rng(2), np.random.default_rng(2)
    first, second = length_batches(lengths, 10, stream), length_batches(lengths, 10, stream)
    assert [batch.tolist() for batch in first] != [batch.tolist() for batch in second]
    assert [batch.tolist() for batch in first] == [batch.tolist() for batch in length_batches(lengths, 10, again)]
