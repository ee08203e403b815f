"""The text of a new recipe, with the reason for each value in a comment, and its place in params.yaml."""

import json
import re
from pathlib import Path

from components.params import CsvFormat
from components.plumbing.errors import ParamsError
from flows.new.bars import Bars, reasons
from flows.new.behaviour import behaviour_text
from flows.new.figures import Figures, Measured
from flows.new.minilm import ANCHOR, MINILM
from flows.new.reading import Trained
from flows.new.settings import EMBEDDINGS, RecipeSettings
from flows.new.texts import MAX_CUT_SHARE, TextSettings

PLAIN_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
# The same text comes once, with what users said of it: neither a duplicate nor a conflict. A null text stays.
LEARNED = """\
WITH given AS (
{query})
SELECT text, label FROM given ANTI JOIN feedback USING (text)
UNION ALL SELECT text, label FROM feedback
"""
# A text of a held-out row stays as it is there, whatever users said of it.
LEARNED_BY_SPLIT = """\
WITH given AS (
{query})
SELECT text, label, split FROM given ANTI JOIN feedback ON given.split = 'train' AND given.text = feedback.text
UNION ALL SELECT text, label, 'train' FROM feedback ANTI JOIN given
ON given.split <> 'train' AND given.text = feedback.text
"""
KEPT_IN = ".modelyard/traffic/"
OF_SERVICE = "{port: 3000, traffic: text, drain_timeout_s: 60, canary: {mode: none}}"
# Words that some reader of YAML takes for something other than text.
RESERVED = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}


