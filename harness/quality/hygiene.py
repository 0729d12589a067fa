"""Hygiene of synthetic rows: do they end, and do they say more than what was put in."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harness.data.normalise import normalise
from harness.errors import HarnessError
from harness.quality.diversity import need_rows

FINAL_MARKS = tuple(".!?…。！？｡।؟۔" + "\"'”’»›」』)]}）】》")
"""What a finished text ends with: a mark that ends sentences in a larger script, or a closing quote or bracket."""

ECHO_WORDS = 8


def without_final_mark(texts: Sequence[str]) -> NDArray[np.bool_]:
    """Which texts do not end with one of `FINAL_MARKS`, white space aside; an empty text does not. bool [n_texts].

    Raises `HarnessError` for no texts.
    """
    need_rows(len(texts), "truncated")
    return np.array([not text.rstrip().endswith(FINAL_MARKS) for text in texts], dtype=np.bool_)


def echoes(texts: Sequence[str], contexts: Sequence[str], n_words: int = ECHO_WORDS) -> NDArray[np.bool_]:
    """Which texts repeat what they were written about; bool [n_texts].

    Under `normalise.v1` (no case, no marks), the text has `n_words` words in a row from its context, or the whole text
    stands in it. Texts and contexts without a word never do. Raises `HarnessError` where texts and contexts differ in
    number and where there are none.
    """
    need_rows(len(texts), "prompt_echo")
    if len(texts) != len(contexts):
        raise HarnessError(f"Expected one context per text; found {len(texts)} texts and {len(contexts)} contexts.")
    # Many rows share a context; spaces on both sides keep a match to whole words.
    normal = {context: f" {normalise(context)} " for context in set(contexts)}
    return np.array(
        [
            _echoes(normalise(text).split(), normal[context], n_words)
            for text, context in zip(texts, contexts, strict=True)
        ],
        dtype=np.bool_,
    )


def _echoes(words: list[str], context: str, n_words: int) -> bool:
    most = min(n_words, len(words))
    return most > 0 and any(
        f" {' '.join(words[start : start + most])} " in context for start in range(len(words) - most + 1)
    )
