"""Embeddings by a tiny BERT of random weights, and by a real encoder where a mirror has it."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from harness.errors import HarnessError
from harness.generators.locate import ModelPlace, locate_model
from harness.quality.embeddings import embed
from tests.students.tiny_bert import POSITIONS, save_bert

WORDS = [*"abcdefghij", "film", "good", "bad", "."]
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    save_bert(folder, WORDS, initializer_range=0.3)  # with the usual one all texts have nearly one embedding
    return folder


@pytest.fixture
def texts() -> list[str]:
    """With repeats, an empty one, an unknown word, and one longer than the model can read."""
    stream = random.Random(13)
    found = [" ".join(stream.choices(WORDS, k=stream.randint(1, 40))) for _ in range(60)]
    return [*found, "", found[3], "film bad", "zebra film", " ".join(stream.choices(WORDS, k=200)), "", "A film."]


def described(folder: Path, bert: Path, pooling: dict[str, Any], limits: dict[str, Any], modules: Any) -> ModelPlace:
    """A copy of the model with the files that sentence-transformers writes."""
    shutil.copytree(bert, folder)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    (folder / "sentence_bert_config.json").write_text(json.dumps(limits))
    (folder / "modules.json").write_text(json.dumps(modules))
    return locate_model(str(folder), None, None)


def one_at_a_time(
    folder: str, texts: list[str], pooling: str = "mean", max_tokens: int = POSITIONS
) -> NDArray[np.float32]:
    """The plain way: transformers' own classes, no batch, no padding, no mask."""
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder, dtype=torch.float32)
    rows = []
    with torch.no_grad():
        for text in texts:
            inputs = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
            states = network.eval()(**inputs).last_hidden_state[0]
            row = states[0] if pooling == "cls" else states.mean(0)
            rows.append((row / row.norm()).numpy())
    return np.stack(rows)


def test_batches_give_what_texts_give_one_by_one_in_the_order_asked_for(bert: Path, texts: list[str]) -> None:
    told: list[tuple[float, float, str]] = []
    found = embed(locate_model(str(bert), None, None), texts, lambda *what: told.append(what))
    expected = one_at_a_time(str(bert), texts)
    assert found.dtype == np.float32 and found.shape == (67, 32)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert np.linalg.norm(expected[0] - expected[1]) > 0.05, "texts that all look alike would prove nothing"
    assert told[-1] == (65, 65, "texts"), "a repeated text is read once"


def test_no_texts_have_no_embeddings(bert: Path) -> None:
    assert embed(locate_model(str(bert), None, None), []).shape == (0, 32)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean"),
    ],
)
def test_pooling_and_length_are_those_that_the_models_files_name(
    config: dict[str, Any], pooling: str, bert: Path, texts: list[str], tmp_path: Path
) -> None:
    place = described(tmp_path / "model", bert, config, {"max_seq_length": 9}, MODULES)
    expected = one_at_a_time(str(bert), texts, pooling, max_tokens=9)
    np.testing.assert_allclose(embed(place, texts), expected, atol=1e-5)
    assert np.abs(expected - one_at_a_time(str(bert), texts)).max() > 0.01, "the files must make a difference"


def test_texts_are_lowered_where_the_models_files_say_so(bert: Path, tmp_path: Path) -> None:
    place = described(tmp_path / "model", bert, {}, {"do_lower_case": True}, MODULES)
    config = json.loads((tmp_path / "model" / "tokenizer.json").read_text())
    config["normalizer"]["lowercase"] = False
    (tmp_path / "model" / "tokenizer.json").write_text(json.dumps(config))
    settings = json.loads((tmp_path / "model" / "tokenizer_config.json").read_text())
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps(settings | {"do_lower_case": False}))
    upper, lower = embed(place, ["Good FILM", "good film"])
    np.testing.assert_array_equal(upper, lower)
    (tmp_path / "model" / "sentence_bert_config.json").write_text("{}")
    upper, lower = embed(place, ["Good FILM", "good film"])
    assert np.abs(upper - lower).max() > 0.01


def test_what_the_pooling_is_belongs_to_the_identity_of_a_folder(bert: Path, tmp_path: Path) -> None:
    one = described(tmp_path / "one", bert, {"pooling_mode": "cls"}, {}, MODULES)
    other = described(tmp_path / "other", bert, {"pooling_mode": "mean"}, {}, MODULES)
    assert one.identity != other.identity


def test_a_model_that_is_to_be_used_otherwise_is_refused_rather_than_used_wrongly(bert: Path, tmp_path: Path) -> None:
    dense = [*MODULES, {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}]
    with pytest.raises(HarnessError, match=r"has the layer 'sentence_transformers\.models\.Dense' in '3_Dense'"):
        embed(described(tmp_path / "dense", bert, {}, {}, dense), ["a"])
    with pytest.raises(HarnessError, match="pools by lasttoken; known are mean and cls"):
        embed(described(tmp_path / "last", bert, {"pooling_mode_lasttoken": True}, {}, MODULES), ["a"])
    with pytest.raises(HarnessError, match="pools by cls, mean; known"):
        both = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
        embed(described(tmp_path / "both", bert, both, {}, MODULES), ["a"])


def test_a_model_that_cannot_be_had_is_an_error_that_says_what_to_do(bert: Path, tmp_path: Path) -> None:
    place = ModelPlace("nobody/nothing", "0" * 40, "", None)
    with pytest.raises(HarnessError, match=r"'nobody/nothing'.*(HARNESS_MIRROR|expected a Hugging Face folder)"):
        embed(place, ["a"])
    folder = tmp_path / "broken"
    shutil.copytree(bert, folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(HarnessError, match=r"cannot be loaded as an encoder.*; expected a Hugging Face folder"):
        embed(locate_model(str(folder), None, None), ["a"])


def test_an_embedding_without_a_direction_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "zeros"
    network = AutoModel.from_pretrained(bert)
    torch.nn.init.zeros_(network.encoder.layer[-1].output.LayerNorm.weight)
    torch.nn.init.zeros_(network.encoder.layer[-1].output.LayerNorm.bias)
    network.save_pretrained(folder)
    AutoTokenizer.from_pretrained(bert).save_pretrained(folder)
    with pytest.raises(HarnessError, match="gives the text 'a' an embedding without a direction"):
        embed(locate_model(str(folder), None, None), ["a", "b"])


@pytest.mark.slow
def test_a_real_encoder_agrees_with_the_plain_way_and_knows_what_is_alike() -> None:
    mirror, name = os.environ.get("HARNESS_MIRROR"), "sentence-transformers/all-MiniLM-L6-v2"
    if mirror is None or not (Path(mirror) / "models" / name).is_dir():
        pytest.skip(f"set HARNESS_MIRROR to a mirror with {name}")
    place = locate_model(name, None, Path(mirror))
    texts = ["A wonderful film.", "I loved this movie.", "Interest rates rose by half a point.", "", "A film " * 300]
    found = embed(place, texts)
    np.testing.assert_allclose(found, one_at_a_time(place.source, texts, max_tokens=512), atol=1e-5)
    assert found[0] @ found[1] > 0.5 > 0.2 > found[0] @ found[2]
