"""A prompt and its streamed answer, in a real browser before the real service."""

import time
from pathlib import Path
from typing import Any

import pytest

from serving.tasks.text_generation.predictor import TextGenerator
from tests.browser import Browser
from tests.serving.page.asking import bodies, complaint
from tests.serving.page.every_task import *  # noqa: F403 -- what holds for every task, asked of this one


@pytest.fixture
def url(language_url: str) -> str:
    return language_url


def test_answer_is_streamed_as_asked(browser: Browser, language_url: str, language_bundle: Path) -> None:
    page = browser.open(language_url)
    page.fill("#prompt", "A dull day")
    for name, value in {"max_tokens": "24", "temperature": "0.7", "top_k": "50", "top_p": "0.9", "seed": "5"}.items():
        page.fill(f"#{name}", value)
    page.fill("#stop-texts", "zzz\nyyy")
    page.click("button.main")
    page.wait("!document.querySelector('#again').hidden")
    asked: dict[str, Any] = {
        "prompt": "A dull day", "max_tokens": 24, "temperature": 0.7, "top_k": 50, "top_p": 0.9, "seed": 5,
    }  # fmt: skip
    assert bodies(page) == [asked | {"stop": ["zzz", "yyy"], "stream": True}]
    answer = TextGenerator.load(language_bundle, threads=1).generate(**asked, stop=["zzz", "yyy"]).answer()
    assert page.run("document.querySelector('#answer').textContent") == answer["text"]
    assert page.text("#status").endswith("Seed 5.")
    assert page.text("#status").startswith(f"{answer['num_tokens']} token")


def test_seed_can_be_kept(browser: Browser, language_url: str) -> None:
    page = browser.open(language_url)
    page.fill("#max_tokens", "2")
    page.click("button.main")
    page.wait("!document.querySelector('#again').hidden")
    assert "seed" not in bodies(page)[0]
    page.click("#again")
    kept = page.run("document.querySelector('#seed').value")
    assert page.text("#status").endswith(f"Seed {kept}.")


def test_stop_ends_the_answer_and_frees_the_service(browser: Browser, language_url: str, language_bundle: Path) -> None:
    page = browser.open(language_url)
    page.fill("#prompt", endless(language_bundle))
    page.fill("#temperature", "0")
    page.fill("#max_tokens", "1000000")
    for _ in range(3):  # more than the service has places
        page.click("button.main")
        page.wait("document.querySelector('#answer').textContent.length > 20")
        assert page.text("#status") == "Writing …"
        page.press("Tab")
        assert page.run("document.activeElement.id") == "stop"
        page.press("Enter")
        page.wait("document.querySelector('#status').textContent === 'Stopped.'")
        assert page.run("document.querySelector('#stop').disabled")
        assert page.run("document.activeElement.id") == "prompt"
        length = page.run("document.querySelector('#answer').textContent.length")
        time.sleep(0.1)
        assert page.run("document.querySelector('#answer').textContent.length") == length
    assert page.text("#error") == ""


def endless(bundle: Path) -> str:
    """A prompt after which the likeliest token never ends the answer."""
    model = TextGenerator.load(bundle, threads=1)
    for prompt in ("a", "dull", "warm day", "story", "music", "!"):
        tried = model.generate(prompt, max_tokens=400, temperature=0, top_k=0, top_p=1.0, seed=0).answer()
        if tried["finish_reason"] == "length" and tried["text"]:
            return prompt
    raise AssertionError("every answer ends")


def test_prompt_that_is_too_long_is_refused_in_words(browser: Browser, language_url: str) -> None:
    page = browser.open(language_url)
    page.fill("#prompt", "one of many words " * 20)
    page.click("button.main")
    assert complaint(page).startswith("Refused: ")
    assert "12" in page.text("#error")
    assert page.run("document.querySelector('#stop').disabled")
