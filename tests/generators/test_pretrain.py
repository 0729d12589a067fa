"""The script that makes the small PLMs: what it reads, what it trains, what a kill leaves behind."""

import json
import math
import os
import random
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from filelock import FileLock
from pyarrow import csv
from safetensors import safe_open
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, AutoTokenizer

from harness.errors import HarnessError
from harness.generators.pretrain import Request, main, pretrain
from harness.generators.pretrain_loop import SIZES, Recipe, Tick, build_model
from harness.generators.pretrain_text import (
    Windows,
    documents,
    end_of_text_id,
    pack,
    read_corpus,
    train_tokenizer,
)

EMBEDDED = Path(__file__).parents[2] / "harness" / "generators" / "embedded"
STEPS = 60
LENGTH = 32
SMALL = [
    *("--size", "06m", "--steps", str(STEPS), "--vocab-size", "300"),
    *("--sequence-length", str(LENGTH), "--batch-size", "8"),
]
TINY = Recipe(size="06m", steps=6, learning_rate=4e-3, batch_size=4, sequence_length=LENGTH)


def patterned(number: int) -> str:
    """A document in which every word follows from the one before, so that a PLM can predict nearly all of it."""
    words = [a + b for a in ("ba", "de", "gi", "ko", "lu", "ma") for b in ("n", "r", "s", "t")]
    return " ".join(words[(number + place) % len(words)] for place in range(40 + number))


