"""The files beside the weights for whoever opens a model's folder: a tokenizer that transformers reads, and a card.

`AutoTokenizer` reads tokenizer.json with tokenizer_config.json. README.md is the card that the hub shows; it says how
the folder opens, or that transformers does not know the model. https://huggingface.co/docs/hub/model-cards
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from components.models.storage import CONFIG, FAMILY
from components.plumbing.artifacts import PREDICTOR, TOKENIZER, read_json, write_json

CARD = "README.md"
TOKENIZER_CONFIG = "tokenizer_config.json"

ROLES: Mapping[str, Sequence[str]] = {
    "bos_token": ("<s>", "<|endoftext|>"),
    "cls_token": ("[CLS]", "<s>", "<cls>"),
    "eos_token": ("</s>", "<|endoftext|>"),
    "mask_token": ("[MASK]", "<mask>"),
    "pad_token": ("[PAD]", "<pad>", "<|pad|>", "<|endoftext|>"),
    "sep_token": ("[SEP]", "</s>", "<sep>"),
    "unk_token": ("[UNK]", "<unk>"),
}
"""The spellings of the special tokens in the common tokenizers, by the name that transformers gives each role."""

CLASSIFIER = """\
```python
from transformers import pipeline

classify = pipeline("text-classification", "{here}", truncation=True)
print(classify("A text."))
```

`AutoModelForSequenceClassification` and `AutoTokenizer` open it as well. It tells apart: {labels}. `truncation=True`
cuts a text at {max_tokens} tokens, as in training. Texts were cleaned before: Unicode {unicode}, and in the place of
what could be personal its name in brackets ({mask}).
"""
MASKED = """\
```python
from transformers import pipeline

guess = pipeline("fill-mask", "{here}")
print(guess(f"A text with a {{guess.tokenizer.mask_token}} in it."))
```

`AutoModelForMaskedLM` opens it with its head, `AutoModel` without; of the latter the pooler is new, as it is in every
model that was trained by masking alone.
"""
CAUSAL = """\
```python
from transformers import pipeline

write = pipeline("text-generation", "{here}")
print(write("A text that", max_new_tokens=40))
```

`AutoModelForCausalLM` and `AutoTokenizer` open it as well. It sees {max_tokens} tokens at once.
"""
ENCODER = """\
```python
from transformers import AutoModel, AutoTokenizer

encoder, tokenizer = AutoModel.from_pretrained("{here}"), AutoTokenizer.from_pretrained("{here}")
print(encoder(**tokenizer("A text.", return_tensors="pt")).last_hidden_state.shape)
```

It has no head; what is trained for the recipe's labels lies in the artifact of `finetune`.
"""
UNKNOWN = """\
transformers does not know this model: it is of Modelyard's family `{family}`, and opens with Modelyard alone.

```python
from pathlib import Path

from components.models.storage import load

model = load(Path("{here}"))
```

`family.json` holds its settings, and `model.safetensors` its weights.
"""

WORDS: Mapping[str, tuple[str, str]] = {
    "ForSequenceClassification": ("text-classification", CLASSIFIER),
    "ForMaskedLM": ("fill-mask", MASKED),
    "LMHeadModel": ("text-generation", CAUSAL),
    "Model": ("feature-extraction", ENCODER),
}
"""The task under which the hub lists a model, and the text on how it opens, by the end of its architecture's name."""


def make_openable(folder: Path, *, predictor: Path) -> None:
    """Put preprocess's tokenizer and a card beside the weights that `storage.save` wrote into `folder`.

    A later training that starts from these weights compares its tokenizer with this one. A model of arrays has none.
    """
    settings: dict[str, Any] = read_json(predictor / PREDICTOR)
    if (predictor / TOKENIZER).is_file():
        shutil.copyfile(predictor / TOKENIZER, folder / TOKENIZER)
        write_json(folder / TOKENIZER_CONFIG, tokenizer_config(predictor / TOKENIZER, settings))
    (folder / CARD).write_text(card(folder, settings), encoding="utf-8")


def tokenizer_config(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what tokenizer.json does not tell transformers: the longest text in tokens, and special tokens' roles."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    special = {token["content"] for token in raw.get("added_tokens", ()) if token.get("special")}
    roles = {role: next((token for token in known if token in special), None) for role, known in ROLES.items()}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # tokenizer.json as it is, not a class's own idea of it
        "model_max_length": longest(settings),
        "model_input_names": ["input_ids", "attention_mask"],  # as in training: no model here was given segments
        "clean_up_tokenization_spaces": False,
        **({"truncation_side": "left"} if settings.get("truncate") == "tail" else {}),
        **{role: token for role, token in roles.items() if token is not None},
    }


def card(folder: Path, settings: Mapping[str, Any]) -> str:
    """Return the text of the folder's card, from what is known before `evaluate` measures the model."""
    architecture = architecture_of(folder)
    known = next((words for end, words in WORDS.items() if architecture and architecture.endswith(end)), None)
    family: str = read_json(folder / FAMILY)["family"]
    front = ["---", "tags: [modelyard]", "---"]
    title, text = f"A model of the family `{family}`", UNKNOWN
    if known:
        task, text = known
        front[1:1] = ["library_name: transformers", f"pipeline_tag: {task}"]
        title = f"{architecture}"
    body = text.format(
        here="path/to/this/folder",
        family=family,
        labels=", ".join(f"`{label}`" for label in settings.get("labels", ())),
        max_tokens=longest(settings),
        unicode=settings.get("unicode"),
        mask=", ".join(settings.get("mask", ())) or "nothing here",
    )
    return "\n".join([*front, "", f"# {title}", "", body + further(settings)])


def further(settings: Mapping[str, Any]) -> str:
    """Return what a user of transformers must do to the texts that its tokenizer does not do."""
    found = ""
    if settings.get("emoji"):
        found += (
            "\nIn the place of an emoji stood the name that Unicode gives it (`unicodedata.name`, in lower case).\n"
        )
    if settings.get("truncate") == "head_tail":
        found += (
            "\nOf a longer text the first and the last half of so many tokens were read, not its beginning alone.\n"
        )
    return found


def architecture_of(folder: Path) -> str | None:
    """Return the name of transformers' class for the folder's model; None where transformers does not know it."""
    if not (folder / CONFIG).is_file():
        return None
    return next(iter(read_json(folder / CONFIG).get("architectures") or ()), None)


def longest(settings: Mapping[str, Any]) -> int | None:
    """Return the number of tokens that a model sees at once, by predictor.json; None where it reads no tokens."""
    return settings.get("max_tokens", settings.get("context"))
