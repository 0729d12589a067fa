import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.data import files
from harness.data.files import check_texts, label_names, read_columns
from harness.errors import HarnessError
from harness.spec import ReplayGenerator, Task
from harness.stages.synthesize import read_replay

TEXTS = ["plain", 'a "quoted", text', "two\nlines", "ünïcode 💥 \u2028", "", " spaces "]
LABELS = [0, 1, 0, 1, 0, 1]
TASK = Task.model_validate(
    {
        "name": "films",
        "title": "Films",
        "family": "text-classification",
        "labels": ["negative", "positive"],
        "splits": {"test": {"file": "test.jsonl"}},
        "prompts": {"plain": {"source": "x", "completion": {"text": {"negative": ["Bad."], "positive": ["Good."]}}}},
    }
)


def write_jsonl(folder: Path) -> Path:
    path = folder / "rows.jsonl"
    rows = [{"extra": 1, "text": text, "label": label} for text, label in zip(TEXTS, LABELS, strict=True)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(folder: Path) -> Path:
    path = folder / "rows.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [("extra", "text", "label"), *((1, *row) for row in zip(TEXTS, LABELS, strict=True))]
        )
    return path


def write_parquet(folder: Path) -> Path:
    path = folder / "rows.parquet"
    pq.write_table(pa.table({"extra": [1] * 6, "text": TEXTS, "label": LABELS}), path)
    return path


def write_saved(folder: Path) -> Path:
    path = folder / "saved"
    datasets.Dataset.from_dict({"extra": [1] * 6, "text": TEXTS, "label": LABELS}).save_to_disk(str(path))
    return path


WRITERS: list[Callable[[Path], Path]] = [write_jsonl, write_csv, write_parquet, write_saved]


def refusal(path: Path, wanted: tuple[str, ...] = ("text", "label")) -> str:
    with pytest.raises(HarnessError) as caught:
        read_columns(path, wanted)
    return str(caught.value).replace(str(path.parent) + "/", "")


def text_file(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("write", WRITERS)
def test_the_same_rows_come_out_of_every_format_for_a_result_must_not_depend_on_it(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    columns = read_columns(write(tmp_path), ["text", "label"])
    assert columns["text"] == TEXTS
    mapping: dict[str | int, str] = {0: "negative", 1: "positive"}
    assert label_names(columns["label"], mapping, ["negative", "positive"], "x") == ["negative", "positive"] * 3


@pytest.mark.parametrize("write", WRITERS)
def test_a_missing_column_is_told_with_what_there_is_and_a_hint(write: Callable[[Path], Path], tmp_path: Path) -> None:
    message = refusal(write(tmp_path), ("txt", "label"))
    assert "expected a column 'txt', found extra, label, text; did you mean 'text'?; map it with 'columns'" in message


def test_one_column_may_serve_twice(tmp_path: Path) -> None:
    for write in WRITERS[:3]:
        assert read_columns(write(tmp_path), ["text", "text"]) == {"text": TEXTS}


# --- JSON lines -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"[1]", "rows.jsonl:2: expected a JSON object, found list"),
        (b"null", "rows.jsonl:2: expected a JSON object, found NoneType"),
        (b"{'text': 1}", "rows.jsonl:2: not a JSON object ("),
        (b'{"text": "a", "lab', "rows.jsonl:2: not a JSON object ("),
        (b"[" * 100_000, "rows.jsonl:2: not a JSON object ("),
        (b'{"text": "a", "label": ' + b"9" * 5000 + b"}", "rows.jsonl:2: not a JSON object ("),
        (b'{"text": "a"}', "rows.jsonl:2: expected a column 'label', found text"),
        (b'{"text": "\xff"}', "rows.jsonl:2: not UTF-8 (byte 10); save the file as UTF-8"),
    ],
)
def test_a_wrong_line_is_named_by_its_number(line: bytes, expected: str, tmp_path: Path) -> None:
    path = text_file(tmp_path, "rows.jsonl", b'{"text": "a", "label": "x"}\n' + line + b"\n")
    assert refusal(path).startswith(expected)


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    path = text_file(tmp_path, "rows.jsonl", '\ufeff{"text": "a"}\n\n  \n{"text": "b"}')
    assert read_columns(path, ["text"]) == {"text": ["a", "b"]}


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
def test_a_line_beyond_the_limit_is_refused_before_it_is_read_into_memory(name: str, tmp_path: Path) -> None:
    path = text_file(tmp_path, name, b"text\n" if name.endswith("csv") else b'{"text": "a"}\n')
    with path.open("ab") as file:
        file.truncate(10 << 30)  # sparse: takes no room on the disk, and would not fit into memory
    assert f"{name}:2: a line of more than 4 MiB; is a newline lost?" in refusal(path, ("text",))