def write_lines(path: Path, texts: list[str], column: str = "text") -> Path:
    path.write_text("".join(json.dumps({column: text}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads cannot make models of this size faster, but wait for each other when other tests run beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lines(tmp_path_factory.mktemp("text") / "corpus.jsonl", [patterned(n) for n in range(60)])


@pytest.fixture(scope="module")
def plm(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PLM made through the command line, once for the tests that only look at it."""
    out = tmp_path_factory.mktemp("made") / "tiny-plm"
    assert main([str(source), *SMALL, "--out", str(out)]) == 0
    return out


# What it makes


def test_the_folder_loads_offline_and_generates(plm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    tokenizer = AutoTokenizer.from_pretrained(plm)
    model: Any = AutoModelForCausalLM.from_pretrained(plm)  # its `generate` is typed for another class
    begun = patterned(3)[:39]
    prompt = tokenizer("<|endoftext|>" + begun, return_tensors="pt")
    ids = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0]
    assert model.dtype == torch.bfloat16
    assert len(ids) == prompt["input_ids"].shape[1] + 12
    text = str(tokenizer.decode(ids, skip_special_tokens=True))
    assert text.startswith(begun) and patterned(3).startswith(text[:47])  # two words on


def test_only_whole_files_without_pickle_are_left(plm: Path) -> None:
    assert sorted(path.name for path in plm.iterdir()) == [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert [path.name for path in plm.parent.iterdir()] == [plm.name]
    assert {path.stat().st_mode for path in plm.iterdir()} == {(plm / "README.md").stat().st_mode}
    with safe_open(plm / "model.safetensors", "pt") as weights:
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"BF16"}  # noqa: SIM118


@pytest.mark.parametrize("size", sorted(SIZES))
def test_each_size_has_the_shape_of_its_embedded_plm(size: str) -> None:
    shipped = json.loads((EMBEDDED / f"review-gpt-{size}" / "config.json").read_text(encoding="utf-8"))
    recipe = Recipe(size=size, steps=1, learning_rate=1e-3, sequence_length=127)  # the positions they were trained on
    model = build_model(SIZES[size], 8192, 0, recipe)
    made = model.config.to_dict()
    unlike = {key for key in shipped if shipped[key] != made.get(key)}
    assert unlike <= {"dtype", "transformers_version", "architectures"}  # known once it is saved
    weights = load_file(EMBEDDED / f"review-gpt-{size}" / "model.safetensors")
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    assert {name: tuple(weight.shape) for name, weight in model.named_parameters()} == shapes


def test_the_validation_loss_is_that_of_the_saved_weights_and_beats_the_unigrams(plm: Path, source: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(plm)
    model = AutoModelForCausalLM.from_pretrained(plm, dtype=torch.float32)
    corpus = read_corpus([source])
    ids = [token for text in corpus.held_out for token in tokenizer("<|endoftext|>" + text)["input_ids"]]
    # transformers' own logits, window by window, instead of the code's loss
    losses, counts = [], []
    for start in range(0, len(ids) - 1, LENGTH):
        window = torch.tensor([ids[start : start + LENGTH + 1]])
        logits = model(input_ids=window[:, :-1]).logits[0]
        losses.append(torch.nn.functional.cross_entropy(logits, window[0, 1:]).item())
        counts.append(window.shape[1] - 1)
    loss = float(np.average(losses, weights=counts))
    _, frequencies = np.unique(ids, return_counts=True)
    shares = frequencies / frequencies.sum()
    unigram_entropy = float(-(shares * np.log(shares)).sum())

    assert f"Validation loss: {loss:.4f} nats" in (plm / "README.md").read_text(encoding="utf-8")
    assert unigram_entropy < math.log(300)
    assert loss < 0.5 * unigram_entropy  # every word follows from the one before


def test_the_card_states_what_was_measured_and_no_folder_of_the_machine(plm: Path, source: Path) -> None:
    card = (plm / "README.md").read_text(encoding="utf-8")
    parameters = sum(weight.numel() for weight in load_file(plm / "model.safetensors").values())
    tokenizer = Tokenizer.from_file(str(plm / "tokenizer.json"))
    tokens = len(pack(tokenizer, read_corpus([source]).train))
    assert f"{parameters:,} parameters" in card
    assert "| rows read | 60 |" in card
    assert f"| trained on | 59 ({tokens:,} tokens) |" in card
    assert f"{STEPS} steps of 8 × {LENGTH} tokens: {STEPS * 8 * LENGTH:,} tokens" in card
    assert "corpus.jsonl --vocab-size 300" in card
    assert str(source.parent) not in card and str(plm.parent) not in card


def test_a_tokenizer_can_be_shared(plm: Path, source: Path, tmp_path: Path) -> None:
    request = Request((source,), tmp_path / "second", TINY, tokenizer=plm)
    pretrain(request)
    shared = [json.loads((folder / "tokenizer.json").read_text()) for folder in (plm, request.out)]
    assert shared[0] == shared[1]


def test_a_tokenizer_gives_any_unicode_text_back(plm: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(plm)
    draw = random.Random(13)
    characters = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) != "Cs"]
    texts = ["".join(draw.choices(characters, k=40)) for _ in range(100)]
    texts += [
        "",
        " ",
        "  two  spaces ",
        "a , b . c ! don 't",
        "tab\t\r\n\n",
        "n\u0303 \u00f1 ﬁ",
        "👩‍👩‍👧 🏳️‍🌈",
        "שלום مرحبا",
        "\x00\x1f",
    ]
    for text in texts:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


# Killed and carried on


class StoppedError(Exception):
    pass


def stop_at(*steps: int) -> Callable[[Tick], None]:
    left = list(steps)

    def report(tick: Tick) -> None:
        if left and tick.step == left[0]:
            del left[0]
            raise StoppedError

    return report


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Request:
    request = Request((source,), tmp_path_factory.mktemp("undisturbed") / "plm", TINY, vocab_size=300)
    pretrain(request)
    return request


def files(folder: Path) -> dict[str, bytes]:
    """All but the card, which tells the seconds."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "README.md"}


@pytest.mark.parametrize(("stops", "seconds"), [([3], 0.0), ([2, 3, 6], 0.0), ([4], 1e9)])
def test_stopped_and_carried_on_equals_undisturbed_bit_for_bit(
    undisturbed: Request, tmp_path: Path, stops: list[int], seconds: float
) -> None:
    request = replace(undisturbed, out=tmp_path / "plm")
    report, seen = stop_at(*stops), []
    for _ in stops:
        with pytest.raises(StoppedError):
            pretrain(request, report, checkpoint_seconds=seconds)
        assert not request.out.exists()
    pretrain(request, lambda tick: seen.append(tick.step), checkpoint_seconds=seconds)
    assert seen == list(range(1 if seconds else stops[-1] + 1, TINY.steps + 1))
    assert files(request.out) == files(undisturbed.out)
    assert [path.name for path in tmp_path.iterdir()] == ["plm"]


KILLED_WHILE_IT_SAVES = """
import os, signal, sys
from pathlib import Path
from harness.generators import pretrain_loop
from harness.generators.pretrain import Request, pretrain
from harness.generators.pretrain_loop import Recipe

save_file, saved = pretrain_loop.save_file, []

def save_half(tensors, path):
    saved.append(path)
    save_file(tensors, path)
    if len(saved) == 6:  # the third checkpoint's second file
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

pretrain_loop.save_file = save_half
recipe = Recipe(size="06m", steps=6, learning_rate=4e-3, batch_size=4, sequence_length=32)
pretrain(Request((Path(sys.argv[1]),), Path(sys.argv[2]), recipe, vocab_size=300), checkpoint_seconds=0)
"""


def test_killed_in_the_middle_of_a_checkpoint_carries_on_from_the_one_before(
    undisturbed: Request, tmp_path: Path
) -> None:
    out = tmp_path / "plm"
    command = [sys.executable, "-c", KILLED_WHILE_IT_SAVES, str(undisturbed.sources[0]), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # another number adds up in another order
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    left = sorted(path.name for path in (tmp_path / "plm.partial").iterdir())
    assert left == ["lock", "step-000000002", "unfinished"]
    seen: list[int] = []
    pretrain(replace(undisturbed, out=out), lambda tick: seen.append(tick.step))
    assert seen == [3, 4, 5, 6]
    assert files(out) == files(undisturbed.out)


def test_a_seed_of_its_own_gives_other_weights(undisturbed: Request, tmp_path: Path) -> None:
    request = replace(undisturbed, out=tmp_path / "plm", recipe=replace(TINY, seed=14))
    pretrain(request)
    assert files(request.out)["model.safetensors"] != files(undisturbed.out)["model.safetensors"]
    assert files(request.out)["tokenizer.json"] == files(undisturbed.out)["tokenizer.json"]


def test_an_unfinished_run_is_not_carried_on_with_other_settings_or_other_text(
    undisturbed: Request, tmp_path: Path
) -> None:
    request = replace(undisturbed, out=tmp_path / "plm")
    with pytest.raises(StoppedError):
        pretrain(request, stop_at(2), checkpoint_seconds=0)
    with pytest.raises(HarnessError, match=r"plm\.partial .* \(steps 6 there, 7 here\)"):
        pretrain(replace(request, recipe=replace(TINY, steps=7)))
    more = write_lines(tmp_path / "more.jsonl", ["another document"])
    with pytest.raises(HarnessError, match=r"text [0-9a-f]{16} there"):
        pretrain(replace(request, sources=(*request.sources, more)))
    pretrain(request)
    assert files(request.out) == files(undisturbed.out)


def test_two_processes_do_not_make_one_folder(undisturbed: Request, tmp_path: Path) -> None:
    (tmp_path / "plm.partial").mkdir()
    with (
        FileLock(tmp_path / "plm.partial" / "lock"),
        pytest.raises(HarnessError, match="another process is at work"),
    ):
        pretrain(replace(undisturbed, out=tmp_path / "plm"))


def test_a_loss_that_is_no_number_ends_the_run_and_is_not_kept(undisturbed: Request, tmp_path: Path) -> None:
    wild = replace(undisturbed, out=tmp_path / "plm", recipe=replace(TINY, learning_rate=1e30))
    with pytest.raises(HarnessError, match="lower --learning-rate"):
        pretrain(wild)
    assert not wild.out.exists()


def test_the_learning_rate_warms_up_holds_and_falls() -> None:
    recipe = Recipe(size="06m", steps=100, learning_rate=1.0)
    assert [recipe.rate(step) for step in (0, 1, 4, 5, 59, 60, 80, 99)] == pytest.approx(
        [0.2, 0.4, 1.0, 1.0, 1.0, 1.0, 0.5, 0.025]
    )


# What it reads


def test_excluded_texts_are_in_neither_share_whatever_their_case_tags_and_punctuation(tmp_path: Path) -> None:
    kept = [patterned(n) for n in range(10)]
    secret = ["The Secret: it was<br /><br />HIM!", "another   secret", "🙂 !!"]
    source = write_lines(tmp_path / "train.jsonl", [*kept, "the secret it was<br/>him", "Another secret.", "", "🙂 !!"])
    test = write_lines(tmp_path / "test.jsonl", [*secret, ""], column="review")
    write_lines(tmp_path / "same.jsonl", secret)
    with pytest.raises(HarnessError, match="no column 'text'"):
        read_corpus([source], [test])
    corpus = read_corpus([source], [tmp_path / "same.jsonl"])
    assert sorted(corpus.train + corpus.held_out) == sorted(kept)
    assert (corpus.rows, corpus.excluded, corpus.empty) == (14, 3, 1)


def test_copies_of_a_document_never_stand_on_both_sides_and_order_does_not_choose_the_side(
    tmp_path: Path,
) -> None:
    texts = [patterned(n) for n in range(30)]
    twice = [*texts, *[text.upper() for text in texts]]
    first = read_corpus([write_lines(tmp_path / "a.jsonl", twice)])
    other = read_corpus([write_lines(tmp_path / "b.jsonl", twice[::-1])])
    assert len(first.held_out) == 2
    assert not {text.lower() for text in first.train} & {text.lower() for text in first.held_out}
    assert sorted(first.held_out) == sorted(other.held_out)


def test_every_kind_of_source_gives_the_same_documents(tmp_path: Path) -> None:
    from datasets import Dataset

    texts = ["one, two\nthree", 'a "quoted" naïve 🙂', "x" * 200_000, "NA"]
    table = pa.table({"label": [1, 2, 3, 4], "text": texts})
    (tmp_path / "texts").mkdir()
    for number, text in enumerate(texts):
        (tmp_path / "texts" / f"{number}.txt").write_text(text, encoding="utf-8")
    write_lines(tmp_path / "rows.jsonl", texts)
    csv.write_csv(table, tmp_path / "rows.csv")
    pq.write_table(table, tmp_path / "rows.parquet")
    (tmp_path / "shards").mkdir()
    pq.write_table(table.slice(0, 3), tmp_path / "shards" / "0.parquet")
    pq.write_table(table.slice(3), tmp_path / "shards" / "1.parquet")
    (tmp_path / "shards" / "README.md").write_text("not text to train on")
    Dataset.from_dict({"text": texts}).save_to_disk(tmp_path / "saved")
    for name in ("texts", "rows.jsonl", "rows.csv", "rows.parquet", "shards", "saved"):
        assert list(documents(tmp_path / name, "text")) == texts, name


def test_line_break_tags_become_newlines(tmp_path: Path) -> None:
    source = write_lines(tmp_path / "a.jsonl", ["one<br /><br>two<BR/>three\r\nfour <b>bold</b> "])
    assert list(documents(source, "text")) == ["one\n\ntwo\nthree\nfour <b>bold</b>"]


def test_a_document_cannot_spell_a_boundary_between_documents() -> None:
    tokenizer = train_tokenizer(["some text"], 257)
    row = pack(tokenizer, ["a<|endoftext|>b", "c"])
    end = end_of_text_id(tokenizer)
    assert np.flatnonzero(row == end).tolist() == [0, len(row) - 2]
    assert tokenizer.decode(row[1:-2].tolist()) == "a<|endoftext|>b"


def test_an_epoch_holds_every_window_once_and_a_step_depends_on_its_number_alone() -> None:
    windows = Windows(np.arange(1000, dtype=np.uint32), length=10, seed=13)
    assert windows.per_epoch == 99
    steps = [windows.batch(step, 9) for step in range(22)]  # two epochs of eleven steps
    for epoch in (steps[:11], steps[11:]):
        starts = sorted(int(row[0]) for batch in epoch for row in batch)
        assert 0 <= starts[0] < 10
        assert starts == list(range(starts[0], starts[0] + 990, 10))
    assert all((np.diff(batch) == 1).all() and batch.shape == (9, 11) for batch in steps)
    assert not np.array_equal(np.sort(steps[0], axis=0), np.sort(steps[11], axis=0))
    again = Windows(np.arange(1000, dtype=np.uint32), length=10, seed=13)
    assert np.array_equal(again.batch(17, 9), steps[17])


# What a user can get wrong


def truncated_parquet(folder: Path) -> Path:
    path = folder / "cut.parquet"
    pq.write_table(pa.table({"text": [patterned(n) for n in range(500)]}), path)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def damaged_parquet(folder: Path) -> Path:
    path = folder / "damaged.parquet"
    pq.write_table(pa.table({"text": [patterned(n) for n in range(500)]}), path)
    content = bytearray(path.read_bytes())
    content[4:400] = bytes(396)
    path.write_bytes(content)
    return path


def written(name: str, content: str | bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


def mixed_folder(folder: Path) -> Path:
    written("mixed/a.txt", "text")(folder)
    return written("mixed/b.jsonl", '{"text": "text"}')(folder).parent


def damaged_dataset(folder: Path) -> Path:
    return written("saved/state.json", "{}")(folder).parent


def splits(folder: Path) -> Path:
    from datasets import Dataset, DatasetDict

    DatasetDict({"train": Dataset.from_dict({"text": ["a"]})}).save_to_disk(folder / "splits")
    return folder / "splits"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: folder / "nowhere", "no such file or folder"),
        (empty_folder, "found none"),
        (mixed_folder, "mixes .jsonl, .txt"),
        (splits, "several splits (train)"),
        (written("a.docx", "text"), "expected a file in"),
        (written("a.jsonl", ""), "holds no rows"),
        (written("a.jsonl", '{"text": ""}\n{"text": null}\n'), "found 0 (2 read, 2 empty"),
        (written("a.jsonl", '{"text": "one"}\n{"text": "One!"}\n'), "two different documents"),
        (
            written("a.jsonl", '{"texts": "one"}\n'),
            "line 1: no column 'text', found texts; did you mean 'texts'?",
        ),
        (
            written("a.jsonl", '{"text": "one"}\n{"text": 1}\n'),
            "row 2: expected text in column 'text', found int",
        ),
        (written("a.jsonl", '{"text": "one"}\n\n{"text'), "line 3: not JSON"),
        (written("a.jsonl", "[" * 100_000), "line 1: not JSON"),
        (written("a.jsonl", '"text"\n'), "line 1: expected an object, found str"),
        (written("a.jsonl", '{"text": "\\ud83d"}\n'), "not valid UTF-8"),
        (written("a.jsonl", b'{"text": "caf\xe9"}\n'), "not valid UTF-8"),
        (written("a.txt", b"caf\xe9"), "not valid UTF-8"),
        (written("a.csv", b"text\ncaf\xe9\n"), "a.csv cannot be read"),
        (written("a.csv", "text\nI liked it, really\n"), "Expected 1 columns, got 2"),
        (written("a.csv", "review\nfine\n"), "no column 'text', found review"),
        (written("a.csv", ""), "a.csv cannot be read"),
        (written("a.parquet", "not parquet"), "a.parquet cannot be read"),
        (truncated_parquet, "cut.parquet cannot be read"),
        (damaged_parquet, "damaged.parquet cannot be read"),
        (damaged_dataset, "saved cannot be read"),
        (written("a.jsonl", '{"text": "one"}\n{"text": "two"}\n'), "tokens to train on, found"),
    ],
)
def test_text_that_cannot_be_used_ends_in_one_message(
    make: Callable[[Path], Path], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_message([str(make(tmp_path)), *SMALL], expected, tmp_path, capsys)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--steps", "0"], "--steps: expected 1 or more, found 0"),
        (["--batch-size", "-1"], "--batch-size: expected 1 or more"),
        (["--sequence-length", "1025"], "--sequence-length: expected 1 to 1024"),
        (["--learning-rate", "0"], "--learning-rate: expected a number above 0"),
        (["--learning-rate", "nan"], "--learning-rate: expected a number above 0"),
        (["--vocab-size", "256"], "--vocab-size: expected 257 or more"),
        (["--seed", "-1"], "--seed: expected 0 or more"),
        (["--column", "review"], "no column 'review', found text"),
        (["--exclude", "nowhere.parquet"], "no such file or folder: nowhere.parquet"),
    ],
)
def test_a_setting_that_cannot_be_used_ends_in_one_message(
    arguments: list[str], expected: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_message([str(source), *arguments], expected, tmp_path, capsys)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "expected a folder with a tokenizer.json"),
        ("{}", "tokenizer.json cannot be read"),
        (Tokenizer(models.BPE()).to_str(), "has no token <|endoftext|>"),
    ],
)
def test_a_tokenizer_that_cannot_be_used_ends_in_one_message(
    content: str | None, expected: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shared").mkdir()
    if content is not None:
        (tmp_path / "shared" / "tokenizer.json").write_text(content)
    assert_one_message([str(source), "--tokenizer", str(tmp_path / "shared")], expected, tmp_path, capsys)


def assert_one_message(arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, one line of error at the end, nothing on standard output, nothing left on the disk."""
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and expected in errors[0], captured.err
    assert captured.err.rstrip("\n").endswith(errors[0]) and "Traceback" not in captured.err
    assert captured.out == ""
    assert not list(tmp_path.glob("out*"))


def test_a_folder_that_stands_is_not_overwritten(plm: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(plm)
    assert main([str(source), *SMALL, "--out", str(plm)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert files(plm) == before


def test_an_output_folder_that_cannot_be_made_ends_in_one_message(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    assert main([str(source), *SMALL, "--out", str(tmp_path / "file" / "plm")]) == 2
    assert "Traceback" not in capsys.readouterr().err
