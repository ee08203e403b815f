import io
import json
from collections import Counter
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from components.package.bento import serving
from components.plumbing.artifacts import read_json
from serving.predictors.pictures import tiled
from serving.tasks import endpoint_of
from serving.tasks.image_generation.endpoint import Wanted
from serving.tasks.image_generation.predictor import Sampler, draw_latents
from tests.patience import PATIENCE_S
from tests.serving.bundles import with_limits

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def sampler(generator_bundle: Path) -> Sampler:
    return Sampler.load(generator_bundle / "artifacts/tiny/package/bundle", threads=1)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service") / "serve.log"


@pytest.fixture(scope="module")
def client(generator_bundle: Path, log: Path) -> Generator[httpx.Client]:
    tag = read_json(generator_bundle / "artifacts/tiny/package/report.json")["tag"]
    with (
        serving(tag, ready_timeout_s=60, log=log) as served,
        httpx.Client(base_url=served.url, timeout=PATIENCE_S) as client,
    ):
        yield client


def test_seed_gives_the_same_images_each_time(sampler: Sampler) -> None:
    first = sampler.sample(7, 6)
    assert first.dtype == np.uint8
    assert first.shape == (6, 8, 8)
    assert np.array_equal(first, sampler.sample(7, 6))
    assert not np.array_equal(first, sampler.sample(8, 6))


def test_image_does_not_depend_on_how_many_come_with_it(sampler: Sampler, generator_bundle: Path) -> None:
    many = sampler.sample(3, 20)
    for count in (1, 2, 19):
        assert np.array_equal(sampler.sample(3, count), many[:count])
    with_threads = Sampler.load(generator_bundle / "artifacts/tiny/package/bundle", threads=3)
    assert np.array_equal(with_threads.sample(3, 20), many)


def test_latents_are_those_of_numpys_generator() -> None:
    expected = np.random.Generator(np.random.PCG64(11)).standard_normal((4, 5), np.float32)
    assert np.array_equal(draw_latents(11, 4, size=5), expected)
    assert np.array_equal(draw_latents(11, 2, size=5), expected[:2])


def test_array_is_served_as_it_was_measured(client: httpx.Client, sampler: Sampler) -> None:
    response = client.post("/sample", json={"seed": 5, "count": 3, "format": "array"})
    assert response.status_code == 200
    assert response.json() == sampler.sample(5, 3).tolist()


@pytest.mark.parametrize("format_", [{}, {"format": "png"}])
def test_picture_shows_the_same_images(client: httpx.Client, sampler: Sampler, format_: dict) -> None:
    response = client.post("/sample", json={"seed": 5, "count": 6} | format_)
    assert response.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(response.content)) as picture:
        assert np.array_equal(np.asarray(picture), tiled(sampler.sample(5, 6)))


def test_answers_do_not_depend_on_who_else_asks(client: httpx.Client) -> None:
    def ask(seed: int) -> object:
        return client.post("/sample", json={"seed": seed, "count": 2, "format": "array"}).json()

    alone = [ask(seed) for seed in range(16)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask, range(16))) == alone


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({}, "the request must be"),
        ([1, 2], "the request must be"),
        ({"seed": 1}, "the request must be"),
        ({"seed": 1, "count": 1, "more": 1}, "nothing else"),
        ({"seed": "1", "count": 1}, 'seed is "1"; it must be a whole number from 0'),
        ({"seed": 1.5, "count": 1}, "seed is 1.5"),
        ({"seed": True, "count": 1}, "seed is true"),
        ({"seed": None, "count": 1}, "seed is null"),
        ({"seed": -1, "count": 1}, "seed is -1; it must be a whole number from 0"),
        ({"seed": 2**53, "count": 1}, "seed is 9007199254740992; it must be a whole number from 0 to 9007199254740991"),
        ({"seed": 1, "count": 0}, "count is 0; it must be a whole number from 1 to 32"),
        ({"seed": 1, "count": -3}, "count is -3"),
        ({"seed": 1, "count": 33}, "count is 33; it must be a whole number from 1 to 32"),
        ({"seed": 1, "count": [1]}, "count is [1]"),
        ({"seed": 1, "count": 1, "format": "gif"}, "format is \"gif\"; it must be 'png' or 'array'"),
        ({"seed": 1, "count": 1, "format": ["png"]}, 'format is ["png"]'),
        ({"seed": 1, "count": 1, "format": None}, "format is null"),
    ],
)
def test_bad_request_is_refused_in_words(client: httpx.Client, request_: object, error: str) -> None:
    response = client.post("/sample", content=json.dumps(request_).encode(), headers=JSON)
    assert response.status_code == 400
    assert error in response.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"seed": 1, "count": ' + b"9" * 900])
def test_request_that_is_not_json_is_refused(client: httpx.Client, body: bytes) -> None:
    response = client.post("/sample", content=body, headers=JSON)
    assert response.status_code == 400
    assert "not JSON" in response.json()["error"]


def test_request_is_refused_by_its_type_and_its_length(client: httpx.Client) -> None:
    body = b'{"seed": 1, "count": 1}'
    assert client.post("/sample", content=body, headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/sample", content=body + b" " * 2000, headers=JSON).status_code == 413


def test_format_that_is_left_out_is_a_picture() -> None:
    endpoint = endpoint_of("image_generation")
    limits = endpoint.Limits(threads=1, max_samples=4, max_requests=1, max_read_ms=100, max_latency_ms=100)
    check = endpoint.make_check(Path(), limits)
    assert check("application/json; charset=utf-8", b'{"count": 4, "seed": 0}') == [
        Wanted(seed=0, count=4, format="png")
    ]


def test_overload_is_turned_away_with_the_time_to_come_again(generator_bundle: Path, tmp_path: Path) -> None:
    bundle = generator_bundle / "artifacts/tiny/package/bundle"
    tag = with_limits(bundle, tmp_path / "bundle", threads=1, max_samples=4000, max_latency_ms=100)
    with serving(tag, ready_timeout_s=60, log=tmp_path / "log") as served:

        def ask(seed: int) -> httpx.Response:
            return httpx.post(f"{served.url}/sample", json={"seed": seed, "count": 4000}, timeout=PATIENCE_S)

        with ThreadPoolExecutor(24) as pool:
            responses = list(pool.map(ask, range(48)))
    counts = Counter(response.status_code for response in responses)
    assert set(counts) == {200, 503}
    for response in responses:
        if response.status_code == 503:
            assert int(response.headers["retry-after"]) >= 1
            assert "overloaded" in response.json()["error"]
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


def test_card_says_how_to_ask(client: httpx.Client) -> None:
    card = client.get("/card").text
    assert "grey images of 8 x 8 pixels" in card
    assert "At most 32 images in one request" in card
    assert "/sample" in card
