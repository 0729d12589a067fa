"""How many rows can be decoded together in the memory of the device."""

from pathlib import Path
from typing import Any

import psutil
import torch

_CGROUP = Path("/sys/fs/cgroup")

_SHARE = 0.5
"""Of the memory that is free: for the rest, and for what allocators leave between what they give out."""

_MOST = {"cpu": 128, "cuda": 1024}
"""Rows beyond which a step takes as much longer as it brings: the device computes at its full rate."""

_COPIES = 6
"""Tensors of the size of the logits, in float32, that sampling has at a time."""


def places_in_memory(model: Any, positions: int, sides: int, held: int) -> int:
    """Rows whose keys, values and logits have room on the model's device, at least one.

    Args:
        positions: tokens of the longest prompt and its completion together.
        sides: prompts that are read for a row, with self-debiasing more than one.
        held: bytes that are kept for this, and so not counted as free by anybody else.
    """
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    token = 2 * config.num_hidden_layers * heads * size * model.dtype.itemsize
    logits = _COPIES * 4 * model.get_output_embeddings().weight.shape[0]
    row = sides * (token * positions * 2 + logits)  # twice: prompts are read into a cache of their own
    return int(max(1, min(_MOST[model.device.type], _SHARE * (_free(model.device) + held) // row)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on a GPU or in main memory."""
    texts = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error).lower() for text in texts)


def _free(device: torch.device) -> int:
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # from what was freed, for us
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    return min([int(psutil.virtual_memory().available), *_left_of_group()])


def _left_of_group() -> list[int]:
    """What a container may still take, if Linux limits it (cgroups v2); copies of files it gives up when need be."""
    try:
        limit, used, stat = ((_CGROUP / f"memory.{name}").read_text().strip() for name in ("max", "current", "stat"))
    except OSError:
        return []
    fields = dict(line.split() for line in stat.splitlines())
    files = sum(int(fields.get(name, 0)) for name in ("inactive_file", "active_file"))
    return [] if limit == "max" else [max(0, int(limit) - int(used) + files)]
