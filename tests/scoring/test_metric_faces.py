"""The `evaluate` faces, loaded in a process of their own: the library reads its settings once, at import."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.scoring import metrics_faces

LABELS = ["negative", "neutral", "positive"]
REFERENCES = ["positive", "negative", "negative", "positive"]
PREDICTIONS = ["positive", "positive", "negative", "positive"]
OTHER_PREDICTIONS = ["negative", "negative", "positive", "neutral"]
ANSWERS = [["The Nile", "river Nile"], ["in 1912"], ["Oslo"]]
FOUND_ANSWERS = ["nile", "1912", "Bergen"]

SCRIPT = """
import json, sys
# evaluate imports transformers, which takes seconds, for pipelines that no metric uses.
sys.modules["transformers"] = None
import evaluate
del sys.modules["transformers"]
from harness.scoring.metrics_faces.accuracy.accuracy import Accuracy
from harness.scoring.metrics_faces.macro_f1.macro_f1 import MacroF1
from harness.scoring.metrics_faces.mcnemar.mcnemar import McNemar
from harness.scoring.metrics_faces.squad_f1.squad_f1 import SquadF1

faces, cache, labels, references, predictions, other_predictions, answers, found_answers = json.loads(sys.argv[1])
items = {"references": references, "predictions": predictions}
found = {}
for kind, make in {
    "class": lambda cls, name: cls(cache_dir=cache),
    "path": lambda cls, name: evaluate.load(
        f"{faces}/{name}", module_type="comparison" if name == "mcnemar" else None, cache_dir=cache
    ),
}.items():
    accuracy, macro_f1 = make(Accuracy, "accuracy"), make(MacroF1, "macro_f1")
    found[kind] = {**accuracy.compute(**items), **macro_f1.compute(**items, labels=labels)}
    mcnemar = make(McNemar, "mcnemar")
    found[kind + ", two students"] = mcnemar.compute(
        references=references, predictions1=predictions, predictions2=other_predictions
    )
    squad_f1 = make(SquadF1, "squad_f1")
    found[kind + ", answers"] = squad_f1.compute(references=answers, predictions=found_answers)
    accuracy.add_batch(references=references[:1], predictions=predictions[:1])
    accuracy.add_batch(references=references[1:], predictions=predictions[1:])
    found[kind + " in batches"] = accuracy.compute()
    found[kind + " lives in"] = sys.modules[type(accuracy).__module__].__file__
try:
    MacroF1(cache_dir=cache).compute(**items, labels=["negative", "pos"])
except Exception as error:
    found["unknown label"] = type(error).__name__
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What one offline process computed by class and by path, with every cache in a temporary folder."""
    folder = tmp_path_factory.mktemp("evaluate")
    arguments: list[object] = [str(metrics_faces.__path__[0]), str(folder / "metrics"), LABELS, REFERENCES, PREDICTIONS]
    arguments += [OTHER_PREDICTIONS, ANSWERS, FOUND_ANSWERS]
    offline = {
        "HF_HUB_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "HF_HOME": str(folder),
        "HF_MODULES_CACHE": str(folder / "modules"),
    }
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(arguments)],
        env=os.environ | offline,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    answers: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return answers | {"modules cache": str(folder / "modules")}


@pytest.mark.parametrize("kind", ["class", "path"])
def test_both_ways_of_loading_give_the_scores_worked_by_hand(found: dict[str, object], kind: str) -> None:
    """F1: negative 2·1/(2+1) = 2/3, neutral absent = 0, positive 2·2/(2+3) = 4/5."""
    assert found[kind] == {"accuracy": 0.75, "macro_f1": pytest.approx((2 / 3 + 0 + 4 / 5) / 3)}


@pytest.mark.parametrize("kind", ["class", "path"])
def test_answers_are_scored_against_lists_of_references(found: dict[str, object], kind: str) -> None:
    """`nile` is a reference without its article; `1912` shares 1 of 1 + 2 tokens: F1 2/3; `Bergen` shares none."""
    expected = {"exact_match": pytest.approx(1 / 3), "f1": pytest.approx((1 + 2 / 3 + 0) / 3)}
    assert found[f"{kind}, answers"] == expected


@pytest.mark.parametrize("kind", ["class", "path"])
def test_two_students_are_compared_on_the_items_that_one_of_them_got_right(found: dict[str, object], kind: str) -> None:
    """Three only the first, one only the second: p = 2 · (1 + 4)/2⁴."""
    assert found[f"{kind}, two students"] == {"stat": 1.0, "p": 0.625}


@pytest.mark.parametrize("kind", ["class", "path"])
def test_batches_add_up_to_the_whole(found: dict[str, object], kind: str) -> None:
    assert found[f"{kind} in batches"] == {"accuracy": 0.75}


def test_loading_by_path_runs_the_copy_in_the_modules_cache_whose_imports_still_find_the_harness(
    found: dict[str, object],
) -> None:
    assert Path(str(found["path lives in"])).is_relative_to(str(found["modules cache"]))


def test_a_label_outside_the_set_is_an_error_here_too(found: dict[str, object]) -> None:
    assert found["unknown label"] == "HarnessError"
