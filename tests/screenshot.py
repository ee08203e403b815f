"""Takes the picture of the page that the README shows: the bundle of a recipe, served, asked one text.

python -m tests.screenshot [RECIPE] [PICTURE]
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from components.package.bento import build_bento, serving
from serving.bundle import PROVENANCE
from tests.browser import browsing, find_chromium
from tests.projects import ROOT

WIDTH, SCALE = 900, 1.5
TEXT = "It starts slowly, yet the last hour is a joy."
ANSWERED = "!document.querySelector('#words').hidden && document.querySelector('#tiles').children.length"


def take(recipe: str, picture: Path) -> None:
    """Write the upper part of the page, down to what the model is measured by, as a PNG."""
    chromium = find_chromium()
    assert chromium is not None, "no Chromium here; on Debian and Ubuntu: apt-get install chromium"
    with TemporaryDirectory(prefix="modelyard-page-") as scratch:
        os.environ["BENTOML_HOME"] = scratch
        provenance = ROOT / "observations" / recipe / "package" / PROVENANCE
        tag = build_bento(ROOT / "artifacts" / recipe / "package/bundle", provenance)
        with (
            serving(tag, ready_timeout_s=60, log=Path(scratch) / "serve.log") as served,
            browsing(chromium, Path(scratch)) as browser,
        ):
            page = browser.open(served.url, width=WIDTH, scale=SCALE)
            page.fill("#text", TEXT)
            page.click("button.main")
            page.wait(ANSWERED)
            page.run("scrollTo(0, 0)")
            page.run("document.activeElement.blur()")
            page.run("new Promise(done => setTimeout(done, 500))")  # the bars grow
            bottom = page.run("document.querySelector('#quality-title').parentElement.getBoundingClientRect().bottom")
            picture.write_bytes(page.picture(height=bottom + 16))


if __name__ == "__main__":
    given = sys.argv[1:]
    take(given[0] if given else "movie_sentiment", Path(given[1]) if len(given) > 1 else ROOT / "docs/page.png")
