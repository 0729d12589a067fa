"""What the synthesis asks of a PLM, whatever runs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

FinishReason = Literal["stop", "eos", "length"]


@dataclass(frozen=True)
class Decoding:
    """How tokens are drawn, in the terms of `transformers`: temperature, then top-k (0: off), then top-p."""

    max_new_tokens: int
    top_p: float = 1.0
    top_k: int = 0
    temperature: float = 1.0
    stop: str | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What a PLM wrote after one prompt. `log_probability` is the sum over the generated tokens, in nats, under the
    PLM's own distribution (temperature 1, nothing cut off)."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    generated_tokens: int
    log_probability: float


class TextGenerator(Protocol):
    """A loaded PLM that completes prompts, each row from its own random stream."""

    def generate(self, prompts: Sequence[str], decoding: Decoding, seed: int) -> list[Completion]:
        """One completion per prompt. The same prompts, decoding and seed give the same completions."""
        ...


@dataclass(frozen=True, slots=True)
class ScoredPrompt:
    """A prompt around a text: the loss is the mean over `prefix + text + suffix`, or over `text` alone."""

    prefix: str
    text: str
    suffix: str


class TextScorer(Protocol):
    """A loaded PLM that says how well prompts fit."""

    def mean_losses(self, prompts: Sequence[ScoredPrompt], text_only: bool) -> list[float]:
        """Mean token loss of each prompt in nats."""
        ...
