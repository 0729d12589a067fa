"""The PLM backend against transformers' own losses and generation, on the smallest embedded PLM and random ones."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoModelForCausalLM, AutoTokenizer, BloomConfig, Qwen3Config, Qwen3NextConfig
from transformers.activations import NewGELUActivation

from harness.errors import HarnessError
from harness.generators import memory
from harness.generators import transformers_backend as backend_module
from harness.generators.base import Completion, Decoding, Request, ScoredPrompt, SelfDebiasing, in_order
from harness.generators.decode import TokenRequest, decode
from harness.generators.locate import embedded_folder, locate_model
from harness.generators.memory import is_out_of_memory, places_in_memory
from harness.generators.slots import SlotCache, attention_windows
from harness.generators.transformers_backend import TransformersGenerator
from tests.generators.tiny_plms import CONFIGS, VOCABULARY, generated, random_model

STRONG = SelfDebiasing(200.0, 0.01)


def requests_of(
    prompts: Sequence[str], first_seed: int = 400, counters: Sequence[Sequence[str]] | None = None
) -> list[Request]:
    return [
        Request(prompt, first_seed + row, tuple(counters[row]) if counters else ())
        for row, prompt in enumerate(prompts)
    ]


def completed(
    plm: TransformersGenerator, prompts: Sequence[str], decoding: Decoding, **settings: Any
) -> list[Completion]:
    return in_order(plm.generate(requests_of(prompts, **settings), decoding))


@pytest.fixture(scope="module")
def plm() -> TransformersGenerator:
    return TransformersGenerator.load(
        locate_model("embedded:review-gpt-06m", None, None), "float32", "completion", False
    )


def plain_loss(model: Any, ids: list[int], first: int, last: int) -> float:
    """transformers' own loss over the tokens from `first` up to `last`."""
    labels = [token if first <= place < last else -100 for place, token in enumerate(ids)]
    with torch.inference_mode():
        return float(model(torch.tensor([ids]), labels=torch.tensor([labels])).loss)


def encode(plm: TransformersGenerator, text: str) -> list[int]:
    ids: list[int] = plm.tokenizer(text).input_ids
    return ids


def around(prefix: str, text: str, suffix: str) -> ScoredPrompt:
    return ScoredPrompt((prefix, text, suffix), text=1)


WHOLE = around("This is a wonderful, brilliant movie.", " I loved it, and the acting is superb", ". Go and see it.")
LONG = " it was a long film and then it went on" * 20


@pytest.mark.parametrize("text_only", [False, True], ids=["whole prompt", "text only"])
def test_a_mean_loss_is_transformers_loss_of_the_prompt_by_itself(plm: TransformersGenerator, text_only: bool) -> None:
    prompts = [
        WHOLE,
        around("", "A film", ""),
        around("Awful! Avoid this movie.", " It", ""),
        around("A wonderful film:", " Great performances, a beautiful story and a perfect ending.", " The end"),
    ]
    expected = []
    for prompt in prompts:
        parts = [encode(plm, part) for part in prompt.parts]
        ids = encode(plm, "".join(prompt.parts))
        assert ids == [token for part in parts for token in part], "choose texts whose parts are whole tokens"
        first = len(parts[0]) if text_only else 0
        last = first + len(parts[1]) if text_only else len(ids)
        expected.append(plain_loss(plm.model, ids, first, last))
    assert plm.mean_losses(prompts, text_only) == pytest.approx(expected, rel=1e-5)


def test_a_space_before_the_text_belongs_to_the_texts_first_word(plm: TransformersGenerator) -> None:
    inside, before = around("A film:", " good fun", ""), around("A film: ", "good fun", "")
    for text_only in (False, True):
        one, other = plm.mean_losses([inside, before], text_only)
        assert one == pytest.approx(other, rel=1e-6)


def test_the_order_and_the_number_of_prompts_change_no_loss(plm: TransformersGenerator) -> None:
    text = " a wonderful film with a great story and a perfect ending, they say"
    prompts = [around("So:", text[: 2 + number], ".") for number in range(40)]
    expected = [plm.mean_losses([prompt], text_only=True)[0] for prompt in prompts]
    assert plm.mean_losses(prompts, text_only=True) == pytest.approx(expected, rel=1e-4)
    assert plm.mean_losses(prompts[::-1], text_only=True) == pytest.approx(expected[::-1], rel=1e-4)
    assert plm.mean_losses([], text_only=True) == []


