"""Draws against the distributions of transformers' own warpers, the rules on repetition against its processors, and
self-debiasing against the paper's formula."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from transformers import (
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from harness.generators.base import Decoding, SelfDebiasing
from harness.generators.sampling import (
    UNIFORMS,
    bar_repeated_ngrams,
    debias,
    draw,
    draw_of,
    penalise_repeats,
    row_uniforms,
)

Floats = np.ndarray[Any, np.dtype[np.float64]]
Counts = np.ndarray[Any, np.dtype[np.int64]]

DRAWS = 200_000
LOGITS = torch.from_numpy(np.random.default_rng(11).normal(0, 2, 32)).float()
COUNTERS = torch.from_numpy(np.random.default_rng(12).normal(0, 2, (2, 32))).float()
STRONG = SelfDebiasing(200.0, 0.01)
GRID = [
    Decoding(1, top_p, top_k, temperature, self_debiasing=debiasing)
    for top_p in (1.0, 0.9, 0.5, 0.05)
    for top_k in (0, 7)
    for temperature in (1.0, 0.6, 1.7)
    for debiasing in (None, STRONG)
]
# Self-debiasing at the middle of the grid, and everywhere with what is slow.
IN_HASTE = [
    one for one in GRID if one.temperature != 0.6 and (not one.self_debiasing or (one.top_p == 0.9 and one.top_k))
]


def name_of(decoding: Decoding) -> str:
    debiased = " debiased" if decoding.self_debiasing else ""
    return f"p{decoding.top_p} k{decoding.top_k} t{decoding.temperature}{debiased}"


def warped(logits: torch.Tensor, decoding: Decoding) -> Floats:
    """The distribution that transformers' own warpers leave, in the order in which `generate` applies them."""
    scores = logits[None].double()
    ids = torch.zeros((1, 1), dtype=torch.long)
    if decoding.temperature != 1.0:
        scores = TemperatureLogitsWarper(decoding.temperature)(ids, scores)
    if decoding.top_k:
        scores = TopKLogitsWarper(decoding.top_k)(ids, scores)
    if decoding.top_p < 1.0:
        scores = TopPLogitsWarper(decoding.top_p)(ids, scores)
    probabilities: Floats = scores.softmax(-1)[0].numpy()
    return probabilities


def fit(counts: Counts, expected: Floats) -> float:
    """p-value of a chi-square test; outcomes that are expected fewer than ten times are one."""
    rare = expected * counts.sum() < 10
    observed = np.append(counts[~rare], counts[rare].sum())
    wanted = np.append(expected[~rare], expected[rare].sum()) * counts.sum()
    kept = wanted > 0
    return float(stats.chisquare(observed[kept], wanted[kept]).pvalue) if kept.sum() > 1 else 1.0


