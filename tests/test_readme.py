"""Every command of the README works as it stands, with the files that the README shows."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from harness.spec import Generator
from tests.toy_mirror import toy_mirror

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
_MAKE = ["make demo", "make test"]


def test_generators_that_the_readme_shows_are_understood() -> None:
    blocks = [yaml.safe_load(text) for language, name, text in _BLOCK.findall(README) if language == "yaml"]
    shown = [entry for block in blocks for entry in block.get("generators", ())]
    read = [TypeAdapter[Any](Generator).validate_python({"backend": "transformers", **entry}) for entry in shown]
    assert {generator.backend for generator in read} == {"transformers", "openai", "replay"}


def _commands() -> list[str]:
    blocks = [text for language, _, text in _BLOCK.findall(README) if language == "bash"]
    return [line for text in blocks for line in text.splitlines() if line.strip()]


def _environment(folder: Path) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HARNESS_")}
    return kept | {"PATH": path, "HARNESS_STORE": str(folder / "store"), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README shows, and the plug-in installed as `pip` would leave it."""
    made = tmp_path_factory.mktemp("readme")
    for _, name, text in _BLOCK.findall(README):
        if name:
            (made / name).write_text(text, encoding="utf-8")
    rows = [f'{{"text": "The film was long, and number {n} was short. I liked the cat more."}}\n' for n in range(400)]
    (made / "plain-text.jsonl").write_text("".join(rows), encoding="utf-8")
    toml = next(text for language, _, text in _BLOCK.findall(README) if language == "toml")
    installed = made / "my_student-0.1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: my-student\nVersion: 0.1\n")
    (installed / "entry_points.txt").write_text("[harness.students]\n" + toml.splitlines()[1].replace('"', "") + "\n")
    return made


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a board of the hub's data and models needs, with toys in their places."""
    return toy_mirror(tmp_path_factory.mktemp("mirror"))


def _run(command: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command)
    environment = _environment(folder) | more
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_the_readme_shows_commands() -> None:
    assert len(_commands()) >= 12
    assert set(_MAKE) <= set(_commands())


@pytest.mark.parametrize("command", [command for command in _commands() if command not in _MAKE])
def test_a_command_of_the_readme_works(command: str, folder: Path, mirror: Path) -> None:
    of_the_hub = {"HARNESS_MIRROR": str(mirror)} if "zerogen" in command else {}
    done = _run(command, folder, **of_the_hub)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_the_two_commands_have_targets() -> None:
    for command in _MAKE:
        done = subprocess.run([*command.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True)
        wanted = "harness run demo" if command == "make demo" else "pytest"
        assert wanted in done.stdout


def test_the_student_of_the_readme_runs_on_a_board(folder: Path) -> None:
    board = (folder / "my-board.yaml").read_text(encoding="utf-8")
    text = board.replace("{student: linear, min_rows: 1}", "naive, {student: naive, smoothing: 0.5, name: half}")
    (folder / "naive-board.yaml").write_text(text, encoding="utf-8")
    done = _run("harness run naive-board.yaml --out naive", folder, PYTHONPATH=str(folder))
    assert done.returncode == 0, done.stderr
    assert "naive" in done.stdout
    assert "half" in done.stdout


def test_every_file_that_the_readme_names_exists() -> None:
    for name in ("docs/demo.svg", "docs/architecture.md", "students/protocol.py", "students/linear.py"):
        assert name in README
        assert (ROOT / name).is_file()


@pytest.mark.slow
def test_every_task_and_student_of_the_papers_grid_runs(folder: Path, mirror: Path) -> None:
    part = "harness run zerogen --generator gpt2 --size 16 --seed 13 --out grid --json"
    done = _run(part, folder, HARNESS_MIRROR=str(mirror))
    assert done.returncode == 0, done.stderr
    board = json.loads((folder / "grid" / "leaderboard.json").read_text())
    assert set(board["tasks"]) == {"imdb", "sst2", "qnli", "rte", "squad", "adversarial_qa"}
    ranked = {(entry["family"], entry["student"]): entry for entry in board["entries"] if entry["rank"]}
    assert {student for _, student in ranked} == {"bilstm", "pair_bilstm", "bidaf", "distilbert"}
    assert all(len(entry["scores"]) == 2 for entry in ranked.values())


@pytest.mark.slow
def test_make_demo_prints_the_leaderboard(tmp_path: Path) -> None:
    environment = _environment(tmp_path) | {"HARNESS_OUT": str(tmp_path / "out")}
    done = subprocess.run(["make", "demo"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "review-gpt-7m" in done.stdout
    assert (tmp_path / "out" / "leaderboard.json").is_file()
