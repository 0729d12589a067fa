from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.yaml_source import MAX_BYTES, Problem, dotted_path, raise_problems, read_yaml


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "file.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refusal(folder: Path, text: str | bytes) -> str:
    path = written(folder, text)
    with pytest.raises(HarnessError) as caught:
        read_yaml(path)
    message = str(caught.value)
    assert message.startswith(str(path)), "a message begins with the file it is about"
    return message.removeprefix(str(path))


def test_every_value_knows_its_line_so_that_an_error_can_point_at_it(tmp_path: Path) -> None:
    source = read_yaml(written(tmp_path, "name: x\n\ntasks:\n- a\n- {task: b,\n   rows: 5}\n"))
    assert source.data == {"name": "x", "tasks": ["a", {"task": "b", "rows": 5}]}
    assert source.line(("name",)) == 1
    assert source.line(("tasks",)) == 3
    assert source.line(("tasks", 0)) == 4
    assert source.line(("tasks", 1, "rows")) == 6


def test_what_is_missing_is_placed_at_the_nearest_thing_around_it(tmp_path: Path) -> None:
    source = read_yaml(written(tmp_path, "a: 1\nb:\n  c: 2\n"))
    assert source.line(("b", "nothing", 0, "here")) == 2
    assert source.line(("nothing",)) == 1


def test_numbers_and_words_keep_their_types_for_label_maps_tell_0_from_text(tmp_path: Path) -> None:
    source = read_yaml(written(tmp_path, "{0: negative, '1': positive, top_p: 0.9, profile: off, stop: ~}"))
    assert source.data == {0: "negative", "1": "positive", "top_p": 0.9, "profile": False, "stop": None}


def test_a_key_that_stands_twice_is_an_error_for_yaml_would_silently_take_the_last(tmp_path: Path) -> None:
    assert refusal(tmp_path, "seeds: [1]\nname: x\nseeds: [2]\n") == ":3: the key 'seeds' stands twice in one mapping"
    assert "the key '0' stands twice" in refusal(tmp_path, "labels: {0: a, 0x0: b}")


@pytest.mark.parametrize("key", ["yes", "null", "1.5", "2024-02-03", "? [a]\n", "? {a: b}\n"])
def test_a_key_that_yaml_does_not_read_as_a_word_is_an_error_that_says_how_to_write_it(
    key: str, tmp_path: Path
) -> None:
    assert "a key must be a word or a whole number (quote words such as 'yes')" in refusal(tmp_path, f"a: 1\n{key}: 2")


def test_an_alias_bomb_is_refused_before_it_is_expanded(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    assert "more than 50,000 values" in refusal(tmp_path, bomb)


def test_an_alias_is_worth_what_it_stands_for_for_a_task_may_repeat_its_prompts(tmp_path: Path) -> None:
    source = read_yaml(written(tmp_path, "a: &same [1, 2]\nb: *same\n"))
    assert source.data == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    "text", ["a: &a [*a]", "a: " + "[" * 200 + "]" * 200, "a: " + "[" * 9000, "- " * 9000, "a: " + "{b: " * 9000]
)
def test_depth_is_bounded_and_never_ends_in_a_recursion_error(text: str, tmp_path: Path) -> None:
    assert "30 levels" in refusal(tmp_path, text)


def test_a_file_beyond_the_limit_is_refused_by_its_size_alone(tmp_path: Path) -> None:
    message = refusal(tmp_path, "a" * (MAX_BYTES + 1))
    assert message == f" holds {MAX_BYTES + 1:,} bytes; a file of this kind has at most {MAX_BYTES:,}"


@pytest.mark.parametrize(
    "text", [b"name: \xff", b"name: \xc3\x28", "name: ä".encode("latin-1"), "name: x".encode("utf-16")]
)
def test_text_in_another_encoding_is_an_error_that_says_how_to_save_it(text: bytes, tmp_path: Path) -> None:
    assert "is not UTF-8 text: byte" in refusal(tmp_path, text)


@pytest.mark.parametrize(("character", "shown"), [("\0", "U+0000"), ("\x1b", "U+001B"), ("\x7f", "U+007F")])
def test_a_control_character_is_placed_on_its_line(character: str, shown: str, tmp_path: Path) -> None:
    assert (
        refusal(tmp_path, f"a: 1\nb: x{character}y\n") == f":2: the character {shown} cannot stand in YAML; remove it"
    )


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "\ufeff"])
def test_an_empty_file_is_told_what_was_expected(text: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, text) == " is empty; expected a YAML mapping such as `name: ...`"


