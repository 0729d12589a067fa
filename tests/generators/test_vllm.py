"""The vLLM backend, on a stand-in for the package: strict about names and bounds as vLLM 0.33 is, and on vLLM itself
where it is installed."""

import math
import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from harness.errors import HarnessError
from harness.generators.base import Decoding, Request, SelfDebiasing, TextGenerator, in_order
from harness.generators.locate import ModelPlace, locate_model
from harness.generators.vllm_backend import VllmBackend, check_decoding
from harness.spec import Generator, Style, VllmGenerator

WORDS = ("<s>", "</s>", "<turn>", "user:", "reply:", "a", "good", "film", "bad", '"', "end")
BOS, EOS, TURN, USER, REPLY, A, GOOD, FILM, BAD, QUOTE, END = range(len(WORDS))
PLACE = ModelPlace("some/plm", "0" * 40, "hub:some/plm@" + "0" * 40, None)
POSITIONS = 12


def tokenizer_of(chat_template: str | None = None) -> PreTrainedTokenizerFast:
    """Words are tokens; it puts <s> first. The end of a turn, 2, is not among its special tokens."""
    model = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<s>"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    model.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=model, bos_token="<s>", eos_token="</s>", chat_template=chat_template
    )


CHAT = "{{ bos_token }} user: {{ messages[0]['content'] }} <turn>{% if add_generation_prompt %} reply:{% endif %}"


@dataclass
class SamplingParams:
    """Those of vLLM's that may be used here, with its defaults and what it refuses."""

    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    max_tokens: int = 16
    min_tokens: int = 0
    logprobs: int | None = None
    flat_logprobs: bool = False
    detokenize: bool = True
    include_stop_str_in_output: bool = False

    def __post_init__(self) -> None:
        fine = (
            self.repetition_penalty > 0
            and (self.temperature == 0 or 0.01 <= self.temperature <= 2)
            and 0 < self.top_p <= 1
            and self.top_k >= 0
            and self.seed != -1  # which it takes for none
            and all(self.stop)
            and 0 <= self.min_tokens <= self.max_tokens
            and self.max_tokens >= 1
            and (self.detokenize or not self.stop)
        )
        if not fine:
            raise ValueError(f"refused: {self}")


