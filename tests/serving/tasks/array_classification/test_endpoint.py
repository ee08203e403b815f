import io
import json
import shutil
import subprocess
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from components.__main__ import run_stage
from components.package.bento import serving
from components.plumbing.artifacts import read_json
from components.tracking.tracker import NullTracker
from serving.endpoint import Refused
from serving.tasks.array_classification import endpoint
from serving.tasks.array_classification.predictor import Predictor
from tests.patience import PATIENCE_S
from tests.tiny_arrays import LABELS, LIMITS, tiny_pictures

PICTURES, LABEL_ID = tiny_pictures(24)
ZEROS = [0] * 54
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def packaged(compressed_arrays: Path, bento_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(compressed_arrays, tmp_path_factory.mktemp("packaged") / "project"))
    run_stage(root, "tiny", "package", tracker=NullTracker())
    return root


@pytest.fixture(scope="module")
def client(packaged: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[httpx.Client]:
    tag = read_json(packaged / "artifacts/tiny/package/report.json")["tag"]
    with (
        serving(tag, ready_timeout_s=60, log=tmp_path_factory.mktemp("log") / "serve.log") as served,
        httpx.Client(base_url=served.url, timeout=PATIENCE_S) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def predictor(compressed_arrays: Path) -> Predictor:
    return Predictor.load(compressed_arrays / "artifacts/tiny/compress/model", threads=2)


@pytest.fixture(scope="module")
def folder(compressed_arrays: Path) -> Path:
    return compressed_arrays / "artifacts/tiny/compress/model"


def png(picture: np.ndarray) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(picture.astype(np.uint8)).save(file, "PNG")
        return file.getvalue()


def test_arrays_and_images_get_the_same_answer(client: httpx.Client, predictor: Predictor) -> None:
    chosen = PICTURES[:6]
    expected = predictor.answers(predictor.predict(chosen))
    assert [answer["label"] for answer in expected] == [LABELS[label] for label in LABEL_ID[:6]]
    flat = client.post("/classify", json={"arrays": chosen.reshape(6, -1).tolist()})
    rows = client.post("/classify", json={"arrays": chosen.tolist()})
    uploaded = client.post("/classify", files=[("images", (f"{n}.png", png(p))) for n, p in enumerate(chosen)])
    for response in (flat, rows, uploaded):
        assert response.status_code == 200, response.text
        assert response.json() == expected


def test_answers_do_not_depend_on_who_else_asks(client: httpx.Client) -> None:
    bodies = [{"arrays": [picture.ravel().tolist()]} for picture in PICTURES]
    alone = [client.post("/classify", json=body).json() for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda body: client.post("/classify", json=body).json(), bodies)) == alone


def test_bad_requests_are_refused_by_the_server(client: httpx.Client) -> None:
    response = client.post("/classify", files=[("images", ("a.png", png(PICTURES[0].T)))])
    assert (response.status_code, response.json()) == (
        400,
        {"error": "images[0] is 6 x 9 pixels (width x height); 9 x 6 are taken, so resize it"},
    )
    assert client.post("/classify", content=b"x", headers={"content-type": "image/png"}).status_code == 415
    assert client.post("/classify", json={"arrays": []}).status_code == 400
    assert client.post("/classify", content=(b" " * 2**16 for _ in range(8)), headers=JSON).status_code == 413


def test_card_says_how_to_send_images(client: httpx.Client) -> None:
    card = client.get("/card").text
    assert "curl -s localhost:3000/classify -F images=@picture.png" in card
    assert "Takes PNG and JPEG of 9 x 6 pixels" in card
    assert max(map(len, card.splitlines())) <= 120


def test_bundle_needs_what_reads_images(packaged: Path) -> None:
    bentofile = (packaged / "artifacts/tiny/package/bundle/bentofile.yaml").read_text()
    assert "pillow==" in bentofile
    assert "tokenizers" not in bentofile


def checked(folder: Path, body: bytes, *, kind: str = "application/json") -> list[list[float]] | Refused:
    return endpoint.make_check(folder, endpoint.Limits(**LIMITS))(kind, body)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"arrays": []}, "arrays is empty"),
        ({"arrays": [ZEROS] * 9}, "arrays has 9 entries; at most 8"),
        ({"arrays": [ZEROS[1:]]}, "arrays[0] has 53 entries; a list of 54 numbers is taken, or 6 lists of 9"),
        ({"arrays": [ZEROS, [[0] * 6] * 9]}, "arrays[1] is not 6 lists of 9"),
        ({"arrays": [[[0] * 9] * 5 + [0]]}, "arrays[0] is not 6 lists of 9"),
        ({"arrays": ["a"]}, 'arrays[0] is "a"'),
        ({"arrays": [[*ZEROS[1:], None]]}, "arrays[0] holds null at 53; every entry must be a number"),
        ({"arrays": [[*ZEROS[1:], "1"]]}, 'arrays[0] holds "1" at 53'),
        ({"arrays": [[*ZEROS[1:], True]]}, "arrays[0] holds true at 53"),
        ({"arrays": [[*ZEROS[1:], float("nan")]]}, "arrays[0] holds nan at 53; every number must be finite"),
        ({"arrays": [[*ZEROS[1:], float("-inf")]]}, "arrays[0] holds -inf at 53"),
        ({"arrays": [[*ZEROS[1:], 1e30]]}, "holds 1e+30 at 53; numbers from -1.275e+08 to 1.275e+08 are taken"),
        ({"arrays": [[*ZEROS[1:], 10**400]]}, "arrays[0] holds 1000000"),
        ({"arrays": ZEROS}, "arrays has 54 entries"),
        ({"array": [ZEROS]}, "the request must be"),
        ({"arrays": [ZEROS], "more": 1}, "nothing else"),
        ([ZEROS], "the request must be"),
    ],
)
def test_bad_arrays_are_refused_in_words(folder: Path, request_: object, error: str) -> None:
    found = checked(folder, json.dumps(request_).encode())
    assert isinstance(found, Refused)
    assert found.status == 400
    assert error in found.error


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"1" * 5000])
def test_body_that_is_not_json_is_refused(folder: Path, body: bytes) -> None:
    found = checked(folder, body)
    assert isinstance(found, Refused)
    assert found.status == 400
    assert "not JSON" in found.error