@pytest.mark.parametrize("text_only", [False, True], ids=["whole prompt", "text only"])
def test_a_text_too_long_for_the_plm_is_cut_at_its_end_and_what_follows_it_is_kept(
    plm: TransformersGenerator, text_only: bool
) -> None:
    prompt = around(WHOLE.parts[0], LONG, WHOLE.parts[2])
    prefix, text, suffix = (encode(plm, part) for part in prompt.parts)
    room = plm.max_positions - len(prefix) - len(suffix)
    assert len(text) > room > 50
    ids = prefix + text[:room] + suffix
    expected = (
        plain_loss(plm.model, ids, len(prefix), len(prefix) + room)
        if text_only
        else plain_loss(plm.model, ids, 0, len(ids))
    )
    assert plm.mean_losses([prompt], text_only) == pytest.approx([expected], rel=1e-5)


@pytest.mark.parametrize("text_first", [False, True])
@pytest.mark.parametrize("text_only", [False, True], ids=["whole prompt", "text only"])
def test_a_context_is_cut_before_the_text_is(plm: TransformersGenerator, text_only: bool, text_first: bool) -> None:
    text, context = LONG[:200], LONG
    between = (" So:", context, " Thus:", text, ". Go") if not text_first else (" So:", text, " Thus:", context, ". Go")
    place, context_place = (1, 3) if text_first else (3, 1)
    parts = [encode(plm, part) for part in between]
    excess = sum(map(len, parts)) - plm.max_positions
    assert 0 < excess < len(parts[context_place]) - 20
    parts[context_place] = parts[context_place][:-excess]
    ids = list(itertools.chain(*parts))
    first = sum(map(len, parts[:place])) if text_only else 0
    last = first + len(parts[place]) if text_only else len(ids)
    found = plm.mean_losses([ScoredPrompt(between, place, context_place)], text_only)
    assert found == pytest.approx([plain_loss(plm.model, ids, first, last)], rel=1e-5)


def test_a_text_is_cut_where_a_prompt_is_too_long_without_its_context(plm: TransformersGenerator) -> None:
    whole = ScoredPrompt((" So:", " a good film", " Thus:", LONG, ". Go"), 3, 1)
    without = ScoredPrompt((" So:", "", " Thus:", LONG, ". Go"), 3, 1)
    assert plm.mean_losses([whole], True) == plm.mean_losses([without], True)


def test_a_prompt_with_nothing_to_predict_has_no_loss(plm: TransformersGenerator) -> None:
    assert plm.mean_losses([around("", "", ""), around("", "A", ""), WHOLE], False)[:2] == [0.0, 0.0]


def test_a_prompt_that_leaves_no_room_for_a_text_is_a_clear_error(plm: TransformersGenerator) -> None:
    with pytest.raises(HarnessError, match="no room for a text in 127 positions"):
        plm.mean_losses([around(LONG, " good", "")], text_only=True)


# --- writing

SENTENCES = ["This is a wonderful movie. I", "Awful! Avoid this movie. The"] * 16


def test_a_stop_string_ends_a_row_with_the_token_that_has_it(plm: TransformersGenerator) -> None:
    decoding = Decoding(24, top_p=0.9)
    whole = completed(plm, SENTENCES, decoding)
    stopped = completed(plm, SENTENCES, replace(decoding, stop=(".",)))
    assert {one.finish_reason for one in stopped} >= {"stop", "length"}
    dotted = {token for token in plm.tokenizer.batch_decode([[number] for number in range(8192)]) if "." in token}
    for free, one in zip(whole, stopped, strict=True):
        assert free.text.startswith(one.text)
        assert ("." in one.text) == (one.finish_reason == "stop")
        if one.finish_reason == "stop":
            assert any("." not in one.text.removesuffix(token) for token in dotted if one.text.endswith(token))


