"""Speed of training the students. Run: `pytest tests/benchmarks/test_bench_students.py --benchmark-only`.

The peer of `bilstm` is the same network and recipe as one writes it with torch's own parts: one bidirectional LSTM over
packed rows, random batches of 32. Texts are random words under Zipf's law (exponent 1.07), of 30 words on average
(log-normal, as lengths of synthetic texts are); nothing else about a text matters to the run time.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from students import bilstm, linear
from students.protocol import Examples, Target
from students.words import Vocabulary, pad

LABELS = ["negative", "positive"]
TARGET = Target("text-classification", tuple(LABELS))
N_BILSTM, N_LINEAR = 2_000, 10_000


def zipf_rows(count: int, seed: int = 13) -> Examples:
    stream = np.random.default_rng(seed)
    frequency = 1 / np.arange(1, 20_001) ** 1.07
    lengths = np.clip(stream.lognormal(np.log(26), 0.5, count), 3, 400).astype(int)
    words = stream.choice(20_000, int(lengths.sum()), p=frequency / frequency.sum())
    texts = [" ".join(f"w{rank}" for rank in row) for row in np.split(words, np.cumsum(lengths)[:-1])]
    return Examples(texts, [LABELS[number] for number in stream.integers(0, 2, count)])


class PackedBiLstm(nn.Module):
    def __init__(self, vocabulary: int, settings: bilstm.Settings) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, settings.embedding, padding_idx=0)
        self.lstm = nn.LSTM(settings.embedding, settings.hidden, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(settings.dropout)
        self.output = nn.Linear(2 * settings.hidden, len(LABELS))

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        embedded = self.dropout(self.embedding(ids))
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        _, (states, _) = self.lstm(packed)
        logits: torch.Tensor = self.output(self.dropout(torch.cat([states[0], states[1]], dim=1)))
        return logits


def train_packed(examples: Examples, settings: bilstm.Settings) -> None:
    """One epoch and the loss on the held-out tenth, from the texts on, as `bilstm` does it."""
    held = round(settings.held_out * len(examples))
    vocabulary = Vocabulary.build(examples.text[held:], settings.vocabulary)
    rows = vocabulary.encode(examples.text, settings.max_words)
    targets = torch.tensor([LABELS.index(label) for label in examples.label])
    network = PackedBiLstm(len(vocabulary), settings)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)

    def loss_of(batch: torch.Tensor) -> torch.Tensor:
        some = [rows[index] for index in batch.tolist()]
        logits = network(torch.from_numpy(pad(some)), torch.tensor([len(row) for row in some]))
        return nn.functional.cross_entropy(logits, targets[batch])

    order = held + torch.randperm(len(rows) - held)
    for start in range(0, len(order), settings.batch_size):
        loss = loss_of(order[start : start + settings.batch_size])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), settings.gradient_clip)
        optimizer.step()
    network.eval()
    with torch.inference_mode():
        for start in range(0, held, 128):
            loss_of(torch.arange(start, min(start + 128, held)))


def train_ours(examples: Examples) -> None:
    bilstm.Student(bilstm.Settings(epochs=1), TARGET).fit(examples, 13, lambda done, total, note: None)


def fit_ours(examples: Examples) -> None:
    linear.Student(linear.Settings(), TARGET).fit(examples, 13, lambda done, total, note: None)


def fit_pipeline(examples: Examples) -> None:
    make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(C=4, max_iter=1000)
    ).fit(examples.text, examples.label)


def ratio(peer: Callable[[], None], ours: Callable[[], None]) -> float:
    """Seconds of the peer over ours: median of three, each pair back to back, so that other load slows both."""
    found = []
    for _ in range(3):
        marks = [time.perf_counter()]
        for function in (peer, ours):
            function()
            marks.append(time.perf_counter())
        found.append((marks[1] - marks[0]) / (marks[2] - marks[1]))
    return statistics.median(found)


def test_bench_an_epoch_of_bilstm(benchmark: BenchmarkFixture) -> None:
    examples = zipf_rows(N_BILSTM)
    benchmark.pedantic(train_ours, (examples,), rounds=3, warmup_rounds=1)  # type: ignore[no-untyped-call]


def test_bench_an_epoch_of_the_same_network_over_packed_random_batches(benchmark: BenchmarkFixture) -> None:
    examples, settings = zipf_rows(N_BILSTM), bilstm.Settings(epochs=1)
    benchmark.pedantic(train_packed, (examples, settings), rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["packed_seconds_over_ours"] = ratio(
        lambda: train_packed(examples, settings), lambda: train_ours(examples)
    )


def test_bench_fit_of_linear(benchmark: BenchmarkFixture) -> None:
    benchmark.pedantic(fit_ours, (zipf_rows(N_LINEAR),), rounds=3, warmup_rounds=1)  # type: ignore[no-untyped-call]


def test_bench_fit_of_the_scikit_learn_pipeline(benchmark: BenchmarkFixture) -> None:
    examples = zipf_rows(N_LINEAR)
    benchmark.pedantic(fit_pipeline, (examples,), rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["pipeline_seconds_over_ours"] = ratio(
        lambda: fit_pipeline(examples), lambda: fit_ours(examples)
    )
