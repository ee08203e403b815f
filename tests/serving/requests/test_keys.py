import asyncio
import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.requests.keys import (
    CLIENT,
    Keys,
    KeysError,
    add_key,
    check_address,
    given_keys,
    is_loopback,
    load_keys,
    remove_key,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers with who asks."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(scope.get(CLIENT)).encode()})


def ask(
    middleware: Keys, path: str = "/classify", *, auth: str | None = None, host: str = "10.0.0.1"
) -> httpx.Response:
    async def post() -> httpx.Response:
        transport = httpx.ASGITransport(middleware)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}:3000") as client:
            return await client.post(path, headers={"authorization": auth.encode("latin-1")} if auth else {})

    return asyncio.run(post())


def test_key_lets_its_client_in_and_another_does_not(file: Path) -> None:
    key = add_key(file, "shop", scopes=["predict"], per_minute=600)
    other = add_key(file, "till", scopes=["predict"], per_minute=600)
    middleware = Keys(echo, path=file)
    assert ask(middleware, auth=f"Bearer {key}").json() == "shop"
    assert ask(middleware, auth=f"bearer {other}").json() == "till"
    basic = base64.b64encode(f"anyone:{key}".encode()).decode()
    assert ask(middleware, auth=f"Basic {basic}").json() == "shop"
    forged = key[:-1] + ("A" if key[-1] != "A" else "B")
    mixed = "_".join([*other.split("_")[:2], *key.split("_")[2:]])
    for auth in (
        None,
        "Bearer",
        f"Bearer {forged}",
        f"Bearer {mixed}",
        "Bearer \xe9_\xe9_\xe9",
        "Basic !",
        f"Token {key}",
    ):
        response = ask(middleware, auth=auth)
        assert response.status_code == 401, auth
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert key.split("_", 2)[2] not in response.text


def test_file_holds_no_key_and_is_for_its_owner_only(file: Path) -> None:
    key = add_key(file, "shop", scopes=["admin", "predict"], per_minute=60)
    assert key.split("_", 2)[2] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    (kept,) = load_keys(file)
    assert (kept.client, kept.scopes, kept.per_minute) == ("shop", ("predict", "admin"), 60)


@pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("/classify", "predict"),
        ("/lineage", "predict"),
        ("/feedback", "feedback"),
        ("/metrics", "admin"),
        ("/report", "admin"),
        ("/explain", "predict"),
    ],
)
def test_key_is_for_its_scopes_only(file: Path, path: str, scope: str) -> None:
    keys = {name: add_key(file, name, scopes=[name], per_minute=600) for name in ("predict", "feedback", "admin")}
    middleware = Keys(echo, path=file)
    statuses = {name: ask(middleware, path, auth=f"Bearer {key}").status_code for name, key in keys.items()}
    assert statuses == {name: 200 if name == scope else 403 for name in keys}


def test_health_needs_no_key(file: Path) -> None:
    for path in ("/livez", "/readyz", "/healthz"):
        assert ask(Keys(echo, path=file), path).status_code == 200
    assert ask(Keys(echo, path=file), "/livez/../metrics").status_code == 401


def test_key_that_asks_too_often_waits_and_another_does_not(file: Path) -> None:
    busy = add_key(file, "busy", scopes=["predict"], per_minute=12)  # two at once, then one in five seconds
    calm = add_key(file, "calm", scopes=["predict"], per_minute=12)
    middleware = Keys(echo, path=file)
    responses = [ask(middleware, auth=f"Bearer {busy}") for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 200, 429]
    assert 1 <= int(responses[-1].headers["retry-after"]) <= 5
    assert ask(middleware, auth=f"Bearer {calm}").status_code == 200


