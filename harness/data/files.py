"""Tables from files that strangers wrote: JSON lines, CSV, Parquet, a saved `datasets` folder.

Everything is bounded before it is allocated, and whatever is wrong with a file ends in one HarnessError that names the
file, the line or row, what was expected and what was found.
"""

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, did_you_mean, one_of

MAX_LINE_BYTES = 4 << 20
MAX_FILE_BYTES = 20 << 30
MAX_TEXT_CHARACTERS = 1_000_000
READABLE = ".jsonl, .csv, .parquet, or a folder saved by `datasets`"

Columns = dict[str, list[Any]]


def read_columns(path: Path, wanted: Sequence[str]) -> Columns:
    """The wanted columns of a table file, as Python values.

    Raises:
        HarnessError: no such file, an unknown kind, a damaged file, a missing column, a line beyond the limits.
    """
    if path.is_dir():
        return _read_saved_dataset(path, wanted)
    if not path.is_file():
        raise HarnessError(f"{path}: no such file; expected {READABLE}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise HarnessError(f"{path} is larger than {MAX_FILE_BYTES >> 30} GiB; split it")
    readers = {".jsonl": _read_jsonl, ".json": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise HarnessError(f"{path}: cannot tell what kind of file this is; expected {READABLE}")
    try:
        columns = reader(path, wanted)
    except OSError as error:
        raise HarnessError(f"{path} cannot be read: {error}") from None
    if not next(iter(columns.values()), []):
        raise HarnessError(f"{path} holds no rows; expected at least one")
    return columns


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                raise HarnessError(
                    f"{path}:{number}: a line of more than {MAX_LINE_BYTES >> 20} MiB; is a newline lost?"
                )
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise HarnessError(f"{path}:{number}: not UTF-8 (byte {error.start}); save the file as UTF-8") from None


def _read_jsonl(path: Path, wanted: Sequence[str]) -> Columns:
    columns: Columns = {name: [] for name in wanted}
    for number, line in _lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = str(error)[:100]
            raise HarnessError(f"{path}:{number}: not a JSON object ({reason}); expected one object per line") from None
        if not isinstance(row, dict):
            raise HarnessError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
        for name, values in columns.items():
            if name not in row:
                raise _no_column(f"{path}:{number}", name, list(row))
            values.append(row[name])
    return columns


def _read_csv(path: Path, wanted: Sequence[str]) -> Columns:
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    columns: Columns = {name: [] for name in wanted}
    try:
        header = next(reader, [])
        missing = [name for name in wanted if name not in header]
        if missing:
            raise _no_column(str(path), missing[0], header)
        places = {name: header.index(name) for name in wanted}
        for row in reader:
            if len(row) != len(header):
                place = f"{path}:{reader.line_num}"
                raise HarnessError(f"{place}: expected {len(header)} fields as in the header, found {len(row)}")
            for name, place_in_row in places.items():
                columns[name].append(row[place_in_row])
    except csv.Error as error:
        raise HarnessError(f"{path}:{reader.line_num}: not valid CSV: {error}") from None
    return columns


def _read_parquet(path: Path, wanted: Sequence[str]) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        missing = [name for name in wanted if name not in file.schema_arrow.names]
        if missing:
            raise _no_column(str(path), missing[0], file.schema_arrow.names)
        table = file.read(columns=list(dict.fromkeys(wanted)))
        return {name: table.column(name).to_pylist() for name in wanted}
    except (pa.ArrowException, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise HarnessError(f"{path} is not a whole Parquet file ({reason}); copy it again") from None


def _read_saved_dataset(path: Path, wanted: Sequence[str]) -> Columns:
    import datasets

    try:
        dataset = datasets.load_from_disk(str(path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise HarnessError(f"{path} is not a folder saved by `datasets` ({reason}); expected {READABLE}") from None
    if isinstance(dataset, datasets.DatasetDict):
        if len(dataset) != 1:
            raise HarnessError(f"{path} holds the splits {one_of(dataset)}; expected one: name the split's folder")
        dataset = next(iter(dataset.values()))
    missing = [name for name in wanted if name not in dataset.column_names]
    if missing:
        raise _no_column(str(path), missing[0], dataset.column_names)
    return {name: list(_label_names_of(dataset, name)) for name in wanted}


def _label_names_of(dataset: Any, name: str) -> list[Any]:
    """A column's values; class ids become class names, for labels travel by name."""
    feature, values = dataset.features[name], list(dataset[name])
    if hasattr(feature, "int2str"):
        return [None if value is None or value < 0 else feature.int2str(value) for value in values]
    return values


def _no_column(place: str, name: str, found: Sequence[str]) -> HarnessError:
    hint = did_you_mean(name, found)
    return HarnessError(f"{place}: expected a column '{name}', found {one_of(found)}{hint}; map it with 'columns'")


def check_texts(values: Sequence[Any], place: str) -> list[str]:
    """Every value as a text within the limits; a HarnessError names the first row that is not one."""
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise HarnessError(f"{place}: row {row}: expected a text, found {_shown(value)}")
        if len(value) > MAX_TEXT_CHARACTERS:
            raise HarnessError(
                f"{place}: row {row}: a text of {len(value):,} characters; most is {MAX_TEXT_CHARACTERS:,}"
            )
    return list(values)


def label_names(
    values: Sequence[Any], mapping: Mapping[str | int, str], labels: Sequence[str], place: str
) -> list[str]:
    """Every raw label as a label name of the task, through the source's mapping if it has one.

    Raises:
        HarnessError: a label that the mapping (or, without one, the task) does not know, or none (null, NaN).
    """
    table: dict[Any, str] = dict(mapping) if mapping else {label: label for label in labels}
    table |= {str(key): name for key, name in table.items()}
    cache: dict[Any, str] = {}
    result = []
    for row, value in enumerate(values):
        plain = int(value) if isinstance(value, float) and value.is_integer() and math.isfinite(value) else value
        known = plain.__hash__ is not None and not isinstance(plain, bool | list | dict)
        name = cache.get(plain) if known else None
        if name is None:
            name = table.get(plain) if known else None
            if name is None or name not in labels:
                wanted = one_of(str(key) for key in mapping) if mapping else one_of(labels)
                fix = "extend its 'labels' mapping" if mapping else "add a 'labels' mapping"
                raise HarnessError(f"{place}: row {row}: unknown label {_shown(value)}; expected {wanted}; {fix}")
            cache[plain] = name
        result.append(name)
    return result


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
