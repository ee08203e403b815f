"""Tiny encoders of random weights, of every kind that can be adapted, each with a tokenizer of its kind's spelling."""

from pathlib import Path
from typing import Any

from tests.tiny import make_tiny_tokenizer

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "max_position_embeddings": 66,
}  # fmt: skip
OWN: dict[str, dict[str, Any]] = {
    "albert": {**SIZES, "embedding_size": 16},
    "deberta-v2": {
        **SIZES, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16,
        "norm_rel_ebd": "layer_norm", "share_att_key": True, "position_biased_input": False, "type_vocab_size": 0,
    },
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 66},
}  # fmt: skip
"""What some kinds call their sizes."""
SENTENCE_PIECES = ("albert", "camembert", "deberta-v2", "xlm-roberta")
ROBERTA = ("camembert", "mpnet", "roberta", "xlm-roberta")
"""Kinds whose tokens of a text are between <s> and </s>, and whose padding token is number 1."""


def make_encoder(kind: str, folder: Path, texts: list[str]) -> Path:
    """Write config.json, model.safetensors and tokenizer.json as the hub has them. Gives `folder`."""
    import torch
    from transformers import AutoConfig, AutoModel

    folder.mkdir(parents=True)
    path = folder / "tokenizer.json"
    if kind in SENTENCE_PIECES or kind in ROBERTA:
        num_tokens, ids = make_other_tokenizer(path, texts, kind=kind)
    else:
        num_tokens = make_tiny_tokenizer(path, texts, vocab_size=400)
        ids = {"pad": 0, "cls": 2, "sep": 3}
    config = AutoConfig.for_model(
        kind, vocab_size=num_tokens, **OWN.get(kind, SIZES), pad_token_id=ids["pad"], bos_token_id=ids["cls"],
        eos_token_id=ids["sep"], cls_token_id=ids["cls"], sep_token_id=ids["sep"], initializer_range=0.2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
    return folder


def make_other_tokenizer(path: Path, texts: list[str], *, kind: str) -> tuple[int, dict[str, int]]:
    """A Unigram tokenizer as SentencePiece's are, or for the others a byte-level one. Gives its size, and the ids of
    the special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    spelled = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    if kind not in ROBERTA:
        spelled = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    special = list(spelled.values())
    if kind in SENTENCE_PIECES:
        tokenizer: Any = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer: Any = trainers.UnigramTrainer(
            vocab_size=300, special_tokens=special, unk_token=spelled["unk"], show_progress=False
        )
    else:
        tokenizer = Tokenizer(models.BPE(unk_token=None))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(spelled["mask"], lstrip=True, special=True)])
    ids = {name: tokenizer.token_to_id(token) for name, token in spelled.items()}
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{spelled['cls']} $A {spelled['sep']}",
        special_tokens=[(spelled[name], ids[name]) for name in ("cls", "sep")],
    )
    tokenizer.save(str(path))
    return tokenizer.get_vocab_size(), ids
