"""The `vllm` backend: a causal PLM run by vLLM in this process, all requests of a call in its continuous batches.

What a text and its figures mean is the same as in the `transformers` backend; the random numbers are vLLM's own.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from harness.errors import HarnessError
from harness.generators.base import Completion, Decoding, FinishReason, Request
from harness.generators.locate import ModelPlace
from harness.spec import Style

LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.01, 2.0
"""vLLM raises what is below without an error, and refuses what is above."""


def check_decoding(decoding: Decoding) -> None:
    """Whether vLLM can draw tokens so; needs no vLLM.

    Raises:
        HarnessError: it cannot; all reasons at once.
    """
    reasons = []
    if decoding.self_debiasing is not None:
        reasons.append("has no self-debiasing")
    if decoding.no_repeat_ngram_size:
        reasons.append(f"has no 'no_repeat_ngram_size' (found {decoding.no_repeat_ngram_size})")
    if decoding.top_k != 1 and not LEAST_TEMPERATURE <= decoding.temperature <= MOST_TEMPERATURE:
        bounds = f"{LEAST_TEMPERATURE:g} to {MOST_TEMPERATURE:g}"
        reasons.append(f"has temperatures from {bounds} (found {decoding.temperature:g})")
    if reasons:
        raise HarnessError(f"the vllm backend {', '.join(reasons)}; change the setting or use 'backend: transformers'")


class VllmBackend:
    """A PLM in the memory of one or more GPUs."""

    def __init__(self, llm: Any, style: Style, gpus: int = 1) -> None:
        self.llm = llm
        self.style = style
        self._gpus = gpus
        self._tokenizer: Any = llm.get_tokenizer()

    @classmethod
    def load(
        cls, place: ModelPlace, dtype: str, style: Style, trust_remote_code: bool, gpus: int, memory_share: float
    ) -> "VllmBackend":
        """Load a PLM.

        Args:
            gpus: the weights are split over as many (tensor parallelism).
            memory_share: of each GPU's memory, for weights and cache.

        Raises:
            HarnessError: vLLM is not installed, or not one that is known here; there is no GPU; the PLM's files cannot
                be reached or do not fit; the chat style is asked of a tokenizer without a chat template.
        """
        vllm = _vllm()
        with _told(f"vLLM cannot load PLM '{place.source}'"):
            llm = vllm.LLM(
                model=place.source,
                revision=place.revision,
                dtype=dtype,
                tokenizer_mode="hf",  # the default has another tokenizer for some models than `transformers`
                load_format="safetensors",  # the default falls back to formats that can run code
                trust_remote_code=trust_remote_code,
                tensor_parallel_size=gpus,
                gpu_memory_utilization=memory_share,
                enable_prefix_caching=True,
                logprobs_mode="raw_logprobs",  # log-softmax of the PLM's logits, before penalties and temperature
                seed=0,  # every request brings its own
            )
        loaded = cls(llm, style, gpus)
        if style == "chat" and not loaded._tokenizer.chat_template:
            raise HarnessError(
                f"PLM '{place.source}' has no chat template; use 'style: completion' or an instruction-tuned model"
            )
        return loaded

    def provenance(self) -> dict[str, str | int]:
        """Names of the GPUs, dtype, version of vLLM."""
        from vllm.platforms import current_platform

        names = [str(current_platform.get_device_name(index)) for index in range(self._gpus)]
        dtype = str(self._model_config.dtype).removeprefix("torch.")
        return {
            "runs in": "processes of its own",
            "device": ", ".join(names),
            "dtype": dtype,
            "vllm": str(_vllm().__version__),
        }

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[tuple[int, Completion]]:
        """The completion of every request once, with its number: first those that cannot be read, then all others.

        A stop string counts from token `min_new_tokens` + 1 on, as in the texts that an end token ends.

        Raises:
            HarnessError: the decoding, or counter prompts, are more than vLLM can do; vLLM fails.
        """
        check_decoding(decoding)
        if any(request.counter_prompts for request in requests):
            raise HarnessError("the vllm backend has no self-debiasing, and so no use for counter prompts")
        prompts = [self._tokens(request.prompt) for request in requests]
        longest = int(self._model_config.max_model_len) - decoding.max_new_tokens
        readable = [index for index, prompt in enumerate(prompts) if 0 < len(prompt) <= longest]
        for index in sorted(set(range(len(requests))).difference(readable)):
            yield index, Completion("", "unread", 0, 0, 0.0)
        if not readable:
            return
        with _told("vLLM failed while it wrote"):
            answers = self.llm.generate(
                [{"prompt_token_ids": prompts[index]} for index in readable],
                [_sampling(decoding, requests[index].seed) for index in readable],
                use_tqdm=False,
            )
        for index, answer in zip(readable, answers, strict=True):
            yield index, self._completion(len(prompts[index]), answer.outputs[0])

    @property
    def _model_config(self) -> Any:
        return self.llm.llm_engine.model_config

    def _tokens(self, prompt: str) -> list[int]:
        # A chat template writes its own special tokens; a completion gets those the tokenizer adds.
        if self.style == "chat":
            messages = [{"role": "user", "content": prompt}]
            prompt = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        ids: list[int] = self._tokenizer.encode(prompt, add_special_tokens=self.style == "completion")
        return ids

    def _completion(self, prompt_tokens: int, output: Any) -> Completion:
        ended: FinishReason
        if output.finish_reason == "length":
            ended = "length"
        elif output.finish_reason == "stop":
            # vLLM calls an end token a stop too: without a reason, or with its id.
            ended = "stop" if isinstance(output.stop_reason, str) else "eos"
        else:
            raise HarnessError(f"vLLM did not finish a text: {output.finish_reason}")
        tokens = list(output.token_ids)
        # Not `output.text`: it holds an end token that the tokenizer does not know as special.
        text: str = self._tokenizer.decode(tokens[:-1] if ended == "eos" else tokens, skip_special_tokens=True)
        return Completion(text, ended, prompt_tokens, len(tokens), float(output.cumulative_logprob))


def _sampling(decoding: Decoding, seed: int) -> Any:
    return _vllm().SamplingParams(
        seed=seed,
        temperature=0.0 if decoding.top_k == 1 else decoding.temperature,  # 0: greedy
        top_p=decoding.top_p,
        top_k=decoding.top_k,
        repetition_penalty=decoding.repetition_penalty,
        max_tokens=decoding.max_new_tokens,
        min_tokens=min(decoding.min_new_tokens, decoding.max_new_tokens),
        stop=list(decoding.stop),
        include_stop_str_in_output=True,
        detokenize=bool(decoding.stop),  # texts are decoded here; vLLM needs its own only to find stop strings
        logprobs=0,  # of the drawn token alone
        flat_logprobs=True,  # not an object for every token of every answer
    )


def _vllm() -> Any:
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # read on import; it logs to standard output
    with _told("vLLM cannot be imported"):
        try:
            import vllm
        except ModuleNotFoundError as error:
            if error.name != "vllm":
                raise
            raise HarnessError(
                "a generator has 'backend: vllm', but vLLM is not installed: pip install 'plm-data-harness[vllm]'"
            ) from None
        missing = [name for name in ("LLM", "SamplingParams", "__version__") if not hasattr(vllm, name)]
    if missing:
        raise HarnessError(
            f"the installed vllm has no {' and no '.join(missing)}: pip install 'plm-data-harness[vllm]' brings one "
            "that is known here"
        )
    return vllm


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Errors of vLLM, which share no base class, in one line."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise HarnessError(f"{what}: {reason}") from error
