"""A picture that is drawn or uploaded, in a real browser before the real service."""

from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.browser import Browser, Page
from tests.patience import PATIENCE_S
from tests.serving.page.asking import ANSWERED, ask, bodies, complaint
from tests.serving.page.every_task import *  # noqa: F403 -- what holds for every task, asked of this one

BOARD = (9, 6)  # of the tiny pictures: width, height


@pytest.fixture
def url(picture_url: str) -> str:
    return picture_url


def pixels_of(page: Page) -> np.ndarray:
    (array,) = bodies(page)[-1]["arrays"]
    assert all(isinstance(value, int) for value in array)
    return np.array(array).reshape(BOARD[::-1])


def shown_label(page: Page) -> str:
    return page.run("document.querySelector('#scores .chosen .label').innerText")


def test_picture_is_drawn_with_the_mouse(browser: Browser, picture_url: str) -> None:
    page = browser.open(picture_url)
    page.click("#fit")
    x, y, width, height = page.box("#board")
    assert width / height == pytest.approx(BOARD[0] / BOARD[1], rel=0.02)
    page.drag([(x + width * 1.5 / 9, y + height * down / 6) for down in (0.5, 2, 4, 5.5)])
    ask(page)
    pixels = pixels_of(page)
    assert (pixels[:, 1] > 200).all()
    assert (pixels[:, 4:] == 0).all()
    answer = httpx.post(f"{picture_url}/classify", json=bodies(page)[-1], timeout=PATIENCE_S).json()[0]
    assert shown_label(page) == answer["label"] == "left"


def test_drawing_is_centred_and_fitted(browser: Browser, picture_url: str) -> None:
    page = browser.open(picture_url)
    x, y, _, _ = page.box("#board")
    page.drag([(x + 8, y + 8), (x + 20, y + 30)])
    ask(page)
    pixels = pixels_of(page)
    rows, columns = np.indices(pixels.shape) + 0.5
    assert (pixels * columns).sum() / pixels.sum() == pytest.approx(BOARD[0] / 2, abs=0.3)
    assert (pixels * rows).sum() / pixels.sum() == pytest.approx(BOARD[1] / 2, abs=0.3)
    assert (pixels.max(axis=1) > 60).sum() >= 4  # it was 1 pixel high


def test_picture_is_drawn_by_keyboard(browser: Browser, picture_url: str) -> None:
    page = browser.open(picture_url)
    page.click("#fit")
    page.run("document.querySelector('#board').focus()")
    page.press("ArrowRight", times=3)
    page.press("ArrowUp", times=3)
    page.press(" ")
    assert page.text("#status").startswith("Pen down at ")
    page.press("ArrowDown", times=6)
    page.press(" ")
    page.press("Tab", times=4)  # over both boxes and the upload
    assert page.run("document.activeElement.innerText") == "Classify"
    page.press("Enter")
    page.wait(ANSWERED)
    pixels = pixels_of(page)
    assert (pixels[:, 7] > 100).all()
    assert (pixels[:, :5] == 0).all()
    page.run("document.querySelector('#board').focus()")
    page.press("Backspace")
    page.click("button.main")
    assert complaint(page) == "Draw or upload a picture first."


def test_upload_of_the_models_size_is_read_as_it_is(browser: Browser, picture_url: str, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (BOARD[1], BOARD[0], 3)).astype(np.uint8)
    Image.fromarray(colours).save(tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        grey = np.asarray(picture.convert("L"))
    page = browser.open(picture_url)
    page.upload("#upload", tmp_path / "picture.png")
    page.wait("document.querySelector('#status').textContent.startsWith('The picture')")
    ask(page)
    assert np.array_equal(pixels_of(page), grey)
    page.click("#invert")
    ask(page)
    assert np.array_equal(pixels_of(page), 255 - grey)


def test_upload_that_is_no_picture_is_refused_in_words(browser: Browser, picture_url: str, tmp_path: Path) -> None:
    (tmp_path / "<b>notes.png").write_text("no picture", encoding="utf-8")
    page = browser.open(picture_url)
    page.upload("#upload", tmp_path / "<b>notes.png")
    assert complaint(page) == "“<b>notes.png” cannot be read as a picture. Upload a PNG or a JPEG."
