"""Speed and memory of the measures of the text alone. Run: `pytest tests/benchmarks/test_bench_text_measures.py
--benchmark-only`.

100,000 texts of 30 random words under Zipf's law (exponent 1.07, 50,000 words), of which 2,000 are written again as
they are and 3,000 with the last word changed; for `prompt_echo` each has 60 random words for a context, for `language`
the commonest words are English ones.
"""

import itertools
import multiprocessing
import resource
import time

import numpy as np
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from harness.quality.measures import measure_all
from harness.quality.rows import Rows
from harness.quality.text_measures import TEXT_MEASURES

N_TEXTS, N_WORDS, N_EXACT, N_NEAR = 100_000, 30, 2_000, 3_000
COMMON_WORDS = ["the", "of", "and", "to", "in", "is", "that", "it", "was", "for", "on", "as", "with", "this", "film"]


def planted_rows() -> Rows:
    rng = np.random.default_rng(13)
    frequency = 1 / np.arange(1, 50_001) ** 1.07
    frequency /= frequency.sum()
    ranks = rng.choice(50_000, (N_TEXTS, N_WORDS), p=frequency)
    copied = rng.permutation(N_TEXTS)[: 2 * (N_EXACT + N_NEAR)].reshape(2, -1)
    ranks[copied[0]] = ranks[copied[1]]
    ranks[copied[0, N_EXACT:], -1] = rng.integers(0, 50_000, N_NEAR)
    contexts = rng.choice(50_000, (N_TEXTS, 2 * N_WORDS), p=frequency)
    return Rows(as_texts(ranks), contexts=as_texts(contexts), finish_reasons=["eos"] * N_TEXTS)


def as_texts(ranks: NDArray[np.int64]) -> list[str]:
    words = COMMON_WORDS + [f"w{rank}" for rank in range(len(COMMON_WORDS), 50_000)]
    return [" ".join(words[rank] for rank in row) + "." for row in ranks.tolist()]


def seconds_and_peak_bytes() -> tuple[dict[str, float], dict[str, float], int]:
    """Seconds per measure, one after another over one `Rows` (`total`: all), what they say, and the peak memory of the
    process, its texts included."""
    rows = planted_rows()
    names = [measure.name for measure in TEXT_MEASURES if measure.needs <= {"contexts"}]
    started: list[tuple[str, float]] = []
    values = measure_all(names, rows, report=lambda name: started.append((name, time.perf_counter()))).values
    started.append(("end", time.perf_counter()))
    seconds = {name: after - at for (name, at), (_, after) in itertools.pairwise(started)}
    seconds["total"] = started[-1][1] - started[0][1]
    found = {value.measure: value.value for value in values}
    return seconds, found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_bench_all_text_measures_of_100000_texts_in_a_child_process(benchmark: BenchmarkFixture) -> None:
    # A process of its own, started afresh: the peak memory of this one holds what other tests left in it.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        seconds, found, peak_bytes = benchmark.pedantic(  # type: ignore[no-untyped-call]
            pool.apply, (seconds_and_peak_bytes,), rounds=1, iterations=1
        )
    assert found["near_duplicates"] >= (N_EXACT + N_NEAR) / N_TEXTS
    benchmark.extra_info |= {"seconds": seconds, "peak_rss_bytes": peak_bytes, "values": found}
