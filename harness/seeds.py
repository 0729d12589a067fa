"""Random streams derived from names, the same on every machine and with every library version.

Nothing draws from a global generator: whoever needs randomness derives a seed from what identifies the work, for
example `derive_seed(13, "sst2", "positive", 4)` for try 4 of the positive rows.
"""

import hashlib


def derive_seed(*parts: str | int) -> int:
    """A 63-bit seed from the parts' values (SHA-256; parts are length-prefixed, so `("a", "b")` is not `("ab",)`)."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = f"{type(part).__name__}:{part}".encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return int.from_bytes(digest.digest()[:8], "little") >> 1


def hash_order(count: int, *parts: str | int) -> list[int]:
    """A permutation of `range(count)` fixed by the parts.

    Sorting by a hash is a shuffle that no library release can change, and what comes first in a longer list does not
    depend on how much of the order is used.
    """
    seed = derive_seed(*parts).to_bytes(8, "little")
    keys = [hashlib.blake2b(seed + index.to_bytes(8, "little"), digest_size=8).digest() for index in range(count)]
    return sorted(range(count), key=lambda index: (keys[index], index))
