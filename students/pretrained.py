"""Pre-trained encoders as whoever reads texts with one needs them: loaded, how much they read, even batches."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from students.protocol import ModelPlace


def load_encoder(place: ModelPlace, kind: Any, **options: Any) -> tuple[Any, Any]:
    """Network (float32, on the CPU) and fast tokenizer, from safetensors and without remote code.

    `kind` is one of transformers' `AutoModel` classes, `options` go to its `from_pretrained`. A head or a pooler that
    the files lack is drawn by torch's random stream.

    Raises:
        ValueError: the files cannot be read, or lack weights of the encoder itself.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoTokenizer

    # One thread: a process that forks after its tokenizer used several is warned about on the terminal.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    source: dict[str, Any] = {"trust_remote_code": False}
    source |= {"local_files_only": True} if place.is_local else {"revision": place.revision}
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(place.source, **source)
            network, found = kind.from_pretrained(
                place.source,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                **options,
                **source,
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise ValueError(f"'{place.source}' cannot be loaded as an encoder: {reason}") from None
    # Of a network with a head, the encoder is what has its prefix; without a head nothing has one.
    body = "" if network.base_model is network else f"{network.base_model_prefix}."
    missing = [name for name in found["missing_keys"] if name.startswith(body)]
    lacking = sorted(name for name in missing if "pooler" not in name.split("."))
    if lacking:
        raise ValueError(f"'{place.source}' lacks {len(lacking)} weights of its encoder, e.g. '{lacking[0]}'")
    if not tokenizer.is_fast:
        raise ValueError(f"'{place.source}' has no tokenizer.json: nothing tells where in a text its tokens are")
    _fill_in(tokenizer, place.source)
    network.config.pad_token_id = tokenizer.pad_token_id
    if hasattr(network.config, "use_cache"):
        network.config.use_cache = False  # of keys and values, for writing token by token
    return network, tokenizer


def _fill_in(tokenizer: Any, source: str) -> None:
    """What tokenizers of causal LMs often lack: a token to pad with, and one between the two texts of a pair."""
    from tokenizers import processors

    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise ValueError(f"the tokenizer of '{source}' has neither a padding token nor an end token")
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.num_special_tokens_to_add(pair=True) == 0 and tokenizer.eos_token is not None:
        between = processors.TemplateProcessing(
            single="$A",
            pair=f"$A {tokenizer.eos_token} $B:1",
            special_tokens=[(tokenizer.eos_token, tokenizer.eos_token_id)],
        )
        backend = tokenizer.backend_tokenizer
        before = [] if backend.post_processor is None else [backend.post_processor]
        backend.post_processor = processors.Sequence([*before, between])


def positions(network: Any, tokenizer: Any) -> int:
    """The most tokens the model can read; RoBERTa's kind loses the positions up to that of padding."""
    from torch import nn

    limits = [tokenizer.model_max_length, getattr(network.config, "max_position_embeddings", None) or 1 << 30]
    limits += [
        table.num_embeddings - table.padding_idx - 1
        for name, table in network.named_modules()
        if name.endswith("position_embeddings") and isinstance(table, nn.Embedding) and table.padding_idx is not None
    ]
    return int(min(limits))


def even_batches(lengths: Sequence[int], tokens: int) -> Iterator[list[int]]:
    """All rows, from the longest to the shortest, in batches of at most `tokens` tokens with their padding."""
    order: npt.NDArray[np.int64] = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start : start + size].tolist()
        start += size


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no reports of new weights from transformers."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
