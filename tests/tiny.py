"""A tiny encoder and tiny rows, for tests that run real stages in seconds."""

import random
from collections import Counter
from pathlib import Path

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MOODS = {
    "negative": ["awful", "boring", "broken", "clumsy", "dreadful", "dull", "poor", "sad", "tedious", "terrible"],
    "positive": ["bright", "charming", "clever", "delightful", "fine", "great", "lovely", "moving", "superb", "warm"],
}
WORDS = (
    "actor album bridge camera chair cinema city coffee colour corner dance desert doctor dragon engine evening family "
    "farmer forest friend garden guitar harbour horse island journey kitchen lantern letter library market meadow "
    "mirror morning mountain museum music neighbour ocean orchard painter palace pencil picture planet poem pocket "
    "rabbit railway river sailor scene school script shadow silver sister song station story summer table teacher "
    "theatre thunder tower train valley village violin voice wagon walk water weather window winter writer"
).split()


def tiny_rows(n: int) -> list[tuple[str, str]]:
    """`n` rows (text, label) of two classes in turn, the same at each call, no two nearly alike.

    Two words of a text tell its label; the others tell nothing.
    """
    rng = random.Random(0)
    labels = sorted(MOODS)
    rows: list[tuple[str, str]] = []
    for number in range(n):
        label = labels[number % len(labels)]
        words = [*rng.sample(WORDS, rng.randint(5, 9)), *rng.sample(MOODS[label], 2)]
        rng.shuffle(words)
        rows.append((" ".join(words), label))
    return rows


def make_tiny_encoder(
    folder: Path, texts: list[str], *, hidden_size: int = 32, num_layers: int = 2, vocab_size: int = 400
) -> Path:
    """Write a BERT of seeded random weights (config.json, model.safetensors) and a tokenizer.json that knows `texts`.

    The same arguments give the same bytes. Gives `folder`.
    """
    import torch
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True, exist_ok=True)
    num_tokens = make_tiny_tokenizer(folder / "tokenizer.json", texts, vocab_size=vocab_size)
    config = BertConfig(
        vocab_size=num_tokens, hidden_size=hidden_size, num_hidden_layers=num_layers, num_attention_heads=4,
        intermediate_size=2 * hidden_size, max_position_embeddings=128, pad_token_id=0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    return folder


def make_tiny_tokenizer(path: Path, texts: list[str], *, vocab_size: int) -> int:
    """Write a lower-casing WordPiece tokenizer; gives its number of tokens.

    Its vocabulary is every letter of `texts` and their most frequent words. It is counted here, since the library's own
    trainer numbers tokens by the order of a hash map, which differs from run to run.
    """
    from tokenizers import Tokenizer
    from tokenizers.decoders import WordPiece as WordPieceDecoder
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    normalizer, splitter = BertNormalizer(lowercase=True), BertPreTokenizer()
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    letters = sorted({letter for word in words for letter in word})
    frequent = sorted(words, key=lambda word: (-words[word], word))
    tokens = dict.fromkeys([*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *frequent])
    vocab = {token: number for number, token in enumerate(list(tokens)[:vocab_size])}
    tokenizer = Tokenizer(WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = WordPieceDecoder()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    )
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(path))
    return len(vocab)
