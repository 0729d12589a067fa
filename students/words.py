"""Words to numbers for students that learn their embeddings: tokenizer, vocabulary, batches of similar length."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

PAD, UNKNOWN = 0, 1
WORD = re.compile(r"\w+|[^\w\s]")


def words(text: str) -> list[str]:
    """Lower-cased words and single punctuation marks."""
    return WORD.findall(text.lower())


@dataclass(frozen=True)
class Vocabulary:
    """Words by id; 0 is padding, 1 every word not in it."""

    words: tuple[str, ...]

    @classmethod
    def build(cls, texts: Iterable[str], size: int) -> "Vocabulary":
        """The `size` most frequent words, ties in alphabetical order."""
        return cls.of(Counter(word for text in texts for word in words(text)), size)

    @classmethod
    def of(cls, counts: Counter[str], size: int) -> "Vocabulary":
        """The same from words (or what else is to have numbers) that are counted already."""
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls(tuple(word for word, _ in ranked[:size]))

    def __len__(self) -> int:
        return len(self.words) + 2

    def ids(self) -> dict[str, int]:
        """The ids of the words in it."""
        return {word: number for number, word in enumerate(self.words, start=2)}

    def encode(self, texts: Sequence[str], max_words: int) -> list[list[int]]:
        """Ids of the first `max_words` words of each text; an empty text is one unknown word."""
        ids = self.ids()
        return [[ids.get(word, UNKNOWN) for word in words(text)[:max_words]] or [UNKNOWN] for text in texts]


def pad(rows: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
    """[rows, longest], padded with 0 at the end."""
    result = np.full((len(rows), max(len(row) for row in rows)), PAD, dtype=np.int64)
    for index, row in enumerate(rows):
        result[index, : len(row)] = row
    return result


def length_batches(
    lengths: Sequence[int], batch_size: int, stream: np.random.Generator, chunk_batches: int = 50
) -> list[npt.NDArray[np.int64]]:
    """A random epoch in batches of rows of similar length.

    Rows are shuffled, sorted by length within chunks of `chunk_batches` batches, and the batches shuffled: nearly
    random batches, hardly any padding.
    """
    order = stream.permutation(len(lengths))
    size = np.asarray(lengths)
    batches: list[npt.NDArray[np.int64]] = []
    for start in range(0, len(order), batch_size * chunk_batches):
        chunk = order[start : start + batch_size * chunk_batches]
        chunk = chunk[np.argsort(size[chunk], kind="stable")]
        batches += [chunk[first : first + batch_size] for first in range(0, len(chunk), batch_size)]
    return [batches[index] for index in stream.permutation(len(batches))]
