"""The conversion of an uploaded PNG or JPEG to grey pixels of one exact size; other files are refused with a reason."""

import io
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG")
MODES = ("1", "L", "LA", "P", "RGB", "RGBA")
BEGINNINGS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
ENDS = {"PNG": b"IEND\xaeB`\x82", "JPEG": b"\xff\xd9"}
MAX_TAIL = 64  # bytes after the end, which some cameras and programs leave
ORIENTATION = 0x0112  # the tag in EXIF


class ImageError(Exception):
    """The error of an image that cannot be read; the message has what is wrong and what is taken."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def read_grey(data: bytes, *, height: int, width: int) -> NDArray[np.float32]:
    """Return the pixels of an image as grey levels from 0 (black) to 255, (height, width).

    Colours become their luminance (ITU-R BT.601). The size is judged by the header, before anything is unpacked. Raise
    ImageError where the data is no whole, opaque PNG or JPEG of this size.
    """
    image = opened(data)
    check_size(image.size, (width, height), sideways=None)  # a PNG is unpacked to tell its orientation
    try:
        check_size(image.size, (width, height), sideways=is_sideways(image))
        if image.mode not in MODES:
            raise ImageError(f"has mode {image.mode}; 8-bit grey or colour (RGB) is taken, so convert it")
        if getattr(image, "n_frames", 1) > 1:
            raise ImageError("holds several pictures; one is taken")
        image.load()
        image = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"is damaged or cut short ({error})") from error
    return pixels_of(image)


def opened(data: bytes) -> Image.Image:
    """Return an image behind its header, whole as far as its own marks and checksums say; raise ImageError where it is
    not."""
    if not data:
        raise ImageError("is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is judged by the caller
            Image.open(io.BytesIO(data), formats=FORMATS).verify()
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError as error:
        if data.startswith(BEGINNINGS):
            raise ImageError("is damaged or cut short") from error
        raise ImageError("is no PNG or JPEG", status=415) from error
    except Image.DecompressionBombError as error:
        raise ImageError("is far too large") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageError(f"is damaged or cut short ({error})") from error
    end = ENDS.get(image.format or "")  # none for a file of several JPEGs
    if end is not None and end not in data[-MAX_TAIL:]:
        raise ImageError(f"is damaged or cut short (a {image.format} without its end)")
    return image


def check_size(size: tuple[int, int], wanted: tuple[int, int], *, sideways: bool | None) -> None:
    """Raise ImageError where the size of an image, (width, height), is not `wanted`.

    Where `sideways` is None, the orientation is not known, and width and height may be exchanged.
    """
    found = (size[1], size[0]) if sideways else size
    if found != wanted and (sideways is not None or sorted(found) != sorted(wanted)):
        raise ImageError(
            f"is {found[0]} x {found[1]} pixels (width x height); {wanted[0]} x {wanted[1]} are taken, so resize it"
        )


def is_sideways(image: Image.Image) -> bool:
    """Return whether the EXIF orientation exchanges the image's width and height."""
    return image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)


def pixels_of(image: Image.Image) -> NDArray[np.float32]:
    """Return the grey levels (height, width) of an unpacked image; raise ImageError where a pixel is transparent."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            raise ImageError("has transparent pixels; put it on a background first")
        image = image.convert("RGB")
    return np.asarray(image.convert("L"), np.float32)
