import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.catalogue import load_task, names
from harness.errors import HarnessError, one_of
from harness.generators.locate import locate_model
from harness.quality.measures import DEFAULT_MEASURES, MEASURES
from harness.resolve import ReplayedGenerator, WritingGenerator, resolve_board

COMMIT = "0123456789abcdef" * 2 + "01234567"
PROMPTS = {"negative": ["Bad."], "positive": ["Good."]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the task `films`, rows for it, and a generated dataset."""
    rows = "".join(json.dumps({"text": label, "label": label}) + "\n" for label in PROMPTS)
    for name in ("test.jsonl", "mine.jsonl", "theirs.jsonl"):
        (tmp_path / name).write_text(rows)
    write_task(tmp_path)
    return tmp_path


def write_task(folder: Path, name: str = "films", **fields: Any) -> None:
    task = {
        "name": name,
        "title": "Films",
        "family": "text-classification",
        "labels": list(PROMPTS),
        "splits": {"test": {"file": "test.jsonl"}},
        "prompts": {"plain": {"source": "made up", "completion": {"text": PROMPTS}}},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({**task, **fields}, sort_keys=False))


def board(folder: Path, **fields: Any) -> str:
    """The path of a board file with these fields changed."""
    plain = {
        "name": "board",
        "tasks": ["films.yaml"],
        "generators": [{"name": "mine", "backend": "replay", "data": "mine.jsonl"}],
        "students": ["linear"],
    }
    path = folder / "board.yaml"
    path.write_text(yaml.safe_dump({**plain, **fields}, sort_keys=False))
    return str(path)


def errors(path: str, mirror: Path | None = None) -> list[str]:
    """The lines of a board's refusal, without its folder."""
    with pytest.raises(HarnessError) as caught:
        resolve_board(path, mirror)
    return str(caught.value).replace(str(Path(path).parent) + "/", "").splitlines()


def write_model(folder: Path, weights: str = "model.safetensors") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / weights).write_bytes(b"weights")
    return folder


def test_every_mistake_that_needs_other_files_is_told_at_once_with_its_line(folder: Path) -> None:
    write_task(folder, "other", prompts={"chatty": {"source": "x", "chat": {"text": PROMPTS}}})
    (folder / "board.yaml").write_text(
        """\
name: board
tasks:
- films.yaml
- sst3
- other.yaml
- films.yaml
generators:
- gpt2-xxl
- {name: a, backend: replay, data: {films: mine.jsonl, imdb: x}, labels: {0: negatif}}
- {name: b, model: embedded:review-gpt-2n, prompts: plain}
- {name: b, backend: replay, data: nowhere.jsonl}
students:
- liner
- {student: linear, ngrms: 2, min_rows: 0}
- linear
sizes: [all]
baselines: [supervised]
measures: [self_blue, distinct_n]
"""
    )
    assert errors(str(folder / "board.yaml")) == [
        "board.yaml has 18 errors:",
        "  board.yaml:4: tasks[1]: unknown task 'sst3'; did you mean 'sst2'? (known: adversarial_qa, film-reviews, "
        "imdb, qnli, rte, squad, sst2, sst2-sentences, toy-nli, toy-qa; or the path of a .yaml file)",
        "  board.yaml:6: tasks[3]: 'films' stands twice; leave one of them out",
        "  board.yaml:8: generators[0]: unknown generator 'gpt2-xxl'; did you mean 'gpt2-xl'? (known: gpt2, "
        "gpt2-large, gpt2-xl, review-gpt-06m, review-gpt-2m, review-gpt-7m; or write one out)",
        "  board.yaml:9: generators[1].data: no file for the task 'other'",
        "  board.yaml:9: generators[1].data.imdb: the board has no task 'imdb'",
        "  board.yaml:9: generators[1].labels[0]: unknown label 'negatif'; did you mean 'negative'? (the tasks have "
        "negative, positive)",
        "  board.yaml:10: generators[2]: task 'other' has no prompt set 'plain'; it has chatty",
        "  board.yaml:10: generators[2].model: no embedded PLM 'review-gpt-2n'; did you mean 'review-gpt-2m'? "
        "(shipped: review-gpt-06m, review-gpt-2m, review-gpt-7m)",
        "  board.yaml:11: generators[3]: 'b' stands twice; give one of them another 'name'",
        "  board.yaml:11: generators[3].data: nowhere.jsonl: no such file or folder",
        "  board.yaml:13: students[0]: unknown student 'liner'; did you mean 'linear'? (known: bidaf, bilstm, encoder, "
        "linear, pair_bilstm)",
        "  board.yaml:14: students[1].min_rows: expected a number greater than or equal to 1, found 0",
        "  board.yaml:14: students[1].ngrms: unknown key 'ngrms'; did you mean 'ngrams'? (known: "
        "inverse_regularization, max_iterations, min_rows, ngrams)",
        "  board.yaml:15: students[2]: 'linear' stands twice; give one of them another 'name'",
        "  board.yaml:16: sizes: 'all' has no meaning for a PLM that writes the data here; give a number of rows",
        "  board.yaml:17: baselines[0]: task 'films' has no gold train split",
        "  board.yaml:17: baselines[0]: task 'other' has no gold train split",
        "  board.yaml:18: measures[0]: unknown measure 'self_blue'; did you mean 'self_bleu'? (known: "
        f"{one_of(MEASURES)})",
    ]


