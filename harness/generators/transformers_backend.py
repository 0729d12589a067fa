"""The `transformers` backend: a causal PLM on the CPU or a CUDA device, from safetensors, without remote code."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from safetensors import SafetensorError

from harness.errors import HarnessError
from harness.generators.base import Completion, Decoding, FinishReason, Request, ScoredPrompt, TextLoss
from harness.generators.decode import CacheMemory, Decoded, Ends, TokenRequest, decode
from harness.generators.locate import ModelPlace
from harness.generators.memory import is_out_of_memory, places_in_memory
from harness.spec import Style

MAX_PROMPT_TOKENS = 100_000
_SCORED_TOKENS_PER_BATCH = 4096


class TransformersGenerator:
    """A PLM in memory. It completes prompts and scores them; both styles go through `render`."""

    def __init__(self, model: Any, tokenizer: Any, style: Style) -> None:
        _fuse_activations(model)
        self.model = model
        self.tokenizer = tokenizer
        self.style = style
        self._ends: dict[tuple[str, ...], Ends] = {}
        self._most_places: int | None = None  # what was left when memory ran out
        self._places = self._most_together = 0
        self._memory = CacheMemory()

    @classmethod
    def load(cls, place: ModelPlace, dtype: str, style: Style, trust_remote_code: bool) -> "TransformersGenerator":
        """Load a PLM.

        Raises:
            HarnessError: its files cannot be reached or are not a causal language model; the chat style is asked of a
                tokenizer without a chat template.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        on_gpu = torch.cuda.is_available()
        options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        if place.is_local:
            options["local_files_only"] = True
        else:
            options["revision"] = place.revision
        # On a CPU the fused attention is the slower one for single queries.
        attention = {} if on_gpu else {"attn_implementation": "eager"}
        try:
            tokenizer = AutoTokenizer.from_pretrained(place.source, **options)
            model = AutoModelForCausalLM.from_pretrained(
                place.source,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                **attention,
                **options,
            )
        except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
            reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            raise HarnessError(
                f"PLM '{place.source}' cannot be loaded: {reason}; expected a Hugging Face folder or hub model with "
                "config.json, tokenizer files and .safetensors weights of a causal language model"
            ) from None
        if style == "chat" and not tokenizer.chat_template:
            raise HarnessError(
                f"PLM '{place.source}' has no chat template; use 'style: completion' or an instruction-tuned model"
            )
        loaded: Any = model.eval()  # type: ignore[no-untyped-call]
        if "position_ids" not in inspect.signature(loaded.forward).parameters:
            raise HarnessError(
                f"PLM '{place.source}' is of type '{loaded.config.model_type}', which takes no positions: the "
                "`transformers` backend cannot run it; use the backend 'vllm' or 'openai'"
            )
        return cls(loaded.to("cuda" if on_gpu else "cpu"), tokenizer, style)

    @property
    def device(self) -> str:
        return str(self.model.device)

    @property
    def max_positions(self) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", None) or 1 << 30)

    def render(self, prompt: str, reply: str | None = None) -> str:
        """The string the PLM reads: the prompt itself, or the chat template around it (and around the reply)."""
        if self.style == "completion":
            return prompt
        messages = [{"role": "user", "content": prompt}]
        opened: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return opened if reply is None else opened + reply

    def fits(self, prompt: str, max_new_tokens: int) -> bool:
        """Whether prompt and completion are within the PLM's positions."""
        tokens = len(self._encode({prompt})[prompt])
        return 0 < tokens <= min(self.max_positions - max_new_tokens, MAX_PROMPT_TOKENS)

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        """The completion of every request, as it is ready; see `harness.generators.decode`.

        As many rows are decoded together as the memory holds. When it runs out all the same, half as many are.

        Raises:
            HarnessError: there is not even the memory for one row.
            ValueError: self-debiasing without counter prompts for every prompt, or counter prompts without it.
        """
        _check_counter_prompts(requests, decoding)
        ids = self._encode({prompt for request in requests for prompt in (request.prompt, *request.counter_prompts)})
        most = min(self.max_positions - decoding.max_new_tokens, MAX_PROMPT_TOKENS)
        left: dict[int, TokenRequest] = {}
        for number, request in enumerate(requests):
            prompts = tuple(ids[prompt] for prompt in (request.prompt, *request.counter_prompts))
            if all(0 < len(prompt) <= most for prompt in prompts):
                left[number] = TokenRequest(prompts, request.seed)
            else:
                yield number, Completion("", "unread", len(prompts[0]), 0, 0.0)
        while left:
            numbers, rows = list(left), list(left.values())
            self._places = self._places_for(rows, decoding)
            try:
                ends = self._ends_with(decoding.stop)
                for place, decoded in decode(self.model, rows, decoding, ends, self._places, self._memory):
                    number, self._most_together = numbers[place], max(self._most_together, self._places)
                    yield number, self._completion(decoded, len(left.pop(number).prompts[0]))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if decoding.together:
                    raise HarnessError(
                        f"not enough memory on {self.device} for a strict block of {len(requests)} rows; lower "
                        "'block_rows'"
                    ) from None
                if self._places == 1:
                    raise HarnessError(
                        f"not enough memory on {self.device} to decode a single row of {len(rows[0].prompts[0])} "
                        f"tokens and {decoding.max_new_tokens} new ones with this PLM"
                    ) from None
                self._most_places, self._memory = self._places // 2, CacheMemory()

    def _places_for(self, rows: Sequence[TokenRequest], decoding: Decoding) -> int:
        """How many rows to decode together: what the memory holds, and no more than was left when it ran out."""
        if decoding.together:
            return len(rows)
        longest = max(len(prompt) for row in rows for prompt in row.prompts)
        positions, sides = longest + decoding.max_new_tokens, len(rows[0].prompts)
        most = places_in_memory(self.model, positions, sides, self._memory.nbytes)
        return max(1, min(most, self._most_places or most, len(rows)))

    def provenance(self) -> Mapping[str, str | int]:
        """Device, dtype and how many rows were decoded together at most."""
        device = torch.cuda.get_device_name() if self.model.device.type == "cuda" else "cpu"
        dtype = str(self.model.dtype).removeprefix("torch.")
        return {"runs in": "this process", "device": device, "dtype": dtype, "rows together": self._most_together}

    def _encode(self, prompts: set[str]) -> dict[str, tuple[int, ...]]:
        """The tokens of each prompt."""
        ordered = sorted(prompts)
        rendered = [self.render(prompt) for prompt in ordered]
        # A chat template writes its own special tokens; a completion gets those the tokenizer adds.
        special = self.style == "completion"
        found = self.tokenizer(rendered, add_special_tokens=special, verbose=False).input_ids if rendered else []
        return {prompt: tuple(ids) for prompt, ids in zip(ordered, found, strict=True)}

    def _completion(self, decoded: Decoded, prompt_tokens: int) -> Completion:
        text: str = self.tokenizer.decode(decoded.tokens, skip_special_tokens=True)
        generated = len(decoded.tokens) + (decoded.ended == "eos")
        return Completion(text, cast(FinishReason, decoded.ended), prompt_tokens, generated, decoded.log_probability)

    def _ends_with(self, stop: tuple[str, ...]) -> Ends:
        """The tokens that end a row: end tokens, and those whose text contains a stop string."""
        if stop not in self._ends:
            size = int(self.model.get_output_embeddings().weight.shape[0])
            is_stop, is_eos = torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
            configured = self.model.generation_config.eos_token_id
            ids = configured if isinstance(configured, list) else [configured, self.tokenizer.eos_token_id]
            is_eos[[int(token) for token in ids if token is not None]] = True
            if stop:
                known = min(size, len(self.tokenizer))
                texts = self.tokenizer.batch_decode([[token] for token in range(known)])
                is_stop[[token for token, text in enumerate(texts) if any(one in text for one in stop)]] = True
            self._ends[stop] = Ends(is_eos.to(self.model.device), is_stop.to(self.model.device))
        return self._ends[stop]

    def mean_losses(self, prompts: Sequence[ScoredPrompt], text_only: bool) -> list[float]:
        """Mean token loss in nats of each prompt, or of the text within it; 0 where there is no token to predict.

        A prompt that does not fit into the PLM's positions loses the end of its context, and only if that is not
        enough the end of its text; what stands around them is kept.

        Raises:
            HarnessError: a prompt does not fit without context and text.
        """
        return self._mean_losses([self._encode_scored(prompt) for prompt in prompts], text_only)

    def text_losses(self, texts: Sequence[str]) -> list[TextLoss]:
        """Mean token loss in nats of each text as the beginning of a document; see `TextReader`. The style is none."""
        start = self.tokenizer.bos_token_id
        start = self.tokenizer.eos_token_id if start is None else start
        before = [] if start is None else [start]
        most = min(self.max_positions, MAX_PROMPT_TOKENS) - len(before)
        encoded, bytes_read = list[tuple[list[int], int, int]](), list[int]()
        for text in texts:
            encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
            ids, offsets = list(encoding.input_ids), encoding.offset_mapping
            end = len(text) if len(ids) <= most else offsets[most - 1][1]
            begin = 0 if before or not ids else offsets[0][1]
            encoded.append((before + ids[:most], len(before), len(before) + min(len(ids), most)))
            bytes_read.append(len(text[begin:end].encode()))
        means = self._mean_losses(encoded, text_only=True)
        return [
            TextLoss(mean, max(0, len(ids) - 1), size)
            for mean, (ids, _, _), size in zip(means, encoded, bytes_read, strict=True)
        ]

    def _mean_losses(self, encoded: list[tuple[list[int], int, int]], text_only: bool) -> list[float]:
        """In batches of similar length, of the whole or of the range of the text."""
        order = [index for index, (ids, _, _) in enumerate(encoded) if len(ids) > 1]
        order.sort(key=lambda index: len(encoded[index][0]), reverse=True)
        losses = [0.0] * len(encoded)
        start = 0
        while start < len(order):
            width = len(encoded[order[start]][0])
            batch = order[start : start + max(1, _SCORED_TOKENS_PER_BATCH // width)]
            for index, loss in zip(batch, self._losses([encoded[i] for i in batch], text_only), strict=True):
                losses[index] = loss
            start += len(batch)
        return losses

    def _encode_scored(self, prompt: ScoredPrompt) -> tuple[list[int], int, int]:
        """Token ids of the whole, cut to fit, and the range of those that belong to the text."""
        parts = list(prompt.parts)
        ids, first, last = self._encode_parts(parts, prompt.text)
        while prompt.context is not None and parts[prompt.context] and len(ids) > self.max_positions:
            parts[prompt.context] = self._without_end(parts[prompt.context], len(ids) - self.max_positions)
            ids, first, last = self._encode_parts(parts, prompt.text)
        excess = len(ids) - self.max_positions
        if excess > 0:
            if last - first <= excess:
                raise HarnessError(f"a PROMPTING prompt leaves no room for a text in {self.max_positions} positions")
            ids = ids[: last - excess] + ids[last:]
            last -= excess
        return ids, first, last

    def _without_end(self, text: str, tokens: int) -> str:
        """A text without its last tokens. A second look at the whole must say whether it fits: tokens can join."""
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = encoding.offset_mapping
        return text[: offsets[-tokens][0]] if tokens < len(offsets) else ""

    def _encode_parts(self, parts: list[str], place: int) -> tuple[list[int], int, int]:
        """Token ids of the whole, and the range of those that belong to the text, which is the part at `place`."""
        prefix, text, suffix = "".join(parts[:place]), parts[place], "".join(parts[place + 1 :])
        if self.style == "chat":
            prefix = self.render(prefix)
        # In byte-level vocabularies a word's token begins with the space before it.
        boundary = len(prefix.rstrip(" ")) if text else len(prefix)
        whole = prefix + text + suffix
        encoding = self.tokenizer(
            whole,
            add_special_tokens=self.style == "completion",
            return_offsets_mapping=True,
            verbose=False,
        )
        ids, offsets = list(encoding.input_ids), encoding.offset_mapping
        text_end = len(prefix) + len(text)
        first = next((i for i, (_, end) in enumerate(offsets) if end > boundary), len(ids))
        last = next((i for i, (start, end) in enumerate(offsets) if start >= text_end and end > start), len(ids))
        return ids, first, last

    @torch.inference_mode()
    def _losses(self, batch: list[tuple[list[int], int, int]], text_only: bool) -> list[float]:
        longest = max(len(ids) for ids, _, _ in batch)
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        counted = torch.zeros((len(batch), longest), dtype=torch.bool)
        attended = torch.zeros((len(batch), longest), dtype=torch.long)
        for row, (tokens, first, last) in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            attended[row, : len(tokens)] = 1
            begin, end = (first, last) if text_only else (1, len(tokens))
            counted[row, max(1, begin) : end] = True  # the first token has nothing before it that could predict it
        ids, counted, attended = (tensor.to(self.model.device) for tensor in (ids, counted, attended))
        logits = self.model(input_ids=ids, attention_mask=attended, use_cache=False).logits[:, :-1]
        wanted = counted[:, 1:]
        loss = torch.nn.functional.cross_entropy(logits[wanted].float(), ids[:, 1:][wanted], reduction="none").double()
        row_of = wanted.nonzero()[:, 0]
        totals = torch.zeros(len(batch), dtype=torch.float64, device=loss.device).index_add_(0, row_of, loss)
        totals = totals / wanted.sum(1).clamp(min=1)
        return [float(value) for value in totals]


def _check_counter_prompts(requests: Sequence[Request], decoding: Decoding) -> None:
    numbers = {len(request.counter_prompts) for request in requests}
    if numbers - {0} and decoding.self_debiasing is None:
        raise ValueError("counter prompts are for self-debiasing alone")
    if decoding.self_debiasing and requests and (len(numbers) != 1 or 0 in numbers):
        raise ValueError(f"expected for each of {len(requests)} prompts as many counter prompts, at least one")


def _fuse_activations(model: Any) -> None:
    """GPT-2's GELU is written out in `transformers` as seven passes over the data; PyTorch has the same function in
    one."""
    from transformers.activations import NewGELUActivation

    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, NewGELUActivation):
                setattr(module, name, torch.nn.GELU(approximate="tanh"))
