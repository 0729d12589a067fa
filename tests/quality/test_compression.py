import math
import random
import zlib

import pytest

from harness.quality.compression import compression_at, compression_ratio, joined


def test_the_ratio_is_that_of_a_gzip_file_which_is_18_bytes_longer_than_its_deflate_stream() -> None:
    data = b" ".join(b"%d" % (index * index % 97) for index in range(5_000))
    stream = zlib.compressobj(9, wbits=-15)
    deflated = stream.compress(data) + stream.flush()
    assert compression_ratio(data) == len(data) / (len(deflated) + 18)
    assert math.isnan(compression_ratio(b""))


def test_texts_are_joined_by_newlines_in_utf8_whatever_they_hold() -> None:
    assert joined(["naïve", "", "a"]) == b"na\xc3\xafve\n\na"
    assert joined(["\ud800"]) == b"?"


def test_a_smaller_corpus_than_the_budget_has_no_ratio_at_it() -> None:
    texts = ["a" * 9] * 10  # 99 bytes with the newlines between them
    assert compression_at(texts, 100, seed=0) == []
    assert len(compression_at(texts, 99, seed=0)) == 5


def test_every_draw_compresses_just_the_budget_of_random_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    compressed: list[bytes] = []
    monkeypatch.setattr("harness.quality.compression.compression_ratio", compressed.append)
    texts = [f"row {index} " + "ä" * (index % 50) for index in range(400)]
    compression_at(texts, 2_000, seed=3)
    assert [len(data) for data in compressed] == [2_000] * 5
    assert len(set(compressed)) == 5
    for data in compressed:
        *whole, _cut = data.decode("utf-8", "replace").split("\n")
        assert len(whole) == len(set(whole)) > 20 and set(whole) <= set(texts)


def test_at_one_budget_a_corpus_and_a_part_of_it_compare_which_whole_they_do_not() -> None:
    rng = random.Random(8)
    texts = [" ".join(f"w{rng.randint(0, 300)}" for _ in range(20)) for _ in range(800)]
    whole, part = (compression_ratio(joined(rows)) for rows in (texts, texts[:60]))
    equal, of_part = (compression_at(rows, 4_000, seed=0)[0] for rows in (texts, texts[:60]))
    assert whole - part > 0.3 and abs(equal - of_part) < 0.05