def test_a_file_beyond_the_limit_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("wb") as file:
        file.truncate((20 << 30) + 1)
    assert refusal(path) == "rows.jsonl is larger than 20 GiB; split it"


# --- CSV ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("text,label\na,b\nc\n", "rows.csv:3: expected 2 fields as in the header, found 1"),
        ("text,label\na,b,c\n", "rows.csv:2: expected 2 fields as in the header, found 3"),
        ('text,label\n"a" b,c\n', "rows.csv:2: not valid CSV: "),
        ('text,label\n"a,c\n', "rows.csv:2: not valid CSV: unexpected end of data; check its quotes"),
        ("text,label,text\na,b,c\n", "rows.csv: the column 'text' stands twice; rename one of them"),
        ("a film,positive\n", "rows.csv: expected a column 'text', found a film, positive; map it with 'columns'"),
        (f"{'x' * 5000},label\na,b\n", f"rows.csv: expected a column 'text', found label, {'x' * 57}...; map it"),
    ],
)
def test_wrong_csv_is_named_by_its_line(content: str, expected: str, tmp_path: Path) -> None:
    assert refusal(text_file(tmp_path, "rows.csv", content)).startswith(expected)


def test_an_empty_line_in_csv_is_no_row(tmp_path: Path) -> None:
    path = text_file(tmp_path, "rows.csv", "text,label\r\na,b\r\n\r\nc,d\r\n\r\n")
    assert read_columns(path, ["text", "label"]) == {"text": ["a", "c"], "label": ["b", "d"]}


# --- Parquet --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0, 3, 4, 50, -1, -8, -100])
def test_a_truncated_parquet_file_says_to_copy_it_again(keep: int, tmp_path: Path) -> None:
    path = write_parquet(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    assert "rows.parquet is not a whole Parquet file (" in refusal(path)


def test_two_parquet_columns_of_one_name_are_refused_for_either_may_be_meant(tmp_path: Path) -> None:
    column = pa.array(["a"])
    pq.write_table(pa.table([column, column, column], names=["text", "label", "text"]), tmp_path / "rows.parquet")
    assert refusal(tmp_path / "rows.parquet") == "rows.parquet: the column 'text' stands twice; rename one of them"


def test_text_that_is_not_utf8_in_parquet_is_refused_not_replaced(tmp_path: Path) -> None:
    wrong = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    pq.write_table(pa.table({"text": wrong}), tmp_path / "rows.parquet")
    assert "is not a whole Parquet file (" in refusal(tmp_path / "rows.parquet", ("text",))


@pytest.mark.parametrize(
    "kind", [pa.timestamp("us"), pa.list_(pa.field("element", pa.string())), pa.binary(), pa.decimal128(5)]
)
def test_a_column_of_neither_texts_nor_numbers_is_refused_by_its_type(kind: pa.DataType, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.nulls(2, kind)}), tmp_path / "rows.parquet")
    message = refusal(tmp_path / "rows.parquet", ("text",))
    assert message == f"rows.parquet: column 'text': expected texts or numbers, found {kind}"


