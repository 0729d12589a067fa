from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.spec import Board, ReplayGenerator, Task, TransformersGenerator, parse, parse_board
from harness.yaml_source import Source, read_yaml

KNOWN: dict[str, dict[str, Any]] = {
    "gpt2": {"name": "gpt2", "model": "openai-community/gpt2", "top_p": 0.8},
    "gpt2-xl": {"name": "gpt2-xl", "model": "openai-community/gpt2-xl"},
}
BOARD = """\
name: films
tasks: [sst2]
generators: [gpt2]
students: [linear]
"""
TASK = """\
name: films
title: Films
family: text-classification
labels: [negative, positive]
splits:
  test: {file: test.jsonl}
prompts:
  plain:
    source: made up
    completion:
      text: {negative: [Bad.], positive: [Good.]}
"""


def source_of(folder: Path, text: str) -> Source:
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return read_yaml(path)


def board_of(folder: Path, text: str) -> Board:
    board, problems = parse_board(source_of(folder, text), KNOWN)
    assert not problems
    assert board is not None
    return board


def board_problems(folder: Path, text: str) -> list[str]:
    _, problems = parse_board(source_of(folder, text), KNOWN)
    return [problem.render("f") for problem in sorted(problems, key=lambda one: one.line or 0)]


def task_problems(folder: Path, text: str) -> list[str]:
    _, problems = parse(Task, source_of(folder, text))
    return [problem.render("f") for problem in sorted(problems, key=lambda one: one.line or 0)]


def test_a_board_needs_four_keys_and_the_rest_has_defaults(tmp_path: Path) -> None:
    board = board_of(tmp_path, BOARD)
    assert (board.sizes, board.seeds, board.baselines, board.measures) == ((1000,), (13, 21, 42), None, None)
    assert board.profile is True
    assert board_problems(tmp_path, "title: x\n") == [
        f"f:1: {key}: expected this key, found nothing" for key in ("name", "tasks", "generators", "students")
    ]


def test_short_forms_mean_what_the_long_ones_say(tmp_path: Path) -> None:
    short = board_of(tmp_path, BOARD)
    long = board_of(
        tmp_path,
        """\
name: films
tasks: [{task: sst2}]
generators: [{name: gpt2, backend: transformers, model: openai-community/gpt2, top_p: 0.8}]
students: [{student: linear}]
""",
    )
    assert short == long
    assert short.tasks[0].test_rows is None


def test_a_name_from_the_catalogue_and_a_generator_written_out_may_stand_side_by_side(tmp_path: Path) -> None:
    text = BOARD.replace("[gpt2]", "[gpt2-xl, {name: mine, backend: replay, data: mine.jsonl}, {name: x, model: a/b}]")
    first, second, third = board_of(tmp_path, text).generators
    assert isinstance(first, TransformersGenerator)
    assert first.model == "openai-community/gpt2-xl"
    assert isinstance(second, ReplayGenerator)
    assert isinstance(third, TransformersGenerator), "a generator without a backend is a PLM"


def test_a_student_s_further_keys_are_settings_of_its_recipe(tmp_path: Path) -> None:
    board = board_of(tmp_path, BOARD.replace("[linear]", "[{student: linear, name: lin3, ngrams: 3}]"))
    assert (board.students[0].name, board.students[0].overrides) == ("lin3", {"ngrams": 3})


