"""Plain text for pre-training a PLM: read it, leave texts out, hold some back, tokenise and pack it.

A source is a file (`.txt`, `.jsonl`, `.csv`, `.parquet`), a folder that holds files of one of these kinds, or
a folder that `datasets` saved. A `.txt` file is one document; in the others every row is one. All text is
held in memory.
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from harness.errors import HarnessError, did_you_mean, one_of

END_OF_TEXT = "<|endoftext|>"
HELD_OUT_SHARE = 0.01
SUFFIXES = (".txt", ".jsonl", ".csv", ".parquet")

LINE_BREAK_TAG = re.compile(r"<br\s*/?>", re.IGNORECASE)
WORD = re.compile(r"\w+")
CSV_BLOCK_BYTES = 16 * 2**20
"""No row of a CSV file may be longer."""

TokenIds = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents to train on and documents held out, with the counts of what was left aside.

    `rows` counts everything read: `rows == len(train) + len(held_out) + empty + excluded`.
    """

    train: list[str]
    held_out: list[str]
    rows: int
    empty: int
    excluded: int


def read_corpus(sources: Sequence[Path], exclude: Sequence[Path] = (), column: str = "text") -> Corpus:
    """Every document of `sources` whose normalised form stands nowhere in `exclude`, 1 % of them held out.

    Which documents are held out depends on their text alone, so that runs with other seeds or sizes share one
    validation set, and copies of one document never stand on both sides.

    Raises HarnessError for a source that is missing, unreadable or empty, and where fewer than two different
    documents are left.
    """
    banned = {fingerprint(text) for source in exclude for text in documents(source, column)}
    texts: list[tuple[bytes, str]] = []
    rows = empty = 0
    for source in sources:
        for text in documents(source, column):
            rows += 1
            empty += not text
            if text:
                texts.append((fingerprint(text), text))
    kept = [(mark, text) for mark, text in texts if mark not in banned]
    marks = sorted({mark for mark, _ in kept})
    if len(marks) < 2:
        raise HarnessError(
            f"expected at least two different documents to train on, found {len(marks)} "
            f"({rows:,} read, {empty:,} empty, {len(texts) - len(kept):,} excluded); "
            "name more text (a .txt file is one document, a row of any other kind is one)"
        )
    held = set(marks[: max(1, round(HELD_OUT_SHARE * len(marks)))])
    return Corpus(
        train=[text for mark, text in kept if mark not in held],
        held_out=[text for mark, text in kept if mark in held],
        rows=rows,
        empty=empty,
        excluded=len(texts) - len(kept),
    )


def normalise(text: str) -> str:
    """The form in which two texts count as the same: case, punctuation, tags and spacing set aside."""
    plain = unicodedata.normalize("NFKC", LINE_BREAK_TAG.sub(" ", text)).casefold()
    # A text without a word (emoji, punctuation) keeps its signs: all such texts would count as one otherwise.
    return " ".join(WORD.findall(plain)) or " ".join(plain.split())


def fingerprint(text: str) -> bytes:
    """16 bytes that stand for the normalised text."""
    return blake2b(normalise(text).encode(), digest_size=16).digest()


def documents(source: Path, column: str) -> Iterator[str]:
    """The documents of one source in a fixed order, `<br />` as newlines, stripped; an empty row comes as "".

    Raises HarnessError for whatever a user can mend, with the file and, where there is one, the row.
    """
    none = True
    for path in _files(source):
        for row, value in enumerate(_read(path, column), 1):
            none = False
            if not isinstance(value, str | None):
                raise HarnessError(
                    f"{path}, row {row}: expected text in column '{column}', found {type(value).__name__}"
                )
            yield LINE_BREAK_TAG.sub("\n", value or "").replace("\r\n", "\n").strip()
    if none:
        raise HarnessError(f"{source} holds no rows; name a source with text in it")


def _files(source: Path) -> list[Path]:
    """What to open for a source: itself, or the files of the one kind that a folder holds, by name."""
    if not source.exists():
        raise HarnessError(f"no such file or folder: {source}")
    if source.is_file():
        if source.suffix.lower() not in SUFFIXES:
            raise HarnessError(f"{source}: expected a file in {one_of(SUFFIXES)}, or a folder of such files")
        return [source]
    if (source / "dataset_dict.json").exists():
        splits = one_of(path.parent.name for path in source.glob("*/state.json"))
        raise HarnessError(f"{source} holds several splits ({splits}); name one of them, such as {source}/train")
    if (source / "state.json").exists():
        return [source]
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    kinds = {path.suffix.lower() for path in files}
    if not kinds:
        raise HarnessError(f"{source}: expected files in {one_of(SUFFIXES)} directly in this folder, found none")
    if len(kinds) > 1:
        raise HarnessError(f"{source} mixes {one_of(kinds)}; name the files you mean, such as {files[0]}")
    return files


def _read(path: Path, column: str) -> Iterator[object]:
    """The values of one file's column; what the readers raise becomes a HarnessError that names the file."""
    try:
        if path.is_dir():
            yield from _read_saved(path, column)
        elif path.suffix.lower() == ".txt":
            yield path.read_bytes().decode("utf-8-sig")
        elif path.suffix.lower() == ".jsonl":
            yield from _read_json_lines(path, column)
        elif path.suffix.lower() == ".csv":
            yield from _read_csv(path, column)
        else:
            yield from _read_parquet(path, column)
    except UnicodeError as error:
        raise HarnessError(f"{path} is not valid UTF-8 ({error}); convert it first") from error
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        first = (str(error).splitlines() or [""])[0]
        raise HarnessError(f"{path} cannot be read: {first} ({type(error).__name__})") from error


