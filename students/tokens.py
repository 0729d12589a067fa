"""Texts as tokens of a pre-trained encoder: rows, and for extractive QA overlapping windows over long contexts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from students.protocol import Answer

Ints = npt.NDArray[np.int32]

_CHUNK = 1000
"""Rows tokenised at once: what the tokenizer returns takes many times the memory of what is kept of it."""


@dataclass(frozen=True)
class TokenRows:
    """Token ids of each row, and which of its two texts each token is of, for models that read that."""

    ids: list[Ints]
    types: list[Ints]

    def __len__(self) -> int:
        return len(self.ids)

    def lengths(self) -> list[int]:
        return [len(row) for row in self.ids]

    def add(self, encoded: Any, padding: int) -> None:
        """Rows from a tokenizer; one without tokens becomes one of padding."""
        self.ids.extend(np.array(ids or [padding], np.int32) for ids in encoded["input_ids"])
        self.types.extend(np.array(types or [0], np.int32) for types in encoded.get("token_type_ids", ()))

    def take(self, rows: Sequence[int]) -> "TokenRows":
        return TokenRows([self.ids[row] for row in rows], [self.types[row] for row in rows] if self.types else [])

    def batch(self, padding: int) -> dict[str, npt.NDArray[np.int64]]:
        """What a model reads, each [rows, longest], padded at the end."""
        batch = {"input_ids": _pad(self.ids, padding), "attention_mask": _pad([np.ones_like(row) for row in self.ids])}
        return batch | ({"token_type_ids": _pad(self.types)} if self.types else {})


def _pad(rows: Sequence[Ints], padding: int = 0) -> npt.NDArray[np.int64]:
    result = np.full((len(rows), max(len(row) for row in rows)), padding, dtype=np.int64)
    for index, row in enumerate(rows):
        result[index, : len(row)] = row
    return result


def token_rows(tokenizer: Any, texts: Sequence[Sequence[str]], max_tokens: int) -> TokenRows:
    """`texts` has one or two columns; of a pair that is too long the longer text is cut."""
    rows = TokenRows([], [])
    for first in range(0, len(texts[0]), _CHUNK):
        columns = [list(column[first : first + _CHUNK]) for column in texts]
        encoded = tokenizer(*columns, truncation="longest_first", max_length=max_tokens, return_attention_mask=False)
        rows.add(encoded, tokenizer.pad_token_id)
    return rows


@dataclass(frozen=True)
class Windows:
    """Questions with parts of their contexts; a context too long for one window has several, which overlap.

    By window: its question's number, its first token of context, and from which to which character of the context each
    token of context is. White space at a token's ends is left out of it, so it may be none at all: start >= end.
    """

    rows: TokenRows
    question: list[int]
    first: list[int]
    start: list[Ints]
    end: list[Ints]

    def may_answer(self, window: int) -> npt.NDArray[np.bool_]:
        """[tokens of the window]: those that hold some of the context."""
        result = np.zeros(len(self.rows.ids[window]), dtype=bool)
        context = slice(self.first[window], self.first[window] + len(self.start[window]))
        result[context] = self.start[window] < self.end[window]
        return result

    def span_of(self, answer: Answer, window: int) -> tuple[int, int] | None:
        """First and last token of the window that hold some of the answer; None if the window has not all of it."""
        starts, ends = self.start[window], self.end[window]
        begin = answer.start + len(answer.text) - len(answer.text.lstrip())
        end = answer.start + len(answer.text.rstrip())
        if not len(starts) or begin < starts[0] or end > ends[-1]:
            return None
        first, last = int(np.searchsorted(ends, begin, "right")), int(np.searchsorted(starts, end, "left")) - 1
        return (self.first[window] + first, self.first[window] + last) if first <= last else None

    def characters(self, window: int, first: int, last: int) -> slice:
        """Where in the context the tokens `first` to `last` of a window are."""
        begin = self.first[window]
        return slice(int(self.start[window][first - begin]), int(self.end[window][last - begin]))


def windows(
    tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], max_tokens: int, overlap: int
) -> Windows:
    """Windows of at most `max_tokens` tokens.

    A question is cut to a quarter of its window, and two windows share at most half of what it leaves for the context:
    neither depends on what other questions are asked along with it.
    """
    special = tokenizer.num_special_tokens_to_add(pair=True)
    longest_question = max(1, (max_tokens - special) // 4)
    overlap = min(overlap, (max_tokens - special - longest_question) // 2)
    found = Windows(TokenRows([], []), [], [], [], [])
    for chunk in range(0, len(questions), _CHUNK):
        asked = _cut(tokenizer, questions[chunk : chunk + _CHUNK], longest_question)
        about = list(contexts[chunk : chunk + _CHUNK])
        encoded = tokenizer(
            asked,
            about,
            truncation="only_second",
            max_length=max_tokens,
            stride=overlap,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            return_attention_mask=False,
        )
        trimmed = [_Trim(context) for context in about]
        for window, row in enumerate(encoded["overflow_to_sample_mapping"]):
            of_context = np.array([part == 1 for part in encoded.sequence_ids(window)])
            offsets = np.array(encoded["offset_mapping"][window], np.int32).reshape(-1, 2)[of_context]
            starts, ends = trimmed[row](offsets[:, 0], offsets[:, 1])
            found.question.append(chunk + row)
            found.first.append(int(of_context.argmax()) if of_context.any() else 0)
            found.start.append(starts)
            found.end.append(ends)
        found.rows.add(encoded, tokenizer.pad_token_id)
    return found


def _cut(tokenizer: Any, questions: Sequence[str], max_tokens: int) -> list[str]:
    """The questions up to the end of their first `max_tokens` tokens."""
    encoded = tokenizer(list(questions), add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return [
        question if len(offsets) <= max_tokens else question[: offsets[max_tokens - 1][1]]
        for question, offsets in zip(questions, encoded["offset_mapping"], strict=True)
    ]


class _Trim:
    """Moves the ends of spans of a context inwards over white space."""

    def __init__(self, context: str) -> None:
        solid = np.flatnonzero([not character.isspace() for character in context])
        self._starts = np.append(solid, len(context)).astype(np.int32)
        self._ends = np.insert(solid + 1, 0, 0).astype(np.int32)
        self._solid = solid

    def __call__(self, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
        return self._starts[np.searchsorted(self._solid, starts)], self._ends[np.searchsorted(self._solid, ends)]
