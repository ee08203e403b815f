"""The kinds of file that people bring in place of rows, told by their first bytes, and what gives the rows of each."""

import re
import shlex
import zipfile
from collections.abc import Callable
from pathlib import Path

from components.ingest.files import opened, packing_of
from components.plumbing.errors import SourceError, examples

NUM_SEEN_BYTES = 4096
PARQUET = b"PAR1"
TAR_MARK, TAR_PLACE = b"ustar", 257
TITLE = re.compile(rb"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)
PAGE = re.compile(rb"(?:<!--.*?-->|<\?xml[^>]*\?>|\s)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/")
ANNEX = re.compile(rb"(?:/annex/objects/|(?:\.\./)*\.git/annex/objects/)\S+\s*")
DVC = re.compile(rb"outs:\s*\n\s*-\s+(?:md5|hash|size|path):")


def first_bytes(path: Path) -> bytes:
    """Return the first bytes of a file, unpacked where it is compressed."""
    with opened(path) as file:
        return file.read(NUM_SEEN_BYTES)


def is_parquet(seen: bytes) -> bool:
    return seen.startswith(PARQUET)


def is_json(seen: bytes) -> bool:
    """Return whether the first bytes are of JSON: an object, or a list of some."""
    return bool(re.match(rb'(?:\xef\xbb\xbf)?\s*(?:\[\s*)?\{\s*["}]', seen))


def is_packed_parquet(path: Path, seen: bytes) -> bool:
    """Return whether a Parquet file is compressed as a whole, which no reader of Parquet reads."""
    return is_parquet(seen) and packing_of(path) is not None


def check_kind(path: Path, seen: bytes) -> None:
    """Raise SourceError where a file, by its first bytes, is no table that can be read, with what gives one."""
    if is_packed_parquet(path, seen):
        how = f"{UNPACKING[packing_of(path) or '']} {shlex.quote(path.name)}"
        raise SourceError(f"{path.name} is a Parquet file that is packed once more; unpack it: {how}")
    for is_kind, told in KINDS:
        if is_kind(seen):
            raise SourceError(f"{path.name} {told(path, seen)}")


def by_start(*marks: bytes) -> Callable[[bytes], bool]:
    return lambda seen: seen.startswith(marks)


def of_page(path: Path, seen: bytes) -> str:
    title = TITLE.search(seen)
    named = f" titled '{' '.join(title[1].decode('utf-8', 'replace').split())[:80]}'" if title else ""
    return (
        f"is a web page{named}, such as one to log in or one that tells an error, in place of the rows: download "
        "the file again as its owner allows (curl -fL ADDRESS -o FILE, with the key or cookie that the site wants)"
    )


def of_zip(path: Path, _: bytes) -> str:
    name = shlex.quote(path.name)
    try:
        with zipfile.ZipFile(path) as archive:
            there = [info.filename for info in archive.infolist() if not info.is_dir()]
    except zipfile.BadZipFile:
        return "is a zip archive that is cut off; download it again"
    if any(member.startswith("xl/workbook") for member in there):
        return (
            "is an Excel workbook; save its sheet as 'CSV UTF-8' in Excel, or with LibreOffice: "
            f"soffice --headless --convert-to 'csv:Text - txt - csv (StarCalc):44,34,76' {name}"
        )
    return (
        f"is a zip archive of {examples(there) or 'nothing'}; unpack it and name the file with the rows: "
        f"python -m zipfile -e {name} {quoted(path.name.split('.')[0] + '_files')}"
    )


def of_tar(path: Path, _: bytes) -> str:
    folder = quoted(path.name.split(".")[0] + "_files")
    return (
        "is a tar archive; unpack it and name the file with the rows: "
        f"python -m tarfile -e {shlex.quote(path.name)} {folder}"
    )


def of_pointer(path: Path, _: bytes) -> str:
    return (
        "is a pointer of Git LFS, not the file itself; fetch it, in its repository: "
        f"git lfs pull --include={shlex.quote(path.name)}"
    )


def of_annex(path: Path, _: bytes) -> str:
    name = shlex.quote(path.name)
    return f"is a pointer of git-annex, not the file itself; fetch it, in its repository: git annex get {name}"


def of_dvc(path: Path, _: bytes) -> str:
    name = shlex.quote(path.name)
    return f"is a pointer of DVC, not the file itself; fetch it, in its repository, and name that: dvc pull {name}"


def of_arrow(path: Path, _: bytes) -> str:
    code = (
        "import sys, pyarrow.feather as f, pyarrow.parquet as p; p.write_table(f.read_table(sys.argv[1]), sys.argv[2])"
    )
    return f"is an Arrow (Feather) file; write it as Parquet: {converted(code, path)}"


def of_orc(path: Path, _: bytes) -> str:
    code = "import sys, pyarrow.orc as o, pyarrow.parquet as p; p.write_table(o.read_table(sys.argv[1]), sys.argv[2])"
    return f"is an ORC file; write it as Parquet: {converted(code, path)}"


def converted(code: str, path: Path) -> str:
    return f'python -c "{code}" {shlex.quote(path.name)} {quoted(path.stem + ".parquet")}'


def of_sqlite(path: Path, _: bytes) -> str:
    return (
        "is an SQLite database; write the rows of a table as CSV, with its name in place of TABLE: "
        f'sqlite3 -header -csv {shlex.quote(path.name)} "SELECT * FROM TABLE" > {quoted(path.stem + "_rows.csv")}'
    )


def of_old_excel(path: Path, _: bytes) -> str:
    return "is an old Excel file (or another of Microsoft's compound files); open it and save the sheet as 'CSV UTF-8'"


def is_what(words: str) -> Callable[[Path, bytes], str]:
    return lambda path, seen: f"is {words}, which holds no table; give the rows as csv, jsonl or parquet"


def quoted(name: str) -> str:
    return shlex.quote(name)


UNPACKING = {"gzip": "gzip -d", "bzip2": "bzip2 -d", "xz": "xz -d", "zstd": "zstd -d"}
"""The command that unpacks a file, by how it is packed."""
KINDS: list[tuple[Callable[[bytes], bool], Callable[[Path, bytes], str]]] = [
    (lambda seen: PAGE.match(seen) is not None, of_page),
    (lambda seen: POINTER.match(seen) is not None, of_pointer),
    (lambda seen: ANNEX.fullmatch(seen) is not None, of_annex),
    (lambda seen: DVC.match(seen) is not None, of_dvc),
    (by_start(b"PK\x03\x04", b"PK\x05\x06"), of_zip),
    (lambda seen: seen[TAR_PLACE:].startswith(TAR_MARK), of_tar),
    (by_start(b"ARROW1"), of_arrow),
    (by_start(b"ORC"), of_orc),
    (by_start(b"SQLite format 3\0"), of_sqlite),
    (by_start(bytes.fromhex("d0cf11e0a1b11ae1")), of_old_excel),
    (by_start(b"<?xml"), is_what("an XML document")),
    (by_start(b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), is_what("a pickle, which could run code")),
    (by_start(b"%PDF-"), is_what("a PDF document")),
    (by_start(b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), is_what("an image")),
    (by_start(b"\x89HDF\r\n"), is_what("an HDF5 file")),
    (by_start(b"Obj\x01"), is_what("an Avro file")),
]
