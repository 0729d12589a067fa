"""Timings: of the right thing, often and long enough, with an interval that holds the median."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy.stats import binom

from harness.data.examples import Examples
from harness.profiling import latency
from harness.profiling.latency import Timing, measure_latency, timing_values
from harness.values import Value

TEXTS = [f"text {number}" for number in range(100)]
ROWS = Examples(text=TEXTS)


class Clock:
    """A clock that only moves when something is predicted."""

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.now = 0.0
        self.calls: list[Sequence[str]] = []
        self._seconds = seconds

    def perf_counter(self) -> float:
        return self.now

    def predict(self, rows: Examples) -> None:
        self.now += self._seconds(len(self.calls))
        self.calls.append(list(rows.text))


def measured(monkeypatch: pytest.MonkeyPatch, clock: Clock, rows: Examples = ROWS) -> Timing:
    monkeypatch.setattr(latency, "time", clock)
    return measure_latency(clock.predict, rows, lambda done, total: None)


def by_name(timing: Timing) -> dict[str, Value]:
    return {value.measure: value for value in timing_values(timing)}


def test_what_is_measured_is_what_the_function_itself_sees_pass() -> None:
    """On the real clock, and on a busy machine as well: there a sleep takes longer, which both of them see."""
    own: dict[int, list[float]] = {1: [], latency.BATCH: []}

    def sleep(rows: Examples) -> None:
        start = time.perf_counter()
        time.sleep(0.02)
        own[len(rows)].append(time.perf_counter() - start)

    timing = measure_latency(sleep, ROWS, lambda done, total: None)
    calls = own[1][1 + latency.WARM_UP_CALLS :]
    assert np.median(timing.latency_ms) == pytest.approx(1e3 * np.median(calls), rel=0.01)
    assert np.median(timing.rows_per_second) == pytest.approx(
        latency.BATCH / np.median(own[latency.BATCH][1:]), rel=0.01
    )
    assert min(timing.latency_ms) >= 20
    assert {value.tier for value in timing_values(timing)} == {"machine"}


def test_calls_go_on_to_the_minimum_count_where_they_are_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    timing = measured(monkeypatch, Clock(lambda call: 1.0))
    assert len(timing.latency_ms) == latency.MIN_CALLS
    assert len(timing.rows_per_second) == latency.MIN_BATCHES
    assert timing.latency_ms == pytest.approx([1000.0] * latency.MIN_CALLS)


def test_calls_go_on_to_the_minimum_time_where_they_are_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    timing = measured(monkeypatch, Clock(lambda call: 1e-3))
    assert len(timing.latency_ms) == pytest.approx(latency.MIN_SECONDS / 1e-3, abs=1)
    assert len(timing.rows_per_second) == pytest.approx(latency.MIN_SECONDS / 1e-3, abs=1)


def test_calls_end_at_the_maximum_count_where_the_clock_hardly_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    timing = measured(monkeypatch, Clock(lambda call: 1e-9))
    assert len(timing.latency_ms) == len(timing.rows_per_second) == latency.MAX_CALLS


def test_slow_first_calls_are_reported_apart_and_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    values = by_name(measured(monkeypatch, Clock(lambda call: 5.0 if call == 0 else 1.0 if call <= 5 else 0.02)))
    assert values["first_call_ms"].value == pytest.approx(5000)
    assert values["latency_p95_ms"].value == pytest.approx(20)


def test_latency_is_of_one_text_a_call_and_every_text_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(lambda call: 1e-3)
    measured(monkeypatch, clock)
    single = [call[0] for call in clock.calls if len(call) == 1][1 + latency.WARM_UP_CALLS :]
    assert single[:250] == (TEXTS * 3)[:250]


@pytest.mark.parametrize("count", [1, 33, 100, 256])
def test_throughput_is_of_whole_batches_whatever_the_number_of_texts(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(lambda call: 0.01)
    timing = measured(monkeypatch, clock, Examples(text=[f"text {number}" for number in range(count)]))
    batches = clock.calls[-len(timing.rows_per_second) :]
    assert {len(batch) for batch in batches} == {latency.BATCH}
    assert len({text for batch in batches for text in batch}) == count
    assert timing.rows_per_second == pytest.approx([latency.BATCH / 0.01] * len(batches))


def test_p50_and_p95_are_numpys_percentiles() -> None:
    samples = np.random.default_rng(1).gamma(2.0, size=73).tolist()
    values = by_name(Timing(samples, [1.0, 7.0, 3.0], 9.0, 0.0))
    assert values["latency_p50_ms"].value == pytest.approx(np.median(samples))
    assert values["latency_p95_ms"].value == pytest.approx(np.quantile(samples, 0.95))
    assert values["rows_per_second"].value == 3.0


@pytest.mark.parametrize("count", [50, 51, 77, 500, 2000])
def test_the_interval_of_p50_holds_the_median_and_covers_it_in_95_of_100_runs(count: int) -> None:
    shuffled = np.random.default_rng(2).permutation(count).astype(float)
    p50 = by_name(Timing(shuffled.tolist(), [1.0], 0.0, 0.0))["latency_p50_ms"]
    assert p50.low is not None and p50.high is not None
    assert p50.low < p50.value < p50.high
    # Of samples 0, 1, ... a bound is its own rank, and the true median lies between two ranks with binomial chance.
    coverage = binom.cdf(p50.high, count, 0.5) - binom.cdf(p50.low, count, 0.5)
    assert 0.949 < coverage < 0.98
