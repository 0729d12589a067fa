"""From logits to a token: the distribution that `transformers` documents, drawn from without sorting the vocabulary.

Nucleus sampling: draw from the whole distribution; the draw is right unless it falls outside the nucleus (a share
1 - top_p of the time). A row whose draw is outside draws once more, and the few that miss twice are sorted and drawn
from the nucleus itself. The result has exactly the nucleus distribution: an accepted draw is distributed as the
nucleus, and so is the last one.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from harness.generators.base import Decoding, SelfDebiasing

UNIFORMS = 3
"""Per row and token: a draw, a second one where the first is outside the nucleus, a last one within it."""

_CHUNK = 128
"""Tokens whose weights are summed first: a draw finds its chunk, then its token. A running sum over the whole
vocabulary would be the dearer by far."""


def row_uniforms(seeds: Sequence[int], tokens: int) -> torch.Tensor:
    """[rows, tokens, UNIFORMS] in [0, 1), each row from its own counter-based stream (Philox) and from nothing else."""
    streams = [np.random.Generator(np.random.Philox(seed)).random((tokens, UNIFORMS)) for seed in seeds]
    return torch.from_numpy(np.stack(streams))


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
    return draw_of(logits.softmax(-1), decoding.top_p, uniforms)


def draw_of(probabilities: torch.Tensor, top_p: float, uniforms: torch.Tensor) -> torch.Tensor:
    """One token per row of [rows, vocabulary], from those likeliest that together reach `top_p`; [rows] token ids."""
    tokens = _inverse_cdf(probabilities, uniforms[:, 0])
    if top_p == 1.0:
        return tokens
    outside = _outside(probabilities, tokens, top_p)
    if len(outside):
        tokens[outside] = _inverse_cdf(probabilities[outside], uniforms[outside, 1])
        outside = outside[_outside(probabilities[outside], tokens[outside], top_p)]
    if len(outside):
        tokens[outside] = _draw_in_nucleus(probabilities[outside], top_p, uniforms[outside, 2])
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


def penalise_repeats(logits: torch.Tensor, ids: torch.Tensor, lengths: torch.Tensor, penalty: float) -> None:
    """Divide the positive logits of tokens that a row has already by the penalty (Keskar et al., 2019), and multiply
    the negative ones, in place.

    Args:
        logits: [rows, vocabulary].
        ids: [rows, positions] tokens of prompt and text, `lengths` [rows] of them.
    """
    ids = _own(ids, lengths)
    scores = logits.gather(1, ids)
    logits.scatter_(1, ids, torch.where(scores < 0, scores * penalty, scores / penalty))


def bar_repeated_ngrams(logits: torch.Tensor, ids: torch.Tensor, lengths: torch.Tensor, size: int) -> None:
    """Make tokens impossible that would end an n-gram of `size` tokens that prompt or text have already, in place.

    Arguments as for `penalise_repeats`.
    """
    if ids.shape[1] < size:
        return
    at = torch.arange(ids.shape[1], device=ids.device)
    last = (lengths[:, None] - size + 1 + at[: size - 1]).clamp(min=0)
    grams = ids.unfold(1, size, 1)
    repeats = (grams[:, :, :-1] == ids.gather(1, last)[:, None]).all(-1)
    repeats &= at[: grams.shape[1]] + size <= lengths[:, None]  # an n-gram that ends within the row
    row, place = repeats.nonzero(as_tuple=True)
    logits[row, grams[row, place, -1]] = -torch.inf


def _own(ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """The ids with the row's first token in the places beyond its length."""
    beyond = torch.arange(ids.shape[1], device=ids.device) >= lengths[:, None]
    return torch.where(beyond, ids[:, :1], ids)


def _outside(probabilities: torch.Tensor, tokens: torch.Tensor, top_p: float) -> torch.Tensor:
    """The rows whose token is not in the nucleus: the tokens likelier than it hold `top_p` already."""
    chosen = probabilities.gather(1, tokens[:, None])
    # p > chosen exactly where p / chosen rounds to more than 1; comparing and multiplying by the result takes longer.
    above = torch.threshold_(probabilities / chosen, 1.0, 0.0).sum(-1) * chosen[:, 0]
    return (above >= top_p).nonzero()[:, 0]


def _draw_in_nucleus(probabilities: torch.Tensor, top_p: float, uniform: torch.Tensor) -> torch.Tensor:
    ordered, order = probabilities.sort(descending=True)
    before = ordered.cumsum(-1) - ordered
    # Equal probabilities stand in or out together, as `_outside` judges them by the mass strictly above.
    first_of_equals = torch.searchsorted(-ordered, -ordered, side="left")
    inside = before.gather(1, first_of_equals) < top_p
    return order.gather(1, _inverse_cdf(ordered * inside, uniform)[:, None])[:, 0]


def _inverse_cdf(weights: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The place in each row where the running sum of its weights passes `uniform` of their total; its weight is > 0."""
    rows, size = weights.shape
    whole = size // _CHUNK
    sums = weights[:, : whole * _CHUNK].reshape(rows, whole, _CHUNK).sum(-1)
    sums = torch.cat([sums, weights[:, whole * _CHUNK :].sum(-1, keepdim=True)], 1).double()
    before = sums.cumsum(-1)
    point = uniform.double()[:, None] * before[:, -1:]
    chunk = _passed(before, point)
    rest = (point - (before - sums).gather(1, chunk)).clamp_(min=0)
    places = chunk * _CHUNK + torch.arange(_CHUNK, device=weights.device)
    within = weights.gather(1, places.clamp(max=size - 1)).double().masked_fill_(places >= size, 0.0)
    return (chunk * _CHUNK + _passed(within.cumsum(-1), rest))[:, 0]


def _passed(running: torch.Tensor, point: torch.Tensor) -> torch.Tensor:
    """[rows, 1] first place whose running sum is above the point; where rounding carried the point to the end or
    beyond, the last place that added anything."""
    last = torch.searchsorted(running, running[:, -1:].contiguous(), side="left")
    return torch.minimum(torch.searchsorted(running, point, side="right"), last)
