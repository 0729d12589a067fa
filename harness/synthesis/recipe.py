"""What fixes the rows of a synthetic dataset, and what a dataset is made of."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from harness.generators.base import Decoding, SelfDebiasing
from harness.spec import Prompts, PromptSet, Style, Writer

CONTEXT = "<C>"
"""The stream of the contexts that the PLM writes."""
QUESTION = "question"

DRAWING = ("temperature", "top_k", "top_p", "repetition_penalty", "no_repeat_ngram_size", "min_new_tokens")
"""The parts of a `Decoding` that a generator on a board says."""

CONTEXTS_IN_TURN = 256
"""Contexts that the PLM wrote which texts are about in turn, before any of them has its next text: a context's samples
lie far apart, and the first rows of a dataset are as varied as any others."""


def decoding_of(generator: Writer) -> Decoding:
    """How a generator draws tokens; lengths and ends are the prompt set's."""
    return Decoding(1, **{name: getattr(generator, name) for name in DRAWING})


@dataclass(frozen=True)
class Recipe:
    """All that fixes the rows of a synthetic dataset, but for the PLM itself and the real contexts.

    `decoding`: how tokens are drawn; lengths, stop strings and self-debiasing are the prompt set's. `strict_rows`: with
    it, tries are decoded in blocks of so many, each block by itself.
    """

    task: str
    labels: tuple[str, ...]
    prompt_set: PromptSet
    prompts: Prompts
    decoding: Decoding
    seed: int
    style: Style = "completion"
    strict_rows: int | None = None

    @property
    def streams(self) -> tuple[str, ...]:
        """What rows are made of in turn: the labels, or questions."""
        return self.labels or (QUESTION,)

    def decoding_of(self, stream: str) -> Decoding:
        """A row that has come to where it will be cut has no use for another token."""
        chosen = self.prompt_set
        # A completion prompt has opened the quotes; a chat reply may open them itself, and ends by itself.
        stop = (chosen.stop or "\n",) if self.style == "completion" else ()
        decoding = replace(self.decoding, together=self.strict_rows is not None)
        if stream == CONTEXT:
            return replace(decoding, max_new_tokens=chosen.context_max_new_tokens, stop=stop)
        after = (chosen.cut_after,) if chosen.cut_after and self.style == "completion" else ()
        return replace(
            decoding,
            max_new_tokens=chosen.max_new_tokens,
            stop=(*stop, *after),
            self_debiasing=SelfDebiasing(**chosen.self_debiasing.model_dump()) if chosen.self_debiasing else None,
        )

    def templates(self, stream: str) -> tuple[str, ...]:
        if stream == CONTEXT:
            return self.prompts.context
        return self.prompts.text[stream] if self.labels else self.prompts.question

    def template_of(self, stream: str, number: int) -> int:
        """Which of its prompts a try has: another one each time it comes to a written context again."""
        turn = number // CONTEXTS_IN_TURN if self.prompts.context and stream != CONTEXT else 0
        return (number + turn) % len(self.templates(stream))

    def context_of(self, number: int) -> int:
        """Which of the contexts that the PLM wrote the text tries of that number are about."""
        turn = number // (CONTEXTS_IN_TURN * self.prompt_set.samples_per_context)
        return turn * CONTEXTS_IN_TURN + number % CONTEXTS_IN_TURN


@dataclass(frozen=True, slots=True)
class Row:
    """One synthetic row with its provenance. `text` is what the PLM wrote; `label` is empty for a question, which has
    an `answer` and its start in the context instead. `prompt`: which of its prompts; `attempt`: its number in its
    stream. `log_probability`: sum over its tokens, nats; None where a server does not tell."""

    text: str
    label: str
    context: str | None
    prompt: int
    attempt: int
    finish_reason: str
    prompt_tokens: int
    generated_tokens: int
    log_probability: float | None
    answer: str | None = None
    answer_start: int | None = None


@dataclass(frozen=True, slots=True)
class Try:
    """What came of one try: a usable text, or why it was dropped; and what it took."""

    text: str | None
    dropped: str | None
    finish_reason: str
    prompt_tokens: int
    generated_tokens: int
    log_probability: float | None


@dataclass
class Account:
    """Rows tried, rows dropped by reason, tokens: of a dataset, whatever else was made beside it. `uncounted`: rows
    whose tokens a server did not tell; with any, the tokens are not those of all."""

    tried: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    generated_tokens: int = 0
    uncounted: int = 0

    def add(self, one: Try) -> None:
        self.tried += 1
        self.prompt_tokens += one.prompt_tokens
        self.generated_tokens += one.generated_tokens
        self.uncounted += one.finish_reason != "unread" and not one.prompt_tokens
        if one.dropped is not None:
            self.dropped[one.dropped] += 1

    def include(self, other: "Account") -> None:
        self.tried += other.tried
        self.dropped.update(other.dropped)
        self.prompt_tokens += other.prompt_tokens
        self.generated_tokens += other.generated_tokens
        self.uncounted += other.uncounted

    def to_json(self) -> dict[str, Any]:
        # Not `asdict`, which cannot copy a Counter.
        return {**vars(self), "dropped": dict(sorted(self.dropped.items()))}

    def reasons(self) -> str:
        """Why rows were dropped, the most frequent reason first."""
        return ", ".join(f"{number:,} {reason}" for reason, number in self.dropped.most_common()) or "none dropped"
