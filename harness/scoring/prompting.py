"""PROMPTING (Ye et al., 2022): the PLM itself does the task, by how likely prompts are or by what it writes."""

import bisect
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.data.examples import Examples
from harness.errors import HarnessError
from harness.generators.base import Decoding, PromptReader, Request, ScoredPrompt, TextScorer, in_order
from harness.spec import Prompts, Style
from harness.synthesis.prompts import CONTEXT, TEXT, fill

_PLACEHOLDERS = re.compile(f"({CONTEXT}|{TEXT})")


@dataclass(frozen=True)
class PromptClassifier:
    """Mean token loss per label, averaged over the label's prompts; the lowest loss wins.

    `<X>` stands for the text; of a pair `<C>` is the first text and `<X>` the second. `loss` says what is averaged: the
    tokens of the whole prompt (the paper) or those of `<X>` in it. In the chat style the prompt is the user's message
    and `<X>` the reply, whose loss is taken.

    `calibrated` (ProGen, Ye et al., 2022) subtracts from each prompt's loss that of the same prompt with an empty
    `<X>`, so that a label whose words are likely by themselves has no advantage. That is the mean over the whole empty
    prompt, whatever `loss` is and in either style: it holds no text to average over.
    """

    scorer: TextScorer
    labels: Sequence[str]
    prompts: Prompts
    loss: Literal["prompt", "text"]
    style: Style
    calibrated: bool = False
    _without_text: dict[ScoredPrompt, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def predict_proba(self, examples: Examples) -> npt.NDArray[np.float64]:
        """[rows, labels]: softmax of minus the loss. Its order is the decision; it is not calibrated as such."""
        losses = np.zeros((len(examples), len(self.labels)))
        for column, label in enumerate(self.labels):
            templates = self.prompts.classify[label]
            for template in templates:
                scored = self._prompts(template, examples)
                text_only = self.loss == "text" or self.style == "chat"
                found = np.array(self.scorer.mean_losses(scored, text_only))
                if self.calibrated:
                    found -= self._losses_without_text(scored)
                losses[:, column] += found / len(templates)
        weights = np.exp(losses.min(axis=1, keepdims=True) - losses)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def _prompts(self, template: str, examples: Examples) -> list[ScoredPrompt]:
        pieces = _PLACEHOLDERS.split(template)
        if self.style == "chat":
            pieces.append(TEXT)
        place = pieces.index(TEXT)
        if not len(examples.text_pair):
            return [ScoredPrompt((*pieces[:place], text, *pieces[place + 1 :]), place) for text in examples.text]
        context_place = pieces.index(CONTEXT)
        prompts = []
        for context, text in zip(examples.text, examples.text_pair, strict=True):
            parts = list(pieces)
            parts[context_place], parts[place] = context, text
            prompts.append(ScoredPrompt(tuple(parts), place, context_place))
        return prompts

    def _losses_without_text(self, prompts: list[ScoredPrompt]) -> npt.NDArray[np.float64]:
        """The loss of each prompt with an empty text; those of single texts are all the same one, computed once."""
        empty = [replace(one, parts=(*one.parts[: one.text], "", *one.parts[one.text + 1 :])) for one in prompts]
        new = [one for one in dict.fromkeys(empty) if one not in self._without_text]
        found = self._without_text | dict(zip(new, self.scorer.mean_losses(new, text_only=False), strict=True))
        # Those of pairs are not kept: each has a context of its own.
        self._without_text.update({one: loss for one, loss in found.items() if one.context is None})
        return np.array([found[one] for one in empty])


@dataclass(frozen=True)
class PromptAnswerer:
    """Extractive QA by greedy writing after the template, in which `<C>` is the context and `<X>` the question.

    The answer ends at the stop string or the first newline. In the chat style, where a reply may begin with either
    (an answer in quotes), it ends at the first that comes after something else.
    """

    generator: PromptReader
    template: str
    style: Style
    stop: str | None
    max_new_tokens: int

    def predict_answers(self, examples: Examples) -> list[str]:
        """What the PLM answers each question, "" where it writes nothing.

        A prompt too long for the PLM loses the end of its context.

        Raises:
            HarnessError: a question does not fit even without a context.
        """
        prompts = [
            self._prompt(context, question)
            for context, question in zip(examples.context, examples.question, strict=True)
        ]
        ends = tuple(end for end in (self.stop, "\n") if end)
        decoding = Decoding(self.max_new_tokens, top_k=1, stop=ends if self.style == "completion" else ())
        completions = self.generator.generate([Request(prompt, seed=0) for prompt in prompts], decoding)
        return [self._cut(completion.text, ends) for completion in in_order(completions)]

    def _prompt(self, context: str, question: str) -> str:
        def cut(length: int) -> str:
            return fill(self.template, context=context[:length], text=question)

        if self.generator.fits(cut(len(context)), self.max_new_tokens):
            return cut(len(context))
        too_long = bisect.bisect_left(
            range(len(context)), True, key=lambda length: not self.generator.fits(cut(length), self.max_new_tokens)
        )
        if too_long == 0:
            raise HarnessError(f"a PROMPTING prompt leaves no room for a context: {cut(0)[:80]!r}")
        return cut(too_long - 1)

    def _cut(self, text: str, ends: tuple[str, ...]) -> str:
        if self.style == "chat":
            text = text.strip()
            if self.stop is not None:
                text = text.removeprefix(self.stop)
        for end in ends:
            text = text.partition(end)[0]
        return text.strip()