class LLM:
    """Writes after a prompt what `script` has for its last token, by vLLM's rules of when a text ends."""

    script: dict[int, list[int]] = {}  # noqa: RUF012 - the fixture sets it
    tokenizer: PreTrainedTokenizerFast

    def __init__(
        self,
        model: str,
        *,
        tokenizer_mode: str = "auto",
        trust_remote_code: bool = False,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        load_format: str = "auto",
        revision: str | None = None,
        seed: int = 0,
        gpu_memory_utilization: float = 0.92,
        enable_prefix_caching: bool | None = None,
        logprobs_mode: str = "raw_logprobs",
    ) -> None:
        self.arguments = {name: value for name, value in locals().items() if name != "self"}
        config = SimpleNamespace(max_model_len=POSITIONS, dtype=getattr(torch, dtype))
        self.llm_engine = SimpleNamespace(model_config=config)
        self.calls: list[tuple[list[list[int]], list[SamplingParams]]] = []

    def get_tokenizer(self) -> PreTrainedTokenizerFast:
        return self.tokenizer

    def generate(
        self, prompts: list[dict[str, list[int]]], sampling_params: list[SamplingParams], *, use_tqdm: bool = True
    ) -> list[Any]:
        assert use_tqdm is False
        ids = [prompt.pop("prompt_token_ids") for prompt in prompts]
        assert not any(prompts)
        assert all(0 < len(prompt) < POSITIONS for prompt in ids)
        self.calls.append((ids, sampling_params))
        return [
            SimpleNamespace(outputs=[self._write(self.script[prompt[-1]], params)])
            for prompt, params in zip(ids, sampling_params, strict=True)
        ]

    def _write(self, script: list[int], params: SamplingParams) -> Any:
        tokens: list[int] = []
        ended = "abort"
        reason: str | int | None = None
        for token in script:
            tokens.append(token)
            new = " ".join(WORDS[token] for token in tokens[params.min_tokens :])
            met = [stop for stop in params.stop if stop in new]
            if met:
                ended, reason = "stop", met[0]
            elif token in (EOS, TURN):
                ended, reason = "stop", None if token == EOS else token
            elif len(tokens) == params.max_tokens:
                ended = "length"
            else:
                continue
            break
        return SimpleNamespace(
            text="not asked for",
            token_ids=tuple(tokens),
            cumulative_logprob=None if params.logprobs is None else -0.25 * len(tokens),
            finish_reason=ended,
            stop_reason=reason,
        )


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The stand-in as `vllm`, on a machine with two GPUs."""
    module, platforms = ModuleType("vllm"), ModuleType("vllm.platforms")
    vars(module).update(__version__="0.33.0", LLM=LLM, SamplingParams=SamplingParams)
    vars(platforms)["current_platform"] = SimpleNamespace(get_device_name=lambda device_id=0: f"GPU {'AB'[device_id]}")
    monkeypatch.setitem(sys.modules, "vllm", module)
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    monkeypatch.setattr(LLM, "tokenizer", tokenizer_of(), raising=False)
    script = {FILM: [GOOD, FILM, EOS], GOOD: [FILM, TURN], BAD: [A, GOOD, QUOTE, END, END, END], A: [A] * 9}
    monkeypatch.setattr(LLM, "script", script)
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "ERROR")  # or the backend sets it, beyond the test
    return module


def loaded(style: Style = "completion", place: ModelPlace = PLACE, gpus: int = 1) -> VllmBackend:
    return VllmBackend.load(place, "bfloat16", style, False, gpus, 0.8)


def requests_of(*prompts: str) -> list[Request]:
    return [Request(prompt, 100 + number) for number, prompt in enumerate(prompts)]


def test_a_pinned_plm_is_loaded_from_safetensors_with_its_own_tokenizer(vllm: Any) -> None:
    backend = loaded(gpus=2)
    assert backend.llm.arguments == {
        "model": "some/plm",
        "revision": "0" * 40,
        "dtype": "bfloat16",
        "tokenizer_mode": "hf",
        "load_format": "safetensors",
        "trust_remote_code": False,
        "tensor_parallel_size": 2,
        "gpu_memory_utilization": 0.8,
        "enable_prefix_caching": True,
        "logprobs_mode": "raw_logprobs",
        "seed": 0,
    }
    assert backend.provenance() == {
        "runs in": "processes of its own",
        "device": "GPU A, GPU B",
        "dtype": "bfloat16",
        "vllm": "0.33.0",
    }


def test_texts_end_by_an_end_token_a_stop_string_or_their_length(vllm: Any) -> None:
    backend: TextGenerator = loaded()
    requests = requests_of("a film", "good", "bad", "a")
    completions = in_order(backend.generate(requests, Decoding(4, stop=('"',))))
    assert [(one.text, one.finish_reason) for one in completions] == [
        ("good film", "eos"),
        ("film", "eos"),  # without the end of the turn, though the tokenizer would show it
        ('a good "', "stop"),  # with the stop string, at which the cleaning cuts
        ("a a a a", "length"),
    ]
    assert [one.prompt_tokens for one in completions] == [3, 2, 2, 2]  # each with <s>
    assert [one.generated_tokens for one in completions] == [3, 2, 3, 4]  # each with its end token
    assert [one.log_probability for one in completions] == [-0.75, -0.5, -0.75, -1.0]


def test_no_stop_string_counts_before_the_least_length(vllm: Any) -> None:
    backend = loaded()
    (early,) = in_order(backend.generate(requests_of("bad"), Decoding(6, stop=('"',), min_new_tokens=3)))
    assert (early.text, early.finish_reason) == ('a good " end end end', "length")


def test_every_request_has_its_own_random_numbers_in_one_call(vllm: Any) -> None:
    backend = loaded()
    requests = [Request("a film", 5), Request("good", 2**63 - 1), Request("a film", 7)]
    decoding = Decoding(
        5, top_p=0.9, top_k=40, temperature=0.7, stop=('"', "?"), min_new_tokens=2, repetition_penalty=1.2
    )
    assert {index for index, _ in backend.generate(requests, decoding)} == {0, 1, 2}
    ((prompts, params),) = backend.llm.calls
    assert prompts == [[BOS, A, FILM], [BOS, GOOD], [BOS, A, FILM]]
    assert [one.seed for one in params] == [5, 2**63 - 1, 7]
    assert params[0] == SamplingParams(
        repetition_penalty=1.2,
        temperature=0.7,
        top_p=0.9,
        top_k=40,
        seed=5,
        stop=['"', "?"],
        max_tokens=5,
        min_tokens=2,
        logprobs=0,
        flat_logprobs=True,
        detokenize=True,
        include_stop_str_in_output=True,
    )


def test_top_k_1_is_greedy_and_a_least_length_beyond_the_longest_is_the_longest(vllm: Any) -> None:
    backend = loaded()
    list(backend.generate(requests_of("a"), Decoding(3, top_k=1, temperature=5.0, min_new_tokens=8)))
    (params,) = backend.llm.calls[0][1]
    assert (params.temperature, params.min_tokens, params.max_tokens, params.detokenize) == (0.0, 3, 3, False)


def test_prompts_too_long_to_write_after_stay_unread_and_do_not_stop_the_others(vllm: Any) -> None:
    backend = loaded()
    fits = " ".join(["film"] * (POSITIONS - 3 - 1))  # with <s>, and three new tokens
    requests = requests_of(fits + " film", fits, "film " * 50)
    completions = in_order(backend.generate(requests, Decoding(3)))
    assert [one.finish_reason for one in completions] == ["unread", "eos", "unread"]
    assert (completions[0].text, completions[0].prompt_tokens, completions[0].generated_tokens) == ("", 0, 0)
    assert completions[1].prompt_tokens == POSITIONS - 3
    assert [len(prompts) for prompts, _ in backend.llm.calls] == [1]
    assert [one.finish_reason for one in in_order(backend.generate(requests[:1], Decoding(3)))] == ["unread"]
    assert len(backend.llm.calls) == 1  # nothing to read, nothing asked


def test_a_chat_has_the_special_tokens_of_its_template_and_no_others(
    vllm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LLM, "tokenizer", tokenizer_of(CHAT))
    monkeypatch.setattr(LLM, "script", {REPLY: [GOOD, EOS]})
    backend = loaded("chat")
    (reply,) = in_order(backend.generate(requests_of("a film"), Decoding(3)))
    assert backend.llm.calls[0][0] == [[BOS, USER, A, FILM, TURN, REPLY]]
    assert (reply.text, reply.prompt_tokens) == ("good", 6)


def test_a_prompt_without_a_token_stays_unread(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LLM, "tokenizer", tokenizer_of("{{ messages[0]['content'] }}"))
    completions = in_order(loaded("chat").generate(requests_of("", "good"), Decoding(3)))
    assert [one.finish_reason for one in completions] == ["unread", "eos"]


def test_the_chat_style_needs_a_chat_template(vllm: Any) -> None:
    with pytest.raises(HarnessError, match=r"'some/plm' has no chat template; use 'style: completion'"):
        loaded("chat")


@pytest.mark.parametrize(
    ("decoding", "expected"),
    [
        (Decoding(4, self_debiasing=SelfDebiasing(10.0, 0.01)), "has no self-debiasing; change"),
        (Decoding(4, no_repeat_ngram_size=3), "has no 'no_repeat_ngram_size' (found 3); change"),
        (Decoding(4, temperature=2.5), "has temperatures from 0.01 to 2 (found 2.5); change"),
        (Decoding(4, temperature=0.001), "has temperatures from 0.01 to 2 (found 0.001); change"),
        (
            Decoding(4, self_debiasing=SelfDebiasing(10.0, 0.01), no_repeat_ngram_size=2),
            "has no self-debiasing, has no 'no_repeat_ngram_size' (found 2); change",
        ),
    ],
)
def test_what_vllm_cannot_do_is_told_before_anything_runs(vllm: Any, decoding: Decoding, expected: str) -> None:
    with pytest.raises(HarnessError) as caught:
        check_decoding(decoding)
    assert str(caught.value).startswith(f"the vllm backend {expected}")
    backend = loaded()
    with pytest.raises(HarnessError, match="the vllm backend has"):
        list(backend.generate(requests_of("a"), decoding))
    assert backend.llm.calls == []


def test_counter_prompts_are_refused(vllm: Any) -> None:
    backend = loaded()
    with pytest.raises(HarnessError, match="no use for counter prompts"):
        list(backend.generate([Request("a", 1), Request("a", 2, ("bad",))], Decoding(4)))
    assert backend.llm.calls == []


def test_without_vllm_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(HarnessError, match=r"pip install 'plm-data-harness\[vllm\]'"):
        loaded()


def test_another_module_called_vllm_is_refused(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(vllm, "SamplingParams")
    with pytest.raises(HarnessError, match="the installed vllm has no SamplingParams: pip install"):
        loaded()


def test_errors_of_vllm_are_told_in_one_line(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class EngineDeadError(Exception):
        """One of vLLM's, which have no base class of their own."""

    def no_device(*_: Any, **__: Any) -> Any:
        raise RuntimeError("Failed to infer device type,\n  please set something")

    def dead(*_: Any, **__: Any) -> Any:
        raise EngineDeadError

    backend = loaded()
    monkeypatch.setattr(vllm, "LLM", no_device)
    with pytest.raises(HarnessError) as caught:
        loaded()
    assert str(caught.value) == ("vLLM cannot load PLM 'some/plm': Failed to infer device type, please set something")
    backend.llm.generate = dead
    with pytest.raises(HarnessError, match=r"^vLLM failed while it wrote: EngineDeadError$"):
        list(backend.generate(requests_of("a"), Decoding(4)))


