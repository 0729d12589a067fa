"""Spans of a text: its words with their places in characters, answers as word spans, the best span of scores."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from students.protocol import Answer, Examples
from students.words import WORD

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Words:
    """The words of a text as they stand in it (`students.words` lower-cases them), from `start` to `end` each."""

    words: list[str]
    start: list[int]
    end: list[int]

    def span_of(self, answer: Answer) -> tuple[int, int] | None:
        """The first and the last word that the answer touches; None if it touches none."""
        end = answer.start + len(answer.text)
        touched = [index for index, first in enumerate(self.start) if first < end and self.end[index] > answer.start]
        return (touched[0], touched[-1]) if touched else None


def split(text: str) -> Words:
    """The same words as `students.words.words` finds, but for letters that are several once lower-cased."""
    found: list[re.Match[str]] = list(WORD.finditer(text))
    return Words([match[0] for match in found], [match.start() for match in found], [match.end() for match in found])


def check_answers(examples: Examples) -> None:
    """An answer must stand where it says it does.

    Raises:
        ValueError: a row has no answer, or one that is empty or not in its context at its offset; it names the row.
    """
    for index, (context, answers) in enumerate(zip(examples.context, examples.answers, strict=True)):
        row = f"row {index}" + (f" (id {examples.id[index]!r})" if examples.id else "")
        if not answers:
            raise ValueError(f"{row}: expected an answer, found none")
        for answer in answers:
            if not answer.text.strip():
                raise ValueError(f"{row}: expected an answer of at least one word, found {answer.text!r}")
            if answer.start < 0 or not context.startswith(answer.text, answer.start):
                raise ValueError(f"{row}: its context has no answer {answer.text!r} at character {answer.start}")


def windows(length: int, size: int) -> Sequence[int]:
    """Where windows of `size` words begin that cover `length` words, each half over the one before it."""
    return range(0, max(1, length - size // 2), max(1, size // 2)) if length > size else range(1)


def best_spans(
    start: "torch.Tensor", end: "torch.Tensor", max_words: int
) -> "tuple[torch.Tensor, torch.Tensor, torch.Tensor]":
    """For scores [rows, words] (-inf where there is no word): first and last word of the best span, and its score.

    The best has the highest start[i] + end[j] with i <= j < i + max_words; ties go to the earliest. Each result [rows].
    """
    import torch

    width = min(max_words, end.shape[1])
    beyond = end.new_full((len(end), width - 1), -torch.inf)
    scores = start[..., None] + torch.cat([end, beyond], dim=1).unfold(1, width, 1)
    best, place = scores.flatten(1).max(dim=1)
    first = place // width
    return first, first + place % width, best
