"""What is kept of the text that a PLM wrote: the cleaning rules of ZeroGen (Ye et al., 2022, code HKUNLP/ZeroGen).

Cut at the first stop string (`"`); else at the first newline; else keep whole sentences up to the last full stop; else
drop. A question is cut after its first `?` instead of its last full stop. Then drop what is too short, what repeats its
context, a question that holds its answer, and (in `harness.synthesis.zerogen`) exact repeats.
"""

import re
from dataclasses import dataclass
from typing import Literal

DropReason = Literal["no end", "too short", "same as context", "holds its answer", "context too long", "repeat"]

_SENTENCE_END = re.compile(r"[.!?…][\"')\]]*(?=\s|$)")


def cut(text: str, stop: str | None, finished: bool, after: str | None = None) -> str | None:
    """The part of a completion to keep, or None where no end can be found; see `clean`."""
    text = text.lstrip()
    whole = finished
    for end in (stop, "\n"):
        if end is not None and end in text:
            text, whole = text[: text.index(end)], True
            break
    if after is not None:
        return text[: text.index(after) + len(after)] if after in text else None
    if whole:
        return text.strip()
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]].strip() if ends else None


@dataclass(frozen=True, slots=True)
class Cleaned:
    """A usable text, or the reason why there is none."""

    text: str | None
    dropped: DropReason | None = None


def clean(
    text: str,
    *,
    stop: str | None,
    finished: bool,
    min_words: int,
    context: str | None,
    cut_after: str | None = None,
    answer: str | None = None,
) -> Cleaned:
    """Apply the rules to one completion.

    `finished` says that the PLM ended the text itself (its end token): without a stop string or newline all of it
    is whole then. A text is cut after the first `cut_after`, and has no end without one.
    """
    kept = cut(text, stop, finished, cut_after)
    if kept is None:
        return Cleaned(None, "no end")
    if context is not None and kept.casefold() == context.casefold():
        return Cleaned(None, "same as context")
    if answer is not None and answer.casefold() in kept.casefold():
        return Cleaned(None, "holds its answer")
    if len(kept.split()) < min_words:
        return Cleaned(None, "too short")
    return Cleaned(kept)
