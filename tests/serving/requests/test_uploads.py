import tracemalloc

import httpx
import pytest

from serving.requests.uploads import TooManyParts, UploadError, parts_of

TYPE = "multipart/form-data; boundary=x"


def test_files_are_those_that_a_client_sent() -> None:
    every_byte = bytes(range(256)) * 3 + b"\r\n--x\r\n\r\n--"
    files = [("images", ("a.png", every_byte)), ("images", ('ü "b".png', b"")), ("other", ("c", b"\r\n"))]
    request = httpx.Request("POST", "http://localhost", files=files)
    parts = parts_of(request.headers["content-type"], request.read(), most=3)
    assert [(part.name, bytes(part.data)) for part in parts] == [
        ("images", every_byte),
        ("images", b""),
        ("other", b"\r\n"),
    ]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"--x--\r\n"),
        ('multipart/form-data; boundary=""', b"--x--\r\n"),
        ("multipart/form-data; boundary=" + "x" * 5000, b"--x--\r\n"),
        (TYPE, b""),
        (TYPE, b"anything"),
        (TYPE, b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\ndata'),
        (TYPE, b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\ndata\r\n--x'),
        (TYPE, b"--x\r\nno header\r\n\r\ndata\r\n--x--\r\n"),
    ],
)
def test_body_that_is_not_what_it_says_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(UploadError, match=r"\w"):
        parts_of(content_type, body, most=3)


@pytest.mark.parametrize(
    "disposition", ["form-data", "form-data; name*=utf-8''images", 'form-data; filename="x"', "\xff; name=\x00"]
)
def test_odd_headers_are_read_without_failing(disposition: str) -> None:
    body = f"--x\r\nContent-Disposition: {disposition}\r\n\r\ndata\r\n--x--\r\n".encode()
    try:
        (part,) = parts_of(TYPE, body, most=3)
    except UploadError:
        return
    assert part.name in ("", "images", "\x00")
    assert bytes(part.data) == b"data"


def test_part_without_headers_has_no_name() -> None:
    (part,) = parts_of(TYPE, b"--x\r\nContent-Type: image/png\r\n\r\ndata\r\n--x--\r\n", most=1)
    assert part.name == ""


def test_parts_that_are_too_many_are_not_read() -> None:
    part = b'--x\r\nContent-Disposition: form-data; name="images"\r\n\r\n\r\n'
    body = part * 20_000 + b"--x--\r\n"
    tracemalloc.start()
    try:
        with pytest.raises(TooManyParts, match="it has 20000 parts"):
            parts_of(TYPE, body, most=8)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert len(parts_of(TYPE, part * 8 + b"--x--\r\n", most=8)) == 8
