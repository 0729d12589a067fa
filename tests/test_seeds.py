"""Random streams from names: the numbers stand in published datasets, so no release may change them."""

import hashlib
import subprocess
import sys
from collections import Counter
from itertools import combinations

import pytest
from scipy import stats

from harness.seeds import derive_seed, hash_order


def test_a_seed_is_the_documented_hash_so_that_other_programs_can_derive_it() -> None:
    parts = [b"int:13", b"str:sst2", b"int:4"]
    digest = hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts)).digest()
    assert derive_seed(13, "sst2", 4) == int.from_bytes(digest[:8], "little") >> 1


def test_published_seeds_and_orders_stay_what_they_are() -> None:
    assert derive_seed(13, "sst2", "positive", 4) == 3153662947572723410
    assert hash_order(8, "test-rows", "positive") == [0, 2, 7, 3, 1, 5, 4, 6]


def test_another_process_with_another_hash_seed_derives_the_same_seed() -> None:
    check = "from harness.seeds import derive_seed; print(derive_seed('imdb', 1))"
    found = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "1"}
    )
    assert int(found.stdout) == derive_seed("imdb", 1)


def test_parts_that_read_alike_when_joined_give_different_seeds() -> None:
    alike: list[tuple[str | int, ...]] = [
        *(("a", "b"), ("ab",), ("a", "b", ""), ("", "a", "b"), ("b", "a"), ()),
        *((12, 3), (1, 23), (123,), ("123",), ("int:123",)),
    ]
    for first, second in combinations(alike, 2):
        assert derive_seed(*first) != derive_seed(*second), (first, second)


def test_seeds_fit_every_generator_that_takes_a_signed_64_bit_integer() -> None:
    seeds = [derive_seed("fits", number) for number in range(2000)]
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    assert max(seeds) > 2**62  # all bits are used
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_an_order_is_a_permutation(count: int) -> None:
    assert sorted(hash_order(count, "any")) == list(range(count))


def test_the_order_of_a_shorter_list_is_kept_in_that_of_a_longer_one() -> None:
    longer = hash_order(500, "rows", 13)
    assert [index for index in longer if index < 200] == hash_order(200, "rows", 13)


def test_orders_with_other_parts_differ() -> None:
    assert hash_order(50, "rows", 13) != hash_order(50, "rows", 21)


def test_every_order_of_four_is_equally_likely() -> None:
    counts = Counter(tuple(hash_order(4, "uniform", seed)) for seed in range(4800))
    assert len(counts) == 24
    assert stats.chisquare(list(counts.values())).pvalue > 0.001
