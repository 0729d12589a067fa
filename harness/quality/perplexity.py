"""How likely a scoring PLM finds the texts of a dataset: perplexity and bits per byte."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.generators.base import TextLoss, TextReader
from harness.quality.intervals import Estimate, mean_of, median_of, ratio_of
from harness.quality.rows import TokenLosses

_TEXTS_AT_ONCE = 512


def token_losses(
    reader: TextReader,
    plm: str,
    texts: Sequence[str],
    report: Callable[[float, float, str], None] = lambda done, total, note: None,
) -> TokenLosses:
    """What the PLM called `plm` says of each text; each distinct text is read once.

    `report` is told (distinct texts done, in all, "texts"). Raises what `reader` raises.
    """
    distinct = sorted(dict.fromkeys(texts), key=len)  # read beside others as long
    found: dict[str, TextLoss] = {}
    for first in range(0, len(distinct), _TEXTS_AT_ONCE):
        some = distinct[first : first + _TEXTS_AT_ONCE]
        found.update(zip(some, reader.text_losses(some), strict=True))
        report(len(found), len(distinct), "texts")
    of_texts = [found[text] for text in texts]
    return TokenLosses(
        plm=plm,
        mean=np.array([one.mean if one.tokens else math.nan for one in of_texts]),
        tokens=np.array([one.tokens for one in of_texts], dtype=np.int64),
        bytes=np.array([one.bytes for one in of_texts], dtype=np.int64),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Perplexity:
    """`corpus`: exp(Σ loss / Σ tokens). `mean` and `median`: of the texts' own perplexities, `per_text`, float64 [n],
    NaN for each of the `unscored` texts. `bits_per_byte`: Σ loss in bits / Σ bytes, by which PLMs of different
    vocabularies can be compared."""

    corpus: Estimate
    mean: Estimate
    median: Estimate
    bits_per_byte: Estimate
    unscored: int
    per_text: NDArray[np.float64]


def perplexity(losses: TokenLosses) -> Perplexity:
    """Perplexities of texts, with intervals of what other texts would give: a corpus is a sample of texts, not of
    tokens, so those of the two ratios are between texts (`ratio_of`). All estimates are NaN where no text is scored.

    The interval of the mean is the normal one; a few texts of enormous perplexity can carry it far: see the median.
    """
    scored = np.isfinite(losses.mean) & (losses.tokens > 0)
    tokens = losses.tokens[scored].astype(np.float64)
    totals = losses.mean[scored] * tokens
    per_text = np.full(len(losses.mean), math.nan)
    per_text[scored] = np.exp(losses.mean[scored])
    return Perplexity(
        corpus=_exp(ratio_of(totals, tokens)),
        mean=mean_of(per_text[scored]),
        median=median_of(per_text[scored]),
        bits_per_byte=ratio_of(totals / math.log(2), losses.bytes[scored].astype(np.float64)),
        unscored=int(np.count_nonzero(~scored)),
        per_text=per_text,
    )


def _exp(estimate: Estimate) -> Estimate:
    ends = (None if end is None else math.exp(end) for end in (estimate.low, estimate.high))
    return Estimate(math.exp(estimate.value), *ends)


@dataclass(frozen=True, slots=True, eq=False)
class GeneratorLogProbability:
    """Nats per token. `mean` over rows of `per_text`, float64 [n]: a row's log-probability over its tokens, NaN for
    each of the `untold` rows, which have no tokens or no log-probability."""

    mean: Estimate
    untold: int
    per_text: NDArray[np.float64]


def generator_log_probability(
    log_probabilities: NDArray[np.float64], generated_tokens: NDArray[np.int64]
) -> GeneratorLogProbability:
    """The score that SuperGen selects rows by (Meng et al., NeurIPS 2022): mean log-probability of a row's tokens under
    the PLM that wrote it, after its prompt. `log_probabilities` [n] are sums in nats, over `generated_tokens` [n]."""
    told = np.isfinite(log_probabilities) & (generated_tokens > 0)
    per_text = np.full(len(log_probabilities), math.nan)
    per_text[told] = log_probabilities[told] / generated_tokens[told]
    return GeneratorLogProbability(mean_of(per_text[told]), int(np.count_nonzero(~told)), per_text)
