"""The files of a multipart/form-data body (RFC 7578) that is whole and in memory already."""

from dataclasses import dataclass, field
from email.message import Message
from typing import TYPE_CHECKING

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


class UploadError(Exception):
    """The error of a body that is not the upload that its content type says."""


class TooManyParts(UploadError):
    """The error of an upload with more parts than are taken; `number` is how many it has."""

    def __init__(self, number: int) -> None:
        super().__init__(f"it has {number} parts")
        self.number = number


@dataclass
class Part:
    """One part of a multipart body."""

    headers: dict[str, str] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)

    @property
    def name(self) -> str:
        """The name of the form field."""
        return option(self.headers.get("content-disposition", ""), "name")


def option(header: str, name: str) -> str:
    """Return a parameter of a header's value, as in `form-data; name="images"`, or an empty string."""
    message = Message()
    message["content-disposition"] = header
    found = message.get_param(name, "", header="content-disposition")
    return found if isinstance(found, str) else found[2]


def parts_of(content_type: str, body: bytes, *, most: int) -> list[Part]:
    """Return the parts of a multipart body, in order.

    Raise UploadError where it is not what `content_type` says, or is cut short. Raise TooManyParts as soon as there are
    more than `most` parts; their number is then counted by the delimiters alone.
    """
    boundary = option(content_type, "boundary")
    if not boundary:
        raise UploadError("content-type names no boundary")
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    parts: list[Part] = []
    name, value, ended = bytearray(), bytearray(), False

    def begin() -> None:
        if len(parts) == most:
            raise TooManyParts(max(most + 1, body.count(delimiter) - 1))  # the last delimiter begins no part
        parts.append(Part())

    def end_header() -> None:
        parts[-1].headers[name.decode("latin-1").lower()] = value.decode("utf-8", "replace")
        name.clear()
        value.clear()

    def end() -> None:
        nonlocal ended
        ended = True

    callbacks: MultipartCallbacks = {
        "on_part_begin": begin,
        "on_part_data": lambda data, start, stop: parts[-1].data.extend(data[start:stop]),
        "on_header_field": lambda data, start, stop: name.extend(data[start:stop]),
        "on_header_value": lambda data, start, stop: value.extend(data[start:stop]),
        "on_header_end": end_header,
        "on_end": end,
    }
    try:
        parser = MultipartParser(boundary.encode("latin-1", "replace"), callbacks)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise UploadError(str(error)) from error
    if not ended:
        raise UploadError("it ends before its last boundary")
    return parts