def uniforms_of(rows: int, seed: int) -> torch.Tensor:
    return torch.rand((rows, UNIFORMS), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drawn(logits: torch.Tensor, decoding: Decoding, rows: int, seed: int) -> Counts:
    """How often each token is drawn in so many rows of the same logits."""
    uniforms = uniforms_of(rows, seed)
    part = max(1, 2**15 // len(logits))  # what fits into the caches
    found = [
        draw(logits.expand(len(some), -1), decoding, some)
        for some in (uniforms[first : first + part] for first in range(0, rows, part))
    ]
    return np.bincount(torch.cat(found).numpy(), minlength=len(logits))


# --- the draw


@pytest.mark.parametrize(
    "decoding",
    [pytest.param(one, marks=[] if one in IN_HASTE else [pytest.mark.slow], id=name_of(one)) for one in GRID],
)
def test_draws_are_distributed_as_transformers_warpers_say(decoding: Decoding) -> None:
    logits, expected = LOGITS, warped(LOGITS, decoding)
    if decoding.self_debiasing:
        sides = torch.stack([LOGITS, *COUNTERS])
        logits = debias(sides[:, None], decoding.self_debiasing)[0]
        expected = warped(torch.tensor(debiased_slowly(sides.numpy(), decoding.self_debiasing)).log(), decoding)
    counts = drawn(logits, decoding, DRAWS, seed=17)
    assert counts[expected == 0].sum() == 0
    assert fit(counts, expected) > 0.01


def test_rows_with_other_logits_in_one_batch_each_draw_from_their_own() -> None:
    logits = torch.stack([LOGITS, LOGITS.flip(0), LOGITS * 3])
    decoding = Decoding(1, top_p=0.8, top_k=20, temperature=1.2)
    tokens = draw(logits.repeat(DRAWS // 3 + 1, 1)[:DRAWS], decoding, uniforms_of(DRAWS, 18))
    for row in range(3):
        counts = np.bincount(tokens[row::3].numpy(), minlength=len(LOGITS))
        expected = warped(logits[row], decoding)
        assert counts[expected == 0].sum() == 0
        assert fit(counts, expected) > 0.01


@pytest.mark.parametrize("decoding", [Decoding(1), Decoding(1, top_p=0.9)], ids=name_of)
def test_draws_from_a_wide_vocabulary_are_distributed_as_the_warpers_say(decoding: Decoding) -> None:
    """Probabilities so even that thousands of tokens are in the nucleus; counted in 40 classes of tokens."""
    logits = torch.from_numpy(np.random.default_rng(13).normal(0, 1, 50_257)).float()
    expected = warped(logits, decoding)
    assert np.count_nonzero(expected) > 4_000
    counts = drawn(logits, decoding, 4_000, seed=17)
    assert counts[expected == 0].sum() == 0
    for classes in (np.arange(50_257) * 40 // 50_257, np.argsort(np.argsort(-expected, kind="stable")) % 40):
        observed, wanted = (np.bincount(classes, some, minlength=40) for some in (counts, expected))
        assert fit(observed.astype(np.int64), wanted.astype(np.float64)) > 0.01


@pytest.mark.parametrize("size", [5, 128, 129, 300, 1024])
def test_even_uniforms_draw_every_token_as_often_as_its_probability_says(size: int) -> None:
    """The inverse of the cumulated distribution leaves no play: every count is right to a draw at either end."""
    logits = torch.from_numpy(np.random.default_rng(size).normal(0, 2, size)).float()
    points = (torch.arange(4096, dtype=torch.float64) + 0.5) / 4096
    tokens = draw(logits.expand(4096, -1), Decoding(1), points[:, None].expand(-1, UNIFORMS))
    assert torch.equal(tokens, tokens.sort().values)
    counts = np.bincount(tokens.numpy(), minlength=size)
    assert np.abs(counts - 4096 * warped(logits, Decoding(1))).max() < 1.01


@pytest.mark.parametrize("decoding", [Decoding(1), Decoding(1, top_p=0.9), Decoding(1, top_p=0.4)], ids=name_of)
def test_flat_logits_leave_every_token_as_likely(decoding: Decoding) -> None:
    counts = drawn(torch.zeros(200), decoding, 40_000, seed=17)
    assert fit(counts, np.full(200, 1 / 200)) > 0.01


def test_of_equals_at_the_edge_of_the_nucleus_all_are_in_it() -> None:
    # Of the three at 0.2, two would do to pass 0.7; transformers keeps two, whichever its sort puts first.
    probabilities = torch.tensor([0.2, 0.4, 0.2, 0.0, 0.2])
    decoding = Decoding(1, top_p=0.7)
    assert sorted(warped(probabilities.log(), decoding)) == pytest.approx([0, 0, 0.25, 0.25, 0.5])
    counts = drawn(probabilities.log(), decoding, DRAWS, seed=17)
    assert fit(counts, np.array([0.2, 0.4, 0.2, 0.0, 0.2])) > 0.01
    # Where what is likelier passes top-p by itself, none of them is.
    assert set(np.flatnonzero(drawn(probabilities.log(), Decoding(1, top_p=0.4), 1000, seed=17))) == {1}


def test_equals_within_top_k_all_stay_in_it() -> None:
    logits = torch.tensor([1.0, 3.0, 1.0, 0.5, 1.0])
    decoding = Decoding(1, top_k=2)
    expected = warped(logits, decoding)
    assert np.count_nonzero(expected) == 4
    assert fit(drawn(logits, decoding, DRAWS, seed=17), expected) > 0.01


EXTREMES = list(itertools.product([0.0, 1.0 - 2.0**-53], repeat=UNIFORMS))


@pytest.mark.parametrize("size", [3, 128, 1000, 50_176, 50_257])
@pytest.mark.parametrize(
    "decoding", [Decoding(1), Decoding(1, top_p=0.9), Decoding(1, top_p=0.9, top_k=3)], ids=name_of
)
def test_the_ends_of_the_uniforms_range_draw_a_token_of_the_support(decoding: Decoding, size: int) -> None:
    logits = torch.full((size,), -30.0)
    logits[[size // 9 + 1, size // 2]] = torch.tensor([1.0, 0.5])
    logits[[0, size - 1]] = -torch.inf
    tokens = draw(logits.expand(len(EXTREMES), -1), decoding, torch.tensor(EXTREMES, dtype=torch.float64))
    assert (warped(logits, decoding)[tokens.numpy()] > 0).all()


@pytest.mark.parametrize("top_p", [1.0, 0.999, 0.5])
def test_what_underflows_is_never_drawn(top_p: float) -> None:
    """exp(-200) is 0 in float32: at the ends of the vocabulary, where a draw of 0 or of nearly 1 would fall on it."""
    logits = torch.full((400,), -200.0)
    logits[[150, 390]] = torch.tensor([0.0, -3.0])
    points = torch.cat([torch.tensor(EXTREMES, dtype=torch.float64), uniforms_of(5000, 17)])
    found = set(draw(logits.expand(len(points), -1), Decoding(1, top_p), points).tolist())
    assert found == ({150} if top_p == 0.5 else {150, 390})


@pytest.mark.parametrize("least", [1e-38, 1e-40, 1e-45])
def test_a_weight_next_to_nothing_is_outside_the_nucleus(least: float) -> None:
    probabilities = torch.tensor([[least, 0.3, 0.7, least]]).expand(len(EXTREMES), -1)
    tokens = draw_of(probabilities, 0.9, torch.tensor(EXTREMES, dtype=torch.float64))
    assert set(tokens.tolist()) == {1, 2}


def test_the_greedy_draw_takes_the_first_of_equals_whatever_the_uniforms() -> None:
    logits = torch.zeros((DRAWS, 5))
    logits[:, [1, 3]] = 2.0
    assert set(draw(logits, Decoding(1, top_k=1, temperature=0.3), uniforms_of(DRAWS, 20)).tolist()) == {1}


def test_drawing_leaves_the_logits_as_they_are() -> None:
    logits = LOGITS.repeat(50, 1)
    draw(logits, Decoding(1, top_p=0.5, top_k=7, temperature=1.7), uniforms_of(50, 17))
    assert torch.equal(logits, LOGITS.repeat(50, 1))


def test_a_rows_uniforms_depend_on_its_seed_alone() -> None:
    seeds = [5, 0, 5, 2**63, 2**64 - 1]
    several = row_uniforms(seeds, 7)
    assert several.shape == (5, 7, UNIFORMS)
    assert several.dtype == torch.float64
    for row, seed in enumerate(seeds):
        assert torch.equal(several[row], row_uniforms([seed], 7)[0])
        assert torch.equal(several[row, :3], row_uniforms([seed], 3)[0])
    assert len(np.unique(several.numpy())) == 4 * 7 * UNIFORMS


def test_the_uniforms_of_a_row_of_its_steps_and_of_neighbouring_seeds_are_independent() -> None:
    uniforms = row_uniforms(range(2000), 20).numpy()
    assert stats.kstest(uniforms.ravel(), "uniform").pvalue > 0.01
    cells = (uniforms * 8).astype(int)
    for one, other in (
        (cells[:-1], cells[1:]),
        (cells[:, :-1], cells[:, 1:]),
        (cells[..., :-1], cells[..., 1:]),
    ):
        together = np.bincount((8 * one + other).ravel(), minlength=64).reshape(8, 8)
        assert stats.chi2_contingency(together).pvalue > 0.01


# --- the rules on repetition

RAGGED = [1, 1, 2, 2, 3, 4, 6, 9, 14, 20, 30]


def ragged(vocabulary: int, seed: int) -> tuple[torch.Tensor, list[list[int]], torch.Tensor, torch.Tensor]:
    """Logits, rows of tokens of the lengths `RAGGED`, the same padded with tokens that repeat, and the lengths."""
    stream = np.random.default_rng(seed)
    logits = torch.from_numpy(stream.normal(0, 3, (len(RAGGED), vocabulary))).float()
    logits[:, 0] = -torch.inf
    padded = torch.from_numpy(stream.integers(0, vocabulary, (len(RAGGED), 33)))
    rows = [padded[row, :length].tolist() for row, length in enumerate(RAGGED)]
    return logits, rows, padded, torch.tensor(RAGGED)


@pytest.mark.parametrize("penalty", [1.2, 5.0, 0.7])
@pytest.mark.parametrize("vocabulary", [4, 40])
def test_the_repetition_penalty_is_that_of_transformers(vocabulary: int, penalty: float) -> None:
    for seed in range(20):
        logits, rows, padded, lengths = ragged(vocabulary, seed)
        processor = RepetitionPenaltyLogitsProcessor(penalty)
        expected = torch.cat(
            [processor(torch.tensor([row]), one[None].clone()) for row, one in zip(rows, logits, strict=True)]
        )
        assert not torch.equal(expected, logits)
        penalise_repeats(logits, padded, lengths, penalty)
        assert torch.equal(logits, expected)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 40])
@pytest.mark.parametrize("vocabulary", [2, 4, 9])
def test_the_n_grams_barred_are_those_of_transformers(vocabulary: int, size: int) -> None:
    changed = 0
    for seed in range(20):
        logits, rows, padded, lengths = ragged(vocabulary, seed)
        processor = NoRepeatNGramLogitsProcessor(size)
        expected = torch.cat(
            [processor(torch.tensor([row]), one[None].clone()) for row, one in zip(rows, logits, strict=True)]
        )
        changed += int((expected != logits).sum())
        bar_repeated_ngrams(logits, padded, lengths, size)
        assert torch.equal(logits, expected)
    assert (changed > 0) == (size < 40)


# --- self-debiasing


def test_debias_of_a_case_worked_by_hand() -> None:
    # p = (5, 3, 2) / 10 and p_b = (2, 3, 5) / 10: the counter label makes the third token likelier, by 0.3.
    logits = torch.tensor([[[5.0, 3.0, 2.0]], [[2.0, 3.0, 5.0]]]).log()
    halved = debias(logits, SelfDebiasing(decay=math.log(2) / 0.3, epsilon=0.01))  # alpha = (1, 1, 1/2)
    assert halved.exp()[0].tolist() == pytest.approx([5 / 9, 3 / 9, 1 / 9])
    least = debias(logits, SelfDebiasing(decay=200, epsilon=0.1))  # exp(-60) < 0.1: p alpha = (5, 3, 0.2) / 10
    assert least.exp()[0].tolist() == pytest.approx([5 / 8.2, 3 / 8.2, 0.2 / 8.2])
    untouched = debias(logits, SelfDebiasing(decay=0, epsilon=0.01))
    assert untouched.exp()[0].tolist() == pytest.approx([0.5, 0.3, 0.2])


def debiased_slowly(logits: "np.ndarray[Any, Any]", settings: SelfDebiasing) -> list[float]:
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
