"""The decode loop and the PLM backend against transformers' own generation, warpers and losses."""

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PreTrainedConfig,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from harness.errors import HarnessError
from harness.generators import decode as decode_module
from harness.generators.base import Decoding, ScoredPrompt, SelfDebiasing
from harness.generators.decode import UNIFORMS, Decoded, debias, decode, draw
from harness.generators.locate import embedded_folder, locate_model
from harness.generators.transformers_backend import TransformersGenerator

VOCABULARY = 97
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_positions=64, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3),
    "llama": LlamaConfig(
        vocab_size=VOCABULARY, intermediate_size=64, num_key_value_heads=2, initializer_range=0.3, **SIZES
    ),
    "opt": OPTConfig(vocab_size=VOCABULARY, ffn_dim=64, word_embed_proj_dim=32, init_std=0.3, **SIZES),
    "mistral": MistralConfig(
        vocab_size=VOCABULARY,
        intermediate_size=64,
        num_key_value_heads=2,
        sliding_window=4,
        initializer_range=0.3,
        **SIZES,
    ),
}
PROMPTS = [[5, 9, 2, 44], [7], [5, 9, 2, 44], [80, 81, 82, 83, 84, 85, 86], [3, 3], [60, 12, 9, 31, 7], [11, 12]]
PROMPTS_OF_ONE_LENGTH = [[5, 9, 2], [7, 1, 30], [80, 81, 82], [5, 9, 2]]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cannot make models of this size faster, but wait for each other when other tests run beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_model(name: str, attention: str = "eager") -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model: Any = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
            CONFIGS[name], attn_implementation=attention
        )
        return model.eval()


def no_stop() -> torch.Tensor:
    return torch.zeros(VOCABULARY, dtype=torch.bool)