def _read_json_lines(path: Path, column: str) -> Iterator[object]:
    with path.open(encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, RecursionError) as error:
                raise HarnessError(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise HarnessError(f"{path}, line {number}: expected an object, found {type(row).__name__}")
            _check_column(f"{path}, line {number}", column, row)
            value = row[column]
            if isinstance(value, str):
                value.encode()  # JSON can spell half a surrogate pair, which is no text: UnicodeError
            yield value


def _read_csv(path: Path, column: str) -> Iterator[object]:
    # Columns are read as text, never guessed, and a row with a comma too many is an error, not a shifted row.
    parse = csv.ParseOptions(newlines_in_values=True)
    read = csv.ReadOptions(block_size=CSV_BLOCK_BYTES)
    with csv.open_csv(path, read_options=read, parse_options=parse) as head:
        _check_column(str(path), column, head.schema.names)
    convert = csv.ConvertOptions(include_columns=[column], column_types={column: pa.string()})
    with csv.open_csv(path, read_options=read, parse_options=parse, convert_options=convert) as table:
        for batch in table:
            yield from batch.column(0).to_pylist()


def _read_parquet(path: Path, column: str) -> Iterator[object]:
    with pq.ParquetFile(path) as table:
        _check_column(str(path), column, table.schema_arrow.names)
        for batch in table.iter_batches(batch_size=1024, columns=[column]):
            yield from batch.column(0).to_pylist()


def _read_saved(path: Path, column: str) -> Iterator[object]:
    from datasets import load_from_disk  # slow to import, and no other kind needs it

    rows = load_from_disk(str(path))
    _check_column(str(path), column, rows.column_names)
    for batch in rows.select_columns([column]).iter(batch_size=1024):
        yield from batch[column]


def _check_column(where: str, column: str, known: Iterable[str]) -> None:
    names = [str(name) for name in known]
    if column not in names:
        found = one_of(names) + did_you_mean(column, names)
        raise HarnessError(f"{where}: no column '{column}', found {found}; name the text's column with --column")


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE of at most `vocab_size` entries, `<|endoftext|>` first; the same for the same texts.

    It has at least the 256 bytes and `<|endoftext|>`, and fewer entries than asked for where text is short.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a Hugging Face folder, to share one vocabulary between models.

    Raises HarnessError where there is none, or where it lacks `<|endoftext|>`.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise HarnessError(f"--tokenizer {folder}: expected a folder with a tokenizer.json")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more particular
        raise HarnessError(f"{path} cannot be read: {error}") from error
    end_of_text_id(tokenizer)
    return tokenizer


def end_of_text_id(tokenizer: Tokenizer) -> int:
    """The id of `<|endoftext|>`. Raises HarnessError where the vocabulary lacks it."""
    number = tokenizer.token_to_id(END_OF_TEXT)
    if number is None:
        raise HarnessError(f"the tokenizer has no token {END_OF_TEXT}, which marks where a document begins")
    return number


def pack(tokenizer: Tokenizer, texts: Sequence[str]) -> TokenIds:
    """All documents as one row of token ids, shape (tokens,), `<|endoftext|>` before each."""
    end = end_of_text_id(tokenizer)
    # A document that spells out `<|endoftext|>` must not make a document boundary.
    tokenizer.encode_special_tokens = True
    parts: list[TokenIds] = []
    for start in range(0, len(texts), 1024):
        batch = tokenizer.encode_batch(list(texts[start : start + 1024]), add_special_tokens=False)
        parts += [np.array([end, *encoding.ids], dtype=np.uint32) for encoding in batch]
    tokenizer.encode_special_tokens = False
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.uint32)


@dataclass(frozen=True, slots=True)
class Windows:
    """Training sequences out of a row of tokens, every token once an epoch, in an order fixed by the seed.

    Each epoch cuts the row at other places and shuffles anew. Which windows step `n` gets depends on nothing
    but `n`, so a run that carries on sees what an undisturbed one sees.
    """

    tokens: TokenIds
    length: int
    seed: int

    @property
    def per_epoch(self) -> int:
        """Windows in an epoch. One fewer than fit, so that there is room to move the cuts."""
        return (len(self.tokens) - self.length) // self.length

    def batch(self, step: int, size: int) -> NDArray[np.int64]:
        """Inputs and their successors of one step, shape (size, length + 1)."""
        places = range(step * size, (step + 1) * size)
        starts = [self._start(*divmod(place, self.per_epoch)) for place in places]
        return np.stack([self.tokens[start : start + self.length + 1] for start in starts]).astype(np.int64)

    def _start(self, epoch: int, place: int) -> int:
        offset, order = _epoch(self.seed, epoch, self.per_epoch, self.length)
        return offset + int(order[place]) * self.length


@lru_cache(maxsize=4)
def _epoch(seed: int, epoch: int, windows: int, length: int) -> tuple[int, NDArray[np.int64]]:
    """Where an epoch's first window starts, and the order of its windows."""
    random = np.random.default_rng((seed, epoch))
    return int(random.integers(length)), random.permutation(windows)
