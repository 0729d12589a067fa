import sys

import pytest

from harness.errors import HarnessError
from harness.quality.language import languages
from harness.quality.measures import measure_all
from harness.quality.rows import Rows
from harness.scoring.statistics import wilson

TEXTS = {
    "en": "It was a long evening at the cinema, and nobody wanted to go home before the end.",
    "de": "Es war ein langer Abend im Kino, und niemand wollte vor dem Ende nach Hause gehen.",
    "fr": "La soirée au cinéma fut longue, et personne ne voulait rentrer avant la fin.",
    "zh": "那是电影院里一个漫长的夜晚，没有人愿意在电影结束之前离开那里，大家都坐着等到最后。",
    None: "Good film.",
}


def test_texts_of_several_languages_are_told_apart_and_short_ones_left_undecided() -> None:
    pytest.importorskip("lingua")
    assert languages(list(TEXTS.values())) == dict.fromkeys(TEXTS, 1)


def test_shares_are_of_all_rows_and_the_most_frequent_language_comes_first() -> None:
    pytest.importorskip("lingua")
    rows = Rows([TEXTS["en"]] * 149 + [TEXTS["de"]] * 49 + [TEXTS["fr"]] + [TEXTS[None]])
    values = measure_all(["language"], rows).values
    assert [(value.measure, value.value, value.low) for value in values] == [
        ("language_top", 149 / 200, None),
        ("language_share.en", 149 / 200, None),
        ("language_share.de", 49 / 200, None),  # French stays below 1 %
        ("language_undecided", 1 / 200, None),
    ]


def test_of_many_rows_some_are_asked_about_with_the_interval_of_their_share(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lingua")
    monkeypatch.setattr("harness.quality.language.LANGUAGE_ROWS", 100)
    top = measure_all(["language"], Rows([TEXTS["en"], TEXTS["de"]] * 150)).values[0]
    interval = wilson(round(100 * top.value), 100)
    assert 0.5 <= top.value < 0.65
    assert (top.low, top.high) == (interval.low, interval.high)


def test_without_lingua_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lingua", None)
    with pytest.raises(HarnessError, match=r"pip install plm-data-harness\[language\]"):
        languages([TEXTS["en"]])