def test_categories_are_read_as_the_texts_they_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode()}), tmp_path / "rows.parquet")
    assert read_columns(tmp_path / "rows.parquet", ["text"]) == {"text": ["a", "b", "a"]}


def test_a_small_parquet_file_cannot_unfold_into_more_than_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["x" * 10_000] * 2000}), path)
    assert path.stat().st_size < 20_000, "as a dictionary the text stands there once"
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 1 << 20)
    assert "rows.parquet holds more than" in refusal(path, ("text",))
    monkeypatch.setattr(files, "MAX_ROWS", 1999)
    assert refusal(path, ("text",)) == "rows.parquet holds 2,000 rows; most is 1,999; split it"


# --- folders saved by `datasets` ------------------------------------------------------------------------------------


def save(folder: Path, labels: list[Any], names: list[str], **options: Any) -> Path:
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    rows = datasets.Dataset.from_dict({"text": [f"t{n}" for n in range(len(labels))], "label": labels}, features)
    rows.save_to_disk(str(folder / "saved"), **options)
    return folder / "saved"


def test_class_ids_of_a_saved_dataset_come_out_as_names_for_another_s_order_may_differ(tmp_path: Path) -> None:
    columns = read_columns(save(tmp_path, [0, 1, 1], ["positive", "negative"]), ["text", "label"])
    assert columns == {"text": ["t0", "t1", "t2"], "label": ["positive", "negative", "negative"]}


def test_what_datasets_reads_from_the_folder_is_what_we_read(tmp_path: Path) -> None:
    path = save(tmp_path, [0, 1, 1, 0] * 50, ["a", "b"], num_shards=3)
    theirs = datasets.load_from_disk(str(path))
    assert isinstance(theirs, datasets.Dataset)
    ours = read_columns(path, ["text", "label"])
    assert ours["text"] == list(theirs["text"])
    assert ours["label"] == [theirs.features["label"].int2str(value) for value in theirs["label"]]


def test_rows_that_were_picked_before_saving_are_the_picked_rows(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"text": ["a", "b", "c", "d"]}).select([3, 1])
    rows.save_to_disk(str(tmp_path / "saved"))
    assert read_columns(tmp_path / "saved", ["text"]) == {"text": ["d", "b"]}


def test_an_id_without_a_name_stays_a_number_so_that_it_is_told_as_an_unknown_label(tmp_path: Path) -> None:
    columns = read_columns(save(tmp_path, [0, None, -1], ["a", "b"]), ["label"])
    assert columns["label"] == ["a", None, -1]


def test_the_one_split_of_a_dataset_dictionary_is_meant_and_several_must_be_named(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"text": ["a"], "label": ["x"]})
    datasets.DatasetDict({"train": rows}).save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(str(tmp_path / "two"))
    assert read_columns(tmp_path / "one", ["text"]) == {"text": ["a"]}
    assert refusal(tmp_path / "two") == "two holds the splits test, train; expected one: name the split's folder"
    assert read_columns(tmp_path / "two" / "test", ["text"]) == {"text": ["a"]}


@pytest.mark.parametrize("name", ["../../secret.arrow", "/etc/passwd", "..", "a/b", "", "x\0", 5, None])
def test_no_path_in_a_saved_dataset_leaves_its_folder(name: Any, tmp_path: Path) -> None:
    path = save(tmp_path, [0, 1], ["a", "b"])
    (path / "data-00000-of-00001.arrow").rename(tmp_path / "secret.arrow")
    state = json.loads((path / "state.json").read_text())
    state["_data_files"][0]["filename"] = name
    (path / "state.json").write_text(json.dumps(state))
    assert f"it names {name!r}, which is no file in it" in refusal(path)


def test_a_split_of_a_dataset_dictionary_cannot_lie_outside_of_it(tmp_path: Path) -> None:
    save(tmp_path, [0, 1], ["a", "b"])
    (tmp_path / "dict").mkdir()
    (tmp_path / "dict" / "dataset_dict.json").write_text(json.dumps({"splits": ["../saved"]}))
    assert "it names '../saved', which is no file in it" in refusal(tmp_path / "dict")


