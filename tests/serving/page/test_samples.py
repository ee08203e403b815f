"""A seed and its images, in a real browser before the real service."""

from pathlib import Path

import numpy as np
import pytest

from serving.predictors.pictures import tiled
from serving.tasks.image_generation.predictor import Sampler
from tests.browser import Browser
from tests.serving.page.asking import ask, bodies
from tests.serving.page.every_task import *  # noqa: F403 -- what holds for every task, asked of this one


@pytest.fixture
def url(images_url: str) -> str:
    return images_url


def test_images_of_a_seed_are_shown(browser: Browser, images_url: str, generator_bundle: Path) -> None:
    page = browser.open(images_url)
    page.fill("#seed", "7")
    page.fill("#count", "5")
    ask(page)
    assert bodies(page) == [{"seed": 7, "count": 5, "format": "png"}]
    expected = tiled(Sampler.load(generator_bundle / "artifacts/tiny/package/bundle", threads=1).sample(7, 5))
    sizes = page.run("(image => [image.naturalHeight, image.naturalWidth])(document.querySelector('#grid'))")
    assert tuple(sizes) == expected.shape
    assert page.run("document.querySelector('#grid').alt") == "5 images of seed 7, side by side"
    held = page.run(
        "fetch(document.querySelector('#grid').src).then(r => r.arrayBuffer(), () => null)"
        ".then(b => b && [...new Uint8Array(b)])"
    )
    assert held is None  # not even what it shows itself may a page fetch but from its service
    shown = page.run(
        "(image => { const canvas = document.createElement('canvas'); [canvas.width, canvas.height] ="
        " [image.naturalWidth, image.naturalHeight]; const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0);"
        " return [...pen.getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 0); })"
        "(document.querySelector('#grid'))"
    )
    assert np.array_equal(np.array(shown).reshape(expected.shape), expected)
    page.click("#another")
    page.wait("document.querySelector('#grid').alt !== '5 images of seed 7, side by side'")
    assert bodies(page)[1]["seed"] != 7


def test_number_out_of_range_is_not_sent(browser: Browser, images_url: str) -> None:
    page = browser.open(images_url)
    page.fill("#count", "1000")
    page.click("button.main")
    assert page.run("document.querySelector('#count').matches(':invalid')")
    assert not page.posted
