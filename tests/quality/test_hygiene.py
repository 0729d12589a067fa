import pytest

from harness.errors import HarnessError
from harness.quality.hygiene import echoes, without_final_mark


@pytest.mark.parametrize(
    ("text", "unended"),
    [
        ("It ends.", False),
        ("Does it? \n", False),
        ("“He left.”", False),
        ("(as it does)", False),
        ("and so on…", False),
        ("电影很好。", False),
        ("It stops in the", True),
        ("It stops,", True),
        ("a list: (", True),
        ("“", True),
        ("", True),
        ("  ", True),
    ],
)
def test_a_text_ends_with_a_mark_that_ends_sentences_or_closes(text: str, unended: bool) -> None:
    assert without_final_mark([text]).tolist() == [unended]


CONTEXT = "The old man went down to the sea, and there he sat until dark."


@pytest.mark.parametrize(
    ("text", "echo"),
    [
        (CONTEXT, True),
        ("the OLD man went down to the sea", True),  # 8 words, case aside
        ("Why? Because the old man went down to the sea again.", True),
        ("An old man went down to the sea.", False),  # 7 in a row
        ("he sat until dark", True),  # all of it stands there
        ("he sat until darkness", False),  # whole words
        ("he sat until night", False),
        ("ark", False),
        ("", False),
        ("...", False),
    ],
)
def test_an_echo_has_eight_words_in_a_row_or_stands_in_the_context(text: str, echo: bool) -> None:
    assert echoes([text], [CONTEXT]).tolist() == [echo]


def test_rows_are_held_against_their_own_context_and_an_empty_one_is_never_repeated() -> None:
    assert echoes(["he sat", "he sat", "..."], [CONTEXT, "she stood", ""]).tolist() == [True, False, False]


def test_texts_without_a_context_each_are_refused_as_are_no_texts() -> None:
    with pytest.raises(HarnessError, match="2 texts and 1 contexts"):
        echoes(["a", "b"], ["a"])
    with pytest.raises(HarnessError, match="at least 1 row"):
        echoes([], [])
    with pytest.raises(HarnessError, match="at least 1 row"):
        without_final_mark([])
