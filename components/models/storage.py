"""Models on disk: `family.json` says what they are, `model.safetensors` holds the weights. No pickle, no code.

A model of transformers also has its `config.json`, and opens with transformers' own `from_pretrained`. Each family's
`network.py` gives `build(settings, facts)`, and may give `load(folder)` where that is not enough to make it again.
"""

import importlib
import shutil
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model as load_tensors
from safetensors.torch import save_model as save_tensors
from torch import nn

from components.artifacts import TOKENIZER, read_json, write_json
from components.errors import ArtifactError, did_you_mean
from components.models.facts import Facts
from components.models.settings import ModelSettings, families, settings_of

FAMILY = "family.json"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"

# Keys of config.json that tell where and with what it was saved.
ORIGIN_KEYS = ("_name_or_path", "transformers_version", "auto_map")


def network(family: str) -> ModuleType:
    """The module that makes a family's networks. ArtifactError where there is no such family."""
    if family not in families():
        raise ArtifactError(
            f"no family '{family}'{did_you_mean(family, families())}; there are {', '.join(families())}"
        )
    return importlib.import_module(f"components.models.{family}.network")


def build(settings: ModelSettings, facts: Facts) -> nn.Module:
    """A new network of random weights, drawn from torch's current random state."""
    model: nn.Module = network(settings.family).build(settings, facts)
    return model


def save(model: nn.Module, folder: Path, *, family: str, settings: ModelSettings | None, facts: Facts) -> None:
    """Write a model; the same weights give the same bytes. `settings` is None for one that came with its own config."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = settings.model_dump(mode="json") if settings else None
    write_json(folder / FAMILY, {"family": family, "settings": shown, "facts": asdict(facts)})
    # The part that is transformers' own, known by its config: importing transformers to ask takes seconds.
    parts: list[Any] = [model, *model.children()]
    hosted = next((part for part in parts if hasattr(getattr(part, "config", None), "to_diff_dict")), None)
    if hosted is not None:
        architecture = getattr(model, "architecture", type(hosted).__name__)
        config = hosted.config.to_diff_dict() | {"architectures": [architecture]}
        write_json(folder / CONFIG, {name: value for name, value in config.items() if name not in ORIGIN_KEYS})
    save_tensors(model, str(folder / WEIGHTS), metadata={"format": "pt"})


def load(folder: Path) -> nn.Module:
    """The model that `save` wrote, in fp32 and ready to predict. ArtifactError where the weights are not its own."""
    found: dict[str, Any] = read_json(folder / FAMILY)
    family = found["family"]
    module = network(family)
    facts = Facts(**found["facts"] | {"shape": tuple(found["facts"]["shape"])})
    with torch.random.fork_rng(devices=[]):
        if found["settings"] is None:
            if not hasattr(module, "from_config"):
                raise ArtifactError(f"{folder / FAMILY} has no settings, which a model of the family '{family}' needs")
            model: nn.Module = module.from_config(folder, facts)
        else:
            model = module.build(settings_of(family).model_validate(found["settings"], strict=False), facts)
    try:
        load_tensors(model, folder / WEIGHTS)
    except (RuntimeError, SafetensorError) as error:
        raise ArtifactError(f"{folder / WEIGHTS} does not hold the weights of {folder / FAMILY}: {error}") from error
    return model.float().eval()


def keep_tokenizer(predictor: Path, folder: Path) -> None:
    """Put preprocess's tokenizer beside the weights, for transformers and for a later training that starts from them.

    Arrays have none.
    """
    if (predictor / TOKENIZER).is_file():
        shutil.copyfile(predictor / TOKENIZER, folder / TOKENIZER)
