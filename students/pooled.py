"""A classifier over the mean of an encoder's last hidden states."""

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

_DROPOUT = 0.1


def mean_of_tokens(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over the tokens that are no padding (Reimers and Gurevych, EMNLP 2019).

    States [rows, tokens, d] and mask [rows, tokens] to [rows, d].
    """
    weights = mask[:, :, None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


class MeanPooled(nn.Module):
    """Called as transformers' own classifiers are: inputs of the tokenizer to `logits` [rows, labels]."""

    def __init__(self, encoder: Any, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.config.hidden_size, labels)
        self.dropout = nn.Dropout(_DROPOUT)

    @property
    def config(self) -> Any:
        return self.encoder.config

    def forward(self, **inputs: torch.Tensor) -> SimpleNamespace:
        states = self.encoder(**inputs).last_hidden_state
        pooled = mean_of_tokens(states, inputs["attention_mask"])
        return SimpleNamespace(logits=self.classifier(self.dropout(pooled)))
