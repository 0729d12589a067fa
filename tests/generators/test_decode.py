"""The decode loop against transformers' own generation, row by row, and against itself with other company."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import (
    GPT2Config,
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
)

from harness.generators import decode as decode_module
from harness.generators.base import Decoding, SelfDebiasing
from harness.generators.decode import Decoded, Ends, TokenRequest, decode
from harness.generators.sampling import row_uniforms
from harness.generators.sharing import Group, Tokens
from tests.generators.test_sampling import LOGITS, debiased_slowly, fit, warped
from tests.generators.tiny_plms import CONFIGS, VOCABULARY, generated, random_model

MANY = 64
"""Places for more rows than any test has, unless it says so."""


def prompts_of_all_kinds() -> list[Tokens]:
    """Lengths from 1 to 17, repeats, three beginnings that several share, and one prompt within another."""
    stream = random.Random(3)
    heads = [[stream.randrange(1, VOCABULARY) for _ in range(9)] for _ in range(3)]
    prompts = [
        tuple(
            stream.choice(heads)[: stream.randrange(10)]
            + [stream.randrange(1, VOCABULARY) for _ in range(stream.randrange(1, 9))]
        )
        for _ in range(20)
    ]
    return [*prompts, *prompts[:5], tuple(heads[0]), tuple(heads[0][:-1]), (7,)]


PROMPTS = prompts_of_all_kinds()


def some_ends(eos: Sequence[int] = (), stop: Sequence[int] = ()) -> Ends:
    """Flags of end tokens and of tokens with a stop string."""
    flags = [torch.zeros(VOCABULARY, dtype=torch.bool) for _ in range(2)]
    for flag, tokens in zip(flags, (eos, stop), strict=True):
        flag[list(tokens)] = True
    return Ends(*flags)


NO_END = some_ends()


def requests_of(
    prompts: Sequence[Sequence[int]], counters: Sequence[Sequence[Sequence[int]]] | None = None, first_seed: int = 100
) -> list[TokenRequest]:
    return [
        TokenRequest((tuple(prompt), *(tuple(counter) for counter in (counters[row] if counters else ()))), seed)
        for row, (prompt, seed) in enumerate(zip(prompts, itertools.count(first_seed), strict=False))
    ]


def decoded(
    model: Any, requests: Sequence[TokenRequest], decoding: Decoding, ends: Ends = NO_END, places: int = MANY
) -> list[Decoded]:
    """All rows, by the numbers of their requests."""
    rows = list(decode(model, requests, decoding, ends, places))
    assert sorted(number for number, _ in rows) == list(range(len(requests)))
    return [row for _, row in sorted(rows, key=lambda one: one[0])]


def written(rows: Sequence[Decoded], eos: int | None = None) -> list[list[int]]:
    """The tokens of rows, with the end token of those that ended with one."""
    assert all(row.ended != "eos" or eos is not None for row in rows)
    return [[*row.tokens, *([eos] if row.ended == "eos" else [])] for row in rows]  # type: ignore[list-item]


def assert_equal(rows: Sequence[Decoded], others: Sequence[Decoded]) -> None:
    assert [(row.tokens, row.ended) for row in rows] == [(row.tokens, row.ended) for row in others]
    assert [row.log_probability for row in rows] == pytest.approx(
        [row.log_probability for row in others], rel=1e-4, abs=1e-4
    )


def end_at_most_places(rows: Sequence[Sequence[int]]) -> int:
    """The token that stands first at the most different places of the rows."""
    firsts = {token: {row.index(token) for row in rows if token in row} for row in rows for token in row}
    return max(firsts, key=lambda token: len(firsts[token]))


# --- greedy rows are those of `generate`


@pytest.mark.parametrize(
    ("name", "attention", "places"),
    [
        *((name, "eager", places) for name in CONFIGS for places in (3, MANY)),
        ("gpt2", "eager", 1),
        ("gemma2", "eager", 1),
        *((name, "sdpa", 3) for name in CONFIGS if name != "gemma2"),  # `transformers` advises against it there
    ],
)
def test_greedy_rows_are_those_of_generation_whichever_leave_and_enter_in_the_midst(
    name: str, attention: str, places: int
) -> None:
    model = random_model(name, attention)
    free = generated(model, PROMPTS, 16)
    assert len({tuple(row) for row in free}) > 0.85 * len(set(PROMPTS))
    eos = end_at_most_places(free)
    stop = end_at_most_places([[token for token in row if token != eos] for row in free])
    expected = generated(model, PROMPTS, 16, [eos, stop])
    assert len({len(row) for row in expected}) > 3
    rows = decoded(model, requests_of(PROMPTS), Decoding(16, top_k=1), some_ends([eos], [stop]), places)
    assert written(rows, eos) == expected
    assert [row.ended for row in rows] == [
        "eos" if row[-1] == eos else "stop" if row[-1] == stop else "length" for row in expected
    ]
    assert {row.ended for row in rows} >= {"eos", "stop"}


def test_greedy_rows_are_not_changed_by_how_draws_would_be_made() -> None:
    model = random_model("gpt2")
    plain, other = (
        decoded(model, requests_of(PROMPTS), decoding)
        for decoding in (Decoding(9, top_k=1), Decoding(9, top_k=1, top_p=0.2, temperature=0.7))
    )
    assert_equal(plain, other)


def test_rows_are_those_of_generation_where_the_cache_grows_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode_module, "_WIDTH_STEP", 3)
    model = random_model("llama")
    free = generated(model, PROMPTS, 40)
    eos = end_at_most_places(free)
    rows = decoded(model, requests_of(PROMPTS), Decoding(40, top_k=1), some_ends([eos]), places=4)
    assert written(rows, eos) == generated(model, PROMPTS, 40, [eos])


def test_every_end_token_ends_a_row_and_the_last_token_that_fits_does_too() -> None:
    model = random_model("gpt2")
    (free,) = generated(model, PROMPTS[:1], 6)
    assert len({*free[:3], *free[4:]}) == 5
    for ends, length in ((free[2:5:2], 2), ([free[5]], 5)):
        (row,) = decoded(model, requests_of(PROMPTS[:1]), Decoding(6, top_k=1), some_ends(ends))
        assert (row.tokens, row.ended) == (free[:length], "eos")


def test_a_row_that_ends_at_once_has_no_tokens() -> None:
    model = random_model("gpt2")
    (free,) = generated(model, PROMPTS[:1], 1)
    (row,) = decoded(model, requests_of(PROMPTS[:1]), Decoding(6, top_k=1), some_ends(free))
    assert (row.tokens, row.ended) == ([], "eos")
    assert row.log_probability < 0


def test_a_stop_token_is_kept_and_one_that_is_an_end_token_too_is_not() -> None:
    model = random_model("gpt2")
    (free,) = generated(model, PROMPTS[:1], 4)
    requests = requests_of(PROMPTS[:1])
    (stopped,) = decoded(model, requests, Decoding(4, top_k=1), some_ends([], free[2:3]))
    assert (stopped.tokens, stopped.ended) == (free[:3], "stop")
    (both,) = decoded(model, requests, Decoding(4, top_k=1), some_ends(free[2:3], free[2:3]))
    assert (both.tokens, both.ended) == (free[:2], "eos")


def test_nothing_is_asked_of_the_model_without_requests() -> None:
    assert list(decode(None, [], Decoding(3), NO_END, 4)) == []


# --- the rules on repetition and on the least length

RULES = [
    {"repetition_penalty": 1.7},
    {"repetition_penalty": 0.8},
    {"no_repeat_ngram_size": 1},
    {"no_repeat_ngram_size": 2},
    {"no_repeat_ngram_size": 3},
    {"min_new_tokens": 5},
    {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "min_new_tokens": 4},
]
# A prompt with what it will repeat, one of a single token, and those of other lengths.
REPEATING: list[Tokens] = [(5, 9, 5, 9, 5), (7,), (80, 81, 82, 80, 81, 82, 80, 81), (3, 3), (60, 12, 9, 31, 7), (7, 5)]


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: " ".join(f"{key} {value}" for key, value in rules.items()))
@pytest.mark.parametrize("name", ["gpt2", "llama", "opt"])
def test_greedy_rows_under_each_rule_are_those_of_generation(name: str, rules: dict[str, Any]) -> None:
    model = random_model(name)
    free = generated(model, REPEATING, 12)
    eos = end_at_most_places([row[:4] for row in free])
    expected = [generated(model, [prompt], 12, [eos], **rules)[0] for prompt in REPEATING]  # padding would count
    assert expected != [row[: (*row, eos).index(eos) + 1] for row in free], "the rule must change something"
    for places in (2, MANY):
        rows = decoded(model, requests_of(REPEATING), Decoding(12, top_k=1, **rules), some_ends([eos]), places)
        assert written(rows, eos) == expected


def test_a_stop_token_ends_a_row_before_its_least_length() -> None:
    model = random_model("gpt2")
    (free,) = generated(model, PROMPTS[:1], 3)
    (row,) = decoded(model, requests_of(PROMPTS[:1]), Decoding(8, top_k=1, min_new_tokens=6), some_ends([], free[1:2]))
    assert (row.tokens, row.ended) == (free[:2], "stop")


# --- every row by itself


STRONG = SelfDebiasing(200.0, 0.01)


def with_each(decodings: dict[str, Decoding], default: str) -> list[Any]:
    """Every PLM with every decoding; by default GPT-2 with all and the others with the one named."""
    return [
        pytest.param(name, decoding, id=f"{name}-{key}", marks=[] if default_too else [pytest.mark.slow])
        for name, (key, decoding) in itertools.product(CONFIGS, decodings.items())
        for default_too in [key == default or name == "gpt2"]
    ]


@pytest.mark.parametrize(
    ("name", "decoding"),
    with_each(
        {
            "top-p": Decoding(14, top_p=0.9),
            "rules": Decoding(14, 0.8, 30, 1.4, repetition_penalty=1.2, no_repeat_ngram_size=2),
            "debiased": Decoding(14, top_p=0.9, self_debiasing=STRONG),
        },
        default="rules",
    ),
)
def test_rows_are_the_same_in_any_number_of_places_in_any_order_and_in_part(name: str, decoding: Decoding) -> None:
    model = random_model(name)
    prompts = PROMPTS
    counters = [[(9, 9, *prompt[1:]), prompt[::-1]] for prompt in prompts]
    requests = requests_of(prompts, counters if decoding.self_debiasing else None)
    ends = some_ends([1, 2, 3, 4], range(40, 46))
    rows = decoded(model, requests, decoding, ends, places=64)
    assert len({len(row.tokens) for row in rows}) > 4
    assert {row.ended for row in rows} == {"eos", "stop", "length"}
    assert_equal(decoded(model, requests, decoding, ends, places=7), rows)
    order = list(range(len(requests)))
    random.Random(4).shuffle(order)
    shuffled = decoded(model, [requests[number] for number in order], decoding, ends, places=7)
    assert_equal(shuffled, [rows[number] for number in order])
    part = order[:6]
    assert_equal(
        decoded(model, [requests[number] for number in part], decoding, ends, places=1), [rows[i] for i in part]
    )


def test_a_row_depends_on_its_seed_and_on_no_other() -> None:
    model = random_model("gpt2")
    prompt = PROMPTS[0]
    seeds = [5, 6, 5, 2**40]
    rows = decoded(model, [TokenRequest((prompt,), seed) for seed in seeds], Decoding(10))
    assert rows[0] == rows[2]
    assert len({tuple(row.tokens) for row in rows}) == 3
    beside_others = decoded(model, [*requests_of(PROMPTS, first_seed=900), TokenRequest((prompt,), 6)], Decoding(10))
    assert_equal(beside_others[-1:], rows[1:2])


def test_a_longer_limit_draws_the_same_tokens_first() -> None:
    model = random_model("gpt2")
    short, long = (decoded(model, requests_of(PROMPTS), Decoding(tokens, top_p=0.9)) for tokens in (5, 12))
    assert [row.tokens for row in short] == [row.tokens[:5] for row in long]


def test_global_random_streams_are_left_alone() -> None:
    model = random_model("gpt2")
    state = torch.get_rng_state()
    decoded(model, requests_of(PROMPTS), Decoding(10))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("shrink", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("refill", [0.0, 1.0])
@pytest.mark.parametrize("counters", [0, 2])
def test_when_rows_are_let_in_and_put_together_changes_nothing(
    counters: int, refill: float, shrink: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model("llama")
    decoding = Decoding(14, top_p=0.9, no_repeat_ngram_size=3, self_debiasing=STRONG if counters else None)
    requests = requests_of(PROMPTS, [[(9,), (5, 5, 5)]] * len(PROMPTS) if counters else None)
    ends = some_ends([1, 2, 3, 4], range(40, 46))
    rows = decoded(model, requests, decoding, ends)
    monkeypatch.setattr(decode_module, "SHRINK", shrink)
    monkeypatch.setattr(decode_module, "REFILL", refill)
    monkeypatch.setattr(decode_module, "PREFILL_TOKENS", 40)
    assert_equal(decoded(model, requests, decoding, ends, places=8), rows)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_rows_log_probability_is_that_of_a_forward_pass_over_its_tokens(name: str) -> None:
    model = random_model(name)
    decoding = Decoding(12, top_p=0.95, top_k=40, temperature=1.3, repetition_penalty=1.2)
    requests = requests_of(PROMPTS)
    free = decoded(model, requests, decoding)
    (eos, _), *_ = Counter(token for row in free for token in row.tokens).most_common(1)
    rows = decoded(model, requests, decoding, some_ends([eos]), places=5)
    assert {row.ended for row in rows} == {"eos", "length"}
    for prompt, tokens, row in zip(PROMPTS, written(rows, eos), rows, strict=True):
        with torch.inference_mode():
            log_p = model(torch.tensor([[*prompt, *tokens]])).logits[0].double().log_softmax(-1)
        expected = sum(float(log_p[len(prompt) - 1 + step, token]) for step, token in enumerate(tokens))
        assert row.log_probability == pytest.approx(expected, rel=1e-4)


class FixedLogits:
    """A model without layers, whose every token has the same distribution, whatever stands before it."""

    device = torch.device("cpu")
    dtype = torch.float32
    config = GPT2Config(n_layer=0)

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits

    def __call__(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits.expand(len(input_ids), 1, -1))


def test_tokens_of_one_row_and_of_neighbouring_seeds_are_drawn_independently() -> None:
    ends = Ends(torch.zeros(8, dtype=torch.bool), torch.zeros(8, dtype=torch.bool))
    rows = decoded(FixedLogits(LOGITS[:8]), requests_of([(1,)] * 20_000), Decoding(10), ends, places=2048)
    tokens = np.array([row.tokens for row in rows])
    counts = np.bincount(tokens.ravel(), minlength=8)
    assert tokens.size == 200_000
    assert fit(counts, warped(LOGITS[:8], Decoding(10))) > 0.01
    for one, next_one in ((tokens[:, :-1], tokens[:, 1:]), (tokens[:-1], tokens[1:])):
        together = np.bincount((8 * one + next_one).ravel(), minlength=64).reshape(8, 8)
        assert stats.chi2_contingency(together).pvalue > 0.01


def test_the_log_probability_of_a_token_next_to_impossible_is_its_own() -> None:
    """Where a rule bars the one likely token, what is drawn has a probability that is 0 in float32."""
    logits = torch.tensor([300.0, 0.0, -1.0])
    decoding = Decoding(1, top_k=1, no_repeat_ngram_size=1)
    ends = Ends(torch.zeros(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool))
    (row,) = decoded(FixedLogits(logits), requests_of([(0,)]), decoding, ends)
    assert row.tokens == [1]
    assert row.log_probability == pytest.approx(-300.0)


# --- self-debiasing

DEBIASED_PROMPTS: list[Tokens] = [
    (5, 9, 2, 44),
    (7,),
    (5, 9, 2, 44),
    (80, 81, 82, 83, 84, 85, 86),
    (3, 3),
    (60, 12, 9, 31, 7),
    (11, 12),
]
COUNTERS: list[list[Tokens]] = [[(9, 9, 9, 30), (61,)] for _ in DEBIASED_PROMPTS]
COUNTERS[1] = [(2, 4, 6, 8, 10, 12, 14, 16, 18), (7, 7)]
COUNTERS[4] = [(3, 4), (80, 81, 82, 83, 84)]


def rule_processors(decoding: Decoding, prompt: Tokens, ends: Sequence[int]) -> LogitsProcessorList:
    """transformers' own, in the order in which `generate` applies them."""
    found = LogitsProcessorList()
    if decoding.repetition_penalty != 1.0:
        found.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    if decoding.no_repeat_ngram_size:
        found.append(NoRepeatNGramLogitsProcessor(decoding.no_repeat_ngram_size))
    if decoding.min_new_tokens and ends:
        found.append(MinNewTokensLengthLogitsProcessor(len(prompt), decoding.min_new_tokens, list(ends)))
    return found