def test_every_error_of_a_board_is_told_at_once_with_its_line_and_path(tmp_path: Path) -> None:
    text = """\
name: a/b
tasks:
- {task: sst2, test_rows: 1}
generators:
- gpt3
- {name: x, backend: repaly, data: x}
- {name: y, backend: replay, data: y, columns: {txt: a}}
students: [linear]
sizes: [0, all, many]
seeds: [true]
baselines: [supervized]
profile: 1
sedes: [1]
"""
    rows = "expected a number of rows from 1 to 10,000,000, or 'all', found"
    assert board_problems(tmp_path, text) == [
        "f:1: name: expected a text that matches '^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$', found 'a/b'",
        "f:3: tasks[0].test_rows: expected a number greater than or equal to 2, found 1",
        "f:5: generators[0]: unknown generator 'gpt3'; did you mean 'gpt2'? (known: gpt2, gpt2-xl; or write one out)",
        "f:6: generators[1].backend: unknown backend 'repaly'; did you mean 'replay'? "
        "(known: openai, replay, transformers, vllm)",
        "f:7: generators[2].columns.txt: expected 'text', 'text_pair', 'label', 'id', 'context', 'question' or "
        "'answers', found 'txt'; did you mean 'text'?",
        f"f:9: sizes[0]: {rows} 0",
        f"f:9: sizes[2]: {rows} 'many'",
        "f:10: seeds[0]: expected a whole number, found True",
        "f:11: baselines[0]: expected 'majority', 'prompting', 'prompting-calibrated' or 'supervised', "
        "found 'supervized'; "
        "did you mean 'supervised'?",
        "f:12: profile: expected true or false, found 1",
        "f:13: sedes: unknown key 'sedes'; did you mean 'seeds'? (known: baselines, generators, measures, measuring, "
        "name, profile, seeds, sizes, students, tasks, title)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "[gpt2]",
            "[{name: x, backend: replay, data: 5}]",
            "generators[0].data: expected a text or a mapping, found 5; quotes make it a text",
        ),
        (
            "[gpt2]",
            "[{name: x, backend: replay, data: {a: 5}}]",
            "generators[0].data.a: expected a text, found 5; quotes make it a text",
        ),
        (
            "[gpt2]",
            "[{name: x, backend: replay, data: a, labels: {0: 1}}]",
            "generators[0].labels[0]: expected a text, found 1; quotes make it a text",
        ),
        ("[gpt2]", "[{name: x}]", "generators[0].model: expected this key, found nothing"),
        (
            "[gpt2]",
            "[{name: x, model: y, backend: ~}]",
            "generators[0].backend: unknown backend 'None' (known: openai, replay, transformers, vllm)",
        ),
        ("[gpt2]", "[[]]", "generators[0]: expected a mapping, found []"),
        ("[gpt2]", "gpt2", "generators: expected a list, found 'gpt2'"),
        ("[gpt2]", "[gpt2]\nmeasures: some", "measures: expected a list or 'all', found 'some'"),
        ("[gpt2]", "[gpt2]\nmeasures: [1]", "measures[0]: expected a text, found 1; quotes make it a text"),
        ("[sst2]", "[]", "tasks: expected a list of at least 1 item, found []"),
        ("[linear]", "[{name: x}]", "students[0].student: expected this key, found nothing"),
        ("[linear]", "[{student: linear, 5: x}]", "students[0][5]: expected a word as key, found 5"),
        (
            "name: films",
            f"name: films\ntitle: {'x' * 201}",
            f"title: expected a text of at most 200 characters, found '{'x' * 56}...",
        ),
    ],
)
def test_one_mistake_is_one_error_in_plain_words(old: str, new: str, expected: str, tmp_path: Path) -> None:
    (found,) = board_problems(tmp_path, BOARD.replace(old, new))
    assert found.partition(": ")[2] == expected


@pytest.mark.parametrize("text", ["- a\n", "42\n", "words\n", "null\n"])
def test_a_file_that_is_no_mapping_is_told_so(text: str, tmp_path: Path) -> None:
    (found,) = board_problems(tmp_path, text)
    assert found.startswith("f:1: expected a mapping, found ")


def test_a_size_is_a_number_of_rows_or_all_and_true_is_neither(tmp_path: Path) -> None:
    assert board_of(tmp_path, BOARD + "sizes: [all, 1, 10000000]\n").sizes == ("all", 1, 10_000_000)
    for wrong in ("true", "0", "-1", "1.5", "'10'", "10000001", "~", "[1]"):
        (found,) = board_problems(tmp_path, BOARD + f"sizes: [{wrong}]\n")
        assert "sizes[0]: expected a number of rows from 1 to 10,000,000, or 'all', found " in found


@pytest.mark.parametrize("name", ["a/b", "../a", "..", "", ".a", "a b", "💥", "x" * 81, "a\n", "\u202ea"])
def test_a_name_is_safe_as_part_of_a_path_and_of_a_signature(name: str, tmp_path: Path) -> None:
    text = yaml.safe_dump({**yaml.safe_load(BOARD), "name": name}, allow_unicode=True)
    (found,) = board_problems(tmp_path, text)
    assert "name: expected a text that matches" in found


