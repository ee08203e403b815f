"""Chooses a recipe's settings by figures of its rows. Its gates are lenient, so that a first run ends with a model."""

import json
import math
import shlex
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from components.estimate.lengths import longest_text
from components.models.encoder.kinds import refusal
from components.plumbing.errors import SourceError
from flows.new.figures import Figures

# By how much the next rows may differ from those that are there.
SLACK = 2.0
MAX_TOKENS = 256
TOKEN_STEP = 16
SMALL = 1000
SMALL_BATCH, BATCH = 16, 32
# Fine-tuning settles after about so many steps; few rows are gone over again to get there.
WANTED_STEPS = 600
MAX_EPOCHS = 20
# A split smaller than this tells too little.
WANTED_SPLIT_ROWS = 200
MAX_SPLIT_ROWS = 10_000
MAX_SPLIT_SHARE = 0.2
EMBEDDINGS = ("embeddings",)
LOWER_LAYERS = ("embeddings", *(f"encoder.layer.{layer}." for layer in range(4)))
IMBALANCED = 1.5
# Exports end in up to so many lines that are no rows: a blank one, a total, the time.
FOOTER_LINES = 3
MAX_FOOTER_SHARE = 0.05
SHORT_TEXT = 25


@dataclass(frozen=True)
class RecipeSettings:
    """The values of a recipe that depend on its rows."""

    max_bad_share: float
    num_rows: tuple[int, int]
    text_length: tuple[int, int]
    max_null_share: float
    max_duplicate_share: float
    max_conflict_share: float
    min_class_share: float
    split_share: float
    """The share of the rows that each of the validation and test splits gets, or, where the rows say the test split,
    the share of the others that validation gets."""
    num_test: int
    """About how many rows the test split will have; the validation split has as many where neither is given."""
    near_threshold: float
    shingle_size: int
    max_tokens: int
    cut_share: float
    """The share of texts that are longer than `max_tokens`."""
    epochs: int
    batch_size: int
    freeze: tuple[str, ...]
    steps_per_epoch: int | None
    """The steps of an epoch where there is no time for all rows; None for all of them."""
    look_every: int | None
    """The steps from one look at the validation split to the next within an epoch; None for none within."""
    patience: int
    training_s: float | None
    """About how many seconds the training takes on this machine; None where it was not estimated."""
    run_s: float | None
    """About how many seconds all stages take, likewise."""
    is_balanced: bool
    metric: Literal["accuracy", "f1_macro"]
    baseline_score: float
    """The score, in `metric`, of naming the largest class each time."""
    bar: float
    min_gain: float
    max_drop: float
    chance: float
    """The difference, in `metric`, that two equally good models stay within on the test split 19 times of 20."""
    num_golden: int
    max_served_length: int