def debiased_rows(
    model: Any, requests: Sequence[TokenRequest], decoding: Decoding, ends: Sequence[int]
) -> list[Decoded]:
    """The decode loop, one row at a time and every prompt read anew for every token, without padding and cache. The
    rules are transformers' and on every side; then p', the temperature, top-k and top-p of transformers' warpers, and
    a draw by the inverse of the cumulated distribution (the likeliest token with top-k 1)."""
    assert decoding.self_debiasing is not None
    result = []
    for request in requests:
        uniforms = row_uniforms([request.seed], decoding.max_new_tokens)[0].numpy()
        tokens: list[int] = []
        log_probability = 0.0
        while len(tokens) < decoding.max_new_tokens and not set(tokens) & set(ends):
            sides: list[torch.Tensor] = []
            for prompt in request.prompts:
                ids = torch.tensor([[*prompt, *tokens]])
                with torch.inference_mode():
                    logits = model(ids).logits[:, -1].double()
                if not sides:
                    own = logits[0].log_softmax(-1)
                sides.append(rule_processors(decoding, prompt, ends)(ids, logits.clone())[0])  # type: ignore[arg-type]
            debiased = torch.tensor(debiased_slowly(torch.stack(sides).numpy(), decoding.self_debiasing)).log()
            weights = warped(debiased, replace(decoding, top_k=0 if decoding.top_k == 1 else decoding.top_k))
            cumulative = weights.cumsum()
            point = uniforms[len(tokens), 0] * cumulative[-1]
            token = int(weights.argmax() if decoding.top_k == 1 else (cumulative <= point).sum())
            tokens.append(token)
            log_probability += float(own[token])
        result.append(Decoded(tokens, "eos" if tokens[-1] in ends else "length", log_probability))
    return result


