"""In which languages texts are written, by lingua (Apache-2.0), an optional dependency."""

from collections import Counter
from collections.abc import Sequence

from harness.errors import HarnessError
from harness.quality.diversity import need_rows

MIN_LETTERS = 20
"""Texts of fewer letters are undecided: of a few words of English, lingua takes one in five for another language."""

MIN_DISTANCE = 0.25
"""How far the likeliest language must be from the next, or the text is undecided."""


READ_CHARACTERS = 400
"""How much of a text is read: a language shows in a few sentences, and lingua's time grows with the length."""

LANGUAGE_ROWS = 5_000
"""Rows that are asked about at most: at about 1 ms each, and for an interval of ±1.4 points at the widest."""


def languages(texts: Sequence[str]) -> Counter[str | None]:
    """How many texts are in which language, by ISO 639-1 code; None: undecided.

    Of lingua's living languages, with its low-accuracy models (trigrams; about 1 ms per text and 200 MB). Raises
    `HarnessError` where lingua is not installed, and for no texts.
    """
    need_rows(len(texts), "language")
    try:
        from lingua import LanguageDetectorBuilder
    except ImportError as missing:
        raise HarnessError(
            "Measure 'language' needs lingua, which is not installed: pip install plm-data-harness[language]"
        ) from missing
    builder = LanguageDetectorBuilder.from_all_spoken_languages().with_low_accuracy_mode()
    detector = builder.with_minimum_relative_distance(MIN_DISTANCE).build()
    long_enough = [text[:READ_CHARACTERS] for text in texts if sum(map(str.isalpha, text)) >= MIN_LETTERS]
    found = detector.detect_languages_in_parallel_of(long_enough)
    counts = Counter(language.iso_code_639_1.name.lower() if language else None for language in found)
    counts[None] += len(texts) - len(long_enough)
    return counts
