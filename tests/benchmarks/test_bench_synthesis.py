"""Rows per second of the decode loop beside plain `generate`. Run: `pytest tests/benchmarks/test_bench_synthesis.py
--benchmark-only -s`; on a CUDA device it runs there, with GPT2-XL's shape besides.

Two peers. The reference: `generate` as ZeroGen's code sets it up (float32, batches of 32, all 40 tokens forced, top-p
0.9). The best: `generate` at the dtype, batch size and stop strings at which it is fastest here. Every ratio is the
median over rounds in which all run one after the other, so that other load slows all of them.

The floor of a step is max(bytes / bandwidth, operations / peak), both measured here: the weights and what the cache
holds are read once, and each weight is multiplied and added once for each row.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from harness.generators.base import Completion, Decoding, Request, in_order
from harness.generators.locate import locate_model
from harness.generators.transformers_backend import TransformersGenerator
from harness.machine import usable_cores
from harness.synthesis.cleaning import clean

ROUNDS, TOKENS = 5, 40
PROMPTS = [
    "This is a wonderful, brilliant movie. I loved it, and the acting is superb. It is",
    "One of the best films I have ever seen. Beautiful, funny and moving, a great story. I",
    "This is a terrible, awful movie. I hated it, and the acting is horrible. It is",
    "Awful! Avoid this movie, it was terrible from beginning to end. The",
]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def all_cores() -> Iterator[None]:
    """The other tests have one thread each."""
    before = torch.get_num_threads()
    torch.set_num_threads(usable_cores())
    yield
    torch.set_num_threads(before)


@dataclass
class Plm:
    """A PLM in both dtypes: as the harness loads it, and as `from_pretrained` gives it."""

    ours: TransformersGenerator
    plain: dict[torch.dtype, Any]
    tokenizer: Any


def review_plm() -> Plm:
    from transformers import AutoModelForCausalLM

    mirror = Path(os.environ["HARNESS_MIRROR"]) if "HARNESS_MIRROR" in os.environ else None
    name = "local/review-gpt-7m" if mirror else "embedded:review-gpt-7m"
    place = locate_model(name, None, mirror)
    ours = TransformersGenerator.load(place, "bfloat16", "completion", trust_remote_code=False)
    plain: dict[torch.dtype, Any] = {
        dtype: AutoModelForCausalLM.from_pretrained(place.source, dtype=dtype)
        for dtype in (torch.float32, torch.bfloat16)
    }
    plain = {dtype: model.eval().to(DEVICE) for dtype, model in plain.items()}
    return Plm(ours, plain, ours.tokenizer)


def random_plm(**shape: Any) -> Plm:
    """GPT-2's architecture with random weights, behind the embedded tokenizer: its ids are ids of the larger one."""
    from transformers import AutoModelForCausalLM, GPT2Config

    place = locate_model("embedded:review-gpt-7m", None, None)
    ours = TransformersGenerator.load(place, "bfloat16", "completion", trust_remote_code=False)
    attention = {} if DEVICE == "cuda" else {"attn_implementation": "eager"}
    with torch.random.fork_rng():
        torch.manual_seed(13)
        model: Any = AutoModelForCausalLM.from_config(GPT2Config(**shape), **attention)  # type: ignore[no-untyped-call]
    plain = {torch.float32: AutoModelForCausalLM.from_config(model.config)}  # type: ignore[no-untyped-call]
    plain[torch.float32].load_state_dict(model.state_dict())
    plain[torch.bfloat16] = AutoModelForCausalLM.from_config(model.config)  # type: ignore[no-untyped-call]
    plain[torch.bfloat16].load_state_dict(model.state_dict())
    plain = {dtype: one.eval().to(DEVICE, dtype) for dtype, one in plain.items()}
    loaded = TransformersGenerator(model.eval().to(DEVICE, torch.bfloat16), ours.tokenizer, "completion")
    return Plm(loaded, plain, ours.tokenizer)


def generate(
    plm: Plm, rows: int, dtype: torch.dtype, batch: int, forced: bool, stop: Sequence[str]
) -> tuple[list[str], list[bool]]:
    """Plain `generate`, batch by batch: what it writes after the prompts, and whether it ended each text itself."""
    tokenizer, model = plm.tokenizer, plm.plain[dtype]
    tokenizer.padding_side = "left"
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    options: dict[str, Any] = {"stop_strings": list(stop), "tokenizer": tokenizer} if stop else {}
    if forced:
        options["min_new_tokens"] = TOKENS
    texts: list[str] = []
    ended: list[bool] = []
    torch.manual_seed(13)
    for start in range(0, rows, batch):
        prompts = [PROMPTS[row % len(PROMPTS)] for row in range(start, min(rows, start + batch))]
        given = tokenizer(prompts, return_tensors="pt", padding=True).to(DEVICE)
        with torch.inference_mode():
            output = model.generate(
                input_ids=given.input_ids,
                attention_mask=given.attention_mask,
                do_sample=True,
                top_p=0.9,
                top_k=0,
                max_new_tokens=TOKENS,
                pad_token_id=tokenizer.pad_token_id,
                **options,
            )
        written = output[:, given.input_ids.shape[1] :]
        texts += tokenizer.batch_decode(written, skip_special_tokens=True)
        ended += (written == tokenizer.eos_token_id).any(1).tolist()
    return texts, ended


