"""A BERT with random weights for tests that read texts with an encoder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer

POSITIONS = 64


def save_bert(folder: Path, words: Sequence[str], initializer_range: float = 0.02) -> None:
    """Two layers of width 32, and one WordPiece token for each of `words`, which are lower case."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=POSITIONS).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        initializer_range=initializer_range,
    )
    BertModel(config).save_pretrained(folder)
