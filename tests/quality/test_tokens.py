import numpy as np
import pytest

from harness.quality.tokens import intern_texts, intern_tokens, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't!", ["Don", "'", "t", "!"]),
        ("naïve café_au 3.5", ["naïve", "café_au", "3", ".", "5"]),
        ("...", [".", ".", "."]),
        ("电影\u3000好", ["电影", "好"]),
        (" \t\n", []),
        ("", []),
    ],
)
def test_words_are_runs_of_word_characters_and_single_marks_with_case_kept(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_interned_texts_give_back_the_words_of_every_text() -> None:
    texts = ["a b a", "", "B a .", ""]
    corpus = intern_texts(texts)
    vocabulary = ["a", "b", "B", "."]  # in order of first appearance
    pieces = [corpus.ids[start:end] for start, end in zip(corpus.offsets, corpus.offsets[1:], strict=False)]
    assert [[vocabulary[i] for i in piece] for piece in pieces] == [words(text) for text in texts]
    assert corpus.lengths.tolist() == [3, 0, 3, 0]
    assert corpus.ids.dtype == np.int32 and corpus.offsets.dtype == np.int64


def test_taken_texts_stand_in_the_order_asked_for_and_keep_their_words() -> None:
    corpus = intern_texts(["a b a", "", "c", "b a ."])
    taken = corpus.take(np.array([3, 1, 0, 3]))
    assert taken.ids.tolist() == [1, 0, 3, 0, 1, 0, 1, 0, 3]
    assert taken.offsets.tolist() == [0, 3, 3, 6, 9]
    assert corpus.take(np.array([], dtype=np.int64)).offsets.tolist() == [0]


def test_no_texts_make_an_empty_corpus_rather_than_an_error() -> None:
    corpus = intern_tokens([])
    assert (corpus.n_texts, corpus.ids.tolist(), corpus.offsets.tolist()) == (0, [], [0])
