import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from components.params import TrainedTokenizer
from components.plumbing.errors import InputError
from components.preprocess.tokenizer_training import train_tokenizer
from tests.projects import ROOT, environment
from tests.tiny import tiny_rows

TEXTS = [text for text, _ in tiny_rows(300)]

PROGRAM = """
import sys
from pathlib import Path
from components.params import TrainedTokenizer
from components.preprocess.tokenizer_training import train_tokenizer
from tests.tiny import tiny_rows
params = TrainedTokenizer(kind="train", algorithm=sys.argv[1], vocab_size=320, lowercase=False)
train_tokenizer([text for text, _ in tiny_rows(300)], params, path=Path(sys.argv[2]))
"""


def trained(
    path: Path, algorithm: str, *, texts: list[str] = TEXTS, vocab_size: int = 320, lowercase: bool = False
) -> Tokenizer:
    params = TrainedTokenizer.model_validate(
        {"kind": "train", "algorithm": algorithm, "vocab_size": vocab_size, "lowercase": lowercase}
    )
    train_tokenizer(texts, params, path=path)
    return Tokenizer.from_file(str(path))


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece"])
def test_every_process_trains_the_same_bytes(algorithm: str, tmp_path: Path) -> None:
    digests: set[str] = set()
    for seed in ("0", "1", "2"):
        path = tmp_path / f"{seed}.json"
        command = [sys.executable, "-c", PROGRAM, algorithm, str(path)]
        subprocess.run(command, cwd=ROOT, env=environment(PYTHONHASHSEED=seed), check=True)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_bpe_spells_every_text_and_gives_it_back(tmp_path: Path) -> None:
    tokenizer = trained(tmp_path / "tokenizer.json", "bpe")
    assert tokenizer.get_vocab_size() == 320
    assert tokenizer.token_to_id("<|endoftext|>") == 0
    for text in [*TEXTS[:5], "Two  spaces,\n\na break", "日本語 and \U0001f600", "\x00 x"]:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_bpe_merges_what_comes_together_most_often(tmp_path: Path) -> None:
    tokenizer = trained(tmp_path / "tokenizer.json", "bpe", texts=["zq" * 1000, *TEXTS])
    assert tokenizer.id_to_token(1 + 256) == "zq"
    assert tokenizer.encode("zqzq").tokens == ["zqzq"]


def test_wordpiece_has_the_form_of_bert(tmp_path: Path) -> None:
    tokenizer = trained(tmp_path / "tokenizer.json", "wordpiece", lowercase=True)
    assert [tokenizer.id_to_token(i) for i in range(5)] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    encoded = tokenizer.encode("The RIVER and the village")
    assert (encoded.tokens[0], encoded.tokens[-1]) == ("[CLS]", "[SEP]")
    assert "river" in encoded.tokens
    assert tokenizer.encode("日").tokens[1] == "[UNK]"
    assert tokenizer.decode(tokenizer.encode("river village").ids) == "river village"


def test_letters_are_not_special_tokens(tmp_path: Path) -> None:
    tokenizer = trained(tmp_path / "tokenizer.json", "wordpiece")
    assert set(tokenizer.get_added_tokens_decoder()) == set(range(5))


def test_wordpiece_keeps_the_most_frequent_letters_where_not_all_fit(tmp_path: Path) -> None:
    rare = "".join(chr(0x4E00 + number) for number in range(500))
    texts = ["春夏秋冬" * 5, rare]
    tokenizer = trained(tmp_path / "tokenizer.json", "wordpiece", texts=texts, vocab_size=300)
    assert tokenizer.get_vocab_size() == 300
    assert "[UNK]" not in tokenizer.encode("春夏秋冬").tokens
    assert tokenizer.encode(rare).tokens.count("[UNK]") == 500 + 4 - 295 - sum(letter in rare for letter in "春夏秋冬")


@pytest.mark.parametrize("algorithm", ["bpe", "wordpiece"])
def test_more_tokens_than_the_texts_support_are_refused_with_their_number(algorithm: str, tmp_path: Path) -> None:
    message = r"vocab_size is 50000, but the training texts support only (\d+) tokens.*lower it to \1 or less"
    with pytest.raises(InputError, match=message) as refused:
        trained(tmp_path / "tokenizer.json", algorithm, vocab_size=50_000)
    assert not (tmp_path / "tokenizer.json").exists()
    number = int(str(refused.value).split("support only ")[1].split()[0])
    assert trained(tmp_path / "tokenizer.json", algorithm, vocab_size=number).get_vocab_size() == number
