"""Speed and memory of Self-BLEU. Run: `pytest tests/benchmarks/test_bench_self_bleu.py --benchmark-only`.

The texts are random words under Zipf's law (exponent 1.07, 50,000 words), 30 words each, as nothing else
about a text matters to the run time. The nltk loop takes minutes: one round.
"""

import multiprocessing
import resource
import statistics
import time

import numpy as np
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from harness.quality.self_bleu import self_bleu
from harness.quality.tokens import words

N_COMPARED, N_LARGE, N_WORDS = 1_000, 200_000, 30


def zipf_texts(n_texts: int, seed: int = 13) -> list[str]:
    """`n_texts` texts of 30 random words each."""
    frequency = 1 / np.arange(1, 50_001) ** 1.07
    ranks = np.random.default_rng(seed).choice(50_000, (n_texts, N_WORDS), p=frequency / frequency.sum())
    return [" ".join(f"w{rank}" for rank in row) for row in ranks.tolist()]


def nltk_loop(texts: list[str]) -> NDArray[np.float64]:
    """Self-BLEU-1..5 per text the plain way; all five orders from one call per text, which is nltk's
    fastest."""
    tokenised = [words(text) for text in texts]
    weights = [(1 / order,) * order for order in range(1, 6)]
    smoothing = SmoothingFunction().method1
    return np.array(
        [
            sentence_bleu(tokenised[:row] + tokenised[row + 1 :], text, weights, smoothing)
            for row, text in enumerate(tokenised)
        ],
        dtype=np.float64,
    )


def seconds_for(texts: list[str]) -> float:
    started = time.perf_counter()
    self_bleu(texts)
    return time.perf_counter() - started


def seconds_and_peak_bytes(n_texts: int) -> tuple[float, int]:
    """Seconds of `self_bleu` alone and the peak memory of the whole process, its texts included."""
    seconds = seconds_for(zipf_texts(n_texts))
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_bench_self_bleu_of_1000_texts(benchmark: BenchmarkFixture) -> None:
    benchmark(self_bleu, zipf_texts(N_COMPARED))


def test_bench_nltk_loop_over_1000_texts(benchmark: BenchmarkFixture) -> None:
    texts = zipf_texts(N_COMPARED)
    expected = benchmark.pedantic(nltk_loop, (texts,), rounds=1, iterations=1)  # type: ignore[no-untyped-call]
    assert benchmark.stats is not None
    ours_seconds = statistics.median(seconds_for(texts) for _ in range(9))
    benchmark.extra_info["nltk_seconds_over_ours"] = benchmark.stats.stats.min / ours_seconds
    benchmark.extra_info["largest_difference"] = float(np.abs(self_bleu(texts).per_text - expected).max())


def test_bench_self_bleu_of_200000_texts_in_a_child_process(benchmark: BenchmarkFixture) -> None:
    # A process of its own, started afresh: the peak memory of this one holds what other tests left in it.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds, peak_bytes = benchmark.pedantic(  # type: ignore[no-untyped-call]
            pool.apply, (seconds_and_peak_bytes, (N_LARGE,)), rounds=1, iterations=1
        )
    benchmark.extra_info |= {"self_bleu_seconds": seconds, "peak_rss_bytes": peak_bytes}
