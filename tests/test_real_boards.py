"""Real synthetic datasets on real test sets: the accuracies are those measured once outside the project.

Needs a mirror (`HARNESS_MIRROR`, or one beside the checkout) with a folder `synthetic/imdb` beside it; skipped without.
"""

import json
import os
from pathlib import Path

import pytest
import yaml

from harness.cli import main

BESIDE = Path(__file__).parent.parent.parent / "shared" / "mirror"
MIRROR = Path(os.environ.get("HARNESS_MIRROR") or BESIDE).resolve()
SYNTHETIC = MIRROR.parent / "synthetic" / "imdb"
GOLD = MIRROR / "datasets" / "stanfordnlp" / "imdb" / "plain_text" / "train.parquet"

# TF-IDF + logistic regression on all rows: accuracy in % on IMDb test and SST-2 validation.
MEASURED_OUTSIDE = {
    "gpt2-xl": (81.2, 73.3),
    "gpt2-xl-1k": (70.4, 63.5),
    "opt-6.7b": (78.1, 71.0),
    "flan-t5-xl": (85.9, 76.6),
    "llama-2-7b-chat-hf": (73.4, 66.9),
    "gpt-3.5-turbo-instruct": (63.9, 60.2),
    "gold": (90.8, 79.0),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SYNTHETIC.is_dir() and GOLD.is_file()), reason="no mirror with synthetic data beside it"),
]


def _board(folder: Path) -> Path:
    generators = [
        {
            "name": name,
            "backend": "replay",
            "data": str(SYNTHETIC / f"{name}.jsonl"),
            "format": "zerogen",
            "labels": {0: "positive", 1: "negative"},
        }
        for name in MEASURED_OUTSIDE
        if name != "gold"
    ]
    hub_labels = {0: "negative", 1: "positive"}
    generators.append({"name": "gold", "backend": "replay", "data": str(GOLD), "labels": hub_labels})
    board = {
        "name": "real",
        "tasks": ["imdb", "sst2"],
        "generators": generators,
        "students": ["linear"],
        "sizes": ["all"],
        "seeds": [13],
        "baselines": ["majority"],
        "measures": [],
        "profile": False,
    }
    path = folder / "real.yaml"
    path.write_text(yaml.safe_dump(board, sort_keys=False), encoding="utf-8")
    return path


def test_linear_students_score_what_was_measured_outside_and_no_label_is_inverted(tmp_path: Path) -> None:
    flags = ["--mirror", str(MIRROR), "--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(["run", str(_board(tmp_path)), *flags]) == 0
    entries = json.loads((tmp_path / "out" / "leaderboard.json").read_text(encoding="utf-8"))["entries"]
    scores = {entry["generator"]: entry["scores"] for entry in entries if not entry["baseline"]}
    assert set(scores) == set(MEASURED_OUTSIDE)
    for generator, (imdb, sst2) in MEASURED_OUTSIDE.items():
        assert 100 * scores[generator]["imdb"]["value"] == pytest.approx(imdb, abs=2.0), generator
        assert 100 * scores[generator]["sst2"]["value"] == pytest.approx(sst2, abs=2.0), generator
        assert not any(score["suspected_inversion"] for score in scores[generator].values())
