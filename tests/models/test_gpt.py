from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2LMHeadModel

from components.models.facts import Facts
from components.models.gpt.network import Gpt, build
from components.models.opening import make_openable
from components.models.storage import load, save
from components.params.families.gpt import GptSettings
from components.plumbing.artifacts import read_json
from tests.tiny_documents import tiny_documents, write_documents_of

SETTINGS = GptSettings(family="gpt", hidden_size=32, num_layers=2, num_heads=4, dropout=0.1)
FACTS = Facts(vocab_size=300, context=16)


def network() -> Gpt:
    torch.manual_seed(0)
    return build(SETTINGS, FACTS).eval()


def test_logits_follow_from_the_tokens_before_alone() -> None:
    model, ids = network(), torch.randint(300, (2, 16))
    changed = ids.clone()
    changed[:, 9:] = (changed[:, 9:] + 1) % 300
    with torch.inference_mode():
        one, other = model(ids), model(changed)
    assert one.shape == (2, 16, 300)
    torch.testing.assert_close(one[:, :9], other[:, :9])
    assert not torch.allclose(one[:, 9:], other[:, 9:])


def test_the_output_is_tied_to_the_embeddings() -> None:
    model = network()
    width, layer = 32, 12 * 32 * 32 + 13 * 32
    assert sum(p.numel() for p in model.parameters()) == (300 + 16) * width + 2 * layer + 2 * width
    model(torch.randint(300, (1, 4))).sum().backward()
    assert model.transformer.wte.weight.grad is not None
    assert bool((model.transformer.wte.weight.grad.abs().sum(dim=1) > 0).all())


def test_the_saved_folder_opens_in_transformers(tmp_path: Path) -> None:
    write_documents_of(tmp_path, tiny_documents(30), context=16)
    model, folder = network(), tmp_path / "model"
    save(model, folder, family="gpt", settings=SETTINGS, facts=FACTS)
    make_openable(folder, predictor=tmp_path / "predictor")
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md", "config.json", "family.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    ]  # fmt: skip
    config = read_json(folder / "config.json")
    assert (config["architectures"], config["model_type"]) == (["GPT2LMHeadModel"], "gpt2")

    theirs, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert isinstance(theirs, GPT2LMHeadModel)
    assert not any(info.values())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token_id, tokenizer.model_max_length) == (0, 16)
    assert "pipeline_tag: text-generation" in (folder / "README.md").read_text()
    ids = tokenizer("The river garden", return_tensors="pt")["input_ids"]
    assert tokenizer.decode(ids[0]) == "The river garden"
    with torch.inference_mode():
        torch.testing.assert_close(theirs.eval()(ids).logits, model(ids))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model, ids = network(), torch.randint(300, (2, 16))
    save(model, tmp_path / "model", family="gpt", settings=SETTINGS, facts=FACTS)
    save(model, tmp_path / "again", family="gpt", settings=SETTINGS, facts=FACTS)
    for path in (tmp_path / "model").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    with torch.inference_mode():
        torch.testing.assert_close(load(tmp_path / "model")(ids), model(ids))


def test_heads_divide_the_width() -> None:
    with pytest.raises(ValueError, match="hidden_size 32 is no multiple of num_heads 5"):
        GptSettings(family="gpt", hidden_size=32, num_layers=2, num_heads=5, dropout=0.0)