def test_a_row_ends_at_the_first_of_several_stop_strings(plm: TransformersGenerator) -> None:
    free, dot, comma, both = (
        completed(plm, SENTENCES, Decoding(24, top_p=0.9, stop=stop)) for stop in ((), (".",), (",",), (".", ","))
    )
    assert [one.text for one in both] == [
        min(one.text, other.text, key=len) for one, other in zip(dot, comma, strict=True)
    ]
    assert {text.text[-1] for text in both if text.finish_reason == "stop"} == {".", ","}
    assert all(one.finish_reason != "stop" for one in free)


def test_a_row_is_written_the_same_whichever_rows_ended_before_it(plm: TransformersGenerator) -> None:
    prompts = ["This is a wonderful movie. I", "Awful! The"] * 8
    together = completed(plm, prompts, Decoding(16, top_p=0.9, stop=(",",)))
    free = completed(plm, prompts, Decoding(16, top_p=0.9))
    assert len({one.generated_tokens for one in together}) > 3
    assert [one.text for one in together] == [one.text.partition(",")[0] + "," * ("," in one.text) for one in free]


def test_completions_are_given_as_they_end_and_numbered_by_their_requests(plm: TransformersGenerator) -> None:
    decoding = Decoding(24, top_p=0.9, stop=(".", ","))
    found = list(plm.generate(requests_of(SENTENCES), decoding))
    assert sorted(number for number, _ in found) == list(range(32))
    lengths = [one.generated_tokens for _, one in found]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 3
    assert in_order(found) == completed(plm, SENTENCES, decoding)


def test_the_tokens_of_prompt_and_completion_are_counted_with_the_end_token(plm: TransformersGenerator) -> None:
    prompts = ["This is a wonderful movie. I", "Awful!"] * 32
    ids = [tuple(encode(plm, prompt)) for prompt in prompts]
    requests = [TokenRequest((row,), 400 + number) for number, row in enumerate(ids)]
    rows = dict(decode(plm.model, requests, Decoding(60), plm._ends_with(()), 64))
    completions = completed(plm, prompts, Decoding(60))
    assert {one.finish_reason for one in completions} == {"eos", "length"}
    assert [one.prompt_tokens for one in completions] == [len(row) for row in ids]
    expected = [len(rows[number].tokens) + (rows[number].ended == "eos") for number in range(64)]
    assert [one.generated_tokens for one in completions] == expected
    assert [one.log_probability for one in completions] == [rows[number].log_probability for number in range(64)]
    assert all("<|endoftext|>" not in one.text for one in completions)


@pytest.mark.parametrize(("tokens", "new"), [(126, 1), (100, 27)])
def test_prompt_and_completion_may_fill_the_plms_positions_and_not_one_more(
    tokens: int, new: int, plm: TransformersGenerator
) -> None:
    prompt = plm.tokenizer.decode(encode(plm, LONG)[:tokens])
    assert len(encode(plm, prompt)) == tokens
    (one,) = completed(plm, [prompt], Decoding(new))
    assert (one.prompt_tokens, one.finish_reason) == (tokens, "length")
    assert completed(plm, [prompt], Decoding(new + 1)) == [Completion("", "unread", tokens, 0, 0.0)]


@pytest.mark.parametrize(("tokens", "new"), [(126, 1), (100, 27), (127, 0)])
def test_fits_says_what_can_be_written(tokens: int, new: int, plm: TransformersGenerator) -> None:
    prompt = plm.tokenizer.decode(encode(plm, LONG)[:tokens])
    assert plm.fits(prompt, new)
    assert not plm.fits(prompt, new + 1)
    assert not plm.fits("", new)


def test_prompts_that_the_plm_cannot_read_are_told_and_the_others_written(plm: TransformersGenerator) -> None:
    prompts = ["Good", "", "Fine", LONG, "Bad"]
    found = completed(plm, prompts, Decoding(4))
    assert [one.finish_reason == "unread" for one in found] == [False, True, False, True, False]
    assert [found[1], found[3]] == [Completion("", "unread", tokens, 0, 0.0) for tokens in (0, len(encode(plm, LONG)))]
    requests = [request for request in requests_of(prompts) if request.prompt not in ("", LONG)]
    assert in_order(plm.generate(requests, Decoding(4))) == [found[0], found[2], found[4]]


