"""The sources of rows, tokenizers and models."""

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from components.params.section import Positive, Section, Sha256, Share


class FileSource(Section):
    """A local file, or a folder of files."""

    kind: Literal["file"]
    path: str
    """The path of the file or folder, relative to the project or absolute."""
    pattern: str | None = None
    """The files of the folder, as a glob (`*.csv`)."""
    sha256: Sha256 | None = None
    """The sha256 of the file, or of the folder's files; None where they may change between runs."""


class RegistrySource(Section):
    """A file inside an archive that a package registry ships, fetched with the registry's own client."""

    kind: Literal["pypi", "npm"]
    package: str
    version: str
    sha256: Sha256
    """The sha256 of the archive."""
    archive: Literal["wheel", "sdist", "tgz"]
    """The kind of archive of the release: pypi has wheel and sdist, npm has tgz."""
    member: tuple[str, ...]
    """The way to the file: a path in the archive, then a path in that file if it is an archive itself, and so on. The
    last may be a glob (many files of one format), or a folder with a slash at its end."""

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
    """The most bytes to download; a longer download is stopped."""
    member: tuple[str, ...] = ()
    """The way to the file within an archive, as in RegistrySource; empty where the address gives the file itself."""


class HubSource(Section):
    """A data set or model of the Hugging Face hub, or a local folder laid out as a hub snapshot."""

    kind: Literal["hub"]
    repo: str
    """`owner/name`, or a local folder that begins with `./`, `../` or `/`."""
    repo_type: Literal["dataset", "model"]
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    """The commit, so that the same name gives the same bytes."""
    pattern: str
    """The files, as a glob (`data/train-*.parquet`)."""


class SqlSource(Section):
    """The rows of a SELECT that a database answers."""

    kind: Literal["sql"]
    url_variable: Annotated[str, Field(pattern="^[A-Z][A-Z0-9_]*$")]
    """The environment variable that holds the database's URL, which is never written down or logged."""
    statement: str
    """The SELECT that the database runs; ingest's `query` then runs over its rows."""


class GeneratorSource(Section):
    """Rows that a seeded program generates."""

    kind: Literal["generator"]
    name: Literal["teacher"]
    """The program. teacher: vectors from a normal distribution (column `values`), labelled by a network of random
    weights (column `label`)."""
    num_rows: Positive
    num_features: Positive
    hidden_size: Positive
    """The width of the teacher's one hidden layer."""
    num_classes: Annotated[int, Field(ge=2)]
    noise: Share
    """The share of rows whose label is drawn at random."""
    seed: Annotated[int, Field(ge=0)]


DataSource = Annotated[
    FileSource | RegistrySource | UrlSource | HubSource | SqlSource | GeneratorSource, Field(discriminator="kind")
]
FolderSource = Annotated[FileSource | RegistrySource | HubSource, Field(discriminator="kind")]


def source_kind(value: object) -> object:
    """Return the kind of a source: the string itself (`champion`), or else the `kind` of a mapping or object.

    Return None where there is no kind.
    """
    if isinstance(value, str):
        return value
    return value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)


ModelSource = Annotated[
    Annotated[FileSource, Tag("file")]
    | Annotated[RegistrySource, Tag("pypi")]
    | Annotated[RegistrySource, Tag("npm")]
    | Annotated[HubSource, Tag("hub")]
    | Annotated[Literal["champion"], Tag("champion")],
    Discriminator(source_kind),
]
"""The source of a model; `champion` stands for the model behind the recipe's champion in the model registry."""
