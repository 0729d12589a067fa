"""PLMs with random weights, of a few thousand parameters each, and what `transformers` writes with them."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedConfig,
    Qwen3Config,
)

VOCABULARY = 97
POSITIONS = 64
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
}
_GROUPED: dict[str, Any] = {**_SIZES, "intermediate_size": 64, "num_key_value_heads": 2, "initializer_range": 0.3}
CONFIGS: dict[str, PreTrainedConfig] = {
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_positions=POSITIONS, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3
    ),
    "llama": LlamaConfig(**_GROUPED),
    "opt": OPTConfig(ffn_dim=64, word_embed_proj_dim=32, init_std=0.3, **_SIZES),
    "mistral": MistralConfig(sliding_window=4, **_GROUPED),
    "qwen3": Qwen3Config(head_dim=8, **_GROUPED),
    "gemma2": Gemma2Config(head_dim=8, sliding_window=4, query_pre_attn_scalar=8, **_GROUPED),
}


def random_model(name: str, attention: str = "eager") -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            CONFIGS[name], attn_implementation=attention
        )
    model.generation_config.eos_token_id = None
    return model.eval()


def generated(
    model: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, ends: Sequence[int] = (), **settings: Any
) -> list[list[int]]:
    """What `model.generate` writes greedily after left-padded prompts, the end token included."""
    longest = max(map(len, prompts))
    output = model.generate(
        torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts]),
        attention_mask=torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]),
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=0,
        eos_token_id=list(ends) or None,
        **settings,
    )
    rows: list[list[int]] = output[:, longest:].tolist()
    lengths = [min((row.index(end) + 1 for end in ends if end in row), default=len(row)) for row in rows]
    return [row[:length] for row, length in zip(rows, lengths, strict=True)]
