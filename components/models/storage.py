"""Models on disk: `family.json` says what they are, and `model.safetensors` holds the weights. No pickle, no code.

A model of transformers also has its `config.json`, and opens with `from_pretrained` of transformers. `README.md`, the
card, says how a model opens, or that transformers does not know it. A network that only wraps a model of transformers
has it as `hosted`, and that is what is written.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model as load_tensors
from safetensors.torch import save_file
from torch import Tensor, nn

from components.models.facts import Facts
from components.models.networks import network_of
from components.params import FAMILIES, ModelSettings
from components.plumbing.artifacts import read_json, write_json
from components.plumbing.errors import ArtifactError, TrainingError, examples

FAMILY = "family.json"
CONFIG = "config.json"
WEIGHTS = "model.safetensors"

# Keys of config.json that tell where and with what it was saved.
ORIGIN_KEYS = ("_name_or_path", "transformers_version", "auto_map")


def build(settings: ModelSettings, facts: Facts) -> nn.Module:
    """Make a network with weights drawn from torch's current random state."""
    return network_of(settings.family).build(settings, facts)


def save(model: nn.Module, folder: Path, *, family: str, settings: ModelSettings | None, facts: Facts) -> None:
    """Write a model into `folder`; the same weights give the same bytes.

    `settings` is None for a model that came with a config of its own. Raise TrainingError, with nothing written, where
    a value of the weights is not finite.
    """
    if broken := not_finite(model):
        raise TrainingError(
            f"the trained weights have values that are not finite, in {examples(broken)}; nothing was kept. Lower "
            "optimizer.learning_rate, or set clip"
        )
    folder.mkdir(parents=True, exist_ok=True)
    shown = settings.model_dump(mode="json") if settings else None
    write_json(folder / FAMILY, {"family": family, "settings": shown, "facts": asdict(facts)})
    model = written(model)
    # The part that is transformers' own, known by its config: importing transformers to ask takes seconds.
    parts: list[Any] = [model, *model.children()]
    known = next((part for part in parts if hasattr(getattr(part, "config", None), "to_diff_dict")), None)
    if known is not None:
        architecture = getattr(model, "architecture", type(known).__name__)
        config = known.config.to_diff_dict() | {"architectures": [architecture]}
        write_json(folder / CONFIG, {name: value for name, value in config.items() if name not in ORIGIN_KEYS})
    save_file(tensors_of(model), folder / WEIGHTS, metadata={"format": "pt"})


def not_finite(model: nn.Module) -> list[str]:
    """Return the names of the weights, and of the buffers that are kept with them, of which a value is NaN or
    infinite."""
    return [name for name, value in model.state_dict().items() if not bool(value.isfinite().all())]


def written(model: nn.Module) -> nn.Module:
    """Return the part of a network whose weights are written, under that part's own names."""
    return getattr(model, "hosted", model)


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's weights by name; tied weights once, by their first name.

    `safetensors.torch.save_model` does that as well, but notes the other names in an order that differs at each call.
    """
    found: dict[str, Tensor] = {}
    seen: set[tuple[int, tuple[int, ...]]] = set()
    for name, value in model.state_dict().items():
        place = (value.data_ptr(), tuple(value.shape))
        if place not in seen:
            seen.add(place)
            found[name] = value.contiguous()
    return found


def load(folder: Path) -> nn.Module:
    """Load the model that `save` wrote, in fp32 and in evaluation mode.

    Raise ArtifactError where its settings are missing, where the weights are not those of its family.json, or where one
    of their values is not finite.
    """
    found: dict[str, Any] = read_json(folder / FAMILY)
    family = found["family"]
    network = network_of(family)
    facts = Facts(**found["facts"] | {"shape": tuple(found["facts"]["shape"])})
    with torch.random.fork_rng(devices=[]):
        if found["settings"] is None:
            if network.from_config is None:
                raise ArtifactError(f"{folder / FAMILY} has no settings, which a model of the family '{family}' needs")
            model = network.from_config(folder, facts)
        else:
            model = network.build(FAMILIES[family].model_validate(found["settings"], strict=False), facts)
    fill(written(model), folder / WEIGHTS)
    return model.float().eval()


def fill(model: nn.Module, path: Path) -> None:
    """Load the weights of a file into a model; raise ArtifactError where they are not exactly the model's, or where a
    value is not finite."""
    try:
        missing, unknown = load_tensors(model, path, strict=False)
    except (RuntimeError, SafetensorError, OSError) as error:
        first = " ".join(line.strip() for line in str(error).strip().split("\n")[:2])
        raise ArtifactError(f"{path} does not hold the weights of its {FAMILY}: {first}") from error
    if missing or unknown:
        older = ", but those of an older version of Modelyard" if "head.weight" in unknown else ""
        raise ArtifactError(
            f"{path} does not hold the weights of its {FAMILY}{older}: {len(missing)} are missing "
            f"({examples(sorted(missing)) or 'none'}), and {len(unknown)} are unknown "
            f"({examples(sorted(unknown)) or 'none'}); train it again, or start from another model"
        )
    if broken := not_finite(model):
        raise ArtifactError(
            f"{path} has values that are not finite, in {examples(broken)}; train it again, or start from another model"
        )
