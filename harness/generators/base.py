"""What the synthesis asks of a PLM, whatever runs it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

FinishReason = Literal["stop", "eos", "length", "unread"]
"""`unread`: the PLM cannot read a prompt so long and write after it; nothing was written."""


@dataclass(frozen=True)
class SelfDebiasing:
    """Self-debiasing (Schick et al., TACL 2021): a token that a counter prompt makes likelier, by the difference d of
    the probabilities, is scaled by max(exp(-decay * d), epsilon). `decay` >= 0 is the paper's lambda; 0 < `epsilon`."""

    decay: float
    epsilon: float


@dataclass(frozen=True)
class Decoding:
    """How tokens are drawn, in the terms of `transformers` and in its order: the penalty of tokens that prompt or text
    have already (1: off), no n-gram twice in both (0: off), no end before `min_new_tokens`; self-debiasing;
    temperature; top-k (0: off); top-p. Top-k 1 is greedy. A row ends with a token that contains any of the `stop`
    strings. `together`: all rows of a call in one batch, whatever the memory: what is decoded beside a row is then the
    same every time."""

    max_new_tokens: int
    top_p: float = 1.0
    top_k: int = 0
    temperature: float = 1.0
    stop: tuple[str, ...] = ()
    self_debiasing: SelfDebiasing | None = None
    min_new_tokens: int = 0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    together: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A text to be written: after which prompt, and by which random numbers, which are this row's alone.

    `counter_prompts`, with self-debiasing and only then, are those it is debiased against; all requests of a call have
    as many.
    """

    prompt: str
    seed: int
    counter_prompts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """What a PLM wrote after one prompt. `log_probability` is the sum over the generated tokens, in nats, under the
    PLM's own distribution after the prompt (temperature 1, nothing cut off, no counter prompts); None where a server
    does not tell."""

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    generated_tokens: int
    log_probability: float | None


class TextGenerator(Protocol):
    """A PLM that completes prompts, each row from its own random stream."""

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        """The completion of every request once, with the request's number, in the order in which they are ready.

        What a request is answered depends on nothing but the request and the decoding (up to rounding, which can differ
        with what is computed beside it). The caller may stop in the midst.

        Raises:
            HarnessError: the PLM cannot be had, or goes on failing.
        """
        ...

    def provenance(self) -> Mapping[str, str | int]:
        """What an artifact records of how it was run so far: device, dtype, rows decoded together, server, versions."""
        ...


class PromptReader(TextGenerator, Protocol):
    """A PLM that knows beforehand what it can read."""

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Whether it can read the prompt and write so many tokens after it."""
        ...


def in_order(completions: Iterable[tuple[int, Completion]]) -> list[Completion]:
    """All completions, by the numbers of their requests."""
    return [completion for _, completion in sorted(completions, key=lambda one: one[0])]


@dataclass(frozen=True, slots=True)
class ScoredPrompt:
    """A prompt in parts, which in the completion style make one string. `text` and `context` (None: there is none) are
    the places among them of the text that is judged and of the one that it goes with. In the chat style the text is
    the last part and the reply; the parts before it are the user's message."""

    parts: tuple[str, ...]
    text: int
    context: int | None = None


class TextScorer(Protocol):
    """A loaded PLM that says how likely prompts are."""

    def mean_losses(self, prompts: Sequence[ScoredPrompt], text_only: bool) -> list[float]:
        """Mean token loss of each prompt in nats, or of its text alone; 0 where there is no token to predict.

        A prompt longer than what the PLM can read loses the end of its context first, then the end of its text.
        """
        ...


@dataclass(frozen=True, slots=True)
class TextLoss:
    """How likely a text is by itself: the mean loss in nats of those of its tokens that can be scored (0 where there
    are none), how many they are, and how many UTF-8 bytes of the text they stand for."""

    mean: float
    tokens: int
    bytes: int


class TextReader(Protocol):
    """A loaded PLM that says how likely texts are that stand by themselves."""

    def text_losses(self, texts: Sequence[str]) -> list[TextLoss]:
        """The loss of each text as what begins a document: after the PLM's token for its beginning (or else for the
        end of the one before), so that the first token is scored too. A PLM without either scores from the second on.

        A text longer than what the PLM can read loses its end.
        """
        ...