def generated(model: Any, prompts: Sequence[list[int]], max_new_tokens: int, eos: int | None) -> list[list[int]]:
    """What `model.generate` writes greedily after left-padded prompts; ends before the end token."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    model.generation_config.eos_token_id = None
    output = model.generate(
        ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=max_new_tokens,
        pad_token_id=0,
        eos_token_id=eos,
    )
    rows: list[list[int]] = output[:, longest:].tolist()
    return [row[: row.index(eos)] if eos in row else row for row in rows]


# --- (a) the loop


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("prompts", [PROMPTS, PROMPTS_OF_ONE_LENGTH], ids=["left padding", "one length"])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_drawing_the_likeliest_token_only_writes_what_greedy_generation_writes(
    name: str, prompts: list[list[int]], attention: str
) -> None:
    model = random_model(name, attention)
    expected = generated(model, prompts, 20, None)
    assert len({tuple(row) for row in expected}) == len({tuple(prompt) for prompt in prompts})
    for decoding in (Decoding(20, top_k=1), Decoding(20, top_k=1, top_p=0.9, temperature=0.7)):
        decoded = decode(model, prompts, decoding, no_stop(), [], seed=1)
        assert decoded.tokens == expected
        assert decoded.ended == ["length"] * len(prompts)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_rows_end_where_greedy_generation_ends_them_while_others_go_on(name: str) -> None:
    model = random_model(name)
    free = generated(model, PROMPTS, 20, None)
    firsts = {token: {row.index(token) for row in free if token in row} for row in free for token in row}
    eos = max(firsts, key=lambda token: len(firsts[token]))  # ends rows at as many different steps as there are
    expected = generated(model, PROMPTS, 20, eos)
    decoded = decode(model, PROMPTS, Decoding(20, top_k=1), no_stop(), [eos], seed=1)
    assert decoded.tokens == expected
    assert decoded.ended == ["eos" if eos in row else "length" for row in free]
    assert len({len(row) for row in expected}) > 1


def test_every_end_token_ends_a_row_and_the_last_token_that_fits_does_too() -> None:
    model = random_model("gpt2")
    (free,) = generated(model, PROMPTS[:1], 6, None)
    for ends, length in (([free[2], free[4]], 2), ([free[5]], 5)):
        decoded = decode(model, PROMPTS[:1], Decoding(6, top_k=1), no_stop(), ends, seed=1)
        assert (decoded.tokens, decoded.ended) == ([free[:length]], ["eos"])


def test_a_row_that_ends_at_once_has_no_tokens() -> None:
    model = random_model("gpt2")
    (free,) = generated(model, PROMPTS[:1], 1, None)
    decoded = decode(model, PROMPTS[:1], Decoding(6, top_k=1), no_stop(), free, seed=1)
    assert (decoded.tokens, decoded.ended) == ([[]], ["eos"])
    assert decoded.log_probability[0] < 0


@pytest.mark.parametrize("name", list(CONFIGS))
def test_leaving_ended_rows_in_or_out_of_the_batch_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model(name)
    prompts = PROMPTS * 8
    ends = no_stop()
    ends[::6] = True
    results: list[Decoded] = []
    for share in (0.0, decode_module.SHRINK, 1.0):
        monkeypatch.setattr(decode_module, "SHRINK", share)
        results.append(decode(model, prompts, Decoding(24, top_p=0.9), ends, [1], seed=5))
    first = results[0]
    assert len({len(row) for row in first.tokens}) > 5
    for other in results[1:]:
        assert (other.tokens, other.ended) == (first.tokens, first.ended)
        assert other.log_probability == pytest.approx(first.log_probability, rel=1e-5)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_rows_log_probability_is_that_of_a_forward_pass_over_its_tokens(name: str) -> None:
    model = random_model(name)
    decoding = Decoding(12, top_p=0.95, top_k=40, temperature=1.3)
    free = decode(model, PROMPTS * 3, decoding, no_stop(), [], seed=3)
    (eos, _), *_ = Counter(token for row in free.tokens for token in row).most_common(1)
    decoded = decode(model, PROMPTS * 3, decoding, no_stop(), [eos], seed=3)
    assert {"eos", "length"} == set(decoded.ended)
    rows = zip(PROMPTS * 3, decoded.tokens, decoded.ended, decoded.log_probability, strict=True)
    for prompt, tokens, ended, log_probability in rows:
        written = [*tokens, *([eos] if ended == "eos" else [])]
        with torch.inference_mode():
            log_p = model(torch.tensor([prompt + written])).logits[0].double().log_softmax(-1)
        expected = sum(float(log_p[len(prompt) - 1 + step, token]) for step, token in enumerate(written))
        assert log_probability == pytest.approx(expected, rel=1e-4)


def test_the_seed_alone_decides_what_is_drawn() -> None:
    model = random_model("gpt2")
    one, again, other = (decode(model, PROMPTS, Decoding(10), no_stop(), [], seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.tokens != other.tokens
    state = torch.get_rng_state()
    decode(model, PROMPTS, Decoding(10), no_stop(), [], seed=1)
    assert torch.equal(torch.get_rng_state(), state)


# --- (b) the draw

DRAWS = 200_000
LOGITS = torch.from_numpy(np.random.default_rng(11).normal(0, 2, 32)).float()
GRID = [
    Decoding(1, top_p, top_k, temperature)
    for top_p in (1.0, 0.9, 0.5, 0.05)
    for top_k in (0, 7)
    for temperature in (1.0, 0.6, 1.7)
]


def warped(logits: torch.Tensor, decoding: Decoding) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The distribution that transformers' own warpers leave, in the order in which `generate` applies them."""
    scores = logits[None].double()
    ids = torch.zeros((1, 1), dtype=torch.long)
    if decoding.temperature != 1.0:
        scores = TemperatureLogitsWarper(decoding.temperature)(ids, scores)
    if decoding.top_k:
        scores = TopKLogitsWarper(decoding.top_k)(ids, scores)
    if decoding.top_p < 1.0:
        scores = TopPLogitsWarper(decoding.top_p)(ids, scores)
    probabilities: np.ndarray[tuple[int], np.dtype[np.float64]] = scores.softmax(-1)[0].numpy()
    return probabilities


