"""A mirror of the hub: toys under the names of the datasets of the paper's grid, a tiny PLM for every model."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from harness.catalogue import shipped_folder
from harness.generators.locate import embedded_folder

MODELS = (
    *("openai-community/gpt2", "openai-community/gpt2-large", "openai-community/gpt2-xl"),
    "distilbert/distilbert-base-uncased",
)


def toy_mirror(folder: Path) -> Path:
    """Fill a folder as a mirror is laid out, with the columns that the hub's datasets have."""
    pairs = {split: rows(f"toy-nli/{split}") for split in ("train", "test")}
    questions = {split: rows(f"toy-qa/{split}") for split in ("train", "test")}
    # A tiny PLM hardly ever asks: it needs many contexts to come to a few questions.
    questions["train"] = [
        {**row, "context": f"{row['context']} It was shown {number} times."}
        for number in range(30)
        for row in questions["train"]
    ]
    reviews = {split: rows(f"film-reviews/{split}")[:40] for split in ("train", "test")}
    assert {row["label"] for row in reviews["test"]} == {"negative", "positive"}
    for split, name in (("train", "train"), ("test", "test"), ("test", "validation")):
        label = [int(row["label"] == "positive") for row in reviews[split]]
        text = [row["text"] for row in reviews[split]]
        write(folder, f"stanfordnlp/imdb/plain_text/{name}", {"text": text, "label": label})
        write(folder, f"nyu-mll/glue/sst2/{name}", {"sentence": text, "label": label})
        entailed = [int(row["label"] == "not_entailment") for row in pairs[split]]
        first, second = ([row[column] for row in pairs[split]] for column in ("text", "text_pair"))
        write(folder, f"nyu-mll/glue/rte/{name}", {"sentence1": first, "sentence2": second, "label": entailed})
        write(folder, f"nyu-mll/glue/qnli/{name}", {"sentence": first, "question": second, "label": entailed})
        columns = {column: [row[column] for row in questions[split]] for column in questions[split][0]}
        for dataset in ("rajpurkar/squad/plain_text", "UCLNLP/adversarial_qa/adversarialQA"):
            write(folder, f"{dataset}/{name}", columns)
    for model in MODELS:
        place = folder / "models" / model
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(embedded_folder() / "review-gpt-06m")
    return folder


def rows(name: str) -> list[dict[str, Any]]:
    lines = (shipped_folder("tasks") / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def write(folder: Path, name: str, columns: dict[str, list[Any]]) -> None:
    path = folder / "datasets" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
