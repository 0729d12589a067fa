"""The command line as a person meets it: instant help, plain logs, one message for a mistake, exit statuses."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import harness
from harness import commands
from harness.cli import main
from harness.progress import Lines, display

HEAVY = ("torch", "transformers", "datasets", "pandas", "evaluate", "numpy", "pydantic", "sklearn", "scipy", "pyarrow")
Output = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("HARNESS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # The command line sets these where they are not set, for the libraries that it loads: not for other tests.
    for name, value in (("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "PASSIVE"), ("TOKENIZERS_PARALLELISM", "false")):
        monkeypatch.setenv(name, value)


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A board of replayed rows that is run in a moment."""
    lines = [{"text": text, "label": label} for text, label in (("a fine film", "good"), ("an awful bore", "bad"))]
    rows = "".join(json.dumps({**line, "text": f"{line['text']} {n}"}) + "\n" for n in range(6) for line in lines)
    (tmp_path / "rows.jsonl").write_text(rows)
    prompts = {"plain": {"source": "test", "completion": {"text": {"good": ["Good:"], "bad": ["Bad:"]}}}}
    task = {
        "name": "small",
        "title": "A small task",
        "family": "text-classification",
        "labels": ["good", "bad"],
        "splits": {"test": {"file": "rows.jsonl"}},
        "prompts": prompts,
    }
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(task))
    content = {
        "name": "small-board",
        "tasks": ["task.yaml"],
        "generators": [{"name": "replayed", "backend": "replay", "data": "rows.jsonl"}],
        "students": ["linear"],
        "sizes": [8],
        "seeds": [1, 2],
        "profile": False,
    }
    (tmp_path / "board.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "board.yaml"


def succeeds(capsys: Output, *arguments: str) -> str:
    assert main(arguments) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def fails(capsys: Output, *arguments: str) -> str:
    """The one message of a mistake: on standard error, with exit status 2 and no traceback."""
    try:
        status = main(arguments)
    except SystemExit as left:  # argparse leaves by itself
        status = left.code if isinstance(left.code, int) else -1
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == ""
    assert captured.err.count("error: ") == 1
    return captured.err


def words(table: str) -> list[str]:
    """The cells of a printed table, row by row."""
    return [" ".join(re.split(r"\s*[│┃]\s*", line)).strip() for line in table.splitlines()]


# --- imports


def imported_by(script: str) -> set[str]:
    """The top-level modules that a fresh process has imported after a script."""
    after = f"{script}\nimport sys; print('\\n' + ' '.join(sys.modules))"
    found = subprocess.run([sys.executable, "-c", after], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in found.stdout.splitlines()[-1].split()}


RUN_MAIN = """
from harness.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
"""


def test_importing_the_package_imports_nothing_else() -> None:
    assert imported_by("import harness") - imported_by("pass") == {"harness"}


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["--version"], ["rum"]], ids=" ".join)
def test_help_needs_none_of_the_heavy_libraries(arguments: list[str]) -> None:
    assert imported_by(RUN_MAIN.format(arguments=arguments)).isdisjoint({*HEAVY, "rich", "yaml", "filelock", "psutil"})