def ours(plm: Plm, rows: int, stop: tuple[str, ...]) -> list[Completion]:
    requests = [Request(PROMPTS[row % len(PROMPTS)], seed=row) for row in range(rows)]
    return in_order(plm.ours.generate(requests, Decoding(TOKENS, top_p=0.9, stop=stop)))


def usable(texts: Sequence[str], ended: Sequence[bool]) -> int:
    """Rows that the prompt set `continuation` keeps."""
    cleaned = [
        clean(text, stop=None, finished=end, min_words=5, context=None) for text, end in zip(texts, ended, strict=True)
    ]
    return sum(one.text is not None for one in cleaned)


def seconds(work: Callable[[], object]) -> float:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    took: float = time.perf_counter() - start
    return took


def peak_and_bandwidth(dtype: torch.dtype) -> tuple[float, float]:
    """Operations per second of a product of large matrices, and bytes per second read in a sum; best of nine."""
    size = 8192 if DEVICE == "cuda" else 2048
    square = torch.randn(size, size, device=DEVICE).to(dtype)
    block = torch.ones(1 << 28, dtype=torch.float32, device=DEVICE)  # 1 GiB: no cache holds it
    peak = 2 * size**3 / min(seconds(lambda: square @ square) for _ in range(9))
    return peak, block.nbytes / min(seconds(lambda: block.sum()) for _ in range(9))


def floor_of_a_step(model: Any, rows: int, context: float) -> float:
    """Seconds that a step of `rows` rows with `context` tokens each cannot go below on this machine."""
    peak, bandwidth = peak_and_bandwidth(model.dtype)
    weights = sum(weight.numel() for weight in model.parameters()) - model.transformer.wpe.weight.numel()
    config = model.config
    cached = 2 * config.n_layer * config.n_embd * context * rows
    operations = 2 * weights * rows + 2 * cached
    floor: float = max((weights + cached) * model.dtype.itemsize / bandwidth, operations / peak)
    return floor


@dataclass
class Comparison:
    """Rows per second by round: of ours, the reference and the best plain `generate`."""

    ours: list[float]
    reference: list[float]
    best: list[float]
    best_is: str

    def ratios(self) -> dict[str, float | str]:
        median = statistics.median
        return {
            "rows_per_second": median(self.ours),
            "reference_rows_per_second": median(self.reference),
            "best_generate_rows_per_second": median(self.best),
            "best_generate": self.best_is,
            "times_the_reference": median(a / b for a, b in zip(self.ours, self.reference, strict=True)),
            "times_the_best_generate": median(a / b for a, b in zip(self.ours, self.best, strict=True)),
        }


def compare(
    plm: Plm, our_rows: int, peer_rows: int, stop: tuple[str, ...], batches: Sequence[int], count: bool
) -> Comparison:
    """All three, `ROUNDS` times one after the other. With `count`, usable rows are counted, else all."""

    def rate(rows: int, work: Callable[[], tuple[Sequence[str], Sequence[bool]]]) -> float:
        found: list[tuple[Sequence[str], Sequence[bool]]] = []
        took = seconds(lambda: found.append(work()))
        return (usable(*found[0]) if count else rows) / took

    def plain(rows: int, dtype: torch.dtype, batch: int, forced: bool) -> float:
        def work() -> tuple[Sequence[str], Sequence[bool]]:
            return generate(plm, rows, dtype, batch, forced, () if forced else stop)

        return rate(rows, work)

    def own() -> float:
        def work() -> tuple[Sequence[str], Sequence[bool]]:
            found = ours(plm, our_rows, stop)
            return [one.text for one in found], [one.finish_reason == "eos" for one in found]

        return rate(our_rows, work)

    own()  # kernels are chosen, memory is taken
    choices = {
        (dtype, batch): plain(max(batch, peer_rows), dtype, batch, forced=not count)
        for dtype in (torch.float32, torch.bfloat16)
        for batch in batches
    }
    dtype, batch = max(choices, key=lambda choice: choices[choice])
    result = Comparison([], [], [], f"{dtype}, batches of {batch}")
    for _ in range(ROUNDS):
        result.ours.append(own())
        result.reference.append(plain(peer_rows, torch.float32, 32, forced=True))
        result.best.append(plain(max(batch, peer_rows), dtype, batch, forced=not count))
    return result


def report(benchmark: BenchmarkFixture, plm: Plm, comparison: Comparison, rows: int, places: int) -> None:
    benchmark.extra_info |= comparison.ratios()
    context = len(plm.tokenizer(PROMPTS[0]).input_ids) + TOKENS / 2
    floor = floor_of_a_step(plm.ours.model, places, context)
    forced = Decoding(TOKENS, top_p=0.9)
    requests = [Request(PROMPTS[row % len(PROMPTS)], seed=row) for row in range(places)]
    step = seconds(lambda: in_order(plm.ours.generate(requests, forced))) / TOKENS
    benchmark.extra_info |= {"ms_per_step": 1e3 * step, "floor_ms": 1e3 * floor, "share_of_the_roofline": floor / step}
    for name, value in benchmark.extra_info.items():
        print(f"  {name}: {value if isinstance(value, str) else format(value, '.3g')}")


