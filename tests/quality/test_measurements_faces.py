"""The faces for Hugging Face `evaluate`, all loaded in one fresh process: importing `evaluate` takes seconds,
and it reads its offline switches and cache folders once, when it is imported."""

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness.quality.measurements
from harness.quality.measures import MEASURES, measure_all
from harness.quality.rows import Oracle, Rows, TokenLosses

FOLDER = Path(harness.quality.measurements.__path__[0])
TEXTS = ["a good film , really good", "a bad film", "a bad film", "A good film, really good"]
LABELS = ["positive", "negative", "negative", "positive"]
TEST_TEXTS = ["A bad film.", "a good play"]
LABEL_NAMES = ["negative", "positive"]
CONTEXTS = ["A good film, really good fun.", "a play", "A bad film!", ""]
REASONS = ["eos", "length", "stop", "eos"]
EMBEDDINGS = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.0, 0.8]]
REAL_EMBEDDINGS = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.8, 0.6, 0.0]]
LOG_PROBABILITIES, GENERATED_TOKENS = [-8.0, -6.0, math.nan, -2.0], [4, 3, 3, 1]
LOSSES, TOKENS, BYTES = [1.5, 2.5, 0.5, math.nan], [6, 3, 3, 0], [25, 10, 10, 0]
ROWS = Rows(
    TEXTS,
    LABEL_NAMES,
    LABELS,
    contexts=CONTEXTS,
    finish_reasons=REASONS,
    test_texts=TEST_TEXTS,
    log_probabilities=np.array(LOG_PROBABILITIES),
    generated_tokens=np.array(GENERATED_TOKENS),
    embeddings=np.array(EMBEDDINGS, np.float32),
    real_embeddings=np.array(REAL_EMBEDDINGS, np.float32),
    losses=TokenLosses("a PLM", np.array(LOSSES), np.array(TOKENS), np.array(BYTES)),
)
ORACLE = [[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.3, 0.7]]
ROWS = replace(ROWS, oracle=Oracle("an oracle", np.arange(4), np.array(ORACLE), 9, 10))
# Five different texts of each label, for its folds.
FOLDED = [f"{text} {number}" for number in range(5) for text in TEXTS]
ROWS_OF = {"label_errors": Rows(FOLDED, LABEL_NAMES, LABELS * 5)}

CLASS_AND_INPUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "self_bleu": ("SelfBleu", {"data": TEXTS}),
    "distinct_n": ("DistinctN", {"data": TEXTS}),
    "entropy": ("Entropy", {"data": TEXTS}),
    "compression": ("Compression", {"data": TEXTS}),
    "self_repetition": ("SelfRepetition", {"data": TEXTS}),
    "homogenisation": ("Homogenisation", {"data": TEXTS}),
    "vendi_ngrams": ("VendiNgrams", {"data": TEXTS}),
    "near_duplicates": ("NearDuplicates", {"data": TEXTS}),
    "truncated": ("Truncated", {"data": TEXTS, "finish_reasons": REASONS}),
    "prompt_echo": ("PromptEcho", {"data": TEXTS, "contexts": CONTEXTS}),
    "language": ("Language", {"data": TEXTS}),
    "duplicates": ("Duplicates", {"data": TEXTS}),
    "lengths": ("Lengths", {"data": TEXTS}),
    "label_balance": ("LabelBalance", {"data": LABELS, "label_names": LABEL_NAMES}),
    "leakage": ("Leakage", {"data": TEXTS, "test_texts": TEST_TEXTS}),
    "vendi_embeddings": ("VendiEmbeddings", {"data": TEXTS, "embeddings": EMBEDDINGS}),
    "embedding_distances": ("EmbeddingDistances", {"data": TEXTS, "embeddings": EMBEDDINGS}),
    "mauve": ("Mauve", {"data": TEXTS, "embeddings": EMBEDDINGS, "real_embeddings": REAL_EMBEDDINGS}),
    "frechet": ("Frechet", {"data": TEXTS, "embeddings": EMBEDDINGS, "real_embeddings": REAL_EMBEDDINGS}),
    "perplexity": (
        "Perplexity",
        {"data": TEXTS, "losses": LOSSES, "tokens": TOKENS, "bytes": BYTES, "plm": "a PLM"},
    ),
    "generator_log_probability": (
        "GeneratorLogProbability",
        {"data": TEXTS, "log_probabilities": LOG_PROBABILITIES, "generated_tokens": GENERATED_TOKENS},
    ),
    "oracle_agreement": (
        "OracleAgreement",
        {"data": LABELS, "label_names": LABEL_NAMES, "probabilities": ORACLE, "right": 9, "items": 10},
    ),
    "label_errors": ("LabelErrors", {"data": FOLDED, "labels": LABELS * 5, "label_names": LABEL_NAMES}),
}