@pytest.mark.parametrize(
    "arguments",
    [
        ["list", "tasks"],
        ["list", "students"],
        ["list", "measures"],
        ["show", "task", "film-reviews"],
        ["validate", "demo"],
        ["run", "demo", "--dry-run"],
        ["run", "demo", "--explain"],
        ["store", "ls"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_looking_around_loads_no_library_that_trains_or_generates(arguments: list[str]) -> None:
    assert imported_by(RUN_MAIN.format(arguments=arguments)).isdisjoint(
        {"torch", "transformers", "datasets", "pandas", "evaluate", "sklearn", "scipy"}
    )


# --- looking around


def test_help_names_every_verb(capsys: Output) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    making = ("run", "synthesize", "train", "score", "measure", "profile")
    for verb in (*making, "compare", "list", "show", "validate", "doctor", "store"):
        assert re.search(rf"^    {verb}\s+\S", shown, re.MULTILINE), verb
    assert "harness run demo" in shown


def test_the_version_is_the_packages(capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"harness {harness.__version__}\n"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("tasks", {"film-reviews", "imdb", "sst2", "sst2-sentences"}),
        ("students", {"linear", "bilstm"}),
        ("generators", {"review-gpt-06m", "review-gpt-2m", "review-gpt-7m", "gpt2-xl"}),
        ("boards", {"demo"}),
        ("measures", {"self_bleu", "distinct_n", "leakage"}),
    ],
)
def test_list_prints_a_name_and_what_it_is_on_each_line(kind: str, expected: set[str], capsys: Output) -> None:
    lines = succeeds(capsys, "list", kind).splitlines()
    assert {line.split()[0] for line in lines} >= expected
    assert all(len(line.split()) > 1 for line in lines)


def test_show_prints_the_prompts_as_the_plm_sees_them_and_what_the_splits_hold(capsys: Output) -> None:
    shown = succeeds(capsys, "show", "task", "film-reviews")
    assert 'The movie review in positive sentiment for movie "[a context]" is: "' in shown
    assert 'The movie review in negative sentiment is: "[a text]"' in shown
    assert "<C>" not in shown and "<X>" not in shown
    assert "test: 838 rows; negative 419 (50.0%), positive 419 (50.0%)" in shown
    assert "labels negative, positive" in shown


def test_show_says_which_data_cannot_be_reached_and_how_to_reach_them(capsys: Output) -> None:
    # One that pins no hub revision, so that no network is asked.
    shown = " ".join(succeeds(capsys, "show", "task", "sst2-sentences").split())
    assert "not reachable" in shown
    assert "HARNESS_MIRROR" in shown


def test_validate_reads_the_data_and_counts_the_cells(board: Path, capsys: Output) -> None:
    shown = succeeds(capsys, "validate", str(board))
    assert "small/test: 12 rows, columns and labels as expected" in shown
    assert "replayed for small: 12 rows, labels as expected" in shown
    assert shown.endswith("a board of 2 cells, no errors\n")
    assert "no errors" in succeeds(capsys, "validate", "demo")
    assert succeeds(capsys, "validate", "film-reviews").endswith("a task, no errors\n")


def test_validate_reports_every_error_at_once_with_its_line(board: Path, capsys: Output) -> None:
    content = yaml.safe_load(board.read_text())
    content.update(students=["lineal"], seeds=[-1], sises=[3])
    board.write_text(yaml.safe_dump(content, sort_keys=False))
    message = fails(capsys, "validate", str(board))
    assert "did you mean 'sizes'?" in message
    assert f"{board}:" in message
    assert len(re.findall(rf"{re.escape(str(board))}:\d+: ", message)) >= 2


def test_doctor_says_what_there_is_and_that_the_store_can_be_written(tmp_path: Path, capsys: Output) -> None:
    shown = succeeds(capsys, "doctor", "--store", str(tmp_path / "store"))
    for name in ("torch", "cores", "gpus", "dtype", "embedded", "mirror"):
        assert re.search(rf"^{name} +\S", shown, re.MULTILINE), name
    assert f"{tmp_path / 'store'} (writable)" in shown
    (tmp_path / "file").write_text("no folder")
    assert main(["doctor", "--store", str(tmp_path / "file")]) == 2
    assert "CANNOT BE WRITTEN" in capsys.readouterr().out


# --- plans


def test_a_dry_run_prints_every_job_and_writes_nothing(board: Path, capsys: Output, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    shown = succeeds(capsys, "run", str(board), "--dry-run")
    cells = words(shown)
    for seed in (1, 2):
        assert any(
            re.fullmatch(rf"train train linear on replayed/small/8/{seed} [0-9a-f]{{12}} to be made", row)
            for row in cells
        )
    assert shown.splitlines()[-1].startswith("0 in the store, 9 to be made. Store: ")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_dry_run_of_the_demo_names_the_embedded_plms(capsys: Output) -> None:
    shown = succeeds(capsys, "run", "demo", "--dry-run", "--generator", "review-gpt-06m", "--size", "8", "--seed", "3")
    assert "review-gpt-06m writes 8 rows of film-reviews, seed 3" in shown
    assert "review-gpt-7m" not in shown


def test_explain_says_where_every_value_comes_from_and_a_flag_beats_the_environment_beats_the_file(
    board: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_SEED", "7,8")
    monkeypatch.setenv("HARNESS_SIZE", "5")
    monkeypatch.setenv("HARNESS_WORKERS", "3")
    rows = words(succeeds(capsys, "run", str(board), "--explain", "--size", "6"))
    assert "sizes 6 flag --size" in rows
    assert "seeds 7, 8 environment HARNESS_SEED" in rows
    assert "students linear.v1 file board.yaml:" in " ".join(rows)
    assert "profile False file board.yaml:" in " ".join(rows)
    assert "baselines majority, prompting, supervised default" in rows
    assert "--workers 3 environment HARNESS_WORKERS" in rows
    assert "--out out/small-board default" in rows
    assert "--mirror none default" in rows


# --- mistakes


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["run", "demmo"], "unknown board 'demmo'; did you mean 'demo'?"),
        (["train", "demmo"], "unknown board 'demmo'; did you mean 'demo'?"),
        (["run", "nowhere.yaml"], "nowhere.yaml: no such board file"),
        (["show", "task", "imbd"], "unknown task 'imbd'; did you mean 'imdb'?"),
        (["validate", "film-review"], "did you mean 'film-reviews'?"),
        (["run", "demo", "--dry-run", "--generator", "review-gpt-6m"], "did you mean 'review-gpt-06m'?"),
        (["run", "demo", "--dry-run", "--student", "bi-lstm"], "did you mean 'bilstm'?"),
        (["run", "demo", "--dry-run", "--task", "films-review"], "did you mean 'film-reviews'?"),
        (
            ["run", "demo", "--dry-run", "--size", "ten"],
            "--size (flag --size): expected whole numbers of at least 1, found 'ten'",
        ),
        (["run", "demo", "--dry-run", "--size", "0"], "expected whole numbers of at least 1, found '0'"),
        (["run", "demo", "--dry-run", "--size", "9" * 5000], "expected whole numbers of at least 1, found '999"),
        (["run", "demo", "--dry-run", "--size", "all"], "'all' has no meaning for review-gpt-7m"),
        (["run", "demo", "--dry-run", "--seed", "-1"], "expected whole numbers, found '-1'"),
        (["run", "demo", "--workers", "0"], "--workers (flag --workers): expected one number of at least 1"),
        (["run", "demo", "--workers", "1,2"], "expected one number of at least 1"),
        (["run", "demo", "--mirror", "/nowhere"], "the mirror /nowhere (flag --mirror) is no folder"),
        (["list", "boardz"], "invalid choice: 'boardz'"),
        (["store", "list"], "invalid choice: 'list'"),
        ([], "the following arguments are required: VERB"),
    ],
)
def test_a_mistake_is_one_message_that_says_what_was_expected(
    arguments: list[str], expected: str, capsys: Output
) -> None:
    assert expected in fails(capsys, *arguments)


def test_a_mistake_in_the_environment_names_the_variable(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_SEED", "x")
    assert "--seed (environment HARNESS_SEED): expected whole numbers" in fails(capsys, "run", "demo", "--dry-run")


def test_an_interruption_says_that_nothing_is_lost(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "list_names", interrupt)
    assert main(["list", "tasks"]) == 130
    assert "run the same command to carry on" in capsys.readouterr().err


# --- stages and the store


def test_a_stage_makes_what_it_needs_and_prints_every_artifact(board: Path, capsys: Output, tmp_path: Path) -> None:
    store = tmp_path / "store"
    options = (str(board), "--store", str(store), "--workers", "1", "--json")
    made = {}
    for stage, others in (("measure", {"synthesize"}), ("score", {"synthesize", "measure", "train"})):
        assert main([stage, *options]) == 0
        captured = capsys.readouterr()
        summary = json.loads(captured.out.splitlines()[-1])
        made[stage] = summary["artifacts"]
        assert {path.name for path in (store / "artifacts").iterdir()} == {stage, *others}
        assert all(
            folder in captured.out and (Path(folder) / "manifest.json").is_file() for folder in made[stage].values()
        )
    assert len(made["measure"]) == 2  # a dataset for every seed
    assert len(made["score"]) == 2 + 1  # and the majority label


def test_a_stage_that_a_board_does_not_have_is_a_mistake(board: Path, capsys: Output) -> None:
    assert "board 'small-board' has no job of the stage 'profile'" in fails(capsys, "profile", str(board))


def test_the_store_is_listed_verified_and_mended(board: Path, capsys: Output, tmp_path: Path) -> None:
    at = ("--store", str(tmp_path / "store"))
    assert succeeds(capsys, "store", "ls", *at) == f"0 artifacts, 0.0 MB in {tmp_path / 'store'}\n"
    assert main(["synthesize", str(board), *at]) == 0
    capsys.readouterr()
    assert re.match(r"synthesize +2 artifacts .*\n2 artifacts, ", succeeds(capsys, "store", "ls", *at))
    assert succeeds(capsys, "store", "verify", *at) == "2 of 2 artifacts are whole\n"
    (victim, _) = sorted((tmp_path / "store" / "artifacts" / "synthesize").iterdir())
    content = (victim / "data.parquet").read_bytes()
    (victim / "data.parquet").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert main(["store", "verify", *at]) == 2
    captured = capsys.readouterr()
    assert f"damaged: {victim}: data.parquet" in captured.out
    assert "1 of 2 artifacts are whole" in captured.out
    assert "harness store gc" in captured.err
    assert re.fullmatch(r"removed 1 leftovers, freed [\d.]+ MB\n", succeeds(capsys, "store", "gc", *at))
    assert succeeds(capsys, "store", "verify", *at) == "1 of 1 artifacts are whole\n"
    assert "1 in the store, 8 to be made" in succeeds(capsys, "run", str(board), "--dry-run", *at)
    assert succeeds(capsys, "store", "gc", "--older-than", "0", *at).startswith("removed 1 ")


# --- output for logs and pipes


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *arguments], capture_output=True, text=True, check=False
    )