def scalar(value: object) -> str:
    """Return a value as one line of YAML that every reader takes for the same."""
    if isinstance(value, str) and PLAIN_WORD.fullmatch(value) and value.lower() not in RESERVED:
        return value
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        # JSON leaves as they are some characters that YAML wants escaped.
        return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(scalar(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {scalar(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def recipe_text(
    name: str, measured: Measured, settings: RecipeSettings, texts: TextSettings, bars: Bars | None, *, path: str,
    encoder: str, pattern: str | None = None,
) -> str:  # fmt: skip
    """Return the recipe's text, indented as an entry below `recipes:`; `encoder` is the source that is loaded, where
    none is trained, and `pattern` names the files of a folder."""
    return (
        data_text(name, measured, settings, texts, path=path, encoder=encoder, pattern=pattern)
        + pretrain_text(settings, texts.trained, encoder=encoder)
        + finetune_text(settings, texts.trained)
        + judging_text(settings, texts, bars)
        + after_text(settings)
    )


def data_text(
    name: str, measured: Measured, s: RecipeSettings, texts: TextSettings, *, path: str, encoder: str,
    pattern: str | None,
) -> str:  # fmt: skip
    """Return the sections from the source to what a model reads: ingest, validate, preprocess."""
    learned = "classification  # what it first learns: of the labels alone"
    if texts.trained:
        learned = "masked  # what it first learns: to guess hidden words of the texts"
    figures = measured.figures
    query = LEARNED if figures.given is None else LEARNED_BY_SPLIT
    shape = "balanced" if s.is_balanced else "not balanced"
    return f"""\
  # Proposed by 'modelyard new' from {figures.num_rows:,} rows: {len(figures.labels)} classes, {shape}, texts of about \
{figures.median_length:,} characters.
  {name}:
    champion: components/champion.py  # artifacts/{name}/champion.json where it starts from its champion
    task: text_classification
    family: encoder
    objective: {learned}
    threads: 2
    ingest:
      source: {{kind: file, path: &{name}_data {scalar(path)}{f", pattern: {scalar(pattern)}" if pattern else ""}}}
      format: {scalar(format_values(measured))}
      # Blank texts and labels count as null.{left_out_note(measured)}
      query: {query_text(query.format(query=measured.query))}
      # What users of the service label while it drifts; 'modelyard monitor' adds to it.
      feedback: data/feedback/{name}.parquet
      licence: unknown
      max_bad_share: {s.max_bad_share}
      watch: *{name}_data
    # What later rows must hold: what these do, with room for change. A breach stops the run.
    validate:
      contract:
        columns: {{text: string, label: string{", split: string" if figures.given else ""}}}
        labels: {labels_text(list(figures.labels))}
        num_rows: {{min: {s.num_rows[0]}, max: {s.num_rows[1]}}}
        text_length: {{min: {s.text_length[0]}, max: {s.text_length[1]}}}
        max_null_share: {s.max_null_share}
        max_duplicate_share: {s.max_duplicate_share}
        max_conflict_share: {s.max_conflict_share}
        min_class_share: {s.min_class_share}
    preprocess:
      unicode: NFKC
      mask: {scalar(texts.mask)}{emoji_text(texts)}
      conflicts: remove
      near_duplicates: {{threshold: {s.near_threshold}, shingle_size: {s.shingle_size}, num_permutations: 128}}
      {split_text(figures, s)}
{tokenizer_text(texts.trained, encoder)}
      # {1 - s.cut_share:.0%} of the texts fit; what is longer is cut{ends_note(s)}
{unknown_text(texts)}
"""


def split_text(figures: Figures, s: RecipeSettings) -> str:
    """Return the line of the split, below the comment that says what it was chosen by."""
    if figures.given is None:
        return (
            f"# About {s.num_test:,} rows each for validation and test.\n"
            f"      split: {{validation: {s.split_share}, test: {s.split_share}, seed: 0, group: null}}"
        )
    there = ", ".join(f"{number:,} for {name}" for name, number in figures.given.items() if number)
    share = None if figures.given["validation"] else s.split_share
    drawn = "" if share is None else " Rows for validation are drawn from those for training."
    return (
        f"# The rows say their split: {there}.{drawn}\n"
        f"      split: {{validation: {scalar(share)}, test: null, seed: 0, group: null, column: split}}"
    )


def tokenizer_text(trained: Trained | None, encoder: str) -> str:
    """Return the line of the tokenizer: the encoder's, or one that is trained."""
    if trained is None:
        return f"      tokenizer: {encoder}"
    values = {
        "kind": "train",
        "algorithm": "wordpiece",
        "vocab_size": trained.vocab_size,
        "at_most": True,
        "lowercase": trained.lowercase,
    }
    return (
        "      # MiniLM does not know the language of these texts; it may be smaller where they support less.\n"
        f"      tokenizer: {scalar(values)}"
    )


def emoji_text(texts: TextSettings) -> str:
    """Return the line that has emoji read by their names, where they are."""
    if texts.emoji is None:
        return ""
    return "\n      # The tokenizer knows hardly any emoji, but the words of their names.\n      emoji: names"


def ends_note(s: RecipeSettings) -> str:
    """Return the end of the note on lengths, the longest length, and how a longer text is cut where many are."""
    if s.cut_share <= MAX_CUT_SHARE:
        return f".\n      max_tokens: {s.max_tokens}"
    return f", but for its beginning and its end.\n      max_tokens: {s.max_tokens}\n      truncate: head_tail"


def unknown_text(texts: TextSettings) -> str:
    """Return the line of max_unknown_share, with a comment where it is raised."""
    note = f"      # {comment(texts.unknown_note)}.\n" if texts.unknown_note else ""
    return f"{note}      max_unknown_share: {texts.max_unknown_share}"


def comment(text: str) -> str:
    """Return a text as YAML may hold it in a comment."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def pretrain_text(s: RecipeSettings, trained: Trained | None, *, encoder: str) -> str:
    """Return the section pretrain: an encoder that is loaded, or one that is trained on the texts."""
    if trained is None:
        return f"""\
    pretrain:
      mode: load
      source: *{encoder_anchor(encoder)}
"""
    model = {
        "hidden_size": trained.hidden_size, "num_layers": trained.num_layers, "num_heads": 4,
        "intermediate_size": 4 * trained.hidden_size, "dropout": 0.0,
    }  # fmt: skip
    return f"""\
    # A small encoder, sized to the rows, learns their words by guessing hidden ones: about \
{minutes(trained.pretrain_s)} min.
    pretrain:
      mode: train
      source: null
      model: {scalar(model)}
      objective: {{share: 0.25, mean_span: 2.0}}
      seed: 0
      epochs: {trained.pretrain_epochs}
      steps_per_epoch: null
      batch_size: {s.batch_size}
      precision: auto
      optimizer: {{name: adamw, learning_rate: 1.5e-3, weight_decay: 0.01, betas: [0.9, 0.98]}}
      schedule: {{name: one_cycle, warmup_share: 0.2}}
      clip: {{by: norm, limit: 1.0}}
      early_stopping: null
"""


def finetune_text(s: RecipeSettings, trained: Trained | None) -> str:
    """Return the section finetune: how the encoder is trained on the labels."""
    weights = "none" if s.is_balanced else "balanced"
    done = "the embeddings stay as they are" if s.freeze == EMBEDDINGS else "only the upper layers are trained"
    freeze: tuple[str, ...] = () if trained else s.freeze
    optimizer = "{name: adamw, learning_rate: 1.0e-4, weight_decay: 0.01, betas: [0.9, 0.999]}"
    more = "More epochs, or 'freeze: []', take longer and may gain accuracy."
    if trained:
        done, more = "all of the encoder is trained", "More epochs take longer and may gain accuracy."
        optimizer = "{name: adamw, learning_rate: 5.0e-4, weight_decay: 0.01, betas: [0.9, 0.98]}"
    return f"""\
    finetune:
      mode: adapt
      seed: 0
      # {takes(s)}{done}.
      # {more}
      epochs: {s.epochs}
{steps_text(s)}
      batch_size: {s.batch_size}
      way: {{name: full, freeze: {scalar(freeze)}}}
      dropout: 0.1
      precision: auto
      optimizer: {optimizer}
      schedule: {{name: linear, warmup_share: 0.1}}
      clip: {{by: norm, limit: 1.0}}
      class_weights: {weights}
      early_stopping: {{metric: {s.metric}, patience: {s.patience}{looks_text(s)}}}
      control: false
"""


def minutes(seconds: float) -> int:
    return max(1, round(seconds / 60))


def takes(s: RecipeSettings) -> str:
    """Return in words what a run takes, where it was estimated."""
    if s.run_s is None or s.training_s is None:
        return "Of the encoder: "
    return (
        f"On the machine where it was proposed, with nothing else to do, a run takes about {minutes(s.run_s)} min, of "
        f"which\n      # this training {minutes(s.training_s)}: "
    )


def steps_text(s: RecipeSettings) -> str:
    """Return the line of the steps of an epoch, with a comment where they do not see all rows."""
    if s.steps_per_epoch is None:
        return "      steps_per_epoch: null"
    return (
        f"      # The time is for {s.steps_per_epoch * s.batch_size:,} rows, drawn at random; null takes all.\n"
        f"      steps_per_epoch: {s.steps_per_epoch}"
    )


def looks_text(s: RecipeSettings) -> str:
    return "" if s.look_every is None else f", every: {s.look_every}"


def judging_text(s: RecipeSettings, texts: TextSettings, bars: Bars | None) -> str:
    """Return the sections evaluate, compress and package: the gates, and what is served."""
    bars_text = "\n".join(f"      # {line}" for line in reasons(s, bars))
    return f"""\
    evaluate:
      bootstrap: {{num_samples: 1000, seed: 0, confidence: 0.95}}
      baseline: {{folds: 3, choice_rows: 5000, max_rows: 50000, seed: 0}}
{bars_text}
      gate: {{metric: {s.metric}, min: {s.bar}, min_gain: {s.min_gain}}}
      calibration_bins: 15
      num_mistakes: 50
{behaviour_text(texts.changed_shares, num_test=s.num_test)}    compress:
      candidates:
        - {{method: int8}}
        - {{method: pruned_int8, sparsity: 0.3}}
        # Four times as large: it is served only where int8 loses more than max_drop, as with some encoders. Without it,
        # set max_size_ratio to 0.5.
        - {{method: fp32}}
      # max_drop: about three of the validation rows, and at least two points.
      gate: {{max_drop: {s.max_drop}, min_speedup: 0.8, max_size_ratio: 1.1}}
      num_latency_rows: 200
    package:
      num_golden: {s.num_golden}
      max_difference: 0.001
      ready_timeout_s: 30
      serving:
        max_texts: 128
        max_text_length: {s.max_served_length}
        max_body_bytes: 4000000
        max_requests: 512
        max_read_ms: 10000
        max_latency_ms: 1000
"""


def after_text(s: RecipeSettings) -> str:
    """Return the sections monitoring and promotion, for a model that is served; no stage reads them."""
    return f"""\
    # What follows is no stage. 'modelyard monitor' compares what the service is asked with the training split.
    # The service's log keeps texts as hashes, so monitor sees other lengths and labels, and never other words. To keep
    # the texts themselves, for it and for those who may read {KEPT_IN}:
    # service: {OF_SERVICE}
    # Where the rows were sampled (half and half, say), monitoring.expected_labels gives the mix that is asked.
    monitoring:
      window: 500
      min_rows: 100
      max_reference_rows: 10000
      false_alarms: 0.005
      num_permutations: 2000
      seed: 0
      min_effects: {{psi: 0.1, ks: 0.1, auc: 0.6, unknown: 0.01}}
      quality: {{min_rows: 50, max_drop: 0.05, max_ece: 0.1, bins: 15, confidence: 0.95}}
      limits: {{max_p95_ms: 1000.0, max_error_share: 0.05}}
      retrain: true
      cool_down_s: 86400
      min_new_feedback: 100
      # For example {{cron: "30 * * * *", timezone: UTC, limit_s: 7200}}: 'modelyard worker' does it then.
      schedule: null
    # What a challenger of 'modelyard retrain' must hold to beside the champion, and beside the best one so far.
    # max_drop: two like models differ by so much on {s.num_test:,} rows by chance. indifference: what is surely worse
    # by more than that is refused all the same.
    promotion:
      then: promote
      bootstrap: {{num_samples: 1000, seed: 0, confidence: 0.95}}
      max_drop: {s.chance}
      indifference: 0.002
      slices: {{by: [label], max_drop: {min(1.0, 2 * s.chance)}, min_rows: 50}}
      latency: {{max_ratio: 1.25, num_rows: 200}}
      max_size_ratio: 1.1
"""


def query_text(query: str) -> str:
    """Return the query line by line, or quoted where a column's name has characters that YAML cannot show."""
    lines = query.rstrip("\n").split("\n")
    if not all(line.isprintable() for line in lines):
        return scalar(query)
    return "|" + "".join(f"\n        {line}" for line in lines)


def labels_text(labels: list[str]) -> str:
    """Return the labels on one line, or one a line where that would be long."""
    line = scalar(labels)
    return line if len(line) <= 100 else "".join(f"\n          - {scalar(label)}" for label in labels)


def format_values(measured: Measured) -> dict[str, object]:
    values = measured.format.model_dump(mode="json", exclude_defaults=True)
    return values if isinstance(measured.format, CsvFormat) else {"type": values["type"]}


def left_out_note(measured: Measured) -> str:
    figures = measured.figures
    notes = " Labels that differ in case or spaces only are made one." if figures.folded else ""
    return notes + (" Labels with too few rows are left out." if figures.left_out else "")


def encoder_text(name: str, text: str, folder: dict[str, str] | None) -> str:
    """Return the tokenizer's source where it is first written: an alias, if params.yaml has MiniLM's, or the values."""
    if folder is None and has_anchor(text):
        return f"*{ANCHOR}"
    return f"&{name}_encoder {scalar(folder or MINILM)}"


def encoder_anchor(encoder: str) -> str:
    return encoder.split(" ", 1)[0].lstrip("&*")


def has_anchor(text: str) -> bool:
    """Return whether the file has an anchor for MiniLM's source, with just these values."""
    from ruamel.yaml import YAML

    todo: list[object] = [YAML().load(text)]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            anchor = getattr(node, "anchor", None)
            if anchor is not None and anchor.value == ANCHOR:
                return dict(node) == MINILM
            todo += node.values()
        elif isinstance(node, list):
            todo += node
    return False


def insert(text: str, recipe: str, *, path: Path) -> str:
    """Return params.yaml with the recipe added after the last one below `recipes:`; every other line stays as it is."""
    from ruamel.yaml import YAML

    document = YAML().compose(text)
    position = [key.value for key, _ in document.value].index("recipes")
    recipes = document.value[position][1]
    if recipes.flow_style:
        raise ParamsError(f"{path}: 'recipes' stands on one line; give each recipe lines of its own first")
    indent = recipes.value[0][0].start_mark.column
    at = len(text)
    if position + 1 < len(document.value):
        at = start_of_comments(text, document.value[position + 1][0].start_mark.index)
    elif text.rstrip().endswith("..."):
        raise ParamsError(f"{path}: remove the end mark '...' from its last line first")
    ending = "\r\n" if "\r\n" in text else "\n"
    shifted = [" " * indent + line[2:] if line.strip() else "" for line in recipe.rstrip("\n").split("\n")]
    before = text[:at].rstrip("\r\n")
    return before + 2 * ending + ending.join(shifted) + ending + (ending + text[at:] if at < len(text) else "")


def start_of_comments(text: str, at: int) -> int:
    """Return where the comments and blank lines right above the line that begins at `at` begin."""
    before = text[:at].split("\n")[:-1]
    while before and (before[-1].startswith("#") or not before[-1].strip()):
        at -= len(before.pop()) + 1
    return at + len(text[at:]) - len(text[at:].lstrip("\r\n"))
