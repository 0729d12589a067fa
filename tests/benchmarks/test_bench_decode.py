"""What self-debiasing costs. Run: `pytest tests/benchmarks/test_bench_decode.py --benchmark-only`.

The peer is the same decode loop over as many rows as self-debiasing reads, each drawing for itself: k counter prompts
are at least k more rows for the PLM. Every row writes all its tokens, as nothing ends them.
"""

import statistics
import time
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from harness.generators.base import Decoding, SelfDebiasing
from harness.generators.decode import Ends, TokenRequest, decode
from harness.generators.locate import locate_model
from harness.generators.transformers_backend import TransformersGenerator

ROWS, TOKENS = 128, 40
PROMPTS = ["This is a wonderful movie. It", "This is a terrible movie. It", "This is a movie. It"]
PLAIN = Decoding(TOKENS, top_p=0.9)
DEBIASED = Decoding(TOKENS, top_p=0.9, self_debiasing=SelfDebiasing(200.0, 0.01))


def ratio(ours: Callable[[], object], peer: Callable[[], object]) -> float:
    """Seconds of ours over the peer: median of three, each pair back to back, so that other load slows both."""
    found = []
    for _ in range(3):
        marks = [time.perf_counter()]
        for function in (ours, peer):
            function()
            marks.append(time.perf_counter())
        found.append((marks[1] - marks[0]) / (marks[2] - marks[1]))
    return statistics.median(found)


@pytest.mark.parametrize("counters", [1, 2])
def test_bench_decode_with_counter_prompts(benchmark: BenchmarkFixture, counters: int) -> None:
    plm = TransformersGenerator.load(locate_model("embedded:review-gpt-7m", None, None), "float32", "completion", False)
    main, *others = [tuple(plm.tokenizer(prompt).input_ids) for prompt in PROMPTS[: 1 + counters]]
    flags = torch.zeros(plm.model.config.vocab_size, dtype=torch.bool)
    endless = Ends(flags, flags)
    together = [TokenRequest((main, *others), row) for row in range(ROWS)]
    alone = [TokenRequest((one,), row) for row, one in enumerate(one for one in (main, *others) for _ in range(ROWS))]

    def debiased() -> None:
        list(decode(plm.model, together, DEBIASED, endless, ROWS))

    def plain() -> None:
        list(decode(plm.model, alone, PLAIN, endless, len(alone)))

    benchmark.pedantic(debiased, rounds=1, warmup_rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["seconds_over_as_many_plain_rows"] = ratio(debiased, plain)