def test_every_error_of_a_task_is_told_at_once_with_its_line_and_path(tmp_path: Path) -> None:
    text = """\
name: films
title: Films
family: sentiment
labels: [negative]
splits:
  test: {file: a.jsonl, hub: a/b}
  dev: {file: a.jsonl}
  train: {hub: ../.., revision: main, colums: {}}
prompts:
  plain:
    source: made up
    max_new_tokens: 0
    stop: ''
    completion: {}
metrik: accuracy
"""
    assert task_problems(tmp_path, text) == [
        "f:3: family: expected 'text-classification', 'text-pair-classification' or 'extractive-qa', found 'sentiment'",
        "f:6: splits.test: expected exactly one of 'hub' (a dataset id) and 'file' (a path)",
        "f:7: splits.dev: expected 'train', 'test' or 'unlabelled', found 'dev'",
        "f:8: splits.train.hub: expected a text that matches '^[A-Za-z0-9_][\\w.-]*/[A-Za-z0-9_][\\w.-]*$', "
        "found '../..'",
        "f:8: splits.train.revision: expected a text that matches '^[0-9a-f]{40}$', found 'main'",
        "f:8: splits.train.colums: unknown key 'colums'; did you mean 'columns'? (known: columns, config, file, hub, "
        "labels, revision, split)",
        "f:12: prompts.plain.max_new_tokens: expected a number greater than or equal to 1, found 0",
        "f:13: prompts.plain.stop: expected a text of at least 1 character, found ''",
        "f:15: metrik: unknown key 'metrik'; did you mean 'metric'? (known: contexts, family, labels, language, "
        "license, metric, name, prompts, splits, title)",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("test: {", "train: {", "'splits' has no 'test': students are scored on real rows"),
        ("[negative, positive]", "[negative]", "text-classification needs at least two 'labels'"),
        ("[negative, positive]", "[negative, negative]", "a label stands twice in 'labels'"),
        ("[negative, positive]", "[no, yes]", "labels[0]: expected a text, found False; quotes make it a text"),
        ("[negative, positive]", "[a/b, c]", "labels[0]: expected a text that matches "),
        ("{file: test.jsonl}", "{}", "splits.test: expected exactly one of 'hub' (a dataset id) and 'file' (a path)"),
        (
            "\n    completion:\n      text: {negative: [Bad.], positive: [Good.]}",
            "",
            "expected prompts in at least one style",
        ),
        ("[Bad.]", "Bad.", "prompts.plain.completion.text.negative: expected a list, found 'Bad.'"),
    ],
)
def test_a_task_that_cannot_be_learnt_or_scored_is_refused(old: str, new: str, expected: str, tmp_path: Path) -> None:
    assert TASK.replace(old, new) != TASK
    found = task_problems(tmp_path, TASK.replace(old, new))
    assert expected in found[0]


def test_label_maps_have_numbers_or_words_as_keys_for_sources_have_either(tmp_path: Path) -> None:
    text = TASK.replace("{file: test.jsonl}", "{file: test.jsonl, labels: {0: negative, pos: positive}}")
    task, problems = parse(Task, source_of(tmp_path, text))
    assert not problems
    assert task is not None
    assert task.splits["test"].labels == {0: "negative", "pos": "positive"}


@pytest.mark.parametrize(("key", "value"), [("top_p", "0"), ("top_p", "1.01"), ("temperature", "0"), ("top_k", "-1")])
def test_decoding_settings_outside_their_range_are_refused(key: str, value: str, tmp_path: Path) -> None:
    (found,) = board_problems(tmp_path, BOARD.replace("[gpt2]", f"[{{name: x, model: a/b, {key}: {value}}}]"))
    assert f"generators[0].{key}: expected a number " in found


def test_code_from_a_model_is_trusted_only_by_a_plain_true(tmp_path: Path) -> None:
    for wrong in ("1", "'yes'", "'true'"):
        text = BOARD.replace("[gpt2]", f"[{{name: x, model: a/b, trust_remote_code: {wrong}}}]")
        assert "expected true or false" in board_problems(tmp_path, text)[0]
    assert board_of(tmp_path, BOARD).generators[0].model_dump()["trust_remote_code"] is False


def test_the_file_s_own_record_is_not_changed_by_writing_out_its_short_forms(tmp_path: Path) -> None:
    source = source_of(tmp_path, BOARD)
    before = source.data
    parse_board(source, KNOWN)
    assert before == yaml.safe_load(BOARD)
    assert KNOWN["gpt2"] == {"name": "gpt2", "model": "openai-community/gpt2", "top_p": 0.8}
