"""PROMPTING (Ye et al., 2022): a PLM classifies by how well each label's prompt fits around the text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from harness.generators.base import ScoredPrompt, TextScorer
from harness.spec import Prompts, Style
from harness.synthesis.prompts import TEXT


@dataclass(frozen=True)
class PromptClassifier:
    """Mean token loss per label, averaged over the label's prompts; the lowest loss wins.

    `loss` says what is averaged: the tokens of the whole prompt (the paper) or those of the text in it. In the chat
    style the prompt is the user's message and the text the reply, whose loss is taken.
    """

    scorer: TextScorer
    labels: Sequence[str]
    prompts: Prompts
    loss: Literal["prompt", "text"]
    style: Style

    def predict_proba(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """[rows, labels]: softmax of minus the mean loss. Its order is the decision; it is not calibrated."""
        losses = np.zeros((len(texts), len(self.labels)))
        for column, label in enumerate(self.labels):
            templates = self.prompts.classify[label]
            for template in templates:
                scored = [self._around(template, text) for text in texts]
                text_only = self.loss == "text" or self.style == "chat"
                losses[:, column] += np.array(self.scorer.mean_losses(scored, text_only)) / len(templates)
        weights = np.exp(losses.min(axis=1, keepdims=True) - losses)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def _around(self, template: str, text: str) -> ScoredPrompt:
        if self.style == "chat":
            return ScoredPrompt(template, text, "")
        prefix, _, suffix = template.partition(TEXT)
        return ScoredPrompt(prefix, text, suffix)