def test_bench_review_gpt(benchmark: BenchmarkFixture) -> None:
    plm = review_plm()
    benchmark.pedantic(lambda: ours(plm, 512, ("\n",)), rounds=1)  # type: ignore[no-untyped-call]
    report(benchmark, plm, compare(plm, 1024, 128, ("\n",), (64, 128, 256), count=True), 1024, 128)


def test_bench_gpt2_small_shape(benchmark: BenchmarkFixture) -> None:
    plm = random_plm()
    rows = 128
    benchmark.pedantic(lambda: ours(plm, rows, ()), rounds=1)  # type: ignore[no-untyped-call]
    report(benchmark, plm, compare(plm, rows, 32, (), (32, 128), count=False), rows, 128)


@pytest.mark.skipif(DEVICE == "cpu", reason="GPT2-XL's shape is for a GPU")
def test_bench_gpt2_xl_shape(benchmark: BenchmarkFixture) -> None:
    plm = random_plm(n_embd=1600, n_layer=48, n_head=25)
    rows = 2048
    benchmark.pedantic(lambda: ours(plm, rows, ()), rounds=1)  # type: ignore[no-untyped-call]
    report(benchmark, plm, compare(plm, rows, 64, (), (32, 256, 1024), count=False), rows, 1024)


CONTEXT_TOKENS, QUESTIONS = 200, 5


def test_bench_prefix_sharing(benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions about contexts of 200 tokens, five about each, with and without reading each context once."""
    from harness.generators import decode as decode_module
    from harness.generators.sharing import Group

    plm = random_plm()
    words = plm.tokenizer.decode(range(1000, 6000)).split()
    requests = []
    for context in range(25):
        told, place = "", 37 * context
        while len(plm.tokenizer(told).input_ids) < CONTEXT_TOKENS:
            place += 1
            told += f" {words[place % len(words)]}"
        requests += [
            Request(f'The context is: "{told}"\n"{words[place + 7 * n]}" is the answer of the following question: "', n)
            for n in range(QUESTIONS)
        ]
    # SQuAD's questions have 11.7 words and marks, about so many tokens; random weights write no question mark.
    decoding = Decoding(14, top_p=0.9)

    def work() -> object:
        return in_order(plm.ours.generate(requests, decoding))

    def apart() -> object:
        with monkeypatch.context() as patch:
            patch.setattr(decode_module, "share", lambda prompts: [Group(tuple(sorted(set(prompts))), 0)])
            patch.setattr(decode_module, "_with_donor", lambda group, before: (group, None))
            return work()

    benchmark.pedantic(work, rounds=1, warmup_rounds=1)  # type: ignore[no-untyped-call]
    ratios = [seconds(apart) / seconds(work) for _ in range(ROUNDS)]
    benchmark.extra_info["times_as_fast_with_sharing"] = statistics.median(ratios)
    print(f"  times as fast with sharing: {statistics.median(ratios):.2f}")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bench_rows_that_differ_with_the_batch(
    benchmark: BenchmarkFixture, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """How many rows come out otherwise when other rows are decoded beside them: rounding can carry a draw over a bound.

    Strict blocks (`strict: true`) have no such rows; what they cost is told beside it.
    """
    rows, block = 1024, 256
    place = locate_model("embedded:review-gpt-7m", None, None)
    plm = TransformersGenerator.load(place, dtype, "completion", trust_remote_code=False)
    requests = [Request(PROMPTS[row % len(PROMPTS)], seed=row) for row in range(rows)]
    decoding = Decoding(TOKENS, top_p=0.9, stop=("\n",))

    def written(places: int, part: slice = slice(None)) -> list[str]:
        with monkeypatch.context() as patch:
            patch.setattr(plm, "_places_for", lambda rows, decoding: min(places, len(rows)))
            return [one.text for one in in_order(plm.generate(requests[part], decoding))]

    def strict() -> list[str]:
        return [text for start in range(0, rows, block) for text in written(block, slice(start, start + block))]

    benchmark.pedantic(lambda: written(128), rounds=1)  # type: ignore[no-untyped-call]
    expected = written(128)
    for places, some in ((1, 128), (7, rows), (64, rows), (256, rows)):
        found = written(places, slice(some))
        share = sum(one != other for one, other in zip(found, expected[:some], strict=True)) / some
        benchmark.extra_info[f"share_that_differs_with_{places}_rows_together"] = share
    times = [seconds(strict) / seconds(lambda: written(128)) for _ in range(3)]
    benchmark.extra_info["seconds_of_strict_blocks_over_those_without"] = statistics.median(times)
    for name, value in benchmark.extra_info.items():
        print(f"  {dtype}, {name}: {value:.3g}")
