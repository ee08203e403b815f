import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from serving.requests.images import ImageError, read_grey

HEIGHT, WIDTH = 6, 9
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)


def encoded(pixels: np.ndarray, *, mode: str | None = None, kind: str = "PNG", **options: Any) -> bytes:
    image = Image.fromarray(pixels)
    if mode:
        image = image.convert(mode)
    with io.BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def read(data: bytes) -> np.ndarray:
    return read_grey(data, height=HEIGHT, width=WIDTH)


@pytest.mark.parametrize("mode", [None, "LA", "RGB", "RGBA", "P"])
def test_grey_pixels_are_the_same_in_every_mode(mode: str | None) -> None:
    pixels = read(encoded(PIXELS, mode=mode))
    assert pixels.dtype == np.float32
    assert_array_equal(pixels, PIXELS)


def test_black_and_white_are_0_and_255() -> None:
    bits = PIXELS > 127
    assert_array_equal(read(encoded(bits)), np.where(bits, 255, 0))


def test_jpeg_is_read() -> None:
    smooth = np.tile(np.linspace(0, 250, WIDTH, dtype=np.uint8), (HEIGHT, 1))
    assert np.abs(read(encoded(smooth, kind="JPEG", quality=95)) - smooth).max() < 8


def test_colours_count_by_their_luminance() -> None:
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[..., 1] = 200
    assert_array_equal(read(encoded(colours)), np.full((HEIGHT, WIDTH), round(0.587 * 200)))


def test_photo_that_lies_on_its_side_is_turned() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    lying = encoded(np.rot90(PIXELS), exif=exif)
    assert_array_equal(read(lying), PIXELS)
    with pytest.raises(ImageError, match="is 6 x 9 pixels"):
        read(encoded(PIXELS, exif=exif))


@pytest.mark.parametrize("shape", [(9, 6), (6, 10), (5, 9), (1, 54), (28, 28)])
def test_another_size_is_refused_with_both_sizes(shape: tuple[int, int]) -> None:
    data = encoded(np.zeros(shape, np.uint8))
    message = rf"is {shape[1]} x {shape[0]} pixels \(width x height\); 9 x 6 are taken, so resize it"
    with pytest.raises(ImageError, match=message):
        read(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_cut_is_noticed(kind: str) -> None:
    data = encoded(PIXELS, kind=kind)
    assert len(data) > 80
    for end in range(1, len(data)):
        with pytest.raises(ImageError, match="cut short" if end > 7 else None):
            read(data[:end])


def test_changed_byte_of_a_png_is_noticed() -> None:
    data = bytearray(encoded(PIXELS))
    data[len(data) // 2] ^= 1
    with pytest.raises(ImageError, match="damaged"):
        read(bytes(data))


@pytest.mark.parametrize(
    ("data", "message", "status"),
    [
        (b"", "is empty", 400),
        (b"hello", "is no PNG or JPEG", 415),
        (encoded(PIXELS, kind="GIF"), "is no PNG or JPEG", 415),
        (encoded(PIXELS, kind="TIFF"), "is no PNG or JPEG", 415),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no PNG or JPEG", 415),
        (encoded(PIXELS.astype(np.uint16) * 257), "has mode I;16; 8-bit grey or colour", 400),
        (encoded(PIXELS, mode="CMYK", kind="JPEG"), "has mode CMYK", 400),
        (
            encoded(PIXELS, save_all=True, append_images=[Image.fromarray(255 - PIXELS)]),
            "holds several pictures; one is taken",
            400,
        ),
    ],
)
def test_what_is_no_plain_picture_is_refused(data: bytes, message: str, status: int) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        read(data)
    assert caught.value.status == status


def test_transparent_pixels_are_refused() -> None:
    image = Image.fromarray(PIXELS).convert("RGBA")
    image.putpixel((3, 2), (0, 0, 0, 254))
    with pytest.raises(ImageError, match="transparent pixels; put it on a background first"):
        read(encoded(np.asarray(image)))
    with pytest.raises(ImageError, match="transparent"):
        read(encoded(np.full((HEIGHT, WIDTH), 7, np.uint8), transparency=7))


def test_bomb_is_refused_by_its_header() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    for side in (20_000, 2**31 - 1):  # 400 MB, and beyond any memory, of zeros that were never packed
        header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        with pytest.raises(ImageError, match=r"is 20000 x 20000 pixels|is far too large"):
            read(bomb)
