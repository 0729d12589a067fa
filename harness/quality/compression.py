"""How far a corpus can be compressed: what repeats need not be written again."""

import gzip
import math
from collections.abc import Sequence

from harness.quality.draws import DRAWS, drawn_rows


def compression_ratio(data: bytes) -> float:
    """Bytes over bytes of their gzip (level 9, no time stamp); NaN for no bytes. Higher means more repetitive.

    Shaib et al. (2024, arXiv 2403.00553). gzip looks back 32 kB, so that repeats further apart do not count; its header
    of 20 bytes weighs on small corpora. Other builds of zlib may differ in the third digit.
    """
    return len(data) / len(gzip.compress(data, 9, mtime=0)) if data else math.nan


def joined(texts: Sequence[str]) -> bytes:
    """The corpus as UTF-8, texts separated by newlines; what has no UTF-8 form (lone surrogates) becomes `?`."""
    return "\n".join(texts).encode("utf-8", "replace")


def compression_at(texts: Sequence[str], budget: int, seed: int, draws: int = DRAWS) -> list[float]:
    """The ratio of `budget` bytes of random rows, once per draw; empty where all rows together are fewer bytes.

    Rows are drawn without replacement until their bytes, newlines between them included, reach the budget, and the
    last is cut there: ratios of corpora of different size or length of text then compare.
    """
    if len(joined(texts)) < budget:
        return []
    ratios = []
    for draw in range(draws):
        taken: list[str] = []
        size = -1  # no newline before the first
        for index in drawn_rows(len(texts), len(texts), "compression", seed, draw).tolist():
            taken.append(texts[index])
            size += 1 + len(joined([texts[index]]))
            if size >= budget:
                break
        ratios.append(compression_ratio(joined(taken)[:budget]))
    return ratios
