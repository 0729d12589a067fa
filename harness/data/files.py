"""Tables from files that strangers wrote: JSON lines, CSV, Parquet, a saved `datasets` folder.

Everything is bounded before it is allocated, and whatever is wrong with a file ends in one HarnessError that names the
file, the line or row, what was expected and what was found.
"""

import csv
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.data.examples import Answer
from harness.errors import HarnessError, did_you_mean, one_of, shown
from harness.spec import MAX_ROWS

MAX_LINE_BYTES = 4 << 20
MAX_FILE_BYTES = 20 << 30
MAX_TEXT_CHARACTERS = 1_000_000
MAX_ANSWERS = 1000
_BATCH_ROWS = 256
READABLE = ".jsonl, .csv, .parquet, or a folder saved by `datasets`"

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")

Columns = dict[str, list[Any]]


def read_columns(path: Path, wanted: Sequence[str]) -> Columns:
    """The wanted columns of a table file, as Python values.

    Raises:
        HarnessError: no such file, an unknown kind, a damaged file, a missing column, a line beyond the limits.
    """
    readers = {".jsonl": _read_jsonl, ".json": _read_jsonl, ".csv": _read_csv, ".parquet": _read_parquet}
    try:
        reader = _read_saved_dataset if path.is_dir() else readers.get(path.suffix.lower())
        if reader is None:
            raise HarnessError(f"{path}: cannot tell what kind of file this is; expected {READABLE}")
        if not path.is_dir() and not path.is_file():
            raise HarnessError(f"{path}: no such file; expected {READABLE}")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise HarnessError(f"{path} is larger than {MAX_FILE_BYTES >> 30} GiB; split it")
        columns = reader(path, wanted)
    except OSError as error:
        raise HarnessError(f"{path} cannot be read: {error}") from None
    if not next(iter(columns.values()), []):
        raise HarnessError(f"{path} holds no rows; expected at least one")
    return columns


def column_names(path: Path) -> list[str]:
    """The names of a file's columns: those of the first row where every row has its own.

    Raises:
        HarnessError: as `read_columns`.
    """
    kind = path.suffix.lower()
    if kind in (".jsonl", ".json") and path.is_file():
        for _, line in _lines(path):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError):
                    break  # reading the columns will say what is wrong
                return [str(name) for name in row] if isinstance(row, dict) else []
        return []
    if kind == ".csv" and path.is_file():
        return next(csv.reader(line for _, line in _lines(path)), [])
    if kind == ".parquet" and path.is_file():
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return list(pq.ParquetFile(path).schema_arrow.names)
        except pa.ArrowException:
            return []
    if (path / "dataset_info.json").is_file():
        features = _json_of(path / "dataset_info.json").get("features")
        return list(features) if isinstance(features, dict) else []
    return []


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
                _require_columns(f"{path}:{number}", list(row), wanted)
            values.append(row[name])
    return columns


def _read_csv(path: Path, wanted: Sequence[str]) -> Columns:
    reader = csv.reader((line for _, line in _lines(path)), strict=True)
    columns: Columns = {name: [] for name in wanted}
    try:
        header = next(reader, [])
        _require_columns(path, header, wanted)
        places = {name: header.index(name) for name in wanted}
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                place = f"{path}:{reader.line_num}"
                raise HarnessError(f"{place}: expected {len(header)} fields as in the header, found {len(row)}")
            for name, place_in_row in places.items():
                columns[name].append(row[place_in_row])
    except csv.Error as error:
        raise HarnessError(
            f"{path}:{reader.line_num}: not valid CSV: {error}; check its quotes, or save it as JSON lines"
        ) from None
    return columns


def _read_parquet(path: Path, wanted: Sequence[str]) -> Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        _require_columns(path, file.schema_arrow.names, wanted)
        if file.metadata.num_rows > MAX_ROWS:
            raise HarnessError(f"{path} holds {file.metadata.num_rows:,} rows; most is {MAX_ROWS:,}; split it")
        return _python_values(path, file.iter_batches(_BATCH_ROWS, columns=list(dict.fromkeys(wanted))), wanted)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise HarnessError(f"{path} is not a whole Parquet file ({_reason(error)}); copy it again") from None


