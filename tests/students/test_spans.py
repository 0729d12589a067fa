"""Words with their places, answers as word spans, and the best span against trying every one."""

import numpy as np
import pytest
import torch

from students.protocol import Answer
from students.spans import best_spans, split, windows
from students.words import words

TEXTS = ["It's GREAT!!  Ça va: 3.5/5", "", " \n", "東京 is (very) big—naïve 🙂.", "İzmir"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_word_is_what_stands_between_its_offsets(text: str) -> None:
    found = split(text)
    assert [text[first:last] for first, last in zip(found.start, found.end, strict=True)] == found.words
    assert "".join(found.words) == "".join(text.split())


@pytest.mark.parametrize("text", TEXTS[:4])
def test_the_words_are_those_of_the_other_students_before_lower_casing(text: str) -> None:
    assert [word.lower() for word in split(text).words] == words(text)


@pytest.mark.parametrize(
    ("answer", "span"),
    [
        ("Zoë", (0, 0)),
        ("paid $1,200", (1, 5)),
        ("200", (5, 5)),
        ("20", (5, 5)),  # a part of a word stands for the word
        ("s co", (9, 10)),
        (" (in", (6, 7)),
        (")", (11, 11)),
        (" ", None),
    ],
)
def test_an_answer_is_the_words_that_it_touches(answer: str, span: tuple[int, int] | None) -> None:
    text = "Zoë paid $1,200 (in 🙂s court)"
    start = text.index(answer)
    assert split(text).span_of(Answer(answer, start)) == span


@pytest.mark.parametrize("max_words", [1, 3, 30])
def test_the_best_span_is_the_one_that_trying_all_of_them_finds(max_words: int) -> None:
    stream = np.random.default_rng(1)
    lengths = [9, 1, 4, 9, 6]
    start, end = stream.normal(size=(2, 5, 9))
    start[3], end[3] = 0, 0  # all alike: the first word alone
    for row, length in enumerate(lengths):
        start[row, length:] = end[row, length:] = -np.inf
    first, last, score = best_spans(torch.from_numpy(start), torch.from_numpy(end), max_words)
    for row, length in enumerate(lengths):
        spans = [(i, j) for i in range(length) for j in range(i, min(length, i + max_words))]
        expected = max(spans, key=lambda span: start[row, span[0]] + end[row, span[1]])
        assert (int(first[row]), int(last[row])) == expected
        assert float(score[row]) == start[row, expected[0]] + end[row, expected[1]]


@pytest.mark.parametrize("size", [1, 2, 5, 400])
def test_every_short_span_lies_whole_in_some_window_and_short_texts_have_one(size: int) -> None:
    for length in (1, 2, size, size + 1, 2 * size, 1001):
        begins = windows(length, size)
        for place in range(length - max(1, size // 2) + 1):
            assert any(begin <= place and place + max(1, size // 2) <= begin + size for begin in begins)
        assert max(begins) < length
        assert len(begins) == 1 or length > size