PROGRAM = """
import importlib, json, socket, sys

def refuse(*_):
    raise AssertionError("a face reached for the network")

socket.socket.connect = refuse
sys.modules["transformers"] = None  # evaluate imports it where it can: seconds, for evaluators not used here
import evaluate
del sys.modules["transformers"]

faces = {}
for name, (class_name, inputs) in json.load(sys.stdin).items():
    module = importlib.import_module(f"harness.quality.measurements.{name}.{name}")
    by_class = getattr(module, class_name)()
    by_path = evaluate.load(f"{sys.argv[1]}/{name}", module_type="measurement")
    faces[name] = {
        "by_class": by_class.compute(**inputs),
        "by_path": by_path.compute(**inputs),
        "loaded_from": sys.modules[type(by_path).__module__].__file__,
        "name": by_path.name,
        "description": by_path.description,
        "citation": by_path.citation,
        "inputs_description": by_path.inputs_description,
        "features": list(by_path.features),
    }
print(json.dumps(faces))
"""


@pytest.fixture(scope="module")
def hf_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hf_home")


@pytest.fixture(scope="module")
def faces(hf_home: Path) -> dict[str, dict[str, Any]]:
    """What each face says and computes, loaded by class and by path, offline and with empty caches."""
    switches = {
        "HF_HUB_OFFLINE": "1",
        "HF_EVALUATE_OFFLINE": "1",
        "HF_HOME": str(hf_home),
        "HF_MODULES_CACHE": str(hf_home / "modules"),
    }
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(FOLDER)],
        input=json.dumps(CLASS_AND_INPUTS),
        env=os.environ | switches,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr
    loaded: dict[str, dict[str, Any]] = json.loads(finished.stdout.splitlines()[-1])
    return loaded


def test_every_measure_of_the_registry_has_a_face() -> None:
    assert {folder.name for folder in FOLDER.iterdir() if (folder / f"{folder.name}.py").is_file()} == set(MEASURES)
    assert set(CLASS_AND_INPUTS) == set(MEASURES)


@pytest.mark.parametrize("name", MEASURES)
def test_a_face_gives_the_harness_own_numbers_by_class_and_by_path(name: str, faces: dict[str, dict[str, Any]]) -> None:
    values = measure_all([name], ROWS_OF.get(name, ROWS)).values
    expected = {value.measure: value.value for value in values}
    assert faces[name]["by_class"] == faces[name]["by_path"] == expected


@pytest.mark.parametrize("name", MEASURES)
def test_a_face_loaded_by_path_comes_from_evaluates_own_cache_and_documents_itself(
    name: str, faces: dict[str, dict[str, Any]], hf_home: Path
) -> None:
    face = faces[name]
    assert Path(face["loaded_from"]).is_relative_to(hf_home)
    assert (face["name"], face["features"]) == (name, ["data"])
    assert MEASURES[name].version in face["description"]
    assert face["citation"].startswith("@") and "data:" in face["inputs_description"]
