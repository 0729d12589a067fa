"""The plan: which jobs a board is, and that a job's key depends on exactly what its result depends on."""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from harness import machine
from harness.cli import main
from harness.errors import HarnessError
from harness.plan import MAJORITY, SUPERVISED, Plan, Selection, make_plan
from harness.resolve import resolve_board
from harness.stages.prompt import PROMPTING_METHODS
from harness.stages.score import write_scores

PROMPTING = PROMPTING_METHODS[0]
Rows = list[tuple[str, str]]

TASK: dict[str, Any] = {
    "name": "reviews",
    "title": "Reviews",
    "family": "text-classification",
    "labels": ["negative", "positive"],
    "splits": {"train": {"file": "train.jsonl"}, "test": {"file": "test.jsonl"}},
    "prompts": {
        "plain": {
            "source": "this test",
            "completion": {
                "context": ["Movie:"],
                "text": {"negative": ["Bad <C>:"], "positive": ["Good <C>:"]},
                "classify": {"negative": ["Bad: <X>"], "positive": ["Good: <X>"]},
            },
        }
    },
}
BOARD: dict[str, Any] = {
    "name": "keys",
    "tasks": ["task.yaml"],
    "generators": [
        {"name": "plm", "model": "embedded:review-gpt-06m"},
        {"name": "replayed", "backend": "replay", "data": "replayed.jsonl"},
    ],
    "students": ["linear"],
    "sizes": [4],
    "seeds": [13],
    "measures": ["distinct_n", "leakage"],
}


def rows(name: str, count: int = 8) -> Rows:
    return [(f"{name} film number {index}", ("negative", "positive")[index % 2]) for index in range(count)]


@dataclass
class Files:
    """The files of a board with one task, a PLM and a replayed dataset, to be changed and planned."""

    folder: Path
    task: dict[str, Any] = field(default_factory=lambda: deepcopy(TASK))
    board: dict[str, Any] = field(default_factory=lambda: deepcopy(BOARD))
    data: dict[str, Rows] = field(default_factory=lambda: {name: rows(name) for name in ("train", "test", "replayed")})

    @property
    def plm(self) -> dict[str, Any]:
        plm: dict[str, Any] = self.board["generators"][0]
        return plm

    @property
    def completion(self) -> dict[str, Any]:
        completion: dict[str, Any] = self.prompts["completion"]
        return completion

    @property
    def prompts(self) -> dict[str, Any]:
        prompts: dict[str, Any] = self.task["prompts"]["plain"]
        return prompts

    def write(self) -> Path:
        self.folder.mkdir(exist_ok=True)
        for name, data in self.data.items():
            lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in data]
            (self.folder / f"{name}.jsonl").write_text("".join(lines))
        (self.folder / "task.yaml").write_text(yaml.safe_dump(self.task, sort_keys=False))
        (self.folder / "board.yaml").write_text(yaml.safe_dump(self.board, sort_keys=False))
        return self.folder / "board.yaml"

    def plan(self, selection: Selection | None = None) -> Plan:
        return make_plan(resolve_board(str(self.write()), None), selection or Selection())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "board")


def keys_by_role(plan: Plan) -> dict[str, str]:
    """What a job is for, such as `replayed train` or `SUPERVISED score`, and its key; names of the PLM left out."""
    roles: dict[str, str] = {}
    for cell in plan.cells:
        who = cell.student if cell.student == PROMPTING else "plm" if cell.generator == "my-plm" else cell.generator
        for stage, key in cell.jobs:
            assert roles.setdefault(f"{who} {stage}", key) == key, "give the board one size and one seed"
    return roles


