"""The cleaning rules of ZeroGen, worked by hand: where a completion is cut and which ones are dropped."""

import pytest

from harness.synthesis.cleaning import Cleaned, clean, cut


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('A fine film." he said. "Go', "A fine film."),
        ('A fine film" and "another', "A fine film"),
        ('  \n A fine film  " x', "A fine film"),
        ('One line\nand a second" rest', "One line\nand a second"),
        ('" nothing before it', ""),
    ],
)
def test_a_text_ends_at_the_first_quotation_mark_before_any_other_rule(text: str, kept: str) -> None:
    assert cut(text, '"', finished=False) == kept
    assert cut(text, '"', finished=True) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("A fine film\nWritten by me. Twice.", "A fine film"),
        ("One. Two. Three \n\n Four", "One. Two. Three"),
        ("\n\nA fine film\nrest", "A fine film"),
    ],
)
def test_without_a_quotation_mark_a_text_ends_at_the_first_newline(text: str, kept: str) -> None:
    assert cut(text, '"', finished=False) == kept
    assert cut(text, '"', finished=True) == kept


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("A fine film. I loved it. And then", "A fine film. I loved it."),
        ("A fine film! Was it? And then", "A fine film! Was it?"),
        ("A fine film... and", "A fine film..."),
        ("A fine film…", "A fine film…"),
        ("He called it (and me) 'fine.') and left", "He called it (and me) 'fine.')"),
        ("I gave it 3.5 of 5. It had", "I gave it 3.5 of 5."),
        (" Fine. ", "Fine."),
    ],
)
def test_without_either_the_whole_sentences_are_kept(text: str, kept: str) -> None:
    assert cut(text, '"', finished=False) == kept


@pytest.mark.parametrize("text", ["A fine film and then it", "I gave it 3.5 of", "www.films.example", "", " \n "])
def test_a_text_without_any_end_is_dropped(text: str) -> None:
    assert clean(text, stop='"', finished=False, min_words=1, context=None) == Cleaned(None, "no end")


@pytest.mark.parametrize("text", ["A fine film and nothing more", "A fine film. And nothing more", "Rated 3.5"])
def test_a_text_that_the_plm_ended_itself_is_whole(text: str) -> None:
    assert clean(f" {text} ", stop='"', finished=True, min_words=1, context=None) == Cleaned(text)


def test_without_a_stop_string_quotation_marks_are_part_of_the_text() -> None:
    text = 'The "fine" film. He said "go." And'
    assert cut(text, None, finished=False) == 'The "fine" film. He said "go."'
    assert cut(text + "\nmore", None, finished=False) == text


def test_a_stop_string_of_several_characters_is_cut_off_whole() -> None:
    assert cut("A fine film. ### Next # one", "###", finished=False) == "A fine film."


@pytest.mark.parametrize(("words", "dropped"), [(0, True), (9, True), (10, False)])
def test_a_text_below_the_minimum_number_of_words_is_dropped(words: int, dropped: bool) -> None:
    text = " ".join("w" * words)
    tail = '" and what comes after the mark counts for nothing at all'
    cleaned = clean(text + tail, stop='"', finished=False, min_words=10, context=None)
    assert cleaned == (Cleaned(None, "too short") if dropped else Cleaned(text))


@pytest.mark.parametrize("text", ["The Long Night", "the long NIGHT", "  The Long Night "])
def test_a_text_that_only_repeats_its_context_is_dropped(text: str) -> None:
    cleaned = clean(text + '"', stop='"', finished=False, min_words=1, context="The Long Night")
    assert cleaned == Cleaned(None, "same as context")


def test_a_text_that_has_its_context_in_it_is_kept() -> None:
    text = "The Long Night is long"
    assert clean(text + '"', stop='"', finished=False, min_words=5, context="The Long Night") == Cleaned(text)