def test_the_errors_of_a_task_file_stand_under_the_place_that_names_it(folder: Path) -> None:
    write_task(folder, metric="f2", family="sentiment")
    assert errors(board(folder)) == [
        "board.yaml has 1 error:",
        "  board.yaml:3: tasks[0]: films.yaml has 2 errors:",
        "    films.yaml:3: family: expected 'text-classification', 'text-pair-classification' or 'extractive-qa', "
        "found 'sentiment'",
        "    films.yaml:19: metric: expected 'accuracy', 'macro_f1', 'exact_match' or 'f1', found 'f2'",
    ]


def test_names_of_a_board_are_looked_up_from_its_own_folder_not_from_where_the_command_runs(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    resolved = resolve_board(board(folder), None)
    (generator,) = resolved.generators
    assert isinstance(generator, ReplayedGenerator)
    assert generator.files == {"films": folder / "mine.jsonl"}
    assert resolved.tasks[0].split("test").text == ["negative", "positive"]


def test_the_home_folder_is_meant_by_a_tilde_wherever_the_board_stands(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    generators = [{"name": "mine", "backend": "replay", "data": "~/mine.jsonl"}]
    (generator,) = resolve_board(board(folder, generators=generators), None).generators
    assert isinstance(generator, ReplayedGenerator)
    assert generator.files == {"films": folder / "mine.jsonl"}


def test_a_generator_may_have_a_file_of_its_own_for_each_task(folder: Path) -> None:
    write_task(folder, "other")
    by_task = {"films": "mine.jsonl", "other": "theirs.jsonl"}
    generators = [{"name": "mine", "backend": "replay", "data": by_task}]
    (generator,) = resolve_board(
        board(folder, tasks=["films.yaml", "other.yaml"], generators=generators), None
    ).generators
    assert isinstance(generator, ReplayedGenerator)
    assert generator.files == {task: folder / file for task, file in by_task.items()}


@pytest.mark.parametrize("data", ["x" * 5000, "a\0b", "~nobody-at-all/x.jsonl", "mine.jsonl/x"])
def test_what_cannot_be_a_path_is_a_problem_of_its_line_not_an_exception(data: str, folder: Path) -> None:
    (_, found) = errors(board(folder, generators=[{"name": "mine", "backend": "replay", "data": data}]))
    assert found.startswith("  board.yaml:7: generators[0].data: ")
    assert "cannot be used as a path: " in found


def test_what_a_board_does_not_say_has_defaults(folder: Path) -> None:
    resolved = resolve_board(board(folder), None)
    assert resolved.title == "board"
    assert resolved.measures == DEFAULT_MEASURES
    assert resolved.baselines == ("majority", "prompting", "supervised")
    assert resolved.sizes == (1000,)
    assert resolved.seeds == (13, 21, 42)
    assert resolved.profile


def test_measures_come_in_one_order_whatever_the_board_s_for_the_order_is_in_no_key(folder: Path) -> None:
    asked = resolve_board(board(folder, measures=["leakage", "self_bleu"]), None).measures
    assert asked == ("self_bleu", "leakage")
    assert resolve_board(board(folder, measures="all"), None).measures == tuple(MEASURES)
    assert resolve_board(board(folder, measures=[]), None).measures == ()


def test_a_cap_on_the_test_rows_belongs_to_the_board_s_task(folder: Path) -> None:
    resolved = resolve_board(board(folder, tasks=[{"task": "films.yaml", "test_rows": 2}]), None)
    assert resolved.tasks[0].test_rows == 2
    assert resolved.tasks[0].signature.endswith("/2")


def test_settings_of_a_student_reach_its_recipe_and_its_signature(folder: Path) -> None:
    plain, mine = resolve_board(
        board(folder, students=["linear", {"student": "linear", "name": "lin3", "ngrams": 3}]), None
    ).students
    assert (plain.name, plain.signature) == ("linear", "linear.v1")
    assert mine.name == "lin3"
    assert mine.settings.model_dump()["ngrams"] == 3
    assert mine.signature.startswith("linear.v1+")


def test_a_baseline_is_left_out_quietly_only_where_the_board_did_not_ask_for_it(folder: Path) -> None:
    assert "supervised" in resolve_board(board(folder), None).baselines, "the default: those the tasks allow"
    assert "no gold train split" in errors(board(folder, baselines=["supervised"]))[1]


def test_a_board_that_does_not_exist_gets_a_hint(folder: Path) -> None:
    with pytest.raises(HarnessError, match=r"unknown board 'demi'; did you mean 'demo'\?"):
        resolve_board("demi", None)
    with pytest.raises(HarnessError, match=r"nothing\.yaml: no such board file"):
        resolve_board(str(folder / "nothing.yaml"), None)


@pytest.mark.parametrize("name", names("tasks"))
def test_every_shipped_task_is_valid(name: str) -> None:
    assert load_task(name).spec.name == name


@pytest.mark.parametrize("name", names("boards"))
def test_every_shipped_board_is_valid_without_network_or_mirror(name: str) -> None:
    assert resolve_board(name, None).name == name


# --- tasks ----------------------------------------------------------------------------------------------------------


def task_errors(folder: Path, **fields: Any) -> list[str]:
    write_task(folder, **fields)
    with pytest.raises(HarnessError) as caught:
        load_task("films.yaml", folder)
    return str(caught.value).replace(str(folder) + "/", "").splitlines()


def test_a_task_s_labels_must_agree_with_its_prompts_and_its_splits(folder: Path) -> None:
    splits = {"test": {"file": "test.jsonl", "labels": {0: "negativ", 1: "positive"}}}
    prompts = {"plain": {"source": "x", "completion": {"text": {"negative": ["Bad."], "neutral": ["So so."]}}}}
    assert task_errors(folder, splits=splits, prompts=prompts) == [
        "films.yaml has 3 errors:",
        "  films.yaml:11: splits.test.labels[0]: unknown label 'negativ'; did you mean 'negative'? (the task has "
        "negative, positive)",
        "  films.yaml:17: prompts.plain.completion.text: no prompt for the label 'positive'",
        "  films.yaml:20: prompts.plain.completion.text.neutral: unknown label 'neutral' (the task has "
        "negative, positive)",
    ]


@pytest.mark.parametrize(
    "file", ["../test.jsonl", "a/../../test.jsonl", "/etc/passwd", "~/test.jsonl", "link.jsonl", ".."]
)
def test_no_path_of_a_task_leaves_the_task_s_folder(
    file: str, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "test.jsonl"
    outside.write_text("{}")
    (folder / "link.jsonl").symlink_to(outside)
    assert task_errors(folder, splits={"test": {"file": file}}) == [
        "films.yaml has 1 error:",
        f"  films.yaml:9: splits.test.file: expected a file in the task file's own folder or below it, found '{file}'",
    ]


def test_a_file_below_the_task_s_folder_may_be_named_by_a_detour_or_a_link_that_stays_inside(folder: Path) -> None:
    (folder / "below").mkdir()
    (folder / "below" / "link.jsonl").symlink_to("../test.jsonl")
    for file in ("./test.jsonl", "below/../test.jsonl", "below/link.jsonl"):
        write_task(folder, splits={"test": {"file": file}})
        assert load_task("films.yaml", folder).spec.splits["test"].file == file


def test_a_task_that_is_named_and_one_that_has_a_path_are_told_apart(folder: Path) -> None:
    write_task(folder, "sst2")
    assert load_task("sst2", folder).path != folder / "sst2.yaml", "a name is the catalogue's"
    assert load_task("sst2.yaml", folder).path == folder / "sst2.yaml", "a path is a file's"


# --- PLMs -----------------------------------------------------------------------------------------------------------


def test_a_plm_is_found_beside_the_board_then_in_the_mirror_then_on_the_hub(folder: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    in_mirror = write_model(mirror / "models" / "org" / "plm")
    assert locate_model("org/plm", None, mirror, folder).source == str(in_mirror)
    beside = write_model(folder / "org" / "plm")
    assert locate_model("org/plm", None, mirror, folder).source == str(beside)
    on_hub = locate_model("org/other", COMMIT, mirror, folder)
    assert (on_hub.source, on_hub.revision, on_hub.identity) == ("org/other", COMMIT, f"hub:org/other@{COMMIT}")


def test_a_copy_of_a_plm_is_the_same_plm_and_other_weights_are_another(folder: Path) -> None:
    first, copy = write_model(folder / "a"), write_model(folder / "b")
    same = locate_model(str(first), None, None).identity
    assert locate_model(str(copy), None, None).identity == same
    (copy / "model.safetensors").write_bytes(b"other")
    assert locate_model(str(copy), None, None).identity != same


def test_a_hub_plm_without_a_revision_is_refused_for_the_hub_s_newest_is_no_pin(folder: Path) -> None:
    (_, found) = errors(board(folder, generators=[{"name": "x", "model": "org/plm"}], sizes=[5]))
    assert found == (
        "  board.yaml:6: generators[0].model: model 'org/plm' is no folder here, and no mirror is set (HARNESS_MIRROR "
        "or --mirror); to take it from the hub, pin its 'revision' (a commit)"
    )


def test_weights_that_can_run_code_are_not_read(folder: Path) -> None:
    write_model(folder / "plm", weights="pytorch_model.bin")
    with pytest.raises(HarnessError, match=r"holds no \.safetensors weights; other formats are not read"):
        locate_model("plm", None, None, folder)


@pytest.mark.parametrize("model", ["./nowhere", "/nowhere", "nowhere", "a/b/c"])
def test_a_folder_that_is_not_there_is_told_apart_from_a_hub_name(model: str, folder: Path) -> None:
    with pytest.raises(HarnessError, match=r"no folder with a config\.json there"):
        locate_model(model, COMMIT, None, folder)


def test_a_plm_on_a_board_has_a_dtype_that_is_named_in_full(folder: Path) -> None:
    generators = [{"name": "x", "model": "embedded:review-gpt-06m"}]
    (generator,) = resolve_board(board(folder, generators=generators), None).generators
    assert isinstance(generator, WritingGenerator)
    assert generator.dtype in ("float32", "bfloat16"), "auto would give one key two results"
    assert generator.signature.startswith("x@")