@pytest.mark.parametrize("content", [b"", b"rubbish", b"[]", b"\xff", b"[" * 100_000, b"{}", b'{"features": 1}'])
@pytest.mark.parametrize("name", ["state.json", "dataset_info.json"])
def test_json_that_says_nothing_about_the_dataset_is_told_as_such(name: str, content: bytes, tmp_path: Path) -> None:
    path = save(tmp_path, [0, 1], ["a", "b"])
    (path / name).write_bytes(content)
    message = refusal(path)
    assert message.startswith("saved is not a folder saved by `datasets` (")
    assert message.endswith("expected .jsonl, .csv, .parquet, or a folder saved by `datasets`")


def test_any_other_folder_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty is not a folder saved by `datasets` (it has no state.json)" in refusal(tmp_path / "empty")


def test_offsets_in_an_arrow_file_are_checked_for_a_wrong_one_reads_another_s_memory(tmp_path: Path) -> None:
    path = save(tmp_path, [0, 1], ["a", "b"])
    file = path / "data-00000-of-00001.arrow"
    offsets = b"\0\0\0\0\2\0\0\0\4\0\0\0"  # of "t0" and "t1"
    assert file.read_bytes().count(offsets) == 1
    file.write_bytes(file.read_bytes().replace(offsets, b"\0\0\0\0\2\0\0\0\0\0\0\x7f"))
    assert "is not a whole Arrow file (" in refusal(path)


# --- what is no table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["rows.txt", "rows", "rows.pkl", "rows.jsonl.gz"])
def test_a_file_of_an_unknown_kind_is_told_what_can_be_read(name: str, tmp_path: Path) -> None:
    message = refusal(text_file(tmp_path, name, b"x"))
    assert message == f"{name}: cannot tell what kind of file this is; expected {files.READABLE}"


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv", "rows.parquet"])
def test_a_missing_file_is_told_from_a_damaged_one(name: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / name).startswith(f"{name}: no such file")


def test_a_table_without_rows_is_refused_in_every_format(tmp_path: Path) -> None:
    text_file(tmp_path, "rows.jsonl", "\n")
    text_file(tmp_path, "rows.csv", "text,label\n")
    pq.write_table(
        pa.table({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}), tmp_path / "rows.parquet"
    )
    save(tmp_path, [], ["a", "b"])
    for name in ("rows.jsonl", "rows.csv", "rows.parquet", "saved"):
        assert refusal(tmp_path / name) == f"{name} holds no rows; expected at least one"


# --- texts and labels -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, math.nan, 5, True, ["a"], {"a": 1}, b"a"])
def test_what_is_no_text_is_named_by_its_row_and_never_made_one(value: Any) -> None:
    with pytest.raises(HarnessError, match=r"^here: row 1: expected a text, found "):
        check_texts(["a", value], "here")


def test_a_text_is_bounded_and_can_be_written_out_again() -> None:
    longest = "x" * 1_000_000
    assert check_texts([longest, "", "💥"], "here") == [longest, "", "💥"]
    with pytest.raises(HarnessError, match="row 0: a text of 1,000,001 characters; most is 1,000,000"):
        check_texts([longest + "x"], "here")
    with pytest.raises(HarnessError, match="row 0: half of a surrogate pair is no character"):
        check_texts(["a \ud800 b"], "here")


def test_labels_go_through_the_map_by_value_however_the_format_spells_a_number() -> None:
    mapping: dict[str | int, str] = {0: "negative", 1: "positive"}
    labels = ["negative", "positive"]
    assert label_names([0, 1, "0", "1", 0.0, 1.0], mapping, labels, "x") == labels * 3
    assert label_names([0, 1, "0"], {"0": "positive", "1": "negative"}, labels, "x") == [
        "positive",
        "negative",
        "positive",
    ]
    assert label_names(["positive", "negative"], {}, labels, "x") == ["positive", "negative"]