def fit(counts: np.ndarray[tuple[int], np.dtype[np.int64]], expected: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """p-value of a chi-square test; outcomes that are expected fewer than ten times are one."""
    rare = expected * counts.sum() < 10
    observed = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum()) * counts.sum()
    kept = wanted > 0
    return float(stats.chisquare(observed[kept], wanted[kept]).pvalue) if kept.sum() > 1 else 1.0


@pytest.mark.parametrize("decoding", GRID, ids=lambda d: f"p{d.top_p} k{d.top_k} t{d.temperature}")
def test_draws_are_distributed_as_transformers_warpers_say(decoding: Decoding) -> None:
    uniforms = torch.rand((DRAWS, UNIFORMS), generator=torch.Generator().manual_seed(17), dtype=torch.float64)
    tokens = draw(LOGITS.expand(DRAWS, -1), decoding, uniforms)
    counts = np.bincount(tokens.numpy(), minlength=len(LOGITS))
    expected = warped(LOGITS, decoding)
    assert counts[expected == 0].sum() == 0
    assert fit(counts, expected) > 0.001


def test_rows_with_other_logits_in_one_batch_each_draw_from_their_own() -> None:
    logits = torch.stack([LOGITS, LOGITS.flip(0), LOGITS * 3])
    decoding = Decoding(1, top_p=0.8, top_k=20, temperature=1.2)
    uniforms = torch.rand((DRAWS, UNIFORMS), generator=torch.Generator().manual_seed(18), dtype=torch.float64)
    tokens = draw(logits.repeat(DRAWS // 3 + 1, 1)[:DRAWS], decoding, uniforms)
    for row in range(3):
        counts = np.bincount(tokens[row::3].numpy(), minlength=len(LOGITS))
        expected = warped(logits[row], decoding)
        assert counts[expected == 0].sum() == 0
        assert fit(counts, expected) > 0.001


@pytest.mark.parametrize("decoding", [Decoding(1), Decoding(1, top_p=0.9), Decoding(1, top_p=0.9, top_k=3)])
@pytest.mark.parametrize("extreme", [0.0, 1.0 - 2.0**-53])
def test_the_ends_of_the_uniforms_range_draw_a_token_of_the_support(decoding: Decoding, extreme: float) -> None:
    logits = torch.full((1, 50_000), -30.0)
    logits[0, [5, 400, 49_000]] = torch.tensor([1.0, 0.5, 0.0])
    logits[0, [0, 49_999]] = -torch.inf
    token = draw(logits, decoding, torch.full((1, UNIFORMS), extreme, dtype=torch.float64))
    assert warped(logits[0], decoding)[int(token)] > 0


class FixedLogits:
    """A model whose every token has the same distribution, whatever stands before it."""

    device = torch.device("cpu")

    def batch_select_indices(self, rows: torch.Tensor) -> None:
        pass

    def __call__(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        logits = LOGITS[:8].expand(len(input_ids), 1, 8)
        return SimpleNamespace(logits=logits, past_key_values=self)


def test_tokens_of_one_row_and_of_neighbouring_rows_are_drawn_independently() -> None:
    decoded = decode(FixedLogits(), [[1]] * 20_000, Decoding(10), torch.zeros(8, dtype=torch.bool), [], seed=19)
    tokens = np.array(decoded.tokens)
    counts = np.bincount(tokens.ravel(), minlength=8)
    assert tokens.size == DRAWS
    assert fit(counts, warped(LOGITS[:8], Decoding(10))) > 0.001
    for one, next_one in ((tokens[:, :-1], tokens[:, 1:]), (tokens[:-1], tokens[1:])):
        together = np.bincount((8 * one + next_one).ravel(), minlength=64).reshape(8, 8)
        assert stats.chi2_contingency(together).pvalue > 0.001


def test_the_greedy_draw_takes_the_first_of_equals_whatever_the_uniforms() -> None:
    logits = torch.zeros((DRAWS, 5))
    logits[:, [1, 3]] = 2.0
    uniforms = torch.rand((DRAWS, UNIFORMS), generator=torch.Generator().manual_seed(20), dtype=torch.float64)
    assert set(draw(logits, Decoding(1, top_k=1), uniforms).tolist()) == {1}


# --- (c) self-debiasing


def test_debias_of_a_case_worked_by_hand() -> None:
    # p = (5, 3, 2) / 10 and p_b = (2, 3, 5) / 10: the counter label makes the third token likelier, by 0.3.
    logits = torch.tensor([[[5.0, 3.0, 2.0]], [[2.0, 3.0, 5.0]]]).log()
    halved = debias(logits, SelfDebiasing(decay=math.log(2) / 0.3, epsilon=0.01))  # alpha = (1, 1, 1/2)
    assert halved.exp()[0].tolist() == pytest.approx([5 / 9, 3 / 9, 1 / 9])
    least = debias(logits, SelfDebiasing(decay=200, epsilon=0.1))  # exp(-60) < 0.1: p alpha = (5, 3, 0.2) / 10
    assert least.exp()[0].tolist() == pytest.approx([5 / 8.2, 3 / 8.2, 0.2 / 8.2])
    untouched = debias(logits, SelfDebiasing(decay=0, epsilon=0.01))
    assert untouched.exp()[0].tolist() == pytest.approx([0.5, 0.3, 0.2])


def debiased_slowly(logits: np.ndarray[Any, Any], settings: SelfDebiasing) -> list[float]:
    """p' of one row from [1 + counter prompts, vocabulary], token by token as the formula reads, in float64."""
    p, *counters = [np.exp(side - side.max()) / np.exp(side - side.max()).sum() for side in logits.astype(np.float64)]
    weights = []
    for token, own in enumerate(p):
        excess = max(max(counter[token] for counter in counters) - own, 0.0)
        weights.append(own * max(math.exp(-settings.decay * excess), settings.epsilon))
    total = sum(weights)
    return [weight / total for weight in weights]


@pytest.mark.parametrize("decay", [1.0, 50.0, 200.0])
@pytest.mark.parametrize("counters", [1, 2, 13])
@pytest.mark.parametrize("kind", ["plain", "impossible tokens", "extreme"])
def test_debias_is_the_formula_row_by_row(kind: str, counters: int, decay: float) -> None:
    stream = np.random.default_rng(counters)
    logits = stream.normal(0, 2, (1 + counters, 40, 60)).astype(np.float32)
    if kind == "impossible tokens":
        logits[stream.random(logits.shape) < 0.2] = -np.inf
    elif kind == "extreme":
        logits = logits * np.float32(10) ** stream.integers(0, 30, (1 + counters, 40, 1)).astype(np.float32)
    settings = SelfDebiasing(decay, 0.01)
    before = torch.from_numpy(logits.copy())
    found = debias(before, settings)
    assert found.dtype == torch.float32
    assert torch.equal(before, torch.from_numpy(logits)), "the logits are still needed"
    expected = np.array([debiased_slowly(logits[:, row], settings) for row in range(40)])
    np.testing.assert_allclose(found.double().exp().numpy(), expected, atol=1e-5, rtol=0)
    if kind == "plain":
        own = np.array([debiased_slowly(logits[:1].repeat(2, axis=0)[:, row], settings) for row in range(40)])
        assert np.abs(expected - own).max() > 0.01


COUNTERS = [[[9, 9, 9, 30], [61]] for _ in PROMPTS]
COUNTERS[1] = [[2, 4, 6, 8, 10, 12, 14, 16, 18], [7, 7]]
COUNTERS[4] = [[3, 4], [80, 81, 82, 83, 84]]
STRONG = SelfDebiasing(200.0, 0.01)


def debiased_rows(
    model: Any,
    prompts: Sequence[list[int]],
    counters: Sequence[Sequence[list[int]]],
    decoding: Decoding,
    ends: Sequence[int],
    seed: int,
) -> Decoded:
    """The decode loop, one row at a time and every prompt read anew for every token, without padding and cache; draws
    by the inverse of the cumulated p' ^ (1 / temperature) (the likeliest token with top-k 1)."""
    assert decoding.self_debiasing is not None
    uniforms = torch.rand(
        (len(prompts), decoding.max_new_tokens, UNIFORMS),
        generator=torch.Generator().manual_seed(seed),
        dtype=torch.float64,
    ).numpy()
    result = Decoded()
    for row, (prompt, others) in enumerate(zip(prompts, counters, strict=True)):
        written: list[int] = []
        log_probability = 0.0
        while len(written) < decoding.max_new_tokens and not set(written) & set(ends):
            with torch.inference_mode():
                sides = [model(torch.tensor([one + written])).logits[0, -1].double() for one in (prompt, *others)]
            weights = np.array(debiased_slowly(torch.stack(sides).numpy(), decoding.self_debiasing))
            cumulative = (weights ** (1 / decoding.temperature)).cumsum()
            point = uniforms[row, len(written), 0] * cumulative[-1]
            token = int(weights.argmax() if decoding.top_k == 1 else (cumulative <= point).sum())
            written.append(token)
            log_probability += float(sides[0].log_softmax(-1)[token])
        result.tokens.append(written)
        result.ended.append("stop" if written[-1] in ends else "length")
        result.log_probability.append(log_probability)
    return result


@pytest.mark.parametrize(
    "decoding",
    [Decoding(8, top_k=1, self_debiasing=STRONG), Decoding(8, temperature=1.4, self_debiasing=STRONG)],
    ids=["greedy", "drawn"],
)
@pytest.mark.parametrize("name", list(CONFIGS))
def test_debiased_rows_are_those_of_a_loop_that_reads_every_prompt_anew(name: str, decoding: Decoding) -> None:
    model = random_model(name)
    plain = decode(model, PROMPTS, replace(decoding, self_debiasing=None), no_stop(), [], seed=8)
    free = decode(model, PROMPTS, decoding, no_stop(), [], seed=8, counter_prompts=COUNTERS)
    assert free.tokens != plain.tokens
    for k, ends in ((1, []), (2, free.tokens[0][3:4])):
        counters = [row[:k] for row in COUNTERS]
        flags = no_stop()
        flags[ends] = True
        expected = debiased_rows(model, PROMPTS, counters, decoding, ends, seed=8)
        found = decode(model, PROMPTS, decoding, flags, [], seed=8, counter_prompts=counters)
        assert (found.tokens, found.ended) == (expected.tokens, expected.ended)
        assert found.log_probability == pytest.approx(expected.log_probability, rel=1e-4)
    assert set(found.ended) == {"stop", "length"}


def test_leaving_ended_groups_in_or_out_of_the_batch_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("llama")
    ends = no_stop()
    ends[::6] = True
    decoding = Decoding(24, top_p=0.9, self_debiasing=STRONG)
    results: list[Decoded] = []
    for share in (0.0, decode_module.SHRINK, 1.0):
        monkeypatch.setattr(decode_module, "SHRINK", share)
        results.append(decode(model, PROMPTS * 8, decoding, ends, [1], seed=5, counter_prompts=COUNTERS * 8))
    first = results[0]
    assert len({len(row) for row in first.tokens}) > 5
    for other in results[1:]:
        assert (other.tokens, other.ended) == (first.tokens, first.ended)
        assert other.log_probability == pytest.approx(first.log_probability, rel=1e-5)


def test_a_counter_prompt_that_is_the_prompt_itself_changes_nothing() -> None:
    model = random_model("gpt2")
    decoding = Decoding(12, top_p=0.9)
    plain = decode(model, PROMPTS, decoding, no_stop(), [], seed=2)
    same = decode(
        model,
        PROMPTS,
        replace(decoding, self_debiasing=STRONG),
        no_stop(),
        [],
        seed=2,
        counter_prompts=[[prompt, prompt] for prompt in PROMPTS],
    )
    assert same.tokens == plain.tokens
    assert same.log_probability == pytest.approx(plain.log_probability, rel=1e-5)


# --- (d) the backend on a real PLM


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


def test_a_stop_string_ends_a_row_with_the_token_that_has_it(plm: TransformersGenerator) -> None:
    prompts = ["This is a wonderful movie. I", "Awful! Avoid this movie. The"] * 16
    decoding = Decoding(24, top_p=0.9)
    whole = plm.generate(prompts, decoding, seed=4)
    stopped = plm.generate(prompts, replace(decoding, stop=(".",)), seed=4)
    assert {one.finish_reason for one in stopped} >= {"stop", "length"}
    dotted = {token for token in plm.tokenizer.batch_decode([[number] for number in range(8192)]) if "." in token}
    for free, one in zip(whole, stopped, strict=True):
        assert free.text.startswith(one.text)
        assert ("." in one.text) == (one.finish_reason == "stop")
        if one.finish_reason == "stop":
            assert any("." not in one.text.removesuffix(token) for token in dotted if one.text.endswith(token))


def test_a_row_ends_at_the_first_of_several_stop_strings(plm: TransformersGenerator) -> None:
    prompts = ["This is a wonderful movie. I", "Awful! Avoid this movie. The"] * 16
    free, dot, comma, both = (
        plm.generate(prompts, Decoding(24, top_p=0.9, stop=stop), seed=4) for stop in ((), (".",), (",",), (".", ","))
    )
    assert [one.text for one in both] == [
        min(one.text, other.text, key=len) for one, other in zip(dot, comma, strict=True)
    ]
    assert {text.text[-1] for text in both if text.finish_reason == "stop"} == {".", ","}
    assert all(one.finish_reason != "stop" for one in free)


def test_a_row_is_written_the_same_whichever_rows_ended_before_it(plm: TransformersGenerator) -> None:
    prompts = ["This is a wonderful movie. I", "Awful! The"] * 8
    together = plm.generate(prompts, Decoding(16, top_p=0.9, stop=(",",)), seed=4)
    free = plm.generate(prompts, Decoding(16, top_p=0.9), seed=4)
    assert [one.text for one in together] == [one.text.partition(",")[0] + "," * ("," in one.text) for one in free]


def test_the_tokens_of_prompt_and_completion_are_counted_with_the_end_token(plm: TransformersGenerator) -> None:
    prompts = ["This is a wonderful movie. I", "Awful!"] * 32
    ids = [encode(plm, prompt) for prompt in prompts]
    flags = torch.zeros(8192, dtype=torch.bool)
    decoded = decode(plm.model, ids, Decoding(60), flags, [plm.tokenizer.eos_token_id], seed=4)
    completions = plm.generate(prompts, Decoding(60), seed=4)
    assert {one.finish_reason for one in completions} == {"eos", "length"}
    assert [one.prompt_tokens for one in completions] == [len(row) for row in ids]
    expected = [len(tokens) + (ended == "eos") for tokens, ended in zip(decoded.tokens, decoded.ended, strict=True)]
    assert [one.generated_tokens for one in completions] == expected
    assert all("<|endoftext|>" not in one.text for one in completions)


@pytest.mark.parametrize(("tokens", "new"), [(126, 1), (100, 27)])
def test_prompt_and_completion_may_fill_the_plms_positions_and_not_one_more(
    tokens: int, new: int, plm: TransformersGenerator
) -> None:
    prompt = plm.tokenizer.decode(encode(plm, LONG)[:tokens])
    assert len(encode(plm, prompt)) == tokens
    (one,) = plm.generate([prompt], Decoding(new), seed=1)
    assert one.prompt_tokens == tokens
    with pytest.raises(HarnessError, match="127 positions"):
        plm.generate([prompt], Decoding(new + 1), seed=1)


@pytest.mark.parametrize(("tokens", "new"), [(126, 1), (100, 27), (127, 0)])
def test_fits_says_what_can_be_written(tokens: int, new: int, plm: TransformersGenerator) -> None:
    prompt = plm.tokenizer.decode(encode(plm, LONG)[:tokens])
    assert plm.fits(prompt, new)
    assert not plm.fits(prompt, new + 1)
    assert not plm.fits("", new)


def test_debiased_texts_are_those_of_a_loop_that_reads_every_prompt_anew(plm: TransformersGenerator) -> None:
    good, bad, plain = (
        "This is a wonderful, brilliant movie. I loved it, and the acting is superb. It is",
        "Awful! Avoid this movie, it was terrible from beginning to end. The",
        "A movie. It",
    )
    prompts, counters = [good, bad, good, plain], [[bad, plain], [good, plain], [bad, plain], [good, bad]]
    decoding = Decoding(12, self_debiasing=STRONG, stop=(".",))
    ends = [token for token in range(8192) if "." in plm.tokenizer.decode([token])] + [plm.tokenizer.eos_token_id]
    expected = debiased_rows(
        plm.model,
        [encode(plm, one) for one in prompts],
        [[encode(plm, one) for one in row] for row in counters],
        decoding,
        ends,
        seed=4,
    )
    found = plm.generate(prompts, decoding, 4, counters)
    assert [one.text for one in found] == plm.tokenizer.batch_decode(expected.tokens, skip_special_tokens=True)
    assert [one.log_probability for one in found] == pytest.approx(expected.log_probability, rel=1e-4)
    assert [one.prompt_tokens for one in found] == [len(encode(plm, one)) for one in prompts]
    free = plm.generate(prompts, replace(decoding, self_debiasing=None), 4)
    assert all(one.text != other.text for one, other in zip(found, free, strict=True))


def test_counter_prompts_and_self_debiasing_come_together_and_for_every_prompt(plm: TransformersGenerator) -> None:
    plain, debiased = Decoding(2), Decoding(2, self_debiasing=STRONG)
    for decoding, counters in ((plain, [["Bad"]]), (debiased, [])):
        with pytest.raises(ValueError, match="self-debiasing needs counter prompts"):
            plm.generate(["Good"], decoding, 1, counters)
    uneven: list[list[list[str]]] = [[["Bad"]], [["Bad"], ["Bad", "Awful"]], [[], []]]
    for counters in uneven:
        with pytest.raises(ValueError, match="for each of 2 prompts the same number of counter prompts"):
            plm.generate(["Good", "Fine"], debiased, 1, counters)


def test_a_counter_prompt_that_is_too_long_is_a_clear_error(plm: TransformersGenerator) -> None:
    with pytest.raises(HarnessError, match="this PLM reads 1 to 126"):
        plm.generate(["Good"], Decoding(1, self_debiasing=STRONG), 1, [[LONG]])


@pytest.mark.parametrize("prompt", ["", LONG])
def test_a_prompt_that_the_plm_cannot_read_is_a_clear_error(prompt: str, plm: TransformersGenerator) -> None:
    with pytest.raises(HarnessError, match="this PLM reads 1 to 126"):
        plm.generate([prompt], Decoding(1), seed=1)


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
    assert chat.encode(chat.render("Write.")) == expected
    assert expected.count(chat.tokenizer.eos_token_id) == 2


def test_the_chat_style_writes_what_the_plm_writes_after_the_rendered_messages(
    chat: TransformersGenerator, plm: TransformersGenerator
) -> None:
    prompts = ["Write a review.", "Write a bad review of this film."]
    rendered = [chat.render(prompt) for prompt in prompts]  # the embedded tokenizer adds no start token to these
    decoding = Decoding(12, top_p=0.9)
    assert chat.generate(prompts, decoding, seed=6) == plm.generate(rendered, decoding, seed=6)


def test_the_chat_styles_loss_is_that_of_the_reply(chat: TransformersGenerator) -> None:
    opened = chat.encode(chat.render("Write a review."))
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
    ids = completion.encode("A film")
    assert ids == [0, *completion.tokenizer("A film", add_special_tokens=False).input_ids]
    prompt = around("A film:", " good fun", "")
    whole = completion.tokenizer("A film: good fun").input_ids
    expected = plain_loss(completion.model, whole, 0, len(whole))  # the first loss is of "A", after the start token
    assert completion.mean_losses([prompt], text_only=False) == pytest.approx([expected], rel=1e-5)


def test_a_plm_without_a_chat_template_is_refused_for_the_chat_style() -> None:
    with pytest.raises(HarnessError, match=r"no chat template; use 'style: completion'"):
        TransformersGenerator.load(locate_model("embedded:review-gpt-06m", None, None), "float32", "chat", False)