WRITTEN = {f"plm {stage}" for stage in ("synthesize", "measure", "train", "score", "profile")}
REPLAYED = {f"replayed {stage}" for stage in ("synthesize", "measure", "train", "score", "profile")}
GOLD = {f"{SUPERVISED} {stage}" for stage in ("train", "score", "profile")}
PROMPTED = {f"{PROMPTING} {stage}" for stage in ("prompt", "profile")}
CONSTANT = {f"{MAJORITY} score"}
EVERYTHING = WRITTEN | REPLAYED | GOLD | PROMPTED | CONSTANT
TRAINED = (
    {role for role in EVERYTHING if role.rpartition(" ")[2] in ("train", "score", "profile")} - PROMPTED - CONSTANT
)
TESTED = {role for role in EVERYTHING if role.rpartition(" ")[2] in ("measure", "score", "profile", "prompt")}


def changed(files: Files, change: Callable[[Files], object]) -> set[str]:
    before = keys_by_role(files.plan())
    change(files)
    after = keys_by_role(files.plan())
    assert set(before) == set(after) == EVERYTHING
    return {role for role in EVERYTHING if before[role] != after[role]}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f.board.update(seeds=[14]), WRITTEN | REPLAYED | GOLD),
        (lambda f: f.board.update(sizes=[6]), WRITTEN | REPLAYED),
        (lambda f: f.plm.update(model="embedded:review-gpt-2m"), WRITTEN | PROMPTED),
        (lambda f: f.plm.update(dtype="float16"), WRITTEN | PROMPTED),
        (lambda f: f.plm.update(top_p=0.8), WRITTEN),
        (lambda f: f.plm.update(top_k=5), WRITTEN),
        (lambda f: f.plm.update(temperature=0.7), WRITTEN),
        (lambda f: f.plm.update(repetition_penalty=1.2), WRITTEN),
        (lambda f: f.plm.update(no_repeat_ngram_size=3), WRITTEN),
        (lambda f: f.plm.update(min_new_tokens=2), WRITTEN),
        (lambda f: f.plm.update(strict=True), WRITTEN),
        (lambda f: f.task.update(name="other"), WRITTEN),  # the random streams have the task in them
        (lambda f: f.completion["text"].update(negative=["Awful <C>:"]), WRITTEN),
        (lambda f: f.completion.update(context=["Film:"]), WRITTEN),
        (lambda f: f.prompts.update(stop=None), WRITTEN),
        (lambda f: f.prompts.update(max_new_tokens=41), WRITTEN),
        (lambda f: f.prompts.update(context_max_new_tokens=11), WRITTEN),
        (lambda f: f.prompts.update(min_words=11), WRITTEN),
        (lambda f: f.prompts.update(samples_per_context=33), WRITTEN),
        (lambda f: f.completion["classify"].update(negative=["Awful: <X>"]), PROMPTED),
        (lambda f: f.prompts.update(classify_loss="text"), PROMPTED),
        (lambda f: f.board.update(students=[{"student": "linear", "ngrams": 1}]), TRAINED),
        (lambda f: f.board.update(students=[{"student": "bilstm", "name": "linear"}]), TRAINED),
        (lambda f: f.board.update(measures=["leakage"]), {"plm measure", "replayed measure"}),
        (lambda f: f.data.update(test=rows("new")), TESTED),
        (lambda f: f.data.update(test=[*rows("test", 7), (rows("test")[7][0], "negative")]), TESTED),
        (lambda f: f.board.update(tasks=[{"task": "task.yaml", "test_rows": 6}]), TESTED),
        (lambda f: f.data.update(train=rows("new")), GOLD),
        (lambda f: f.data.update(replayed=rows("new")), REPLAYED),
        (lambda f: f.data.update(replayed=rows("replayed")[::-1]), REPLAYED),
        (lambda f: f.task.update(labels=["positive", "negative"]), EVERYTHING),
    ],
    ids=[
        *("seed", "size", "model", "dtype", "top_p", "top_k", "temperature", "repetition_penalty"),
        *("no_repeat_ngram_size", "min_new_tokens", "strict", "task name", "text prompt"),
        *("context prompt", "stop", "max_new_tokens", "context_max_new_tokens", "min_words", "samples_per_context"),
        *("classify prompt", "classify_loss", "student setting", "student", "measures", "test texts", "test labels"),
        *("test_rows", "train texts", "replayed texts", "order of replayed rows", "order of labels"),
    ],
)
def test_a_key_changes_with_each_input_of_its_job_and_no_other_key_does(
    change: Callable[[Files], object], expected: set[str], files: Files
) -> None:
    assert changed(files, change) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda f: f.board.update(name="renamed", title="Another title"),
        lambda f: f.plm.update(name="my-plm", title="My PLM", license="mit", trust_remote_code=True),
        lambda f: f.plm.update(block_rows=16),  # without `strict` no result depends on it
        lambda f: f.prompts.update(answers_in_turn=2),  # of questions
        lambda f: f.board["generators"][1].update(title="Replayed", license="mit"),
        lambda f: f.task.update(title="Another title", license="mit", language="de", metric="macro_f1"),
        lambda f: f.prompts.update(source="another test"),
        lambda f: f.prompts.update(chat={"text": {label: [label] for label in TASK["labels"]}}),
        lambda f: f.task["prompts"].update(second=deepcopy(f.prompts)),
        lambda f: f.task["splits"].update(unlabelled={"file": "train.jsonl"}),
        lambda f: f.board.update(students=[{"student": "linear", "ngrams": 2}]),  # the default, written out
        lambda f: f.board.update(baselines=["supervised", "prompting", "majority"]),
        lambda f: setattr(f, "folder", f.folder.with_name("elsewhere")),
        lambda f: replay_as_csv(f),
        lambda f: replay_with_label_numbers(f),
    ],
    ids=[
        *(
            "board",
            "PLM's names",
            "block_rows",
            "answers_in_turn",
            "replay's names",
            "task's names",
            "prompts' source",
            "style not used",
        ),
        *("prompt set not used", "split not used", "default written out", "order of baselines", "folder"),
        *("kind of file", "labels mapped"),
    ],
)
def test_no_key_changes_with_what_no_result_depends_on(change: Callable[[Files], object], files: Files) -> None:
    assert changed(files, change) == set()