GREEDY = Decoding(8, top_k=1, self_debiasing=STRONG)
DRAWN = Decoding(6, temperature=1.4, self_debiasing=STRONG)


@pytest.mark.parametrize(
    ("name", "decoding"),
    with_each(
        {
            "greedy": GREEDY,
            "drawn": DRAWN,
            "greedy by rules": replace(GREEDY, repetition_penalty=1.5, no_repeat_ngram_size=2, min_new_tokens=4),
            "drawn by rules": replace(DRAWN, repetition_penalty=1.5, no_repeat_ngram_size=1, top_k=9, min_new_tokens=4),
        },
        default="drawn by rules",
    ),
)
def test_debiased_rows_are_those_of_a_loop_that_reads_every_prompt_anew(name: str, decoding: Decoding) -> None:
    model = random_model(name)
    plain = decoded(model, requests_of(DEBIASED_PROMPTS), replace(decoding, self_debiasing=None))
    free = decoded(model, requests_of(DEBIASED_PROMPTS, COUNTERS), decoding)
    assert [row.tokens for row in free] != [row.tokens for row in plain]
    for k, ends in ((1, []), (2, [end_at_most_places([row.tokens[4:] for row in free])])):
        requests = requests_of(DEBIASED_PROMPTS, [row[:k] for row in COUNTERS])
        expected = debiased_rows(model, requests, decoding, ends)
        found = decoded(model, requests, decoding, some_ends(ends), places=3)
        assert written(found, ends[0] if ends else None) == [row.tokens for row in expected]
        assert [row.ended for row in found] == [row.ended for row in expected]
        assert [row.log_probability for row in found] == pytest.approx(
            [row.log_probability for row in expected], rel=1e-4
        )
    assert {row.ended for row in found} == {"eos", "length"}


