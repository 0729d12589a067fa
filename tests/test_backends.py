"""Boards whose PLMs write behind a server or by vLLM: checked and planned without either, and run on a server."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from harness.cli import main
from harness.errors import HarnessError
from harness.generators.base import Decoding
from harness.plan import Plan, Selection, make_plan
from harness.resolve import WritingGenerator, resolve_board
from harness.spec import Prices
from harness.stages.base import read_values
from harness.stages.synthesize import Synthesize, costs
from harness.store import JournalFile, Store
from harness.synthesis.recipe import Account, decoding_of
from harness.synthesis.spent import Spent
from tests.generators.server_process import Server, running_server
from tests.replay_boards import ReplayBoard, reviews

OPENAI: dict[str, Any] = {"name": "far", "backend": "openai", "url": "http://127.0.0.1:9/v1", "model": "some-plm"}
VLLM: dict[str, Any] = {"name": "fast", "backend": "vllm", "model": "embedded:review-gpt-06m", "dtype": "float32"}
TEXTS = {"negative": "an awful and boring film", "positive": "a lovely and witty film"}
PROMPTS = {
    "source": "test",
    "min_words": 5,
    "completion": {
        "text": {label: [f'{label} WRITE:{text}, number SEED"'] for label, text in TEXTS.items()},
        "classify": {label: [f"{label} <X>"] for label in TEXTS},
    },
}


def board_of(folder: Path, *generators: dict[str, Any], **prompts: Any) -> ReplayBoard:
    board = ReplayBoard(folder)
    board.add_task("reviews", reviews(40, seed=1), prompts={"plain": {**PROMPTS, **prompts}})
    board.generators += generators
    return board


def plan_of(board: ReplayBoard, **fields: Any) -> Plan:
    path = board.write(**{"sizes": [8], "seeds": [13], "baselines": None, **fields})
    return make_plan(resolve_board(str(path), None), Selection())


def refused(board: ReplayBoard) -> list[str]:
    with pytest.raises(HarnessError) as caught:
        resolve_board(str(board.write(sizes=[8])), None)
    return str(caught.value).splitlines()[1:]


# --- resolved, validated and planned, without a server and without vLLM


def test_a_board_of_every_backend_is_resolved_and_planned(tmp_path: Path) -> None:
    plain = {"name": "plain", "model": "embedded:review-gpt-06m", "dtype": "float32"}
    plan = plan_of(board_of(tmp_path, OPENAI, VLLM, plain))
    far, fast, _ = plan.board.generators
    assert isinstance(far, WritingGenerator) and isinstance(fast, WritingGenerator)
    assert (far.dtype, fast.dtype) == (None, "float32")
    assert far.place.identity == "server:http://127.0.0.1:9/v1#some-plm"
    assert plan.notes == ["no PROMPTING with far: a server does not tell how likely a text is"]
    cells = Counter((cell.generator, cell.student) for cell in plan.cells)
    assert cells == {
        **{(name, "linear"): 1 for name in ("far", "fast", "plain")},
        **{(name, "PROMPTING"): 1 for name in ("fast", "plain")},
        ("majority", "majority"): 1,
    }
    written = [job for job in plan.jobs.values() if job.stage.name == "synthesize"]
    assert len({job.key for job in written}) == len({job.series for job in written}) == 3, "each backend its own texts"
    prompted = {job.key for job in plan.jobs.values() if job.stage.name == "prompt"}
    assert len(prompted) == 1, "that is how likely texts are, whoever wrote other ones"


@pytest.mark.parametrize("generator", [OPENAI, VLLM], ids=["openai", "vllm"])
def test_validate_says_that_a_board_is_right(
    generator: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = board_of(tmp_path, generator).write(sizes=[8], seeds=[1, 2])
    assert main(["validate", str(path)]) == 0
    assert "a board of 2 cells, no errors" in capsys.readouterr().out


@pytest.mark.parametrize("generator", [OPENAI, VLLM], ids=["openai", "vllm"])
def test_what_a_backend_cannot_do_is_one_clear_error_of_its_line(
    generator: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = board_of(tmp_path, generator, self_debiasing={})
    (found,) = refused(board)
    assert f"generators[0]: the {generator['backend']} backend has no self-debiasing" in found
    assert found.endswith("change the setting or use 'backend: transformers'")
    assert main(["validate", str(board.write(sizes=[8]))]) == 2
    assert found in capsys.readouterr().err
    board = board_of(tmp_path, {**generator, "no_repeat_ngram_size": 3})
    (found,) = refused(board)
    assert f"the {generator['backend']} backend has no 'no_repeat_ngram_size' (found 3)" in found


def test_all_that_two_backends_cannot_do_is_told_at_once(tmp_path: Path) -> None:
    fast = {**VLLM, "temperature": 3, "no_repeat_ngram_size": 2}
    far = {**OPENAI, "no_repeat_ngram_size": 2}
    first, second = refused(board_of(tmp_path, fast, far, self_debiasing={}))
    assert all(one in first for one in ("no self-debiasing", "'no_repeat_ngram_size'", "temperatures from 0.01 to 2"))
    assert all(one in second for one in ("no self-debiasing", "'no_repeat_ngram_size'"))


def test_the_keys_of_a_servers_texts_change_with_what_it_is_asked_and_not_with_how(tmp_path: Path) -> None:
    def key(**changes: Any) -> tuple[str, str | None]:
        plan = plan_of(board_of(tmp_path, {**OPENAI, **changes}))
        (job,) = [job for job in plan.jobs.values() if job.stage.name == "synthesize"]
        return job.key, job.series

    plain = key()
    what: list[dict[str, Any]] = [
        *({"url": "http://127.0.0.1:9/v2"}, {"model": "other"}, {"top_p": 0.8}, {"repetition_penalty": 1.1}),
        *({"min_new_tokens": 3}, {"temperature": 0.5}, {"top_k": 4}),
    ]
    keys = [plain, *(key(**changes) for changes in what)]
    assert len({one for one, _ in keys}) == len({series for _, series in keys}) == 8
    how: list[dict[str, Any]] = [{"concurrency": 3}, {"timeout": 5}, {"attempts": 2}, {"key_variable": "OTHER_KEY"}]
    assert all(key(**changes) == plain for changes in [*how, {"name": "near", "title": "T", "license": "mit"}])


def test_other_prices_are_another_dataset_of_the_same_texts(tmp_path: Path) -> None:
    keys, series = set(), set()
    dollars = {"prompt": 1, "generated": 2}
    changes: list[dict[str, Any]] = [{}, {"prices": dollars}, {"prices": {**dollars, "currency": "EUR"}}]
    for change in changes:
        plan = plan_of(board_of(tmp_path, {**OPENAI, **change}))
        (job,) = [job for job in plan.jobs.values() if job.stage.name == "synthesize"]
        keys.add(job.key)
        series.add(job.series)
    assert (len(keys), len(series)) == (3, 1), "else a price would stand in the results that nobody asks any more"


def test_how_a_generator_draws_tokens_reaches_its_recipe(tmp_path: Path) -> None:
    drawing = {"top_p": 0.5, "top_k": 3, "temperature": 0.7, "repetition_penalty": 1.5, "min_new_tokens": 2}
    plan = plan_of(board_of(tmp_path, {**OPENAI, **drawing}))
    (stage,) = [job.stage for job in plan.jobs.values() if isinstance(job.stage, Synthesize)]
    assert stage.recipe().decoding == decoding_of(stage.generator) == Decoding(1, **drawing)  # type: ignore[arg-type]
    assert stage.recipe().strict_rows is None


# --- what it took, in values


def test_what_a_dataset_took_has_a_unit_each_and_no_zero_for_what_is_not_told() -> None:
    account = Account(tried=30, prompt_tokens=2_000_000, generated_tokens=400_000)
    spent = Spent(seconds=40.0, joules={"nvml": 900.0}, peak_memory_bytes=77, peak_gpu_memory_bytes=55)
    values = costs(20, account, spent, Prices(prompt=0.5, generated=1.5, currency="EUR"))
    assert {one.measure: (one.value, one.unit, one.tier) for one in values} == {
        "generate_seconds": (40.0, "seconds", "machine"),
        "usable_rows_per_second": (0.5, "rows/s", "machine"),
        "generated_tokens_per_second": (10_000.0, "tokens/s", "machine"),
        "peak_memory": (77, "bytes", "machine"),
        "peak_gpu_memory": (55, "bytes", "machine"),
        "energy.nvml": (900.0, "joules", "machine"),
        "price": (pytest.approx(1.6), "EUR", "accounting"),  # 2 x 0.50 + 0.4 x 1.50
    }
    bare = {one.measure for one in costs(20, account, Spent(seconds=40.0, joules=None), None)}
    assert bare == {"generate_seconds", "usable_rows_per_second", "generated_tokens_per_second"}
    account.uncounted = 1  # a server told no tokens of a row: neither a rate of tokens nor a price is known
    untold = costs(20, account, Spent(seconds=40.0), Prices(prompt=0.5, generated=1.5))
    assert {one.measure for one in untold} == {"generate_seconds", "usable_rows_per_second"}
    assert "usable_rows_per_second" not in {one.measure for one in costs(20, account, Spent(), None)}


# --- a run on a server, killed in the midst


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running:
        yield running


def dataset(store: Store) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, float]]:
    """Its rows, its account, and its values."""
    ((_, artifact),) = [(path, one) for path, one in store.artifacts() if path.parent.name == "synthesize"]
    assert not isinstance(artifact, HarnessError)
    values = {value.measure: value.value for value in read_values(artifact.folder) if value.tier == "accounting"}
    rows: list[dict[str, Any]] = pq.read_table(artifact.folder / "data.parquet").to_pylist()
    return rows, artifact.manifest["record"]["details"]["account"], values


def kept(store: Store) -> list[tuple[str, int]]:
    """Stream and seed of every try, which its text tells."""
    (path,) = (store.root / "series").glob("*.jsonl")
    tries = [entry for entry in JournalFile(path).entries() if "try" in entry]
    return [(entry["stream"], int(entry["try"]["text"].split()[-1])) for entry in tries]


def asked(server: Server) -> list[tuple[str, int]]:
    return [(body["prompt"].split()[0], body["seed"]) for body in server.bodies()]


def test_a_run_on_a_server_that_is_killed_is_carried_on_and_asks_for_nothing_twice(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    prices = {"prompt": 2, "generated": 10}
    board = board_of(tmp_path, {**OPENAI, "url": server.url, "concurrency": 4, "prices": prices})
    path = board.write(sizes=[120], seeds=[13], baselines=["majority", "prompting"])
    quiet, killed = Store(tmp_path / "quiet"), Store(tmp_path / "killed")

    def command(store: Store) -> list[str]:
        folders = ["--store", str(store.root), "--out", str(store.root) + "-out"]
        return ["run", str(path), *folders, "--workers", "1", "--quiet"]

    server.plan()
    assert main(command(quiet)) == 0
    n_asked = len(asked(server))
    assert len(set(asked(server))) == n_asked >= 120

    server.plan(seconds=0.05, slow="WRITE")
    process = subprocess.Popen([sys.executable, "-m", "harness.cli", *command(killed)], start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while len(server.seen()) < 40 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    finished, before = kept(killed), asked(server)
    assert 20 <= len(finished) <= len(before) <= len(finished) + 2 * 4, "all but those under way or waiting to be kept"
    assert list(killed.verify()) == []

    server.plan()
    assert main(command(killed)) == 0
    after = asked(server)
    assert set(finished).isdisjoint(after), "no finished row is asked for again"
    assert sorted(finished + after) == sorted(kept(killed))
    assert len(finished) + len(after) == n_asked
    assert dataset(killed) == dataset(quiet)
    rows, account, values = dataset(killed)
    assert Counter(row["label"] for row in rows) == {"negative": 60, "positive": 60}
    assert all(row["log_probability"] is None for row in rows)
    assert all(row["text"].startswith(TEXTS[row["label"]]) for row in rows)
    price = (2 * account["prompt_tokens"] + 10 * account["generated_tokens"]) / 1e6
    assert values["price"] == pytest.approx(price) != 0
    record = json.loads((tmp_path / "killed-out" / "run.json").read_text())
    assert record["notes"] == ["no PROMPTING with far: a server does not tell how likely a text is"]

    server.plan()
    assert main(command(killed)) == 0
    board.write(sizes=[60], seeds=[13], baselines=["majority", "prompting"])
    assert main(command(killed)) == 0
    assert asked(server) == [], "a smaller dataset is there already"
    capsys.readouterr()
