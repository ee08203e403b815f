"""pretrain by taking an existing encoder.

Reads the recipe's source of an encoder, which must share preprocess's tokenizer. Keeps the configuration, the weights
and the tokenizer, and nothing else that lies in the source's folder. Nothing that can hold code is opened: weights come
from safetensors (https://github.com/huggingface/safetensors), and a folder that holds a pickle is refused.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from components.champion import champion_folder
from components.models.encoder.kinds import refusal
from components.models.encoder.network import POOLER
from components.models.facts import read_facts
from components.models.opening import make_openable
from components.models.storage import CONFIG, FAMILY, WEIGHTS, not_finite, save
from components.models.storage import load as load_saved
from components.params import FolderSource, Load
from components.plumbing.artifacts import TOKENIZER, sha256_of
from components.plumbing.errors import InputError, SourceError, examples
from components.pretrain.stage import Inputs, Outputs
from components.sources import fetch_folder
from components.sources.pickles import refuse_pickles
from components.tracking.tracker import Tracker
from components.training.history import write_history
from components.training.starting import check_same_tokenizer

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Report:
    """The architecture and the size of the encoder that was taken."""

    architecture: str
    num_parameters: int
    num_parameters_embeddings: int
    """The number of parameters in tables that are looked up by token, position or segment."""
    num_layers: int
    hidden_size: int
    vocab_size: int
    size_bytes: int
    """The size of model.safetensors, in bytes."""
    sha256: str
    """The sha256 of model.safetensors, in hexadecimal."""


def run(params: Load, inputs: Inputs, outputs: Outputs, *, tracker: Tracker) -> Report:
    """Take the encoder, and save it with its tokenizer; return its figures.

    Raise SourceError where the source's folder holds a pickle or no encoder for this tokenizer, and InputError where
    the recipe takes its champion's encoder, but there is none.
    """
    work = outputs.checkpoints / "load"
    tokenizer = inputs.predictor / TOKENIZER
    shutil.rmtree(work, ignore_errors=True)
    try:
        model = fetch_encoder(params.source, inputs.project, tokenizer, work=work, tracker=tracker)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    save(model, outputs.model, family="encoder", settings=None, facts=read_facts(inputs.predictor))
    make_openable(outputs.model, predictor=inputs.predictor)
    write_history(outputs.history, [])
    embeddings = [part for part in model.modules() if isinstance(part, nn.Embedding)]
    return Report(
        architecture=type(model).__name__,
        num_parameters=sum(p.numel() for p in model.parameters()),
        num_parameters_embeddings=sum(part.weight.numel() for part in embeddings),
        num_layers=model.config.num_hidden_layers,
        hidden_size=model.config.hidden_size,
        vocab_size=model.config.vocab_size,
        size_bytes=(outputs.model / WEIGHTS).stat().st_size,
        sha256=sha256_of(outputs.model / WEIGHTS),
    )


def fetch_encoder(
    source: FolderSource | Literal["champion"], root: Path, tokenizer: Path, *, work: Path, tracker: Tracker
) -> PreTrainedModel:
    """Return an existing encoder, from a source or from behind the registered champion.

    Raise SourceError where the source holds no encoder for this `tokenizer`, and InputError where the champion has
    none.
    """
    if source == "champion":
        folder = champion_folder(tracker, work / "champion", setting="pretrain.source")
        check_same_tokenizer(folder / TOKENIZER, tokenizer, setting="pretrain.source")
        return encoder_of(folder)
    folder = fetch_folder(source, root=root, folder=work / "source")
    refuse_pickles(folder)
    taken = take(folder, work / "taken")
    check_same_tokenizer(taken / TOKENIZER, tokenizer, setting="pretrain.source")
    model = load_model(taken)
    check_vocabulary(model, tokenizer)
    return model


def encoder_of(folder: Path) -> PreTrainedModel:
    """Return the encoder of a classifier that finetune made; raise InputError where transformers knows none."""
    encoder = getattr(load_saved(folder), "encoder", None)
    if not isinstance(encoder, PreTrainedModel):
        family = read_object(folder / FAMILY).get("family")
        raise InputError(
            f"pretrain.mode 'load' takes an encoder, but the champion is of the family {family!r}; start from another "
            "pretrain.source, or set the alias 'champion' to a version with an encoder"
        )
    return encoder


def take(folder: Path, target: Path) -> Path:
    """Copy the configuration, the weights and the tokenizer to `target`; return `target`.

    Raise SourceError where one of the files is missing, or where a file of weights is not whole.
    """
    weights = weight_files(folder)
    target.mkdir(parents=True)
    for name in (CONFIG, TOKENIZER, *weights):
        if not (folder / name).is_file():
            there = sorted(p.name for p in folder.iterdir())
            raise SourceError(f"the encoder's folder has no {name}; it holds {examples(there)}")
        shutil.copyfile(folder / name, target / name)
    for name in weights:
        if name != INDEX:
            check_safetensors(target / name)
    return target


def weight_files(folder: Path) -> list[str]:
    """Return the names of the files of weights: model.safetensors, or its index and the shards that the index names.

    Raise SourceError where the index names no shards, or other files than safetensors of its own folder.
    """
    if not (folder / INDEX).is_file() or (folder / WEIGHTS).is_file():
        return [WEIGHTS]
    shards = sorted(set(read_object(folder / INDEX).get("weight_map", {}).values()))
    outside = [name for name in shards if Path(name).name != name or not name.endswith(".safetensors")]
    if outside or not shards:
        raise SourceError(
            f"{INDEX} names {examples(outside) or 'no shards'}; it may name safetensors of its own folder"
        )
    return [INDEX, *shards]


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object of the source; raise SourceError where the file holds none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SourceError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise SourceError(f"{path.name} is not a JSON object")
    return value


def check_safetensors(path: Path) -> None:
    """Raise SourceError where a file's header is broken, does not fit the file, or describes no tensors."""
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise SourceError(f"{path.name} is not a whole safetensors file ({error}); fetch it again") from error
    if not names:
        raise SourceError(f"{path.name} holds no weights")