def test_a_prompt_longer_than_any_is_tokenised_for_is_unread(
    plm: TransformersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend_module, "MAX_PROMPT_TOKENS", 3)
    three, four = (plm.tokenizer.decode(encode(plm, LONG)[:tokens]) for tokens in (3, 4))
    assert [one.finish_reason for one in completed(plm, [three, four], Decoding(2))] == ["length", "unread"]
    assert [plm.fits(prompt, 2) for prompt in (three, four)] == [True, False]


def test_debiased_texts_are_those_of_the_decode_loop_and_not_the_plain_ones(plm: TransformersGenerator) -> None:
    good, bad, plain = (
        "This is a wonderful, brilliant movie. I loved it, and the acting is superb. It is",
        "Awful! Avoid this movie, it was terrible from beginning to end. The",
        "A movie. It",
    )
    prompts, counters = [good, bad, good, plain], [[bad, plain], [good, plain], [bad, plain], [good, bad]]
    decoding = Decoding(12, self_debiasing=STRONG, stop=(".",))
    found = completed(plm, prompts, decoding, counters=counters)
    requests = [
        TokenRequest(tuple(tuple(encode(plm, one)) for one in (prompt, *others)), 400 + row)
        for row, (prompt, others) in enumerate(zip(prompts, counters, strict=True))
    ]
    rows = dict(decode(plm.model, requests, decoding, plm._ends_with((".",)), 2))
    assert [one.text for one in found] == plm.tokenizer.batch_decode([rows[row].tokens for row in range(4)])
    assert [one.prompt_tokens for one in found] == [len(encode(plm, one)) for one in prompts]
    free = completed(plm, prompts, replace(decoding, self_debiasing=None))
    assert all(one.text != other.text for one, other in zip(found, free, strict=True))


def test_counter_prompts_and_self_debiasing_come_together_and_for_every_prompt(plm: TransformersGenerator) -> None:
    plain, debiased = Decoding(2), Decoding(2, self_debiasing=STRONG)
    with pytest.raises(ValueError, match="counter prompts are for self-debiasing alone"):
        completed(plm, ["Good"], plain, counters=[["Bad"]])
    uneven: list[list[list[str]]] = [[["Bad"]] * 2, [["Bad"], ["Bad", "Awful"]], [["Bad"], []], [[], []]]
    assert len(completed(plm, ["Good", "Fine"], debiased, counters=uneven[0])) == 2
    for counters in uneven[1:]:
        with pytest.raises(ValueError, match="for each of 2 prompts as many counter prompts, at least one"):
            completed(plm, ["Good", "Fine"], debiased, counters=counters)


@pytest.mark.parametrize("counter", ["", LONG])
def test_a_prompt_is_unread_where_a_counter_prompt_cannot_be_read(counter: str, plm: TransformersGenerator) -> None:
    found = completed(plm, ["Good", "Fine"], Decoding(1, self_debiasing=STRONG), counters=[[counter], ["Bad"]])
    assert found[0] == Completion("", "unread", len(encode(plm, "Good")), 0, 0.0)
    assert found[1].generated_tokens == 1


def test_end_tokens_are_those_of_the_generation_settings_and_of_the_tokenizer(plm: TransformersGenerator) -> None:
    own = plm.tokenizer.eos_token_id
    for configured, ends in (([5, 9], [5, 9]), (7, [7, own]), (None, [own])):
        model = SimpleNamespace(
            get_output_embeddings=plm.model.get_output_embeddings,
            generation_config=SimpleNamespace(eos_token_id=configured),
            device=plm.model.device,
            modules=list,
        )
        found = TransformersGenerator(model, plm.tokenizer, "completion")._ends_with(())
        assert sorted(found.eos.nonzero()[:, 0].tolist()) == sorted(ends)
        assert not found.stop.any()


