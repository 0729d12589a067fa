"""Speed of the measures by models. Run: `pytest tests/benchmarks/test_bench_model_measures.py --benchmark-only`.

Those of embeddings read 20,000 random rows of unit length with 384 numbers; random ones are the dearest case for MAUVE,
which keeps nearly all of their principal components. The peer of `embed` is the loop that one writes: batches of 32 in
the order given, padded to the longest. The model is all-MiniLM-L6-v2 of the mirror (HARNESS_MIRROR), else a tiny BERT;
the texts are random words, of 30 on average (log-normal, as lengths of synthetic texts are).
"""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture
from transformers import AutoModel, AutoTokenizer

from harness.generators.locate import ModelPlace, locate_model
from harness.quality.embedding_distances import embedding_distances
from harness.quality.embeddings import embed
from harness.quality.frechet import frechet
from harness.quality.mauve import mauve
from harness.quality.vendi import vendi_score
from tests.students.tiny_bert import POSITIONS, save_bert

N_ROWS, WIDTH, N_TEXTS = 20_000, 384, 400
WORDS = ["the", "film", "good", "bad", "was", "long", "one", "of", "best", "actor", "story", "and", "a", "it", "."]
REAL_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"


def random_units(seed: int, count: int = N_ROWS) -> NDArray[np.float32]:
    rows = np.random.default_rng(seed).normal(size=(count, WIDTH)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def random_texts() -> list[str]:
    stream = np.random.default_rng(13)
    lengths = np.clip(stream.lognormal(np.log(26), 0.5, N_TEXTS), 3, POSITIONS - 2).astype(int)
    return [" ".join(stream.choice(WORDS, length)) for length in lengths]


def plain_loop(place: ModelPlace, texts: list[str]) -> NDArray[np.float32]:
    """Loading included, as in `embed`."""
    tokenizer: Any = AutoTokenizer.from_pretrained(place.source)
    network = AutoModel.from_pretrained(place.source, dtype=torch.float32).eval()
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            inputs = tokenizer(texts[start : start + 32], padding=True, truncation=True, return_tensors="pt")
            weights = inputs["attention_mask"][:, :, None].float()
            means = (network(**inputs).last_hidden_state * weights).sum(1) / weights.sum(1)
            found.append(torch.nn.functional.normalize(means, dim=1).numpy())
    return np.concatenate(found)


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def once(benchmark: BenchmarkFixture, function: Callable[[], object]) -> None:
    benchmark.pedantic(function, rounds=1)  # type: ignore[no-untyped-call]


def test_bench_vendi_embeddings(benchmark: BenchmarkFixture) -> None:
    rows = random_units(1)
    once(benchmark, lambda: vendi_score(rows))


def test_bench_embedding_distances(benchmark: BenchmarkFixture) -> None:
    rows = random_units(1)
    once(benchmark, lambda: embedding_distances(rows))


def test_bench_embedding_distances_of_100000_rows_by_a_sample(benchmark: BenchmarkFixture) -> None:
    rows = random_units(1, 100_000)
    once(benchmark, lambda: embedding_distances(rows))


def test_bench_mauve(benchmark: BenchmarkFixture) -> None:
    rows, real = random_units(1), random_units(2)
    once(benchmark, lambda: mauve(rows, real))


def test_bench_frechet(benchmark: BenchmarkFixture) -> None:
    rows, real = random_units(1), random_units(2)
    once(benchmark, lambda: frechet(rows, real))


@pytest.fixture
def place(tmp_path: Path) -> ModelPlace:
    mirror = os.environ.get("HARNESS_MIRROR")
    if mirror is not None and (Path(mirror) / "models" / REAL_ENCODER).is_dir():
        return locate_model(REAL_ENCODER, None, Path(mirror))
    save_bert(tmp_path, WORDS)
    return locate_model(str(tmp_path), None, None)


def test_bench_embed(benchmark: BenchmarkFixture, place: ModelPlace) -> None:
    texts = random_texts()
    once(benchmark, lambda: embed(place, texts))
    # In pairs back to back, so that other load slows both.
    ratios = [seconds(lambda: plain_loop(place, texts)) / seconds(lambda: embed(place, texts)) for _ in range(3)]
    benchmark.extra_info["plain_seconds_over_ours"] = statistics.median(ratios)
    difference = float(np.abs(embed(place, texts) - plain_loop(place, texts)).max())
    benchmark.extra_info["largest_difference"] = difference