def test_a_text_that_vllm_gave_up_is_no_text(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LLM, "script", {A: [GOOD]})
    with pytest.raises(HarnessError, match="did not finish a text: abort"):
        list(loaded().generate(requests_of("a"), Decoding(4)))


def test_a_board_names_the_backend_and_its_gpus() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(Generator)
    spec = adapter.validate_python({"name": "x", "backend": "vllm", "model": "some/plm", "gpus": 2})
    assert isinstance(spec, VllmGenerator)
    assert (spec.gpus, spec.memory_share, spec.dtype, spec.style, spec.top_p) == (2, 0.9, "auto", "completion", 0.9)
    for wrong in ({"gpus": 0}, {"memory_share": 1.5}, {"memory_share": 0}, {"strict": True}, {"revision": "main"}):
        with pytest.raises(ValidationError):
            adapter.validate_python({"name": "x", "backend": "vllm", "model": "some/plm", **wrong})


@pytest.mark.slow
def test_vllm_itself_writes_what_transformers_finds_likeliest() -> None:
    """Greedy, so that no random numbers are compared; the log-probability by a forward pass of `transformers`."""
    pytest.importorskip("vllm")
    if not torch.cuda.is_available():
        pytest.skip("vLLM needs a GPU")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = locate_model("embedded:review-gpt-06m", None, None)
    tokenizer = AutoTokenizer.from_pretrained(place.source)
    model: Any = AutoModelForCausalLM.from_pretrained(place.source, dtype=torch.float32)
    prompt = "The movie review: This film is"
    ids = torch.tensor([tokenizer(prompt).input_ids])
    with torch.inference_mode():
        whole = model.generate(ids, max_new_tokens=12, do_sample=False)
        log_p = model(whole).logits.log_softmax(-1)[0, ids.shape[1] - 1 : -1]
    written = whole[0, ids.shape[1] :]
    expected = float(log_p.gather(1, written[:, None]).sum())

    backend = VllmBackend.load(place, "float32", "completion", False, 1, 0.3)
    (greedy, same), (drawn, again, other) = (
        in_order(backend.generate([Request(prompt, 1), Request(prompt, 2)], Decoding(12, top_k=1))),
        in_order(backend.generate([Request(prompt, seed) for seed in (1, 1, 2)], Decoding(12, temperature=1.5))),
    )
    assert greedy.text == same.text == tokenizer.decode(written, skip_special_tokens=True)
    assert greedy.log_probability == pytest.approx(expected, abs=0.05)
    assert drawn.text == again.text != other.text
    assert drawn.log_probability is not None and math.isfinite(drawn.log_probability)
    (unread,) = in_order(backend.generate([Request("film " * 200, 1)], Decoding(12)))
    assert unread.finish_reason == "unread"
    assert set(backend.provenance()) == {"backend", "device", "dtype", "vllm"}
