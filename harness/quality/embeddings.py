"""Embeddings of texts by a pre-trained encoder, used as its authors mean it to be."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import HarnessError, OutOfReachError, one_of, shown
from harness.generators.locate import ModelPlace
from students.pretrained import even_batches, load_encoder, positions
from students.protocol import Report
from students.tokens import token_rows
from students.training import device

EMBEDDINGS_VERSION = "embeddings.v1"
"""Changes whenever an embedding may change by more than rounding; for keys."""

_TOKENS_PER_BATCH = {"cpu": 4096, "cuda": 65_536}
"""Read together, padding included. More no longer makes a processor faster, only its caches miss more."""

_POOLINGS: dict[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean",  # another length of the same direction
    "pooling_mode_max_tokens": "max",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class _Usage:
    """How the model's files say it is to be used."""

    pooling: Literal["mean", "cls"] = "mean"
    max_tokens: int | None = None
    lower_case: bool = False


def embed(
    place: ModelPlace, texts: Sequence[str], report: Report = lambda done, total, note: None
) -> NDArray[np.float32]:
    """Embeddings of unit length, float32 [texts, d]; each distinct text is read once.

    Any encoder of Hugging Face: its last hidden states are averaged over the text's tokens (Reimers and Gurevych, EMNLP
    2019), or that of the first token is taken where `modules.json` and the pooling's `config.json` say so; a text is
    cut at the `max_seq_length` of `sentence_bert_config.json`, or at what the model can read. In float32, on the GPU if
    there is one, in batches of similar length; beside which others a text is read changes rounding only (1e-6).
    `report` is told (distinct texts done, in all, "texts").

    Raises:
        HarnessError: the files cannot be had or are no encoder's; they ask for a pooling or a layer on top that is not
            known here; an embedding has no direction.
    """
    import torch
    from transformers import AutoModel

    from students.pooled import mean_of_tokens

    usage = _usage(place)
    try:
        network, tokenizer = load_encoder(place, AutoModel)
    except ValueError as error:
        raise OutOfReachError(
            f"embedding model {error}; expected a Hugging Face folder or hub model with config.json, tokenizer.json "
            "and .safetensors weights of an encoder"
        ) from None
    if network.config.is_encoder_decoder:
        raise HarnessError(f"embedding model '{place.source}' is an encoder with a decoder; expected an encoder alone")
    network = network.to(device()).eval()
    distinct = list(dict.fromkeys(texts))
    longest = min(usage.max_tokens or 1 << 30, positions(network, tokenizer))
    read = [text.lower() for text in distinct] if usage.lower_case else distinct
    rows = token_rows(tokenizer, [read], longest)
    found = np.empty((len(distinct), network.config.hidden_size), dtype=np.float32)
    done = 0
    with torch.inference_mode():
        for batch in even_batches(rows.lengths(), _TOKENS_PER_BATCH[device()]):
            inputs = {
                name: torch.from_numpy(array).to(device())
                for name, array in rows.take(batch).batch(tokenizer.pad_token_id).items()
            }
            states = network(**inputs).last_hidden_state
            first = usage.pooling == "cls"
            pooled = states[:, 0] if first else mean_of_tokens(states, inputs["attention_mask"])
            found[batch] = torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
            done += len(batch)
            report(done, len(distinct), "texts")
    # A row of zeros or of NaN is none of unit length.
    if not np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3):
        row = int(np.argmin(np.abs(np.linalg.norm(found, axis=1) - 1) < 1e-3))
        raise HarnessError(
            f"embedding model '{place.source}' gives the text {shown(distinct[row])} an embedding without a direction "
            "(zeros or NaN); use another model"
        )
    number = {text: index for index, text in enumerate(distinct)}
    return found[[number[text] for text in texts]]


def _usage(place: ModelPlace) -> _Usage:
    """What `modules.json`, `sentence_bert_config.json` and the config of the pooling say; a model without them is
    averaged.

    Raises:
        HarnessError: they ask for what is not known here.
    """
    described = _json(place, "sentence_bert_config.json", {})
    modules = _json(place, "modules.json", [])
    well_formed = isinstance(modules, list) and all(map(_is_module, modules))
    if not well_formed or not isinstance(described, dict):
        raise HarnessError(
            f"embedding model '{place.source}': expected a list of modules, each with 'type' and 'path', in "
            "modules.json and an object in sentence_bert_config.json; found something else: use another model"
        )
    pooling: Literal["mean", "cls"] = "mean"
    for module in modules:
        kind = module["type"].rpartition(".")[2]
        if kind == "Pooling":
            pooling = _pooling(place, _json(place, f"{module['path']}/config.json", {}))
        elif kind not in ("Transformer", "Normalize") or (kind == "Transformer" and module["path"]):
            raise HarnessError(
                f"embedding model '{place.source}' has the layer {shown(module['type'])} in '{module['path']}'; known "
                "are an encoder in the folder itself, a pooling and a normalisation: use another model"
            )
    return _Usage(pooling, described.get("max_seq_length"), bool(described.get("do_lower_case")))


def _is_module(one: Any) -> bool:
    return isinstance(one, dict) and isinstance(one.get("type"), str) and isinstance(one.get("path"), str)


def _pooling(place: ModelPlace, config: dict[str, Any]) -> Literal["mean", "cls"]:
    modes = {_POOLINGS.get(name, name) for name, on in config.items() if name.startswith("pooling_mode_") and on}
    if isinstance(config.get("pooling_mode"), str):  # as later releases of sentence-transformers write it
        modes = {config["pooling_mode"]}
    match sorted(modes):
        case [] | ["mean"]:
            return "mean"
        case ["cls"]:
            return "cls"
    raise HarnessError(
        f"embedding model '{place.source}' pools by {one_of(modes)}; known are mean and cls: use another model"
    )


def _json(place: ModelPlace, name: str, default: Any) -> Any:
    """The content of a JSON file of the model; the default where the model is known to have none.

    Raises:
        OutOfReachError: it cannot be told whether there is one, or it is damaged.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        if place.is_local:
            path = Path(place.source) / name
            return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default
        found = try_to_load_from_cache(place.source, name, revision=place.revision)
        if found is None:
            found = hf_hub_download(place.source, name, revision=place.revision)
        # Neither a path nor None: a record that the hub has no such file.
        return json.loads(Path(found).read_text(encoding="utf-8")) if isinstance(found, str) else default
    except LocalEntryNotFoundError as error:  # an EntryNotFoundError that says nothing about the hub
        reason = str(error)
    except EntryNotFoundError:
        return default
    except (OSError, ValueError) as error:
        reason = str(error)
    raise OutOfReachError(
        f"embedding model '{place.source}': '{name}' cannot be read: {' '.join(reason.split())[:300]}; give a folder, "
        "put the model into the mirror (HARNESS_MIRROR), or let this machine reach the hub"
    )
