"""What the synthesis asks of a PLM, whatever runs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

FinishReason = Literal["stop", "eos", "length"]


@dataclass(frozen=True)
class SelfDebiasing:
    """Self-debiasing (Schick et al., TACL 2021): a token that a counter prompt makes likelier, by the difference d of
    the probabilities, is scaled by max(exp(-decay * d), epsilon). `decay` >= 0 is the paper's lambda; 0 < `epsilon`."""

    decay: float
    epsilon: float


@dataclass(frozen=True)
class Decoding:
    """How tokens are drawn, in the terms of `transformers`: temperature, then top-k (0: off), then top-p; before them
    self-debiasing. Top-k 1 is greedy. A row ends with a token that contains any of the `stop` strings."""

    max_new_tokens: int
    top_p: float = 1.0
    top_k: int = 0
    temperature: float = 1.0
    stop: tuple[str, ...] = ()
    self_debiasing: SelfDebiasing | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """What a PLM wrote after one prompt. `log_probability` is the sum over the generated tokens, in nats, under the
    PLM's own distribution after the prompt (temperature 1, nothing cut off, no counter prompts)."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    generated_tokens: int
    log_probability: float


class TextGenerator(Protocol):
    """A loaded PLM that completes prompts, each row from its own random stream."""

    def generate(
        self, prompts: Sequence[str], decoding: Decoding, seed: int, counter_prompts: Sequence[Sequence[str]] = ()
    ) -> list[Completion]:
        """One completion per prompt. The same prompts, decoding and seed give the same completions.

        Args:
            counter_prompts: with `decoding.self_debiasing`, and only then: for each prompt those it is debiased
                against, the same number (at least one) for every prompt.
        """
        ...

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Whether the PLM can read the prompt and write so many tokens after it."""
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
