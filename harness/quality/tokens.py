"""Words of a text and their integer ids: the one tokeniser that every measure of the text uses.

Importing this module costs nothing, so that a name and a version can be read without numpy.
"""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORDS_V1 = "words.v1"
"""Name and version of the tokeniser for signatures: runs of word characters, and single marks; case kept."""

_WORD_OR_MARK = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """The words and marks of `text` in order: `Don't!` gives `Don`, `'`, `t`, `!`."""
    return _WORD_OR_MARK.findall(text)


@dataclass(frozen=True, slots=True, eq=False)
class TokenIds:
    """A tokenised corpus as two flat arrays.

    `ids` is int32 [n_tokens], all texts one after another; equal ids mean equal tokens and each is at least
    0. `offsets` is int64 [n_texts + 1]: text i is `ids[offsets[i]:offsets[i + 1]]`, so `offsets[0]` is 0 and
    the last is n_tokens.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @property
    def n_texts(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per text, int64 [n_texts]."""
        return self.offsets[1:] - self.offsets[:-1]

    def take(self, indices: NDArray[np.int64]) -> TokenIds:
        """The texts at `indices`, in that order; a repeated index repeats its text."""
        import numpy as np

        lengths = self.lengths[indices]
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        # Where a token stood before: as far behind the start of its text as it stands now.
        positions = np.arange(offsets[-1]) + np.repeat(self.offsets[indices] - offsets[:-1], lengths)
        return TokenIds(self.ids[positions], offsets)


def intern_texts(texts: Sequence[str]) -> TokenIds:
    """Tokenise `texts` with `words` and number the distinct words from 0 in order of first appearance."""
    return intern_tokens(words(text) for text in texts)


def intern_tokens(tokenised: Iterable[Sequence[str]]) -> TokenIds:
    """Number the distinct tokens of texts that are already cut into tokens, from 0 in order of appearance."""
    import numpy as np

    vocabulary: defaultdict[str, int] = defaultdict()
    vocabulary.default_factory = vocabulary.__len__  # a new word gets the next number
    # Compact arrays: a list of six million Python integers would take eight times the memory.
    ids, offsets = array("i"), array("q", [0])
    for tokens in tokenised:
        ids.extend(map(vocabulary.__getitem__, tokens))
        offsets.append(len(ids))
    return TokenIds(np.array(ids, dtype=np.int32), np.array(offsets, dtype=np.int64))