def test_a_counter_prompt_that_is_the_prompt_itself_changes_nothing() -> None:
    model = random_model("gpt2")
    decoding = Decoding(12, top_p=0.9)
    plain = decoded(model, requests_of(PROMPTS), decoding)
    same = decoded(
        model,
        requests_of(PROMPTS, [[prompt, prompt] for prompt in PROMPTS]),
        replace(decoding, self_debiasing=STRONG),
    )
    assert_equal(same, plain)


# --- reading prompts


class Reading:
    """Counts the tokens that a model is given, padding included, and its passes."""

    def __init__(self, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens = self.passes = 0
        forward = model.forward

        def counted(*args: Any, **kwargs: Any) -> Any:
            self.tokens += kwargs["input_ids"].numel()
            self.passes += 1
            return forward(*args, **kwargs)

        monkeypatch.setattr(model, "forward", counted)


def after(head: Sequence[int], endings: int, length: int) -> list[Tokens]:
    """Prompts that begin with the head and go on differently, each for `length` tokens."""
    return [(*head, first, *range(50, 49 + length)) for first in range(1, 1 + endings)]


HEAD, OTHER_HEAD = tuple(range(20, 28)), tuple(range(60, 68))


@pytest.mark.parametrize("places", [MANY, 2, 1])
def test_equal_prompts_are_read_once_however_many_rows_write_after_them(
    places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model("gpt2")
    reading = Reading(model, monkeypatch)
    prompts: list[Tokens] = [(1, 2, 3), (4, 5, 6), (7, 8, 9)]
    rows = decoded(model, requests_of(prompts * 5), Decoding(1), places=places)
    assert reading.tokens == 3 * 3
    assert len({tuple(row.tokens) for row in rows}) > 5


@pytest.mark.parametrize(("places", "prefill"), [(MANY, 4096), (MANY, 40), (2, 4096), (1, 4096)])
def test_what_prompts_begin_with_is_read_once_also_for_those_that_enter_later(
    places: int, prefill: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model("gpt2")
    monkeypatch.setattr(decode_module, "PREFILL_TOKENS", prefill)
    reading = Reading(model, monkeypatch)
    decoded(model, requests_of(after(HEAD, 7, 4)), Decoding(1), places=places)
    # With one place the first prompt stands alone: it is read as a whole.
    assert reading.tokens == 8 + 7 * 4


@pytest.mark.parametrize("places", [MANY, 5, 3, 2])
def test_two_beginnings_are_each_read_once_whichever_enter_together(
    places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model("gpt2")
    reading = Reading(model, monkeypatch)
    prompts = after(HEAD, 6, 4) + after(OTHER_HEAD, 6, 4)
    decoded(model, requests_of(prompts), Decoding(1), places=places)
    assert reading.tokens == 2 * 8 + 12 * 4


def test_the_beginnings_of_counter_prompts_are_shared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("gpt2")
    reading = Reading(model, monkeypatch)
    prompts = after(HEAD, 6, 4)
    requests = requests_of(prompts, [[other] for other in prompts[::-1]])
    decoded(model, requests, Decoding(1, self_debiasing=STRONG))
    assert reading.tokens == 8 + 6 * 4


def test_a_step_gives_the_model_a_token_for_every_row_and_side_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("gpt2")
    reading = Reading(model, monkeypatch)
    prompts: list[Tokens] = [(1, 2, 3), (4, 5, 6)]
    requests = requests_of(prompts, [[(7, 8, 9)], [(7, 8, 9)]])
    decoded(model, requests, Decoding(5, self_debiasing=STRONG))
    assert reading.tokens == 3 * 3 + 4 * 2 * 2
    assert reading.passes == 5


@pytest.mark.parametrize("places", [4, MANY])
@pytest.mark.parametrize("name", list(CONFIGS))
def test_reading_with_shared_beginnings_writes_what_reading_every_prompt_by_itself_does(
    name: str, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(name)
    requests = requests_of(PROMPTS, [[(9, 9, *prompt[2:])] for prompt in PROMPTS])
    decoding = Decoding(8, top_p=0.9, self_debiasing=STRONG)
    with monkeypatch.context() as patch:
        shared = Reading(model, patch)
        patch.setattr(decode_module, "PREFILL_TOKENS", 60)
        rows = decoded(model, requests, decoding, places=places)
    with monkeypatch.context() as patch:
        plain = Reading(model, patch)
        patch.setattr(decode_module, "share", lambda prompts: [Group(tuple(sorted(set(prompts))), 0)])
        patch.setattr(decode_module, "_with_donor", lambda group, donors: (group, None))
        patch.setattr(decode_module, "PREFILL_TOKENS", 60)
        assert_equal(decoded(model, requests, decoding, places=places), rows)
    assert shared.tokens < plain.tokens


def test_no_more_prompt_tokens_than_the_limit_are_read_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model = random_model("gpt2")
    monkeypatch.setattr(decode_module, "PREFILL_TOKENS", 30)
    widths: list[int] = []
    forward = model.forward

    def noted(*args: Any, **kwargs: Any) -> Any:
        widths.append(kwargs["input_ids"].numel())
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", noted)
    lengths = [3, 17, 9, 9, 9, 40, 2, 2, 2, 2, 2]
    decoded(
        model, requests_of([(number, *range(50, 49 + length)) for number, length in enumerate(lengths)]), Decoding(1)
    )
    assert widths == [40, 17, 3 * 9, 6 * 3]  # one alone may be longer