@pytest.mark.parametrize(
    ("files", "status", "error"),
    [
        ([("images", png(PICTURES[0]))] * 9, 400, "images has 9 entries; at most 8"),
        ([("image", png(PICTURES[0]))], 400, "the upload has a field 'image'; send files in the field 'images' only"),
        ([("images", png(PICTURES[0])), ("images", b"text")], 415, "images[1] is no PNG or JPEG"),
        ([("images", png(PICTURES[0])[:-20])], 400, "images[0] is damaged or cut short"),
        ([("images", b"\x89PNG\r\n\x1a\n" + b"0" * 4000)], 413, "images[0] has 4008 bytes; at most 4000 are taken"),
        ([("images", b"")], 400, "images[0] is empty"),
    ],
)
def test_bad_uploads_are_refused_in_words(
    folder: Path, files: list[tuple[str, bytes]], status: int, error: str
) -> None:
    given = [(name, ("file", data)) for name, data in files]
    request = httpx.Request("POST", "http://localhost", files=given)
    found = checked(folder, request.read(), kind=request.headers["content-type"])
    assert isinstance(found, Refused)
    assert (found.status, error in found.error) == (status, True), found.error


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "image/png"])
def test_other_content_types_are_refused(folder: Path, kind: str) -> None:
    found = checked(folder, b"", kind=kind)
    assert isinstance(found, Refused)
    assert found.status == 415
    assert f"content-type is '{kind}'; send 'application/json', or 'multipart/form-data' with images" == found.error


def test_model_of_vectors_takes_no_images(folder: Path, tmp_path: Path) -> None:
    settings = read_json(folder / "predictor.json") | {"shape": [54]}
    (tmp_path / "predictor.json").write_text(json.dumps(settings))
    request = httpx.Request("POST", "http://localhost", files=[("images", ("a", png(PICTURES[0])))])
    found = checked(tmp_path, request.read(), kind=request.headers["content-type"])
    assert isinstance(found, Refused)
    assert (found.status, "takes no images" in found.error) == (415, True)
    rows = checked(tmp_path, json.dumps({"arrays": PICTURES[:1].tolist()}).encode())
    assert isinstance(rows, Refused)
    assert "a list of 54 numbers is taken" in rows.error
    assert checked(tmp_path, json.dumps({"arrays": [ZEROS]}).encode()) == [ZEROS]
    assert "an array of 54 numbers" in endpoint.what_it_is(tmp_path)


def test_example_for_vectors_is_a_whole_command(folder: Path, tmp_path: Path) -> None:
    settings = read_json(folder / "predictor.json") | {"shape": [54]}
    (tmp_path / "predictor.json").write_text(json.dumps(settings))
    words = f"printf '%s\\n' {endpoint.example(tmp_path)}"
    *_, body = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True).stdout.splitlines()
    assert json.loads(body) == {"arrays": [ZEROS]}


def test_body_is_as_long_as_its_numbers_or_its_images_may_be(folder: Path, tmp_path: Path) -> None:
    limits = endpoint.Limits(**LIMITS)
    most = endpoint.max_bytes(folder, limits)
    assert most == {"application/json": 1024 + 8 * 54 * 32, "multipart/form-data": 1024 + 8 * (4000 + 1024)}
    longest = {"arrays": [[[-1.2345678901234567e-05] * 9] * 6] * 8}
    assert len(json.dumps(longest)) <= most["application/json"]
    (tmp_path / "predictor.json").write_text(json.dumps(read_json(folder / "predictor.json") | {"shape": [54]}))
    assert set(endpoint.max_bytes(tmp_path, limits)) == {"application/json"}