def test_a_row_ends_with_an_end_token_of_the_generation_settings(
    plm: TransformersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = completed(plm, SENTENCES, Decoding(12, top_p=0.9))
    comma = encode(plm, ",")[0]
    monkeypatch.setattr(plm.model.generation_config, "eos_token_id", [comma, plm.tokenizer.eos_token_id])
    again = TransformersGenerator(plm.model, plm.tokenizer, "completion")
    found = completed(again, SENTENCES, Decoding(12, top_p=0.9))
    assert {one.finish_reason for one in found} == {"eos", "length"}
    for one, whole in zip(found, free, strict=True):
        assert one.text == (whole.text.partition(",")[0] if one.finish_reason == "eos" else whole.text)


def test_the_caller_may_stop_in_the_midst(plm: TransformersGenerator) -> None:
    decoding = Decoding(24, top_p=0.9, stop=(".", ","))
    whole = completed(plm, SENTENCES, decoding)
    some = plm.generate(requests_of(SENTENCES), decoding)
    number, first = next(some)
    assert first == whole[number]
    assert not torch.is_inference_mode_enabled()
    some.close()  # type: ignore[attr-defined]
    assert not torch.is_inference_mode_enabled()
    assert completed(plm, SENTENCES, decoding) == whole


def test_provenance_tells_device_dtype_and_how_many_rows_were_decoded_together(
    plm: TransformersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = TransformersGenerator(plm.model, plm.tokenizer, "completion")
    monkeypatch.setattr(backend_module, "places_in_memory", lambda *_: 3)
    completed(fresh, ["Good"] * 5, Decoding(2))
    told = {"runs in": "this process", "device": "cpu", "dtype": "float32"}
    assert fresh.provenance() == {**told, "rows together": 3}
    completed(fresh, ["Good"], Decoding(2))
    assert fresh.provenance() == {**told, "rows together": 3}, "at most, not at last"


def test_rows_that_are_to_be_together_are_whatever_the_memory(
    plm: TransformersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding, found = Decoding(16, top_p=0.9, stop=(",",), together=True), []
    for places in (3, 100):
        monkeypatch.setattr(backend_module, "places_in_memory", lambda *_, places=places: places)
        fresh = TransformersGenerator(plm.model, plm.tokenizer, "completion")
        found.append(completed(fresh, SENTENCES, decoding))
        assert fresh.provenance()["rows together"] == len(SENTENCES)
    assert found[0] == found[1]
    Short(plm.model, 5, torch.OutOfMemoryError("CUDA out of memory"), monkeypatch)
    with pytest.raises(HarnessError, match=f"strict block of {len(SENTENCES)} rows; lower 'block_rows'"):
        completed(plm, SENTENCES, decoding)


# --- memory


class Short:
    """Makes a model fail where it is given more than so many rows."""

    def __init__(self, model: Any, rows: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
        self.given: list[int] = []
        forward = model.forward

        def limited(*args: Any, **kwargs: Any) -> Any:
            self.given.append(len(kwargs["input_ids"]))
            if self.given[-1] > rows:
                raise error
            return forward(*args, **kwargs)

        monkeypatch.setattr(model, "forward", limited)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        MemoryError(),
    ],
    ids=["GPU", "CPU", "Python"],
)
def test_when_memory_runs_out_half_as_many_rows_are_decoded_from_then_on(
    error: Exception, plm: TransformersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoding = Decoding(16, top_p=0.9, stop=(",",))
    prompts = [f"{sentence} {number}" for number, sentence in enumerate(SENTENCES)]
    expected = completed(plm, prompts, decoding)
    short = Short(plm.model, 5, error, monkeypatch)
    fresh = TransformersGenerator(plm.model, plm.tokenizer, "completion")
    found = completed(fresh, prompts, decoding)
    assert [replace(one, log_probability=None) for one in found] == [
        replace(one, log_probability=None) for one in expected
    ]
    assert [one.log_probability for one in found] == pytest.approx([one.log_probability for one in expected], rel=1e-4)
    assert [rows for rows in short.given if rows > 5] == [32, 16, 8]
    assert fresh.provenance()["rows together"] == 4
    short.given.clear()
    completed(fresh, prompts, decoding)
    assert max(short.given) == 4


def test_rows_that_ended_before_memory_ran_out_are_not_written_again(
    plm: TransformersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model fails at its 10th pass, when some rows have been given."""
    decoding = Decoding(16, top_p=0.9, stop=(",", "."))
    expected = completed(plm, SENTENCES, decoding)
    fresh = TransformersGenerator(plm.model, plm.tokenizer, "completion")
    passes = itertools.count()
    forward = plm.model.forward

    def failing(*args: Any, **kwargs: Any) -> Any:
        if next(passes) == 9:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(*args, **kwargs)

    monkeypatch.setattr(plm.model, "forward", failing)
    found = list(fresh.generate(requests_of(SENTENCES), decoding))
    assert sorted(number for number, _ in found) == list(range(32))
    assert [one.text for one in in_order(found)] == [one.text for one in expected]
    early = sum(one.generated_tokens <= 8 for one in expected)
    assert 0 < early < 32
    assert fresh.provenance()["rows together"] == 32, "of which some were given"


def test_without_memory_for_a_single_row_there_is_one_clear_error(
    plm: TransformersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = Short(plm.model, 0, torch.OutOfMemoryError("CUDA out of memory"), monkeypatch)
    fresh = TransformersGenerator(plm.model, plm.tokenizer, "completion")
    with pytest.raises(HarnessError, match=r"not enough memory on cpu to decode a single row of 1 tokens and 7 new"):
        completed(fresh, ["A", "I", "A", "I"], Decoding(7))
    assert len(short.given) == 3  # of 4, 2 and 1 rows


def test_other_errors_are_not_taken_for_want_of_memory(
    plm: TransformersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = RuntimeError("The size of tensor a (3) must match the size of tensor b (4)")
    short = Short(plm.model, 0, error, monkeypatch)
    with pytest.raises(RuntimeError, match="The size of tensor a") as found:
        completed(plm, ["A", "I"], Decoding(7))
    assert found.value is error
    assert len(short.given) == 1
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("name", "dtype", "positions", "sides", "free", "places"),
    [
        # 2 (keys, values) * 2 layers * 4 heads * 8 * 4 bytes = 512 a token, twice; 6 * 4 * 97 = 2328 for logits; of
        # what is free a half.
        ("gpt2", "float32", 100, 1, 2 * 10 * (2 * 512 * 100 + 2328), 10),
        ("gpt2", "float32", 100, 1, 2 * 10 * (2 * 512 * 100 + 2328) - 1, 9),
        ("gpt2", "float32", 100, 3, 2 * 30 * (2 * 512 * 100 + 2328), 10),
        # Keys and values of 2 bytes; the draws are made in float32 all the same.
        ("gpt2", "bfloat16", 100, 1, 2 * 10 * (2 * 256 * 100 + 2328), 10),
        # 4 heads of queries share 2 of keys and values.
        ("llama", "float32", 50, 1, 2 * 7 * (2 * 256 * 50 + 2328), 7),
        # Heads of another size than hidden_size / heads: 2 * 2 * 2 * 24 * 4 = 768.
        ("wide heads", "float32", 50, 1, 2 * 7 * (2 * 768 * 50 + 2328), 7),
        ("gpt2", "float32", 100, 1, 10**12, 128),
        ("gpt2", "float32", 100, 1, 5, 1),
    ],
)
def test_the_rows_that_memory_holds_worked_by_hand(
    name: str, dtype: str, positions: int, sides: int, free: int, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_free", lambda device: free)
    monkeypatch.setitem(CONFIGS, "wide heads", Qwen3Config(**{**CONFIGS["qwen3"].to_dict(), "head_dim": 24}))
    model = random_model(name).to(getattr(torch, dtype))
    assert places_in_memory(model, positions, sides, 0) == places
    # What is held for it, and is not free for others, is as good.
    monkeypatch.setattr(memory, "_free", lambda device: 0)
    assert places_in_memory(model, positions, sides, free) == places


@pytest.mark.parametrize(("limit", "left"), [("max", 10**9), ("5000", 5000 - 1200), ("1000", 0)])
def test_no_more_memory_is_free_than_a_container_may_still_take(
    limit: str, left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text("1500\n")
    (tmp_path / "memory.stat").write_text("anon 1200\ninactive_file 250\nactive_file 50\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=10**9))
    assert memory._free(torch.device("cpu")) == left


def test_memory_that_the_gpu_allocator_keeps_for_later_counts_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 9000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 700)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 300)
    assert memory._free(torch.device("cuda")) == 1000 + 400


def test_as_many_rows_are_decoded_as_the_longest_prompt_with_its_counter_prompts_allows(
    plm: TransformersGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def noted(model: Any, positions: int, sides: int, held: int) -> int:
        asked.append((positions, sides))
        return 2

    monkeypatch.setattr(backend_module, "places_in_memory", noted)
    counter = "It was a long film and then it went on"
    completed(plm, ["A", "A film"], Decoding(5, self_debiasing=STRONG), counters=[["I", counter], ["I", "A"]])
    assert asked == [(len(encode(plm, counter)) + 5, 3)]


# --- which PLMs can be run


def saved(model: Any, folder: Path) -> Path:
    """A folder of the model with the tokenizer of the embedded PLM."""
    AutoTokenizer.from_pretrained(embedded_folder() / "review-gpt-06m").save_pretrained(folder)
    model.save_pretrained(folder)
    return folder


def test_a_plm_that_takes_no_positions_is_refused(tmp_path: Path) -> None:
    config = BloomConfig(vocab_size=VOCABULARY, hidden_size=16, n_layer=1, n_head=2)
    folder = saved(AutoModelForCausalLM.from_config(config), tmp_path / "bloom")  # type: ignore[no-untyped-call]
    with pytest.raises(HarnessError, match=r"type 'bloom', which takes no positions: .* use the backend 'vllm'"):
        TransformersGenerator.load(locate_model(str(folder), None, None), "float32", "completion", False)


def test_layers_that_keep_no_keys_and_values_are_refused() -> None:
    config = Qwen3NextConfig(num_hidden_layers=4, vocab_size=VOCABULARY)
    with pytest.raises(HarnessError, match=r"type 'qwen3_next': layers of the kind 'linear_attention' keep no keys"):
        attention_windows(config)
    with pytest.raises(HarnessError, match="linear_attention"):
        SlotCache(SimpleNamespace(config=config, device=torch.device("cpu"), dtype=torch.float32), 1, 1)


@pytest.mark.parametrize(
    ("name", "windows"),
    [
        ("gpt2", {"full_attention": None}),
        ("llama", {"full_attention": None}),
        ("mistral", {"full_attention": 4}),
        ("qwen3", {"full_attention": None}),
        ("gemma2", {"full_attention": None, "sliding_attention": 4}),
    ],
)
def test_how_far_back_the_layers_look(name: str, windows: dict[str, int | None]) -> None:
    assert attention_windows(random_model(name).config) == windows


@pytest.mark.parametrize("damage", [b"{}", b"", b"no weights at all"])
def test_damaged_weights_are_a_clear_error(damage: bytes, tmp_path: Path) -> None:
    folder = saved(random_model("gpt2"), tmp_path / "gpt2")
    (folder / "model.safetensors").write_bytes(damage)
    with pytest.raises(HarnessError, match="cannot be loaded: "):
        TransformersGenerator.load(locate_model(str(folder), None, None), "float32", "completion", False)


def test_gelu_in_one_pass_is_the_one_of_transformers() -> None:
    model = random_model("gpt2")
    ids = torch.arange(1, 61).reshape(4, 15)
    with torch.inference_mode():
        before = model(ids).logits
    expected = generated(model, [[5, 9, 2], [7]], 12)
    backend_module._fuse_activations(model)
    assert sum(isinstance(module, torch.nn.GELU) for module in model.modules()) == 2
    assert not any("NewGELU" in type(module).__name__ for module in model.modules())
    with torch.inference_mode():
        after = model(ids).logits
    assert (after.softmax(-1) - before.softmax(-1)).abs().max() < 1e-6
    assert generated(model, [[5, 9, 2], [7]], 12) == expected
    points = torch.linspace(-12, 12, 100_001)
    torch.testing.assert_close(
        torch.nn.GELU(approximate="tanh")(points), NewGELUActivation()(points), atol=1e-6, rtol=1e-6
    )


# --- the chat style

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}] {{ message.content }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded PLM with a chat template and, as many chat models have, a start token that the tokenizer adds."""
    folder = tmp_path_factory.mktemp("chat") / "plm"
    source = embedded_folder() / "review-gpt-06m"
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.chat_template = TEMPLATE
    end = tokenizer.eos_token
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=f"{end} $A", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    tokenizer.save_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(source).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def chat(chat_folder: Path) -> TransformersGenerator:
    return TransformersGenerator.load(locate_model(str(chat_folder), None, None), "float32", "chat", False)


def test_the_chat_style_reads_the_prompt_through_the_template_with_one_start_token(chat: TransformersGenerator) -> None:
    end = chat.tokenizer.eos_token
    assert chat.render("Write.") == f"{end}[user] Write.{end}[assistant]"
    assert chat.render("Write.", " A film.") == f"{end}[user] Write.{end}[assistant] A film."
    expected = chat.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Write."}], add_generation_prompt=True, return_dict=False
    )
    assert chat._encode({"Write."})["Write."] == tuple(expected)
    assert expected.count(chat.tokenizer.eos_token_id) == 2


def test_the_chat_style_writes_what_the_plm_writes_after_the_rendered_messages(
    chat: TransformersGenerator, plm: TransformersGenerator
) -> None:
    prompts = ["Write a review.", "Write a bad review of this film."]
    rendered = [chat.render(prompt) for prompt in prompts]  # the embedded tokenizer adds no start token to these
    decoding = Decoding(12, top_p=0.9)
    assert completed(chat, prompts, decoding) == completed(plm, rendered, decoding)


def test_the_chat_styles_loss_is_that_of_the_reply(chat: TransformersGenerator) -> None:
    opened = list(chat._encode({"Write a review."})["Write a review."])
    reply = chat.tokenizer(" A wonderful film.", add_special_tokens=False).input_ids
    expected = plain_loss(chat.model, opened + reply, len(opened), len(opened) + len(reply))
    losses = chat.mean_losses([around("Write a review.", " A wonderful film.", "")], text_only=True)
    assert losses == pytest.approx([expected], rel=1e-5)


def test_in_the_chat_style_the_context_in_the_users_message_is_cut(chat: TransformersGenerator) -> None:
    def tokens(text: str) -> list[int]:
        ids: list[int] = chat.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    opened, closed = tokens(chat.render("Read:MARK. Write.").partition("MARK")[0]), ". Write."
    after = tokens(chat.render("Read:MARK. Write.").partition("MARK")[2])
    context, reply = tokens(LONG), tokens(" A wonderful film.")
    context = context[: chat.max_positions - len(opened) - len(after) - len(reply)]
    ids = opened + context + after + reply
    expected = plain_loss(chat.model, ids, len(ids) - len(reply), len(ids))
    prompt = ScoredPrompt(("Read:", LONG, closed, " A wonderful film."), text=3, context=1)
    assert chat.mean_losses([prompt], text_only=True) == pytest.approx([expected], rel=1e-5)


def test_the_completion_style_gets_the_start_token_that_the_tokenizer_adds(chat_folder: Path) -> None:
    place = locate_model(str(chat_folder), None, None)
    completion = TransformersGenerator.load(place, "float32", "completion", False)
    ids = completion._encode({"A film"})["A film"]
    assert ids == (0, *completion.tokenizer("A film", add_special_tokens=False).input_ids)
    prompt = around("A film:", " good fun", "")
    whole = completion.tokenizer("A film: good fun").input_ids
    expected = plain_loss(completion.model, whole, 0, len(whole))  # the first loss is of "A", after the start token
    assert completion.mean_losses([prompt], text_only=False) == pytest.approx([expected], rel=1e-5)


def test_a_plm_without_a_chat_template_is_refused_for_the_chat_style() -> None:
    with pytest.raises(HarnessError, match=r"no chat template; use 'style: completion'"):
        TransformersGenerator.load(locate_model("embedded:review-gpt-06m", None, None), "float32", "chat", False)
