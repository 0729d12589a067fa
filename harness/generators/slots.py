"""Keys and values of rows that stand at different lengths, in one fixed buffer per layer.

The caches of `transformers` grow by copying all they hold, once a token, and keep all rows at one length by padding.
Here each row has a slot of its own and is written at its own place: nothing is copied, rows come and go, and what a row
reads stands at the same positions however it came there.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from harness.errors import HarnessError


class Memory:
    """Where caches that follow each other are laid out, so that memory is asked for and zeroed but once."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[int, str], torch.Tensor] = {}

    @property
    def nbytes(self) -> int:
        return sum(buffer.nbytes for buffer in self._buffers.values())

    def take(self, layer: int, name: str, shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        """A tensor of that shape; what it holds is any finite numbers."""
        size, buffer = math.prod(shape), self._buffers.get((layer, name))
        if buffer is None or buffer.numel() < size:
            # Zeros: what is masked has weight 0, but 0 times the NaN of unset memory would be NaN.
            self._buffers[layer, name] = buffer = like.new_zeros(size + size // 4)
        return buffer[:size].view(shape)


class _Layer(CacheLayerMixin):
    """One layer's part: keys and values [slots, heads, positions, size of a head]."""

    def __init__(self, cache: "SlotCache", number: int, memory: Memory) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.keys: Any
        self.values: Any
        self.cache, self.number, self.memory = cache, number, memory

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        shape = (self.cache.slots, key_states.shape[1], self.cache.positions)
        self.keys = self.memory.take(self.number, "keys", (*shape, key_states.shape[-1]), key_states)
        self.values = self.memory.take(self.number, "values", (*shape, value_states.shape[-1]), value_states)
        self.is_initialized = True

    def resize(self, positions: int) -> None:
        more = positions - self.keys.shape[2]
        self.keys = torch.nn.functional.pad(self.keys, (0, 0, 0, more))
        self.values = torch.nn.functional.pad(self.values, (0, 0, 0, more))

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write [rows, heads, tokens, size] at the places set in the cache; all that the rows hold."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        rows = len(key_states)
        at = (self.cache.row_index[:rows, None], slice(None), self.cache.places)
        self.keys[at] = key_states.transpose(1, 2)
        self.values[at] = value_states.transpose(1, 2)
        return self.keys[:rows], self.values[:rows]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.positions, 0

    def get_seq_length(self) -> int:
        return 0  # it differs by row: positions are always given

    def get_max_length(self) -> int:
        return self.cache.positions


class SlotCache(Cache):
    """Slots 0 .. slots - 1 of `positions` tokens each; a forward pass reads and extends the first few.

    Before a pass `places` [rows, tokens] is set to where its tokens go; `mask` is what it is given. All positions are
    read, masked or not: a part of them would have to be copied together in every layer, which takes longer. So the
    buffer is to be as wide as its longest row needs, and is resized.
    """

    def __init__(self, model: Any, slots: int, positions: int, memory: Memory | None = None) -> None:
        self.slots, self.positions = slots, positions
        self.row_index = torch.arange(slots, device=model.device)
        self.places = self.row_index[:0, None]
        self._dtype = model.dtype
        self._windows = attention_windows(model.config)
        layers, memory = model.config.get_text_config().num_hidden_layers, memory or Memory()
        self._slot_layers = [_Layer(self, number, memory) for number in range(layers)]
        super().__init__(layers=list(self._slot_layers))

    def resize(self, positions: int) -> None:
        """Make room for longer rows, or give room back; one layer after the other, for both need memory meanwhile."""
        for layer in self._slot_layers:
            if layer.is_initialized:
                layer.resize(positions)
        self.positions = positions

    def mask(self) -> "torch.Tensor | dict[str, torch.Tensor]":
        """What is added to the attention's scores [rows, 1, tokens, positions]: 0 where a token may look, else the
        least number; by kind of layer where the model has several."""
        query, key = self.places[:, None, :, None], torch.arange(self.positions, device=self.places.device)
        masks = {}
        for kind, window in self._windows.items():
            seen = key <= query if window is None else (key <= query) & (key > query - window)
            masks[kind] = torch.zeros(seen.shape, dtype=self._dtype, device=seen.device).masked_fill_(
                ~seen, torch.finfo(self._dtype).min
            )
        return next(iter(masks.values())) if len(masks) == 1 else masks

    def copy(self, rows: torch.Tensor, source: "SlotCache", source_rows: torch.Tensor, width: int) -> None:
        """Give `rows` the first `width` positions of `source_rows`."""
        for layer, other in zip(self._slot_layers, source._slot_layers, strict=True):
            if not layer.is_initialized:
                layer.lazy_initialization(other.keys, other.values)
            layer.keys[rows, :, :width] = other.keys[source_rows, :, :width]
            layer.values[rows, :, :width] = other.values[source_rows, :, :width]


def attention_windows(config: Any) -> dict[str, int | None]:
    """How far back each kind of layer looks, in tokens; None: to the beginning.

    Raises:
        HarnessError: a kind of layer that keeps something else than keys and values.
    """
    config = config.get_text_config()
    kinds: Sequence[str] = sorted(set(getattr(config, "layer_types", None) or ()))
    window = getattr(config, "sliding_window", None)
    if not kinds:
        return {"full_attention": window if getattr(config, "use_sliding_window", True) else None}
    unknown = [kind for kind in kinds if kind not in ("full_attention", "sliding_attention")]
    if unknown:
        raise HarnessError(
            f"PLM of type '{config.model_type}': layers of the kind '{unknown[0]}' keep no keys and values that the "
            "`transformers` backend could run; use the backend 'vllm' or 'openai'"
        )
    return {kind: window if kind == "sliding_attention" else None for kind in kinds}