def test_added_and_removed_keys_count_without_a_restart(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.requests.keys.LOOK_AGAIN_S", 0.0)
    middleware = Keys(echo, path=file)
    assert ask(middleware, auth="Bearer my_0_0").status_code == 401
    key = add_key(file, "shop", scopes=["predict"], per_minute=600)
    assert ask(middleware, auth=f"Bearer {key}").status_code == 200
    file.write_text("{", encoding="utf-8")
    assert ask(middleware, auth=f"Bearer {key}").status_code == 401
    file.unlink()
    add_key(file, "till", scopes=["predict"], per_minute=600)
    assert ask(middleware, auth=f"Bearer {key}").status_code == 401


def test_expired_key_is_refused_as_an_unknown_one_is_and_only_the_log_tells_them_apart(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lasting = add_key(file, "shop", scopes=["predict"], per_minute=600, good_for=timedelta(days=90))
    over = add_key(file, "till", scopes=["predict"], per_minute=600, good_for=timedelta(0))
    middleware = Keys(echo, path=file)
    assert ask(middleware, auth=f"Bearer {lasting}").status_code == 200
    expired, unknown = (ask(middleware, auth=f"Bearer {key}") for key in (over, f"{over}x"))
    assert (expired.status_code, expired.text, expired.headers) == (401, unknown.text, unknown.headers)
    assert [record.getMessage().partition(" on ")[0] for record in caplog.records] == ["the key of 'till' expired"]
    add_key(file, "plain", scopes=["predict"], per_minute=600)
    assert "expires" not in json.loads(file.read_text())["keys"][-1]


def test_without_keys_only_this_machine_is_answered() -> None:
    assert ask(Keys(echo, path=None), host="127.0.0.1").status_code == 200
    assert ask(Keys(echo, path=None), host="10.0.0.1").status_code == 403


def test_what_cannot_be_changed_is_said(file: Path) -> None:
    add_key(file, "shop", scopes=["predict"], per_minute=1)
    with pytest.raises(KeysError, match="'shop' has a key already"):
        add_key(file, "shop", scopes=["predict"], per_minute=1)
    with pytest.raises(KeysError, match="'till' has no key; these have one: shop"):
        remove_key(file, "till")
    with pytest.raises(KeysError, match="'all' is no scope; there are predict, feedback, admin"):
        add_key(file, "till", scopes=["all"], per_minute=1)
    with pytest.raises(KeysError, match="1 to 64 printable characters"):
        add_key(file, "a\nb", scopes=["predict"], per_minute=1)
    remove_key(file, "shop")
    assert load_keys(file) == []
    file.write_text('{"keys": [{"client": "x"}]}')
    with pytest.raises(KeysError, match="cannot be read as keys"):
        load_keys(file)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("::ffff:127.0.0.1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("::ffff:10.0.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_loopback_is_known(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "::", "example.org"])
def test_open_address_without_keys_is_refused(host: str, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODELYARD_KEYS", raising=False)
    check_address("127.0.0.1")
    with pytest.raises(KeysError, match="refusing to start"):
        check_address(host)
    monkeypatch.setenv("MODELYARD_KEYS", str(file))
    with pytest.raises(KeysError, match="refusing to start"):
        check_address(host)
    add_key(file, "shop", scopes=["predict"], per_minute=1)
    check_address(host)
    monkeypatch.setenv("MODELYARD_KEYS", file.read_text())
    check_address(host)
    monkeypatch.setenv("MODELYARD_KEYS", '{"keys": []}')
    with pytest.raises(KeysError, match="refusing to start"):
        check_address(host)
    monkeypatch.setenv("MODELYARD_KEYS", "{")
    with pytest.raises(KeysError, match="MODELYARD_KEYS cannot be read as keys"):
        check_address(host)


def test_keys_may_be_given_without_a_file(file: Path) -> None:
    key = add_key(file, "shop", scopes=["predict"], per_minute=600)
    middleware = Keys(echo, path=None, fixed=given_keys(file.read_text()))
    assert ask(middleware, auth=f"Bearer {key}").status_code == 200
    assert ask(middleware).status_code == 401
    assert ask(Keys(echo, path=None, fixed=[]), host="127.0.0.1").status_code == 401