def choose(figures: Figures, *, max_positions: int | None) -> RecipeSettings:
    """Choose the settings by the figures; `max_positions` is the longest input of the encoder in
    tokens, None for MiniLM's."""
    rarest, largest = min(figures.labels.values()), max(figures.labels.values())
    split_share = share_of_split(figures.num_texts, rarest)
    test_share, num_test = split_share, max(round(figures.num_texts * split_share), len(figures.labels))
    num_train = max(figures.num_texts - 2 * num_test, 1)
    if figures.given is not None:
        num_test, num_train = max(figures.given["test"], 1), figures.given["train"]
        test_share = num_test / max(sum(figures.given.values()), 1)
        num_train = max(num_train if figures.given["validation"] else round(num_train * (1 - split_share)), 1)
    max_tokens = length_in_tokens(figures.tokens, max_positions)
    batch_size = SMALL_BATCH if figures.num_texts < SMALL else BATCH
    epochs = min(MAX_EPOCHS, math.ceil(WANTED_STEPS / max(num_train / batch_size, 1)))
    is_balanced = largest <= IMBALANCED * rarest
    majority = largest / figures.num_texts
    # A model that always names the largest class has F1 = 2p / (1 + p) there, and 0 elsewhere.
    score = majority if is_balanced else 2 * majority / (1 + majority) / len(figures.labels)
    return RecipeSettings(
        max_bad_share=bad_share_of(figures),
        num_rows=(down(figures.num_rows / SLACK), int(up(figures.num_rows * 10))),
        text_length=(1, int(max(100, up(figures.max_length * SLACK)))),
        max_null_share=slack(figures.null_share),
        max_duplicate_share=slack(figures.duplicate_share),
        max_conflict_share=slack(figures.conflict_share),
        min_class_share=math.floor(figures.min_class_share / SLACK * 10_000) / 10_000,
        split_share=split_share,
        num_test=num_test,
        near_threshold=0.9 if figures.median_length < SHORT_TEXT else 0.8,
        shingle_size=3 if figures.median_length < SHORT_TEXT or figures.dense_share > 0.3 else 5,
        max_tokens=max_tokens,
        cut_share=statistics.fmean(float(tokens > max_tokens) for tokens in figures.tokens),
        epochs=epochs,
        batch_size=batch_size,
        freeze=EMBEDDINGS,
        steps_per_epoch=None,
        look_every=None,
        patience=max(1, epochs // 4),
        training_s=None,
        run_s=None,
        is_balanced=is_balanced,
        metric="accuracy" if is_balanced else "f1_macro",
        baseline_score=score,
        bar=math.ceil(score * 100 + 1) / 100 if score < 0.97 else round(score, 3),
        min_gain=-gain_resolution([count * test_share for count in figures.labels.values()], is_balanced=is_balanced),
        max_drop=min(0.2, max(0.02, math.ceil(300 / num_test) / 100)),
        chance=min(0.5, max(0.03, math.ceil(100 / math.sqrt(num_test)) / 100)),
        num_golden=min(200, num_test),
        max_served_length=int(max(20_000, up(figures.max_length * SLACK))),
    )


def bad_share_of(figures: Figures) -> float:
    """Return the share of rows that may be unreadable: twice what is, and in small files a few lines, such as a footer
    with a total."""
    num_lines = figures.num_bad + figures.num_rows
    footer = min(MAX_FOOTER_SHARE, up(FOOTER_LINES / num_lines))
    return max(0.001, footer, up(SLACK * figures.num_bad / num_lines))


def share_of_split(num_texts: int, rarest: int) -> float:
    """Return the share of each of the two held-out splits: enough rows for a verdict, and of the
    rarest class two if possible."""
    enough = max(0.1, WANTED_SPLIT_ROWS / num_texts, 2 / rarest)
    share = min(enough, MAX_SPLIT_SHARE) if num_texts * 0.1 <= MAX_SPLIT_ROWS else MAX_SPLIT_ROWS / num_texts
    return max(math.ceil(share * 100) / 100, min(MAX_SPLIT_SHARE, math.ceil(200 / rarest) / 100))


def length_in_tokens(tokens: tuple[int, ...], max_positions: int | None) -> int:
    """Return the number of tokens that 95 of 100 texts fit into, up to the cap."""
    if not tokens:
        raise SourceError("no row has a text")
    long = tokens[min(len(tokens) - 1, round(0.95 * len(tokens)))]
    wanted = math.ceil(1.1 * long / TOKEN_STEP) * TOKEN_STEP
    return min(wanted, MAX_TOKENS, max_positions or MAX_TOKENS)


def gain_resolution(class_rows: list[float], *, is_balanced: bool) -> float:
    """Return the width of the 95 % interval of (model - baseline), for two that differ in a quarter of their answers.

    Accuracy is the mean over the rows, F1 about that over the classes, in which the rows of a rare one weigh more.
    """
    if is_balanced:
        variance = 0.25 / sum(class_rows)
    else:
        variance = sum(0.25 / rows for rows in class_rows) / len(class_rows) ** 2
    return math.ceil(100 * 2 * 1.96 * math.sqrt(variance)) / 100


def slack(share: float) -> float:
    """Return the share that the contract allows where `share` was seen: twice that and a hundredth."""
    return min(1.0, math.ceil((SLACK * share + 0.01) * 100) / 100)


def up(value: float) -> float:
    """Round up to two significant digits."""
    unit = unit_of(value)
    return round(math.ceil(round(value / unit, 6)) * unit, 6)


def down(value: float) -> int:
    """Round down to two significant digits, and to no less than 1."""
    unit = unit_of(value)
    return max(1, int(math.floor(round(value / unit, 6)) * unit))


def unit_of(value: float) -> float:
    return 10.0 ** (math.floor(math.log10(value)) - 1) if value > 0 else 1.0


def positions_of(encoder: Path) -> int:
    """Read the longest input, in tokens, from the config.json of an encoder's folder;
    SourceError where it cannot be used."""
    config = encoder / "config.json"
    try:
        said = json.loads(config.read_text(encoding="utf-8"))
        longest = longest_text(said) or int(said["max_position_embeddings"])
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise SourceError(f"--encoder: {config} does not say max_position_embeddings ({error})") from error
    if wrong := refusal(said.get("model_type")):
        raise SourceError(f"--encoder: {wrong}")
    if not (encoder / "tokenizer.json").is_file() or not list(encoder.glob("*.safetensors")):
        raise SourceError(
            f"--encoder: {encoder} has no tokenizer.json or no weights as .safetensors; this writes both, beside it: "
            f"{converting(encoder)}"
        )
    return longest


def converting(encoder: Path) -> str:
    """Return the command that writes an encoder's folder in the form of today's hubs, with a name of its own."""
    code = (
        "import sys; from transformers import AutoModel, AutoTokenizer; old, new = sys.argv[1:]; "
        "AutoTokenizer.from_pretrained(old).save_pretrained(new); AutoModel.from_pretrained(old).save_pretrained(new)"
    )
    new = encoder.with_name(f"{encoder.resolve().name}-safetensors")
    return f'python -c "{code}" {shlex.quote(str(encoder))} {shlex.quote(str(new))}'
