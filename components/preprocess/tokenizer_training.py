"""Tokenizers that are trained on a recipe's own texts; equal texts give equal bytes, in every process.

`bpe` is GPT-2's (Radford et al. 2019): the pairs of bytes that occur most often are merged, so every text can be
spelled and no token is unknown. `wordpiece` is BERT's form, trained by the same merges (Schuster & Nakajima 2012 choose
them by likelihood; the `tokenizers` library by count).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import BPE, WordPiece
from tokenizers.normalizers import BertNormalizer, Lowercase
from tokenizers.pre_tokenizers import BertPreTokenizer, ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer, WordPieceTrainer

from components.params import TrainedTokenizer
from components.plumbing.errors import InputError

END_OF_TEXT = "<|endoftext|>"
PAD, UNKNOWN, BEGIN, END, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNKNOWN, BEGIN, END, MASK)
CONTINUED = "##"
MIN_FREQUENCY = 2  # a pair that comes once tells nothing about other texts
MAX_WORD_LENGTH = 100


def train_tokenizer(texts: Iterable[str], params: TrainedTokenizer, *, path: Path) -> None:
    """Train a tokenizer and write tokenizer.json.

    Raise InputError where the texts do not support `vocab_size` tokens, unless that is what they may have at most.
    """
    tokenizer = TRAINERS[params.algorithm](texts, params)
    num_tokens = tokenizer.get_vocab_size()
    if num_tokens < params.vocab_size and not params.at_most:
        raise InputError(
            f"preprocess.tokenizer.vocab_size is {params.vocab_size}, but the training texts support only {num_tokens} "
            f"tokens: no other pair of them comes {MIN_FREQUENCY} times; lower it to {num_tokens} or less, add texts, "
            "or have 'at_most: true' beside it, which takes what there is"
        )
    tokenizer.save(str(path))


def train_bpe(texts: Iterable[str], params: TrainedTokenizer) -> Tokenizer:
    """Train byte-level BPE; the first token of the vocabulary is the end-of-text token."""
    tokenizer = Tokenizer(BPE())
    if params.lowercase:
        tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=params.vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def train_wordpiece(texts: Iterable[str], params: TrainedTokenizer) -> Tokenizer:
    """Train WordPiece: single letters, then merges of them; `##` marks a piece that continues a word.

    The library's trainer numbers the letters in the order of a hash map, which differs from process to process, and
    ties between merges are settled by these numbers. So the letters are counted here and given to it as special tokens,
    which it numbers as they come; the vocabulary that it finds then goes into a tokenizer without them.
    """
    normalizer, splitter = BertNormalizer(lowercase=params.lowercase), BertPreTokenizer()
    words = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    letters = most_common_letters(words, limit=params.vocab_size - len(SPECIAL))
    learner = Tokenizer(WordPiece(unk_token=UNKNOWN))
    learner.normalizer, learner.pre_tokenizer = normalizer, splitter
    trainer = WordPieceTrainer(
        vocab_size=params.vocab_size,
        min_frequency=MIN_FREQUENCY,
        special_tokens=[*SPECIAL, *letters],
        continuing_subword_prefix=CONTINUED,
        show_progress=False,
    )
    learner.train_from_iterator(repeated(words, set(letters)), trainer)

    vocabulary = learner.get_vocab()
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=UNKNOWN, max_input_chars_per_word=MAX_WORD_LENGTH))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.decoder = WordPieceDecoder(prefix=CONTINUED)
    tokenizer.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A {END}", special_tokens=[(token, vocabulary[token]) for token in (BEGIN, END)]
    )
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def pieces(word: str) -> list[str]:
    """Return a word as its letters, as in `['w', '##o', '##r', '##d']`."""
    return [word[0], *(f"{CONTINUED}{letter}" for letter in word[1:])]


def most_common_letters(words: Counter[str], *, limit: int) -> list[str]:
    """Return the letters that begin or continue words, sorted; where there are more than `limit`, the most frequent
    ones."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for piece in pieces(word):
            counts[piece] += count
    return sorted(sorted(counts, key=lambda piece: (-counts[piece], piece))[:limit])


def repeated(words: Counter[str], letters: set[str]) -> Iterator[str]:
    """Yield each word that the letters can spell, repeated as often as it occurs, in sorted order."""
    for word in sorted(words):
        if letters.issuperset(pieces(word)):
            yield " ".join([word] * words[word])


TRAINERS = {"bpe": train_bpe, "wordpiece": train_wordpiece}