def test_a_log_gets_plain_lines_and_standard_output_gets_results_only(board: Path, tmp_path: Path) -> None:
    folders = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out")]
    ran = run_cli("run", str(board), *folders, "--workers", "1", "--json")
    assert ran.returncode == 0, ran.stderr
    assert "\x1b" not in ran.stdout + ran.stderr
    assert "\r" not in ran.stdout + ran.stderr
    progress = ran.stderr.splitlines()
    assert [line.partition("]")[0] for line in progress] == [f"[{number}/9" for number in range(1, 10)]
    assert all(re.search(r": \d+\.\d s$", line) for line in progress)
    assert json.loads(ran.stdout.splitlines()[-1])["made"] == 9
    assert "linear" in ran.stdout
    again = run_cli("run", str(board), *folders, "--quiet")
    assert again.stderr == ""
    assert "0 jobs made, 9 found in the store, 0 failed" in again.stdout.splitlines()[-1]


def test_a_reader_that_leaves_early_is_no_error() -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", "harness.cli", "list", "measures"]
    for environment in (buffered, {**buffered, "PYTHONUNBUFFERED": "1"}):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None and process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_bars_and_titles_with_brackets_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    with display(stream, 2, quiet=False) as shown:
        shown.start("train [bold]x[/bold] on [data]")
        shown.update(5, 10, "rows", "[1,000 rows/s]")
        shown.say("note: [red]")
        shown.finish(1.0)
        shown.skip()
    assert "\x1b[" in stream.getvalue()
    assert "note: [red]" in stream.getvalue()


def test_a_log_line_tells_how_far_a_long_job_is_but_not_too_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("harness.progress.time.monotonic", lambda: now)
    stream = io.StringIO()
    with display(stream, 3, quiet=False) as lines:
        assert isinstance(lines, Lines)
        lines.skip()
        lines.start("train bilstm")
        for done in range(0, 100, 10):
            now += 10.0
            lines.update(done, 200, "rows", "epoch 1")
        lines.finish(100.0)
    assert stream.getvalue().splitlines() == [
        "[2/3] train bilstm: 20/200 rows, epoch 1, 270 s left",
        "[2/3] train bilstm: 50/200 rows, epoch 1, 180 s left",
        "[2/3] train bilstm: 80/200 rows, epoch 1, 135 s left",
        "[2/3] train bilstm: 100.0 s",
    ]


def test_quiet_shows_messages_only() -> None:
    stream = io.StringIO()
    with display(stream, 1, quiet=True) as shown:
        shown.start("train")
        shown.update(1, 2, "rows")
        shown.finish(1.0)
        shown.say("note: something")
    assert stream.getvalue() == "note: something\n"
