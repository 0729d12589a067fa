"""The decode loop: one forward pass a token over a block of rows, each row drawing from its own uniforms.

Purpose: what `model.generate` does for sampling, but with randomness that is passed in (a few uniforms per row and
token, drawn up front), so that a row's draws do not depend on which rows stand beside it or leave early.

Nucleus sampling without sorting the vocabulary: draw from the whole distribution; the draw is right unless it falls
outside the nucleus (a share 1 - top_p of the time). A row whose draw is outside draws once more, and the few that miss
twice are sorted and drawn from the nucleus itself. The result has exactly the nucleus distribution: an accepted draw
is distributed as the nucleus, and so is the last one.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from harness.generators.base import Decoding, SelfDebiasing

UNIFORMS = 3
"""Per row and token: a draw, a second one where the first is outside the nucleus, a last one within it."""

SHRINK = 0.75
"""Ended rows leave when at most this share is alive: every new batch shape costs the CPU library a new kernel."""


@dataclass
class Decoded:
    """Token ids of every row (without the end token), how each ended and its log-probability in nats."""

    tokens: list[list[int]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    log_probability: list[float] = field(default_factory=list)


def draw(logits: torch.Tensor, decoding: Decoding, uniforms: torch.Tensor) -> torch.Tensor:
    """One token per row from the distribution that temperature, top-k and top-p leave, in this order.

    Top-k 1 takes the likeliest token, of equals the one with the lowest id, whatever the uniforms.

    Args:
        logits: [rows, vocabulary], float32.
        uniforms: [rows, UNIFORMS], independent in [0, 1).

    Returns:
        [rows] token ids.
    """
    if decoding.top_k == 1:
        return logits.argmax(-1)
    if decoding.temperature != 1.0:
        logits = logits / decoding.temperature
    if 0 < decoding.top_k < logits.shape[1]:
        threshold = logits.topk(decoding.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < threshold, -torch.inf)
    probabilities = logits.softmax(-1)
    tokens = _inverse_cdf(probabilities, uniforms[:, 0])
    if decoding.top_p == 1.0:
        return tokens
    outside = _outside(probabilities, tokens, decoding.top_p)
    if len(outside):
        tokens[outside] = _inverse_cdf(probabilities[outside], uniforms[outside, 1])
        outside = outside[_outside(probabilities[outside], tokens[outside], decoding.top_p)]
    if len(outside):
        tokens[outside] = _draw_in_nucleus(probabilities[outside], decoding.top_p, uniforms[outside, 2])
    return tokens


def debias(logits: torch.Tensor, settings: SelfDebiasing) -> torch.Tensor:
    """Self-debiasing (Schick et al., TACL 2021): p' ∝ p · max(exp(-decay · max(p_b - p, 0)), epsilon).

    p is the softmax of the prompt's own logits, p_b the largest of those of the counter prompts, token by token.

    Args:
        logits: [1 + counter prompts, rows, vocabulary]; the first are those of the prompts to write after.

    Returns:
        [rows, vocabulary] log p', float32.
    """
    # One counter prompt at a time and in place: with a vocabulary of 50,000 these tensors do not fit into caches.
    log_scale = logits[1].softmax(-1, dtype=torch.float32)
    for counter in logits[2:]:
        torch.maximum(log_scale, counter.softmax(-1, dtype=torch.float32), out=log_scale)
    log_scale -= logits[0].softmax(-1, dtype=torch.float32)
    log_scale.clamp_(min=0).mul_(-settings.decay).clamp_(min=math.log(settings.epsilon))
    return log_scale.add_(logits[0]).log_softmax(-1)


def _outside(probabilities: torch.Tensor, tokens: torch.Tensor, top_p: float) -> torch.Tensor:
    """The rows whose token is not in the nucleus: the tokens likelier than it hold `top_p` already."""
    chosen = probabilities.gather(1, tokens[:, None])
    mass_above = (probabilities * (probabilities > chosen)).sum(-1)
    return (mass_above >= top_p).nonzero()[:, 0]


def _draw_in_nucleus(probabilities: torch.Tensor, top_p: float, uniform: torch.Tensor) -> torch.Tensor:
    ordered, order = probabilities.sort(descending=True)
    before = ordered.cumsum(-1) - ordered
    # Equal probabilities stand in or out together, as `_outside` judges them by the mass strictly above.
    first_of_equals = torch.searchsorted(-ordered, -ordered, side="left")
    inside = before.gather(1, first_of_equals) < top_p
    return order.gather(1, _inverse_cdf(ordered * inside, uniform)[:, None])[:, 0]


def _inverse_cdf(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    cumulative = weights.cumsum(-1)
    total = cumulative[:, -1:].contiguous()
    point = uniform.to(cumulative.dtype)[:, None] * total
    index = torch.searchsorted(cumulative, point, side="right")[:, 0]
    beyond = (point >= total)[:, 0]
    if bool(beyond.any()):  # rounding carried the point onto the total itself: the last index that has weight is meant
        index[beyond] = torch.searchsorted(cumulative[beyond], total[beyond], side="left")[:, 0]
    return index


@torch.inference_mode()
def decode(
    model: Any,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    stop_tokens: torch.Tensor,
    eos: Sequence[int],
    seed: int,
    counter_prompts: Sequence[Sequence[Sequence[int]]] = (),
) -> Decoded:
    """Complete every prompt.

    Prompts that repeat are read by the model once. Ended rows leave the batch. With self-debiasing the batch is
    [1 + counter prompts, rows]: each row's prompts go on in lock-step, with the token drawn for the row.

    Args:
        model: a causal language model of `transformers`.
        prompts: token ids per row, at least one each.
        stop_tokens: [vocabulary] bool, True for every token whose text contains a stop string.
        eos: ids of end tokens.
        seed: of the block's random stream.
        counter_prompts: for self-debiasing: token ids of each row's counter prompts, as many for every row.
    """
    device = model.device
    stream = torch.Generator().manual_seed(seed)
    uniforms = torch.rand((len(prompts), decoding.max_new_tokens, UNIFORMS), generator=stream, dtype=torch.float64).to(
        device
    )
    is_eos = torch.zeros_like(stop_tokens)
    is_eos[list(eos)] = True
    is_end = is_eos | stop_tokens

    counters = [list(column) for column in zip(*counter_prompts, strict=True)]
    logits, cache, mask, lengths = _prefill(model, [*prompts, *itertools.chain(*counters)])
    sides = torch.arange(1 + len(counters), device=device)
    rows = torch.arange(len(prompts), device=device)  # which row stands in each place of the batch
    alive = torch.ones(len(prompts), dtype=torch.bool, device=device)  # by place
    tokens = torch.zeros((len(prompts), decoding.max_new_tokens), dtype=torch.long, device=device)
    counts = torch.zeros(len(prompts), dtype=torch.long, device=device)
    log_probability = torch.zeros(len(prompts), dtype=torch.float64, device=device)

    for step in range(decoding.max_new_tokens):
        by_side = logits.float().reshape(len(sides), len(rows), -1)
        logits = by_side[0]
        wanted = debias(by_side, decoding.self_debiasing) if decoding.self_debiasing else logits
        drawn = draw(wanted, decoding, uniforms[rows, step])
        log_p = logits.gather(1, drawn[:, None])[:, 0] - logits.logsumexp(-1)
        tokens[rows[alive], step] = drawn[alive]
        log_probability[rows[alive]] += log_p[alive].double()
        counts[rows[alive]] += 1
        alive = alive & ~is_end[drawn]
        left = int(alive.sum())
        if step + 1 == decoding.max_new_tokens or left == 0:
            break
        if left <= SHRINK * len(rows):
            keep = alive.nonzero()[:, 0]
            groups = (sides[:, None] * len(rows) + keep).flatten()
            cache.batch_select_indices(groups)
            rows, drawn, lengths, alive = rows[keep], drawn[keep], lengths[groups], alive[keep]
            mask = mask[groups] if mask is not None else None
        if mask is not None:
            mask = torch.cat([mask, mask.new_ones((len(mask), 1))], dim=1)
        output = model(
            input_ids=drawn.repeat(len(sides))[:, None],
            past_key_values=cache,
            attention_mask=mask,
            position_ids=lengths[:, None],
            use_cache=True,
            logits_to_keep=1,
        )
        logits, cache = output.logits[:, -1], output.past_key_values
        lengths = lengths + 1
    return _collect(tokens, counts, log_probability, is_eos, is_end)


def _prefill(
    model: Any, prompts: Sequence[Sequence[int]]
) -> tuple[torch.Tensor, Any, torch.Tensor | None, torch.Tensor]:
    """Read every distinct prompt once and hand each row its copy: logits, cache, mask (None: no padding), lengths."""
    distinct = list(dict.fromkeys(tuple(prompt) for prompt in prompts))
    place = {prompt: index for index, prompt in enumerate(distinct)}
    longest = max(len(prompt) for prompt in distinct)
    ids = torch.zeros((len(distinct), longest), dtype=torch.long)
    mask = torch.zeros((len(distinct), longest), dtype=torch.long)
    for index, prompt in enumerate(distinct):
        ids[index, longest - len(prompt) :] = torch.tensor(prompt)
        mask[index, longest - len(prompt) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    output = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=True, logits_to_keep=1)
    row_place = torch.tensor([place[tuple(prompt)] for prompt in prompts], device=model.device)
    cache = output.past_key_values
    cache.batch_select_indices(row_place)
    padded = bool((mask == 0).any())
    return (
        output.logits[:, -1][row_place],
        cache,
        mask[row_place] if padded else None,
        mask.sum(-1)[row_place],
    )


def _collect(
    tokens: torch.Tensor,
    counts: torch.Tensor,
    log_probability: torch.Tensor,
    is_eos: torch.Tensor,
    is_end: torch.Tensor,
) -> Decoded:
    last = tokens.gather(1, counts[:, None] - 1)[:, 0]
    result = Decoded(log_probability=log_probability.tolist())
    flags = zip(tokens.tolist(), counts.tolist(), is_eos[last].tolist(), is_end[last].tolist(), strict=True)
    for ids, count, eos, end in flags:
        result.tokens.append(ids[: count - 1] if eos else ids[:count])
        result.ended.append("eos" if eos else "stop" if end else "length")
    return result