def replay_as_csv(files: Files) -> None:
    with (files.folder / "other.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("sentiment", "review"), *((label, text) for text, label in rows("replayed"))])
    columns = {"text": "review", "label": "sentiment"}
    files.board["generators"][1].update(data="other.csv", columns=columns)


def replay_with_label_numbers(files: Files) -> None:
    names = ["positive", "negative"]
    files.data["replayed"] = [(text, str(names.index(label))) for text, label in rows("replayed")]
    files.board["generators"][1].update(labels=dict(enumerate(names)))


def test_other_tasks_generators_students_sizes_and_seeds_leave_the_keys_of_the_first(files: Files) -> None:
    before = set(files.plan().jobs)
    files.board["tasks"].insert(0, "film-reviews")
    files.board["generators"].insert(0, {"name": "big", "model": "embedded:review-gpt-7m"})
    files.board["students"].insert(0, "bilstm")
    files.board["sizes"].insert(0, 2)
    files.board["seeds"].append(21)
    after = files.plan()
    assert before < set(after.jobs)


def test_only_timings_depend_on_the_machine(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    _, flags = machine._processor()

    def move(_: Files) -> None:
        monkeypatch.setattr(machine, "_processor", lambda: ("Another processor", flags))

    timings = {role for role in EVERYTHING if role.endswith(" profile")}
    assert changed(files, move) == timings


def test_the_folder_of_the_results_and_the_number_of_workers_change_no_key(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plans = []
    for options in ([], ["--out", str(tmp_path / "out"), "--workers", "3"]):
        assert main(["run", str(files.write()), "--dry-run", "--store", str(tmp_path / "store"), *options]) == 0
        plans.append(capsys.readouterr().out)
    assert plans[0] == plans[1]
    assert all(key[:12] in plans[0] for key in files.plan().jobs)


# --- what a board is made of


def stages(plan: Plan) -> Counter[str]:
    return Counter(job.stage.name for job in plan.jobs.values())


def test_a_board_is_every_task_generator_student_size_and_seed_and_the_baselines(files: Files) -> None:
    files.board.update(students=["linear", "bilstm"], sizes=[2, 4], seeds=[1, 2, 3])
    plan = files.plan()
    cells = Counter((cell.generator, cell.student) for cell in plan.cells)
    grid = {(generator, student): 6 for generator in ("plm", "replayed") for student in ("linear", "bilstm")}
    gold = {(SUPERVISED, student): 3 for student in ("linear", "bilstm")}
    assert cells == {**grid, **gold, ("plm", PROMPTING): 1, (MAJORITY, MAJORITY): 1}
    assert stages(plan) == {
        "synthesize": 12,
        "measure": 12 + 6,  # the larger ones at the size of the smaller, too
        "train": 24 + 6,
        "score": 24 + 6 + 1,
        "prompt": 1,
        "profile": 8 + 2 + 1,  # of the first seed
    }


def test_every_input_comes_before_what_reads_it_and_every_cell_reads_planned_jobs(files: Files) -> None:
    files.board.update(students=["linear", "bilstm"], sizes=[2, 4], seeds=[1, 2])
    plan = files.plan()
    done: set[str] = set()
    for key, job in plan.jobs.items():
        assert job.key == key
        assert {read for _, read in job.inputs.values()} <= done
        done.add(key)
    for cell in plan.cells:
        assert [plan.jobs[key].stage.name for _, key in cell.jobs] == [stage for stage, _ in cell.jobs]


def test_datasets_of_one_seed_share_their_tries_whatever_their_size(files: Files) -> None:
    files.board.update(sizes=[2, 4], seeds=[1, 2])
    series = [job.series for job in files.plan().jobs.values() if job.stage.name == "synthesize"]
    written = [one for one in series if one is not None]
    assert len(written) == 4
    assert sorted(Counter(written).values()) == [2, 2]


def test_the_rows_of_a_strict_block_are_in_its_keys(files: Files) -> None:
    files.plm.update(strict=True)
    assert changed(files, lambda f: f.plm.update(block_rows=16)) == WRITTEN


def test_two_tasks_with_the_same_labels_share_replayed_data_and_trained_students(files: Files) -> None:
    files.write()
    shutil.copy(files.folder / "train.jsonl", files.folder / "second.jsonl")
    second = {**files.task, "name": "second", "splits": {"test": {"file": "second.jsonl"}}}
    (files.folder / "second.yaml").write_text(yaml.safe_dump(second))
    files.board.update(tasks=["task.yaml", "second.yaml"], generators=[files.board["generators"][1]], baselines=[])
    files.board.update(profile=False, seeds=[1, 2])
    assert stages(files.plan()) == {"synthesize": 2, "train": 2, "measure": 4, "score": 4}
    files.board.update(measures=["distinct_n"])  # looks at no test split
    assert stages(files.plan()) == {"synthesize": 2, "train": 2, "measure": 2, "score": 4}


def test_tasks_that_name_their_labels_in_another_order_share_no_student(files: Files) -> None:
    files.write()
    second = {**files.task, "name": "second", "labels": ["positive", "negative"]}
    (files.folder / "second.yaml").write_text(yaml.safe_dump(second))
    files.board.update(tasks=["task.yaml", "second.yaml"], generators=[files.board["generators"][1]], baselines=[])
    assert stages(files.plan())["train"] == 2


def test_jobs_that_share_a_key_give_the_same_numbers_whichever_task_made_them(files: Files, tmp_path: Path) -> None:
    files.data["test"] = rows("test", 60)
    probabilities = np.random.default_rng(5).dirichlet([1, 1], 60)
    made = []
    for name in ("reviews", "renamed"):
        files.task["name"] = name
        plan = files.plan()
        out = tmp_path / name
        out.mkdir()
        write_scores(out, plan.board.tasks[0], probabilities)
        made.append((keys_by_role(plan)[f"{SUPERVISED} score"], (out / "values.json").read_text()))
    assert made[0] == made[1]


def test_sizes_and_seeds_that_stand_twice_are_one(files: Files) -> None:
    files.board.update(sizes=[4, 4], seeds=[1, 1, 2])
    assert Counter((cell.size, cell.seed) for cell in files.plan().cells if cell.generator == "plm") == {
        (4, 1): 1,
        (4, 2): 1,
        (None, None): 1,
    }


def test_all_rows_of_a_replayed_file_and_their_number_are_one_size(files: Files) -> None:
    files.board.update(sizes=[8, "all"], generators=[files.board["generators"][1]], baselines=[])
    assert [cell.size for cell in files.plan().cells] == [8]


def test_a_size_that_a_replayed_file_does_not_have_is_noted_and_the_others_are_planned(files: Files) -> None:
    files.board.update(sizes=[4, 9])
    plan = files.plan()
    assert plan.notes == ["replayed has 8 rows for reviews: no cell of size 9"]
    assert [cell.size for cell in plan.cells if cell.generator == "replayed"] == [4]
    assert [cell.size for cell in plan.cells if cell.generator == "plm" and cell.size] == [4, 9]


def test_a_task_without_classify_prompts_or_gold_train_split_has_no_such_baseline(files: Files) -> None:
    del files.completion["classify"]
    del files.task["splits"]["train"]
    assert {cell.generator for cell in files.plan().cells} == {"plm", "replayed", MAJORITY}
    assert PROMPTING not in {cell.student for cell in files.plan().cells}


# --- parts of a board


@pytest.mark.parametrize(
    ("selection", "field_name", "values"),
    [
        (Selection(tasks=("film-reviews",)), "task", {"film-reviews"}),
        (Selection(generators=("replayed",)), "generator", {"replayed"}),
        (Selection(students=("bilstm",)), "student", {"bilstm"}),
        (Selection(sizes=(2,)), "size", {2}),
        (Selection(seeds=(1,)), "seed", {1}),
    ],
    ids=["task", "generator", "student", "size", "seed"],
)
def test_a_part_of_a_board_is_made_of_jobs_of_the_whole(
    selection: Selection, field_name: str, values: set[Any], files: Files
) -> None:
    files.board.update(students=["linear", "bilstm"], sizes=[2, 4], seeds=[1, 2], tasks=["task.yaml", "film-reviews"])
    whole, part = files.plan(), files.plan(selection)
    assert set(part.jobs) < set(whole.jobs)
    assert {getattr(cell, field_name) for cell in part.cells if cell.size in (2, 4)} == values
    assert {cell for cell in whole.cells if getattr(cell, field_name) in values} <= set(part.cells)


def test_other_sizes_and_seeds_than_the_boards_can_be_asked_for(files: Files) -> None:
    plan = files.plan(Selection(sizes=(3,), seeds=(99,)))
    assert {(cell.size, cell.seed) for cell in plan.cells if cell.generator == "replayed"} == {(3, 99)}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(tasks=("review",)), "no task 'review'; did you mean 'reviews'?"),
        (Selection(generators=("replay",)), "no generator 'replay'; did you mean 'replayed'?"),
        (Selection(students=("lineal",)), "no student 'lineal'; did you mean 'linear'?"),
        (Selection(students=("transformer",)), "no student 'transformer' (it has linear)"),
        (Selection(sizes=("all",)), "size 'all' has no meaning for plm"),
    ],
)
def test_a_part_that_the_board_does_not_have_is_named(selection: Selection, expected: str, files: Files) -> None:
    with pytest.raises(HarnessError) as caught:
        files.plan(selection)
    assert expected in str(caught.value)