@pytest.mark.parametrize(
    "value", [None, math.nan, math.inf, True, False, 2, -1, 0.5, "2", "Negative", "", [0], {"a": 0}]
)
def test_a_label_that_the_map_does_not_have_is_an_error_never_a_guess(value: Any) -> None:
    mapping: dict[str | int, str] = {
        0: "negative",
        1: "positive",
        "None": "negative",
        "nan": "negative",
        "True": "negative",
    }
    with pytest.raises(HarnessError) as caught:
        label_names([0, value], mapping, ["negative", "positive"], "here")
    assert str(caught.value).startswith(f"here: row 1: unknown label {value!r}; expected ")
    assert str(caught.value).endswith("; extend its 'labels' mapping")


def test_a_label_that_is_not_the_task_s_is_an_error_that_names_the_task_s() -> None:
    with pytest.raises(HarnessError, match=r"unknown label 0; expected negative, positive; add a 'labels' mapping"):
        label_names([0], {}, ["negative", "positive"], "here")
    with pytest.raises(HarnessError, match="unknown label"):
        label_names([0], {0: "neutral"}, ["negative", "positive"], "here")


# --- what a generator wrote -----------------------------------------------------------------------------------------


def replayed(path: Path, **fields: Any) -> list[tuple[str, str]]:
    generator = ReplayGenerator.model_validate({"name": "x", "backend": "replay", "data": path.name, **fields})
    rows = read_replay(generator, path, TASK)
    return list(zip(rows.text, rows.label, strict=True))


def test_the_zerogen_format_has_the_text_in_c_where_x_is_null(tmp_path: Path) -> None:
    rows = [{"C": "only C", "X": None, "Y": 1, "idx": 0}, {"C": "a title", "X": "the text", "Y": 0, "idx": 1}]
    path = text_file(tmp_path, "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    labels = {0: "positive", 1: "negative"}
    assert replayed(path, format="zerogen", labels=labels) == [("only C", "negative"), ("the text", "positive")]


def test_zerogen_s_0_is_positive_and_the_hub_s_0_is_negative_and_both_come_out_by_name(tmp_path: Path) -> None:
    theirs = [{"C": "I loved it.", "X": None, "Y": 0}, {"C": "I hated it.", "X": None, "Y": 1}]
    zerogen = text_file(tmp_path, "zerogen.jsonl", "".join(json.dumps(row) + "\n" for row in theirs))
    hub = text_file(tmp_path, "hub.csv", "sentence,label\nI loved it.,1\nI hated it.,0\n")
    right = [("I loved it.", "positive"), ("I hated it.", "negative")]
    assert replayed(zerogen, format="zerogen", labels={0: "positive", 1: "negative"}) == right
    assert replayed(hub, columns={"text": "sentence"}, labels={0: "negative", 1: "positive"}) == right


def test_a_zerogen_file_without_a_map_is_refused_for_its_numbers_mean_nothing(tmp_path: Path) -> None:
    path = text_file(tmp_path, "rows.jsonl", '{"C": "a", "X": null, "Y": 0}\n')
    with pytest.raises(HarnessError, match="unknown label 0; expected negative, positive; add a 'labels' mapping"):
        replayed(path, format="zerogen")


def test_a_zerogen_row_with_neither_text_is_refused(tmp_path: Path) -> None:
    path = text_file(tmp_path, "rows.jsonl", '{"C": null, "X": null, "Y": 0}\n')
    with pytest.raises(HarnessError, match="row 0: expected a text, found None"):
        replayed(path, format="zerogen", labels={0: "positive"})


def test_a_replayed_folder_saved_by_datasets_needs_no_map_for_it_has_the_names(tmp_path: Path) -> None:
    path = save(tmp_path, [0, 1], ["positive", "negative"])
    assert replayed(path) == [("t0", "positive"), ("t1", "negative")]
