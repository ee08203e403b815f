"""The parameters of a model by part, as people name the parts: embeddings, attention, feed-forward, head."""

import re
from collections import Counter
from collections.abc import Mapping

from torch import nn

from components.training.batches import BATCH_NORMS

KINDS: Mapping[str, tuple[type[nn.Module], ...]] = {
    "embeddings": (nn.Embedding,),
    "normalisation": (nn.LayerNorm, *BATCH_NORMS, nn.GroupNorm, nn.RMSNorm),
    "recurrent": (nn.RNNBase,),
}
"""By part, the classes of modules that belong to it."""

NAMES = {
    "low-rank additions": re.compile(r"\blora_"),
    "attention": re.compile(r"attn|attention"),
    "feed-forward": re.compile(r"\b(mlp|ffn|feed_forward|intermediate|output\.dense|lin1|lin2|fc\d?)\b"),
    "head": re.compile(r"\b\w*head\b|\bclassifier\b|\bpooler\b|\bcls\.predictions\b|^(projection|bias)\b"),
}
"""By part, a pattern of the names of modules that belong to it, where their class says nothing;
the first that fits counts."""

WRAPPERS = ("hosted", "encoder", "transformer", "model", "base_model")
"""The words of modules' names that say nothing about what lies in them."""


def parameters_by_part(model: nn.Module) -> dict[str, int]:
    """Count the parameters of each part, the largest first; tied ones count once, where they come first."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    for name, module in model.named_modules():
        for parameter_name, parameter in module.named_parameters(recurse=False):
            if id(parameter) not in seen:
                seen.add(id(parameter))
                found[part_of(f"{name}.{parameter_name}".lstrip("."), module)] += parameter.numel()
    return dict(found.most_common())


def part_of(name: str, module: nn.Module) -> str:
    """Return the part that a parameter of `module` belongs to; the name of its outermost
    module where nothing says more."""
    for part, kinds in KINDS.items():
        if isinstance(module, kinds):
            return part
    for part, pattern in NAMES.items():
        if pattern.search(name):
            return part
    words = [word for word in name.split(".") if word not in WRAPPERS] or [name]
    return words[0]