def _read_saved_dataset(path: Path, wanted: Sequence[str]) -> Columns:
    """The one split in a folder that `save_to_disk` wrote: Arrow streams and two JSON files that say what they are.

    `datasets.load_from_disk` would follow any path that the JSON names, and trust every offset in the Arrow files.
    """
    import pyarrow as pa

    folder = path
    if (path / "dataset_dict.json").is_file():
        splits = _json_of(path / "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or len(splits) != 1:
            found = one_of(map(str, splits)) if isinstance(splits, list) else shown(splits)
            raise HarnessError(f"{path} holds the splits {found}; expected one: name the split's folder")
        folder = path / _plain_name(splits[0], path)
    state, info = _json_of(folder / "state.json"), _json_of(folder / "dataset_info.json")
    entries, features = state.get("_data_files"), info.get("features")
    if not isinstance(entries, list) or not isinstance(features, dict):
        raise _not_saved(folder, "its JSON names no '_data_files' or no 'features'")
    columns: Columns = {name: [] for name in wanted}
    for entry in entries:
        file = folder / _plain_name(entry.get("filename") if isinstance(entry, dict) else entry, folder)
        try:
            with pa.OSFile(str(file)) as source, pa.ipc.open_stream(source) as stream:
                _require_columns(file, stream.schema.names, wanted)
                for name, values in _python_values(file, stream, wanted).items():
                    columns[name] += values
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise HarnessError(f"{file} is not a whole Arrow file ({_reason(error)}); copy it again") from None
    return {name: _class_names(values, features.get(name)) for name, values in columns.items()}


def _python_values(path: Path, batches: Iterable[Any], wanted: Sequence[str]) -> Columns:
    """Arrow's record batches as Python values, each checked before its content is trusted."""
    import pyarrow as pa

    def is_plain(kind: pa.DataType) -> bool:
        if pa.types.is_dictionary(kind):
            return is_plain(kind.value_type)
        tests = ("null", "boolean", "integer", "floating", "string", "large_string", "string_view")
        return any(getattr(pa.types, f"is_{test}")(kind) for test in tests)

    def is_answers(kind: pa.DataType) -> bool:
        """SQuAD's column `answers`: a record of lists."""
        is_list = ("list", "large_list")
        return pa.types.is_struct(kind) and all(
            any(getattr(pa.types, f"is_{test}")(field.type) for test in is_list) and is_plain(field.type.value_type)
            for field in kind
        )

    columns: Columns = {name: [] for name in wanted}
    n_rows = n_bytes = 0
    for batch in batches:
        batch.validate(full=True)
        n_rows, n_bytes = n_rows + batch.num_rows, n_bytes + batch.nbytes
        if n_rows > MAX_ROWS or n_bytes > MAX_FILE_BYTES:
            raise HarnessError(f"{path} holds more than {MAX_ROWS:,} rows or {MAX_FILE_BYTES >> 30} GiB; split it")
        for name, values in columns.items():
            column = batch.column(batch.schema.get_field_index(name))
            if not (is_plain(column.type) or is_answers(column.type)):
                raise HarnessError(f"{path}: column '{name}': expected texts or numbers, found {column.type}")
            values += column.to_pylist()
    return columns


def _class_names(values: list[Any], feature: Any) -> list[Any]:
    """Class ids as class names, for labels travel by name; an id that has no name stays what it is."""
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return values
    names = feature.get("names")
    known = dict(enumerate(names)) if isinstance(names, list) else {}
    return [known.get(value, value) if isinstance(value, int) else value for value in values]


def _json_of(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_LINE_BYTES:
            raise HarnessError(f"{path} is larger than {MAX_LINE_BYTES >> 20} MiB; is it what `datasets` saved?")
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise _not_saved(path.parent, f"it has no {path.name}") from None
    except (ValueError, RecursionError) as error:
        raise _not_saved(path.parent, f"{path.name} is not JSON: {_reason(error)}") from None
    if not isinstance(data, dict):
        raise _not_saved(path.parent, f"{path.name} holds no JSON object")
    return data


def _plain_name(name: Any, folder: Path) -> str:
    """A name that stays in its folder."""
    if not isinstance(name, str) or Path(name).name != name or "\0" in name or name in ("", ".."):
        raise _not_saved(folder, f"it names {shown(name)}, which is no file in it")
    return name


def _not_saved(folder: Path, why: str) -> HarnessError:
    return HarnessError(f"{folder} is not a folder saved by `datasets` ({why}); expected {READABLE}")


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def _require_columns(place: Path | str, found: Sequence[str], wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in found:
            names = one_of(one if len(one) <= 60 else one[:57] + "..." for one in found)
            hint = did_you_mean(name, found)
            raise HarnessError(f"{place}: expected a column '{name}', found {names}{hint}; map it with 'columns'")
        if found.count(name) > 1:
            raise HarnessError(f"{place}: the column '{name}' stands twice; rename one of them")


def check_texts(values: Sequence[Any], place: str) -> list[str]:
    """Every value as a text within the limits; a HarnessError names the first row that is not one."""
    for row, value in enumerate(values):
        if not isinstance(value, str):
            raise HarnessError(f"{place}: row {row}: expected a text, found {shown(value)}")
        if _HALF_CHARACTER.search(value):
            raise HarnessError(f"{place}: row {row}: half of a surrogate pair is no character: {shown(value)}")
        if len(value) > MAX_TEXT_CHARACTERS:
            raise HarnessError(
                f"{place}: row {row}: a text of {len(value):,} characters; most is {MAX_TEXT_CHARACTERS:,}"
            )
    return list(values)


def check_answers(values: Sequence[Any], contexts: Sequence[str], place: str) -> list[tuple[Answer, ...]]:
    """SQuAD's `answers` ({text: [...], answer_start: [...]}, starts in characters), each where it says it stands.

    Raises:
        HarnessError: a row without an answer or of another form; an answer that is not in its context at its start.
    """
    result = []
    for row, (value, context) in enumerate(zip(values, contexts, strict=True)):
        texts = value.get("text") if isinstance(value, dict) else None
        starts = value.get("answer_start") if isinstance(value, dict) else None
        if not isinstance(texts, list) or not isinstance(starts, list) or not 0 < len(texts) == len(starts):
            expected = "as many of each and at least one of {text: [...], answer_start: [...]}"
            raise HarnessError(f"{place}: row {row}: 'answers': expected {expected}, found {shown(value)}")
        if len(texts) > MAX_ANSWERS:
            raise HarnessError(f"{place}: row {row}: {len(texts):,} answers; most is {MAX_ANSWERS:,}")
        found = []
        for text, start in zip(check_texts(texts, f"{place}: row {row}: 'answers'"), starts, strict=True):
            if isinstance(start, bool) or not isinstance(start, int) or start < 0 or not text:
                raise HarnessError(
                    f"{place}: row {row}: expected an answer and its start, found {shown([text, start])}"
                )
            if context[start : start + len(text)] != text:
                raise HarnessError(f"{place}: row {row}: {_misplaced(text, start, context)}")
            found.append(Answer(text, start))
        result.append(tuple(found))
    return result


def _misplaced(text: str, start: int, context: str) -> str:
    places = [match.start() for match in re.finditer(re.escape(text), context)]
    if not places:
        return f"the answer {shown(text)} is not in its context"
    nearest = min(places, key=lambda place: abs(place - start))
    return f"the answer {shown(text)} does not begin at character {start} of its context, but at {nearest}"


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
            spelt = str(plain) if isinstance(plain, int) else plain  # 0 in the file, "0" in the mapping
            name = table.get(plain, table.get(spelt)) if known else None
            if name is None or name not in labels:
                wanted = one_of(str(key) for key in mapping) if mapping else one_of(labels)
                fix = "extend its 'labels' mapping" if mapping else "add a 'labels' mapping"
                raise HarnessError(f"{place}: row {row}: unknown label {shown(value)}; expected {wanted}; {fix}")
            cache[plain] = name
        result.append(name)
    return result