def test_a_missing_file_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"nothing\.yaml: no such file"):
        read_yaml(tmp_path / "nothing.yaml")
    with pytest.raises(HarnessError, match="no such file"):
        read_yaml(tmp_path)


@pytest.mark.parametrize(
    ("text", "line"), [("a: 1\nb: [1, 2\n", 3), ("a: 'x\n", 2), ("\ta: 1", 1), ("a: *b", 1), ("a: 1\n---\nb: 2", 2)]
)
def test_what_is_no_yaml_is_placed_on_its_line(text: str, line: int, tmp_path: Path) -> None:
    assert refusal(tmp_path, text).startswith(f":{line}: not valid YAML: ")


@pytest.mark.parametrize(
    "value",
    [
        "!!python/object/apply:os.system ['touch HERE']",
        "!!python/name:os.system ''",
        "!!set {a}",
        "!!binary aGk=",
        "!mine 1",
        "2024-02-03",
        "2024-99-99",
        "!!timestamp x",
        "=",
    ],
)
def test_only_plain_values_are_built_for_a_tag_may_name_code(value: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, f"a: 1\nb: {value.replace('HERE', str(tmp_path / 'made'))}\n")
    assert message.startswith(":2: expected a text, a number, true, false, null, a list or a mapping, found a '")
    assert message.endswith("; if it is meant as text, put it in quotes")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (".nan", "a finite number"),
        ("-.inf", "a finite number"),
        ("1.0e+999", "a finite number"),
        ("!!float x", "a finite number"),
        ("9" * 5000, "a whole number of at most 64 bits"),
        ("0x" + "f" * 5000, "a whole number of at most 64 bits"),
        ("1:" * 5000 + "1", "a whole number of at most 64 bits"),
        (str(2**63), "a whole number of at most 64 bits"),
        ("!!int ''", "a whole number of at most 64 bits"),
        ("!!bool perhaps", "true or false"),
        ('"\\ud800"', "a text of whole characters"),
    ],
)
def test_a_value_that_no_setting_can_have_is_refused_where_it_stands(value: str, expected: str, tmp_path: Path) -> None:
    message = refusal(tmp_path, f"a: 1\nb: {value}\n")
    assert message.startswith(f":2: expected {expected}, found ")
    assert len(message) < 200, "the message cuts what it found"


def test_the_largest_number_of_64_bits_is_still_read(tmp_path: Path) -> None:
    assert read_yaml(written(tmp_path, f"a: {2**63 - 1}")).data == {"a": 2**63 - 1}


def test_problems_are_told_together_in_the_order_of_the_lines_and_once_each() -> None:
    late = Problem(("tasks", 0, "name"), "is wrong", 7)
    early = Problem((), "lacks something", 2)
    nowhere = Problem(("x",), "was seen", None)
    with pytest.raises(HarnessError) as caught:
        raise_problems(Path("board.yaml"), [late, early, nowhere, late])
    assert str(caught.value).splitlines() == [
        "board.yaml has 3 errors:",
        "  board.yaml: x: was seen",
        "  board.yaml:2: lacks something",
        "  board.yaml:7: tasks[0].name: is wrong",
    ]


def test_a_problem_of_several_lines_stays_under_its_own_heading() -> None:
    with pytest.raises(HarnessError) as caught:
        raise_problems(Path("board.yaml"), [Problem(("tasks", 0), "task.yaml has 1 error:\n  task.yaml:1: bad", 3)])
    assert str(caught.value).splitlines() == [
        "board.yaml has 1 error:",
        "  board.yaml:3: tasks[0]: task.yaml has 1 error:",
        "    task.yaml:1: bad",
    ]


def test_no_problem_raises_nothing() -> None:
    raise_problems(Path("board.yaml"), [])


def test_paths_are_written_as_people_write_them() -> None:
    assert dotted_path(("generators", 1, "labels", 0)) == "generators[1].labels[0]"
    assert dotted_path(("name",)) == "name"
    assert dotted_path(()) == ""
