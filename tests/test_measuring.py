"""Measures on boards and on files: by the models they need, at a common size, and what is said where one is missing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from harness.cli import main
from harness.commands import names_data
from harness.errors import HarnessError, OutOfReachError
from harness.generators.locate import ModelPlace, locate_model
from harness.generators.transformers_backend import TransformersGenerator
from harness.leaderboard.rank import rank
from harness.measure_file import FileToMeasure, plan_file
from harness.plan import Plan, Selection, make_plan
from harness.quality.embeddings import embed
from harness.quality.perplexity import perplexity, token_losses
from harness.resolve import resolve_board
from harness.results import ALL_SEEDS, ResultRow
from harness.scoring.statistics import item_interval_of_seed_mean
from harness.stages.embed import read_embeddings
from harness.stages.measure import PER_TEXT
from harness.stages.score import read_scores
from harness.stages.synthesize import read_synthetic
from students import linear
from students.protocol import Target
from tests.replay_boards import Ran, ReplayBoard, board_of_one_task, reviews
from tests.students.tiny_bert import save_bert

WORDS = sorted({word for text, _ in reviews(400, seed=1) for word in text.lower().replace(".", " ").split()})


@pytest.fixture
def replay_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReplayBoard:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    board = board_of_one_task(tmp_path)
    board.add_generator("plm", reviews(60, seed=3, wrong=0.2))
    return board


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    save_bert(tmp_path / "bert", WORDS, initializer_range=0.5)
    return tmp_path / "bert"


def of_data(rows: list[ResultRow], **wanted: object) -> dict[str, ResultRow]:
    """The rows of the measures by name."""
    found = [row for row in rows if row.stage == "measure"]
    return {row.measure: row for row in found if all(getattr(row, name) == value for name, value in wanted.items())}


def stages(plan: Plan) -> list[str]:
    return [job.stage.name for job in plan.jobs.values()]


def data_of(ran: Ran) -> Path:
    (job,) = (job for job in ran.plan.jobs.values() if job.stage.name == "synthesize")
    return ran.store.folder("synthesize", job.key)


def test_what_a_measure_says_goes_with_what_its_model_says(replay_board: ReplayBoard, bert: Path) -> None:
    ran = replay_board.run(
        seeds=[13],
        measures=["embedding_distances", "mauve", "frechet", "perplexity"],
        measuring={"embeddings": str(bert), "perplexity": "embedded:review-gpt-06m"},
    )
    assert ran.outcome.failures == [] and ran.outcome.unavailable == {}
    found = of_data(ran.rows)
    texts = list(read_synthetic(data_of(ran), "text-classification").text)
    vectors = embed(locate_model(str(bert), None, None), texts)
    similar = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    pairs = len(texts) * (len(texts) - 1)
    assert found["embedding_pairwise_distance"].number == pytest.approx(
        1 - (similar.sum() - len(texts)) / pairs, abs=1e-5
    )
    (job,) = (one for one in ran.plan.jobs.values() if one.stage.name == "embed" and "data" in one.inputs)
    assert np.allclose(read_embeddings(ran.store.folder("embed", job.key)), vectors, atol=1e-5)
    plm = TransformersGenerator.load(
        locate_model("embedded:review-gpt-06m", None, None), "float32", "completion", trust_remote_code=False
    )
    by_hand = perplexity(token_losses(plm, "by hand", texts))
    assert found["perplexity"].number == pytest.approx(by_hand.corpus.value, rel=1e-5)
    assert found["mauve"].tier == found["frechet"].tier == "real-text"
    gold = [line for one in ran.plan.jobs.values() for line in _gold(ran, one.stage.name, one.key)]
    assert "reviews/train: texts without labels, to compare with" in gold


def _gold(ran: Ran, stage: str, key: str) -> list[str]:
    artifact = ran.store.find(stage, key)
    assert artifact is not None
    lines: list[str] = artifact.manifest["record"]["gold"]
    return lines


def test_an_oracle_is_trained_on_gold_rows_and_asked_about_every_synthetic_one(replay_board: ReplayBoard) -> None:
    ran = replay_board.run(seeds=[13], measures=["oracle_agreement"], measuring={"oracle": "linear"})
    found = of_data(ran.rows)
    task = ran.plan.board.tasks[0]
    oracle = linear.Student(linear.Settings(), Target("text-classification", task.spec.labels))
    oracle.fit(task.split("train"), 13, lambda done, total, note: None)
    data = read_synthetic(data_of(ran), "text-classification")

    def agreed(examples: object) -> float:
        predicted = oracle.predict_proba(examples).argmax(axis=1)  # type: ignore[arg-type]
        names = [task.spec.labels[column] for column in predicted]
        return float(np.mean([one == other for one, other in zip(names, examples.label, strict=True)]))  # type: ignore[attr-defined]

    assert found["oracle_agreement"].number == pytest.approx(agreed(data))
    assert found["oracle_ceiling"].number == pytest.approx(agreed(task.split("test")))
    # One in five labels is wrong, and these words are easy to tell apart.
    assert 0.7 < found["oracle_agreement"].number < 0.9 < found["oracle_ceiling"].number


def test_a_model_out_of_reach_leaves_out_its_measures_and_no_others(replay_board: ReplayBoard) -> None:
    ran = replay_board.run(
        seeds=[13],
        measures=["lengths", "mauve", "vendi_embeddings", "perplexity"],
        measuring={
            "embeddings": {"model": "nobody/encoder", "revision": "0" * 40},
            "perplexity": "embedded:review-gpt-06m",
        },
    )
    assert ran.outcome.failures == []
    found = of_data(ran.rows)
    assert found["words_mean"].value is not None and found["perplexity"].value is not None
    for name in ("mauve", "vendi_embeddings"):
        assert found[name].value is None
        assert found[name].note.startswith("not available: ") and "nobody/encoder" in found[name].note
    notes = rank(ran.plan, ran.rows, []).notes
    assert any("mauve" in note and "vendi_embeddings" in note and "not available" in note for note in notes)
    # Nothing of it is kept: what is in reach tomorrow is taken tomorrow.
    assert "embed" not in {folder.parent.name for folder, _ in ran.store.artifacts()}


def test_what_a_dataset_does_not_hold_is_said_before_anything_is_made(replay_board: ReplayBoard) -> None:
    plan = replay_board.plan(measures=["generator_log_probability", "prompt_echo", "truncated"])
    why = {one.measure: one.why for one in plan.missing if one.why}
    assert set(why) == {"generator_log_probability", "prompt_echo"}
    assert "does not say how its PLM wrote each row" in why["generator_log_probability"]


def test_a_label_with_too_few_rows_keeps_no_other_measure_back(replay_board: ReplayBoard) -> None:
    replay_board.add_generator("few", reviews(6, seed=4))
    ran = replay_board.run(seeds=[13], measures=["label_errors", "distinct_n"])
    few, plm = of_data(ran.rows, generator="few"), of_data(ran.rows, generator="plm")
    assert few["label_errors"].value is None and "5 different ones" in few["label_errors"].note
    assert few["distinct_1"].value is not None and plm["label_errors_estimated"].value is not None
    again = replay_board.run(seeds=[13], measures=["label_errors", "distinct_n"])
    assert again.outcome.made == set() and of_data(again.rows, generator="few")["label_errors"].note


def test_scores_per_text_are_kept_beside_the_numbers(replay_board: ReplayBoard) -> None:
    ran = replay_board.run(seeds=[13], measures=["self_bleu", "lengths"])
    (job,) = (job for job in ran.plan.jobs.values() if job.stage.name == "measure")
    table = pq.read_table(ran.store.folder("measure", job.key) / PER_TEXT)
    assert table.num_rows == 60 and set(table.column_names) == {"row", "self_bleu_4", "words"}
    found = of_data(ran.rows)
    assert np.mean(table.column("self_bleu_4").to_numpy()) == pytest.approx(found["self_bleu_4"].number)


def test_a_score_without_the_test_rows_that_leaked_stands_beside_the_plain_one(replay_board: ReplayBoard) -> None:
    task = replay_board.plan().board.tasks[0]
    test = task.split("test")
    copied = [(test.text[row], test.label[row]) for row in (2, 5, 7)]
    replay_board.add_generator("leaky", [*reviews(57, seed=9, wrong=0.4), *copied])
    ran = replay_board.run(seeds=[13], measures=["leakage"])
    rows = {(row.generator, row.measure): row for row in ran.rows if row.seed == ALL_SEEDS}
    assert ("plm", "accuracy.without_leaked") not in rows
    (key,) = {
        row.artifact.partition("/")[2]
        for row in ran.rows
        if row.generator == "leaky" and row.stage == "score" and row.artifact
    }
    correct = read_scores(ran.store.folder("score", key), "correct")
    kept = np.delete(correct, [2, 5, 7])
    without = rows["leaky", "accuracy.without_leaked"]
    assert without.number == pytest.approx(kept.mean()) and len(kept) == len(test) - 3
    interval = item_interval_of_seed_mean(kept[None, :])
    assert (without.low, without.high) == pytest.approx((interval.low, interval.high))


def test_a_model_that_a_board_names_wrongly_is_a_mistake_in_its_file(replay_board: ReplayBoard) -> None:
    path = replay_board.write(
        measures=["mauve", "oracle_agreement"], measuring={"embeddings": "./nowhere", "oracle": "linnear"}
    )
    with pytest.raises(
        HarnessError, match=r"(?s)measuring\.embeddings.*nowhere.*measuring\.oracle.*did you mean 'linear'"
    ):
        resolve_board(str(path), None)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("HARNESS_MIRROR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    path = tmp_path / "rows.jsonl"
    labels = {"positive": 1, "negative": 0}
    lines = [json.dumps({"review": text, "stars": labels[label]}) for text, label in reviews(40, seed=5)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


Output = pytest.CaptureFixture[str]


def test_a_file_is_measured_by_itself(rows: Path, capsys: Output) -> None:
    options = ["--columns", "text=review,label=stars", "--measure", "distinct_n,label_balance,leakage,label_errors"]
    assert main(["measure", str(rows), *options, "--json", "--quiet"]) == 0
    out = capsys.readouterr().out
    last = json.loads(out.splitlines()[-1])
    values = {value["measure"]: value["value"] for value in last["values"]}
    assert values["label_share.0"] == values["label_share.1"] == 0.5
    assert "no task" in last["not_available"]["leakage"]
    assert "Distinct-n" in out and "40 rows" in out


def test_a_file_is_measured_for_a_task_and_shown_as_a_page(rows: Path, capsys: Output, tmp_path: Path) -> None:
    options = ["--task", "film-reviews", "--columns", "text=review,label=stars", "--labels", "1=positive,0=negative"]
    page = tmp_path / "page.html"
    command = ["measure", str(rows), *options, "--measure", "leakage,duplicates,near_duplicates", "--html", str(page)]
    assert main(command) == 0
    assert "Leakage" in capsys.readouterr().out
    assert "rows.jsonl" in page.read_text(encoding="utf-8")


def test_a_file_without_labels_is_measured_too(rows: Path, capsys: Output) -> None:
    assert (
        main(
            ["measure", str(rows), "--columns", "text=review", "--measure", "lengths,label_balance,leakage", "--quiet"]
        )
        == 0
    )
    out = capsys.readouterr().out
    # That there are no labels is no news to anybody; that there is no task may be.
    assert "Length" in out and "Label" not in out and "no task" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--columns", "text=reviw"], "expected a column 'reviw', found review, stars; did you mean 'review'?"),
        (["--columns", "txt=review"], "unknown column 'txt'; expected"),
        (["--columns", "text"], "expected KEY=VALUE"),
        (["--columns", "text=review", "--measure", "self_blue"], "did you mean 'self_bleu'?"),
        (
            ["--columns", "text=review", "--measure", "mauve", "--embeddings", "a/b@12"],
            "expected MODEL or MODEL@REVISION",
        ),
        (
            ["--columns", "text=review", "--measure", "mauve", "--embeddings", "./nowhere"],
            "no folder with a config.json",
        ),
        (["--columns", "text=review", "--measure", "oracle_agreement"], "needs one: give --oracle MODEL"),
        (["--task", "film-reviews", "--columns", "text=review,label=stars"], "unknown label 0; expected"),
        (["--task", "sst3"], "unknown task 'sst3'; did you mean"),
        (["--columns", "text=review,label=sentimet"], "expected a column 'sentimet', found review, stars"),
        (["--columns", "text=review", "--size", "10"], "--size chooses a part of a board"),
        (["--columns", "text=review", "--format", "zerogen"], "--columns has no meaning with --format zerogen"),
    ],
)
def test_a_mistake_about_a_file_is_told_in_one_message(
    options: list[str], message: str, rows: Path, capsys: Output
) -> None:
    assert main(["measure", str(rows), *options]) == 2
    error = capsys.readouterr().err
    assert message in " ".join(error.split()) and "Traceback" not in error


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path, capsys: Output) -> None:
    assert main(["measure", str(tmp_path / "none.jsonl")]) == 2
    assert "no such file" in capsys.readouterr().err


def test_a_board_goes_before_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "mine"):
        (tmp_path / name).mkdir()
    assert [names_data(name) for name in ("demo", "mine", "a.csv", "board.yaml")] == [False, True, True, False]


def test_labels_that_cannot_be_names_get_free_ones_and_their_values_are_told(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    labels = ["label-1", "very good", "fine", "<b>"]
    path.write_text("".join(json.dumps({"text": f"row {i}", "label": labels[i % 4]}) + "\n" for i in range(8)))
    plan = plan_file(FileToMeasure(path, measures=("label_balance",)))
    assert plan.board.tasks[0].spec.labels == ("label-1", "label-2", "fine", "label-3")
    path.write_text('{"text": "row", "label": ["x"]}\n')
    with pytest.raises(HarnessError, match="expected labels that are texts or whole numbers"):
        plan_file(FileToMeasure(path))


def test_a_label_that_only_some_rows_have_is_an_error_and_no_unlabelled_file(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text('{"text": "a row", "label": "x"}\n{"text": "another"}\n')
    with pytest.raises(HarnessError, match=r"some.jsonl:2: expected a column 'label'"):
        plan_file(FileToMeasure(path))


def test_a_test_split_out_of_reach_is_said_and_the_rest_is_measured(
    rows: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--task", "imdb", "--columns", "text=review,label=stars", "--labels", "1=positive,0=negative"]
    assert main(["measure", str(rows), *options, "--measure", "lengths,leakage", "--json", "--quiet"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "words_mean" in {value["measure"] for value in last["values"]}
    assert "stanfordnlp/imdb" in last["not_available"]["leakage"]


def test_a_model_out_of_reach_is_asked_for_once(replay_board: ReplayBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    replay_board.add_generator("second", reviews(60, seed=8))
    asked: list[str] = []

    def unreachable(place: ModelPlace, *rest: object) -> None:
        asked.append(place.source)
        raise OutOfReachError("no such model here")

    monkeypatch.setattr("harness.quality.embeddings.embed", unreachable)
    ran = replay_board.run(
        seeds=[13, 21],
        measures=["vendi_embeddings"],
        measuring={"embeddings": {"model": "nobody/encoder", "revision": "0" * 40}},
    )
    assert asked == ["nobody/encoder"] and len(ran.outcome.unavailable) == 8
    assert {row.note for row in ran.rows if row.value is None} == {"not available: no such model here"}


def test_a_board_whose_measures_are_taken_alone_says_what_is_not_available(
    replay_board: ReplayBoard, capsys: Output, tmp_path: Path
) -> None:
    measuring = {"embeddings": {"model": "nobody/encoder", "revision": "0" * 40}}
    board = str(replay_board.write(seeds=[13], measures=["lengths", "vendi_embeddings"], measuring=measuring))
    store = ["--store", str(tmp_path / "store")]
    assert main(["measure", board, *store, "--json", "--quiet"]) == 0
    out = capsys.readouterr().out
    assert "vendi_embeddings of plm/reviews: not available" in out
    assert len(json.loads(out.splitlines()[-1])["not_available"]) == 1
    assert main(["measure", board, *store, "--html", "x.html"]) == 2
    assert "--html is for a file of rows" in capsys.readouterr().err


def test_an_oracle_that_does_not_learn_a_family_is_not_trained_for_it(replay_board: ReplayBoard) -> None:
    path = replay_board.write(measures=["oracle_agreement"], measuring={"oracle": "linear"}, sizes=[20])
    board = resolve_board(str(path), None)
    assert board.measuring.oracle is not None
    of_pairs = replace(board.measuring.oracle, families=("text-pair-classification",))
    plan = make_plan(replace(board, measuring=replace(board.measuring, oracle=of_pairs)), Selection())
    assert {one.why for one in plan.missing} == {"the oracle 'linear' does not learn text-classification"}
    assert "SUPERVISED" not in " ".join(job.stage.title for job in plan.jobs.values())