def load_model(folder: Path) -> PreTrainedModel:
    """Load the encoder of a folder, without any head, in fp32 and in evaluation mode.

    Raise SourceError where it is not of a supported kind, or where its weights are not finite or not all there.
    """
    config = read_object(folder / CONFIG)
    if wrong := refusal(config.get("model_type")):
        raise SourceError(wrong)
    transformers_logging.disable_progress_bar()
    try:
        model, info = AutoModel.from_pretrained(
            folder, trust_remote_code=False, use_safetensors=True, local_files_only=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
        line = str(error).strip().split("\n")[0]
        raise SourceError(
            f"no encoder can be made of {CONFIG} (model_type {config.get('model_type')!r}): {line}"
        ) from error
    drawn = sorted(info["missing_keys"])
    missing = [name for name in drawn if not name.startswith(POOLER)]
    if missing:
        raise SourceError(f"{WEIGHTS} lacks {len(missing)} weights that {CONFIG} asks for: {examples(missing)}")
    if model.config.is_encoder_decoder:
        raise SourceError(f"{type(model).__name__} has a decoder; choose an encoder, such as BERT")
    if drawn:  # many encoders come without a pooler; one that was drawn here is no part of what was loaded
        model.pooler = None
    if broken := not_finite(model):
        raise SourceError(f"{WEIGHTS} has values that are not finite, in {examples(broken)}")
    return model.eval()


def check_vocabulary(model: PreTrainedModel, tokenizer: Path) -> None:
    """Raise SourceError where a token has no row in the encoder's table of embeddings."""
    highest = max(Tokenizer.from_file(str(tokenizer)).get_vocab().values())
    if highest >= model.config.vocab_size:
        raise SourceError(
            f"the tokenizer numbers tokens up to {highest}, but the encoder knows {model.config.vocab_size}"
        )
