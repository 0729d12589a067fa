import sys

import pytest

from harness.data.normalise import normalise


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  A  Fine\tfilm!\n", "a fine film"),
        ("It's great!", "it s great"),
        ("it 's great !", "it s great"),
        ("co-star_s", "co star s"),
        ("Straße", "strasse"),
        ("ﬁlm ①", "film 1"),
        ("cafe\u0301", "caf\u00e9"),
        ("“quoted” — €5", "quoted 5"),
        ("हिन्दी!", "हिन्दी"),
        ("?!…", ""),
        ("", ""),
    ],
)
def test_texts_that_differ_only_in_their_dress_have_one_form(text: str, expected: str) -> None:
    assert normalise(text) == expected


def test_normalising_twice_changes_no_character_of_unicode() -> None:
    every = " ".join(map(chr, range(sys.maxunicode + 1)))
    once = normalise(every)
    assert normalise(once) == once
