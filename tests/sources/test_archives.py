import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from components.plumbing.errors import SourceError
from components.sources.archives import members, names

SHA256 = "0" * 64


def make_zip(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def make_tar(path: Path, content: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return path


def test_member_of_an_archive_in_an_archive_is_found_step_by_step(tmp_path: Path) -> None:
    inner = make_tar(tmp_path / "inner.tgz", {"in/rows.txt": b"rows", "in/other.txt": b"other"})
    outer = make_zip(tmp_path / "outer.zip", {"data/inner.tgz": inner.read_bytes(), "setup.py": b"boom"})
    found = members(outer, ("data/inner.tgz", "in/rows.txt"), folder=tmp_path / "work", sha256=SHA256)
    assert [path.read_bytes() for path in found.paths] == [b"rows"]
    assert not found.is_many
    unpacked = {path.name for path in (tmp_path / "work").rglob("*") if path.is_file()}
    assert unpacked == {"inner.tgz", "rows.txt"}


def test_glob_takes_sorted_members_of_one_folder(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"d/b.txt": b"b", "d/a.txt": b"a", "d/deep/c.txt": b"c", "d/x.csv": b"x"})
    found = members(archive, ("d/*.txt",), folder=tmp_path / "work", sha256=SHA256)
    assert [path.relative_to(found.top).as_posix() for path in found.paths] == ["d/a.txt", "d/b.txt"]
    assert found.is_many


def test_folder_takes_everything_below_it_and_is_the_top(tmp_path: Path) -> None:
    archive = make_zip(
        tmp_path / "a.whl", {"pkg/model/config.json": b"{}", "pkg/model/1/x": b"x", "pkg/code.py": b"boom"}
    )
    found = members(archive, ("pkg/model/",), folder=tmp_path / "work", sha256=SHA256)
    assert [path.relative_to(found.top).as_posix() for path in found.paths] == ["1/x", "config.json"]


def test_no_member_gives_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b")
    assert members(path, (), folder=tmp_path / "work", sha256=SHA256).paths == (path,)


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/etc/outside.txt", "d/../../outside.txt", "d\\..\\..\\outside.txt"]
)
@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("wanted", ["*", "d/rows.txt"])
def test_archive_that_points_outside_its_folder_is_refused_whole(
    tmp_path: Path, name: str, kind: str, wanted: str
) -> None:
    content = {"d/rows.txt": b"rows", name: b"evil"}
    archive = make_zip(tmp_path / "a.zip", content) if kind == "zip" else make_tar(tmp_path / "a.tgz", content)
    with pytest.raises(SourceError, match="points outside its folder; nothing of it was unpacked"):
        members(archive, (wanted,), folder=tmp_path / "deep" / "work", sha256=SHA256)
    assert not list(tmp_path.rglob("outside.txt"))
    assert not list(tmp_path.rglob("rows.txt"))


@pytest.mark.parametrize("write", [make_zip, make_tar])
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("x/a", "x/a/b"), "has a file and a folder of one name, 'x/a'; name the members that are wanted"),
        (("x/a/b", "x/a"), "a file and a folder of one name"),
        (("x/" + "n" * 300,), "whose name is longer than disks allow"),
        (("x/" + "d/" * 2000 + "f",), "whose name is longer than disks allow"),
    ],
)
def test_names_that_no_folder_can_hold_are_told(
    tmp_path: Path, write: Callable[..., Path], names: tuple[str, ...], message: str
) -> None:
    archive = write(tmp_path / "rows.archive", {name: b"x" for name in names})
    with pytest.raises(SourceError, match=message):
        members(archive, ("x/",), folder=tmp_path / "out", sha256="")


def test_link_is_not_unpacked(tmp_path: Path) -> None:
    archive = make_tar(tmp_path / "a.tgz", {"d/a.txt": b"a"}, links={"d/passwd": "/etc/passwd"})
    with pytest.raises(SourceError, match="'d/passwd' is a link or a device"):
        members(archive, ("d/",), folder=tmp_path / "work", sha256=SHA256)
    assert members(archive, ("d/a.txt",), folder=tmp_path / "work", sha256=SHA256).paths[0].read_bytes() == b"a"


def test_link_in_a_zip_is_not_unpacked(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("d/link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(SourceError, match="is a link or a device"):
        members(tmp_path / "a.zip", ("d/link",), folder=tmp_path / "work", sha256=SHA256)


def test_unpacked_size_is_bounded_whatever_the_archive_claims(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(5_000_000))
    with pytest.raises(SourceError, match="unpacks to more than 1000000 bytes"):
        members(tmp_path / "bomb.zip", ("zeros",), folder=tmp_path / "work", sha256=SHA256, max_bytes=1_000_000)
    assert sum(path.stat().st_size for path in (tmp_path / "work").rglob("*")) < 2_000_000


def test_missing_member_is_named_with_the_nearest(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"data/rows.txt": b"rows"})
    with pytest.raises(SourceError, match=r"has no member 'data/row.txt' \(did you mean 'data/rows.txt'\?\)"):
        members(archive, ("data/row.txt",), folder=tmp_path / "work", sha256=SHA256)


@pytest.mark.parametrize("content", [b"no archive at all", b"PK\x03\x04 cut off", b""])
def test_what_is_no_whole_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="not a whole zip or tar"):
        members(path, ("x",), folder=tmp_path / "work", sha256=SHA256)


def test_damaged_member_is_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path / "a.zip", {"rows": b"some rows that are stored as they are"})
    archive.write_bytes(archive.read_bytes().replace(b"some rows", b"SOME rows", 1))
    with pytest.raises(SourceError, match="not a whole zip or tar archive"):
        members(archive, ("rows",), folder=tmp_path / "work", sha256=SHA256)


def test_star_of_a_glob_stays_in_one_folder() -> None:
    assert names("data/*.txt", "data/a.txt")
    assert not names("data/*.txt", "data/deep/a.txt")
    assert not names("data/", "database/a.txt")
