"""Latency and throughput of anything that predicts for rows.

Batch 1, one real row a call, tokenisation included: calls until both a minimum time and a minimum count are reached,
after a warm-up that is thrown away (first calls load kernels and fill caches). Then throughput over batches. Raw
samples are kept. In the manner of pytest-benchmark and optimum-benchmark.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.data.examples import Examples
from harness.values import Value

Predict = Callable[[Examples], Any]

MIN_SECONDS, MIN_CALLS, MAX_CALLS, MIN_BATCHES = 0.5, 50, 2000, 4
WARM_UP_CALLS = 5
BATCH = 32


@dataclass(frozen=True)
class Timing:
    """Raw samples: milliseconds per call at batch 1, rows per second of each batch, load average before."""

    latency_ms: list[float]
    rows_per_second: list[float]
    first_call_ms: float
    load: float


def measure_latency(predict: Predict, rows: Examples, report: Callable[[float, float], None]) -> Timing:
    """Time `predict` on real rows, in turn."""
    load = os.getloadavg()[0]
    singles = [rows.take([index]) for index in range(len(rows))]
    start = time.perf_counter()
    predict(singles[0])
    first_call_ms = 1e3 * (time.perf_counter() - start)
    for index in range(WARM_UP_CALLS):
        predict(singles[index % len(singles)])
    latency_ms: list[float] = []
    begin = time.perf_counter()
    while len(latency_ms) < MAX_CALLS:
        if len(latency_ms) >= MIN_CALLS and time.perf_counter() - begin >= MIN_SECONDS:
            break
        row = singles[len(latency_ms) % len(singles)]
        start = time.perf_counter()
        predict(row)
        latency_ms.append(1e3 * (time.perf_counter() - start))
        report(len(latency_ms), max(MIN_CALLS, len(latency_ms)))
    return Timing(latency_ms, _throughput(predict, rows), first_call_ms, load)


def _throughput(predict: Predict, rows: Examples) -> list[float]:
    """Rows per second of whole batches, for a minimum time and a minimum count, after one that is not counted."""
    predict(_batch(rows, 0))
    rates: list[float] = []
    begin = time.perf_counter()
    while len(rates) < MIN_BATCHES or time.perf_counter() - begin < MIN_SECONDS:
        batch = _batch(rows, len(rates))
        start = time.perf_counter()
        predict(batch)
        rates.append(len(batch) / (time.perf_counter() - start))
        if len(rates) >= MAX_CALLS:
            break
    return rates


def _batch(rows: Examples, number: int) -> Examples:
    """The rows in turn, `BATCH` at a time, from the first again after the last: every batch is whole."""
    return rows.take([index % len(rows) for index in range(number * BATCH, (number + 1) * BATCH)])


def timing_values(timing: Timing) -> list[Value]:
    """Percentiles and throughput. The interval of p50 is the order-statistic one (binomial, 95 %)."""
    samples = np.sort(timing.latency_ms)
    n = len(samples)
    half = 1.96 * np.sqrt(n) / 2
    low, high = samples[max(0, int(n / 2 - half))], samples[min(n - 1, int(np.ceil(n / 2 + half)))]
    return [
        Value("latency_p50_ms", float(np.percentile(samples, 50)), "ms", "machine", float(low), float(high)),
        Value("latency_p95_ms", float(np.percentile(samples, 95)), "ms", "machine"),
        Value("first_call_ms", timing.first_call_ms, "ms", "machine"),
        Value("rows_per_second", float(np.median(timing.rows_per_second)), "rows/s", "machine"),
    ]
