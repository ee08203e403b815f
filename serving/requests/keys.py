"""The keys of clients, and the middleware that asks for one before the service.

A key is 256 random bits behind a short public id. The file holds the SHA-256 of the key, never the key itself: so
random a value cannot be guessed from its hash, and none of the slow hashes for passwords is needed (NIST SP 800-63B,
look-up secrets). MODELYARD_KEYS names the file, which is read again when it changes, or holds the text of such a file,
for a container whose secrets are variables. Without the variable, only this machine is answered.
"""

import fcntl
import functools
import hashlib
import hmac
import ipaddress
import json
import logging
import math
import os
import secrets
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Generator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

VARIABLE = "MODELYARD_KEYS"
SCOPES = ("predict", "feedback", "admin")
PREFIX = "my"
OPEN = frozenset({"/livez", "/readyz", "/healthz"})  # what a supervisor asks
SCOPE_OF = {"/feedback": "feedback", "/metrics": "admin", "/report": "admin"}  # all else is for predict
CLIENT = "modelyard.client"
"""The key in a request's ASGI scope that names the client whose key came with the request."""
BURST_S = 10  # a client that was silent may ask at once what it may ask in this time
LOOK_AGAIN_S = 1.0
NOBODY = hashlib.sha256(b"").hexdigest()


class KeysError(ValueError):
    """The error of a file of keys that cannot be used, or of a change to it that cannot be made."""


@dataclass(frozen=True)
class Key:
    """The record that is kept of a client's key."""

    client: str
    id: str
    """The public part of the key."""
    sha256: str
    """The SHA-256 of the whole key, in hex."""
    scopes: tuple[str, ...]
    per_minute: int
    """The requests per minute that the key allows in the long run."""
    added: str
    """The time when the key was added, in UTC."""
    expires: str | None = None
    """The time in UTC from which on the key is refused; None where it is good until it is removed."""

    @property
    def is_expired(self) -> bool:
        return self.expires is not None and datetime.fromisoformat(self.expires) <= datetime.now(UTC)


def load_keys(path: Path) -> list[Key]:
    """Return the keys of a file, none where it does not exist; raise KeysError where it cannot be read as keys."""
    try:
        return parse_keys(path.read_text(encoding="utf-8"), source=str(path)) if path.exists() else []
    except OSError as error:
        raise KeysError(f"{path} cannot be read as keys ({type(error).__name__}); mend it, or add keys anew") from error


def parse_keys(text: str, *, source: str) -> list[Key]:
    """Return the keys of a file's text; raise KeysError where it cannot be read as keys."""
    try:
        entries: list[dict[str, Any]] = json.loads(text)["keys"]
        for entry in entries:
            entry["scopes"] = tuple(entry["scopes"])
        keys = [Key(**entry) for entry in entries]
        for key in keys:
            if key.expires is not None and datetime.fromisoformat(key.expires).tzinfo is None:
                raise ValueError("a time without a zone")
        return keys
    except (ValueError, KeyError, TypeError) as error:
        raise KeysError(
            f"{source} cannot be read as keys ({type(error).__name__}); mend it, or add keys anew"
        ) from error


def is_text_of_keys(given: str) -> bool:
    """Return whether MODELYARD_KEYS holds the keys themselves, rather than the name of their file."""
    return given.lstrip().startswith("{")


def given_keys(given: str) -> list[Key]:
    """Return the keys that a value of MODELYARD_KEYS gives; raise KeysError where it cannot be read as keys."""
    return parse_keys(given, source=VARIABLE) if is_text_of_keys(given) else load_keys(Path(given))


def add_key(
    path: Path, client: str, *, scopes: Sequence[str], per_minute: int, good_for: timedelta | None = None
) -> str:  # fmt: skip
    """Add a key for a client to the file, and return the key, which is kept nowhere else.

    `good_for` is the time after which it is refused; None where it is good until it is removed.

    Raise KeysError where the client has a key already, or where the name, a scope or the rate is not valid.
    """
    if not client or not client.isprintable() or len(client) > 64:
        raise KeysError("a client's name has 1 to 64 printable characters")
    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise KeysError(f"'{unknown[0]}' is no scope; there are {', '.join(SCOPES)}")
    if not scopes or per_minute < 1:
        raise KeysError("a key needs a scope, and at least one request a minute")
    with changing(path) as keys:
        if any(key.client == client for key in keys):
            raise KeysError(f"'{client}' has a key already; remove it first")
        id_ = secrets.token_hex(4)
        key = f"{PREFIX}_{id_}_{secrets.token_urlsafe(32)}"
        now = datetime.now(UTC)
        added = now.isoformat(timespec="seconds")
        expires = None if good_for is None else (now + good_for).isoformat(timespec="seconds")
        granted = tuple(scope for scope in SCOPES if scope in scopes)
        keys.append(Key(client, id_, hash_of(key), granted, per_minute, added, expires))
    return key


def remove_key(path: Path, client: str) -> None:
    """Remove a client's key from the file; raise KeysError where the client has none."""
    with changing(path) as keys:
        left = [key for key in keys if key.client != client]
        if len(left) == len(keys):
            known = ", ".join(sorted(key.client for key in keys)) or "nobody"
            raise KeysError(f"'{client}' has no key; these have one: {known}")
        keys[:] = left


@contextmanager
def changing(path: Path) -> Generator[list[Key]]:
    """Yield the keys of a file under a lock, and write them back after the block, all or nothing, for their owner to
    read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        keys = load_keys(path)
        yield keys
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            # A service of an earlier release knows no 'expires', and reads what has none.
            kept = [{name: value for name, value in asdict(key).items() if value is not None} for key in keys]
            json.dump({"keys": kept}, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


@functools.lru_cache  # asked for each request
def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a host name or address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def check_address(host: str) -> None:
    """Raise KeysError where other machines reach the address, and there are no keys."""
    given = os.environ.get(VARIABLE)
    if not is_loopback(host) and not (given and given_keys(given)):
        raise KeysError(
            f"refusing to start: {host} can be reached from other machines, and {VARIABLE} names no keys; serve on "
            "127.0.0.1 (--host), or make a key with 'modelyard keys add CLIENT' and let the variable name "
            ".modelyard/keys.json (in a container: where that file is mounted) or hold its text"
        )


class Keys:
    """The ASGI middleware that answers 401 without a key, 403 beyond its scopes, and 429 beyond its rate, each as
    JSON."""

    def __init__(self, app: App, *, path: Path | None, fixed: Sequence[Key] | None = None) -> None:
        self.app, self.path = app, path
        self.is_fixed = fixed is not None
        self.keys: dict[str, Key] = {key.id: key for key in fixed or ()}
        self.read_of: tuple[int, int] | None = None
        self.look_at = 0.0
        self.buckets: dict[str, tuple[float, float]] = {}
        self.told: set[str] = set()
        """The ids of expired keys that the log tells of, once each."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        status, error, headers = self.judge(scope)
        if status is None:
            await self.app(scope, receive, send)
            return
        body = json.dumps({"error": error}).encode()
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def judge(self, scope: Message) -> tuple[int | None, str, list[tuple[bytes, bytes]]]:
        """Return the HTTP status, the message and more headers of a refusal; the status is None where the request may
        pass."""
        if self.path is None and not self.is_fixed:
            server = scope.get("server")
            if server is None or server[1] is None or is_loopback(server[0]):
                return None, "", []
            return 403, "this service answers its own machine only; its keeper can make keys", []
        key = self.key_of(scope)
        if key is None:
            challenge = [(b"www-authenticate", b'Bearer realm="modelyard", Basic realm="modelyard"')]
            return 401, "a key is needed; send it as 'Authorization: Bearer KEY'", challenge
        wanted = SCOPE_OF.get(scope["path"], SCOPES[0])
        if wanted not in key.scopes:
            return 403, f"this key is for {', '.join(key.scopes)}; {wanted} is needed here", []
        wait_s = self.take(key)
        if wait_s > 0:
            again = [(b"retry-after", b"%d" % math.ceil(wait_s))]
            return 429, f"more than the {key.per_minute} requests a minute that this key is for", again
        scope[CLIENT] = key.client
        return None, "", []

    def key_of(self, scope: Message) -> Key | None:
        """Return the key that a request came with, where it is one of ours; else None.

        The time that this takes tells neither how much of a key was right nor whether its id is known.
        """
        self.refresh()
        given = given_key(scope)
        key = self.keys.get(given.split("_")[1] if given.count("_") >= 2 else "")
        is_right = hmac.compare_digest(hash_of(given), key.sha256 if key is not None else NOBODY)
        if key is None or not is_right:
            return None
        if key.is_expired:  # which only the keeper of the service is told
            if key.id not in self.told:
                self.told.add(key.id)
                logger.warning("the key of '%s' expired on %s; its requests are refused", key.client, key.expires)
            return None
        return key

    def refresh(self) -> None:
        """Read the file again where it changed; a file that is gone or damaged lets nobody in."""
        now = time.monotonic()
        if now < self.look_at or self.path is None:
            return
        self.look_at = now + LOOK_AGAIN_S
        try:
            status = self.path.stat()
            seen = (status.st_mtime_ns, status.st_ino)
            if seen != self.read_of:
                self.keys, self.read_of = {key.id: key for key in load_keys(self.path)}, seen
        except (OSError, KeysError):
            self.keys, self.read_of = {}, None

    def take(self, key: Key) -> float:
        """Count a request against a token bucket; return 0, or the seconds after which the key may ask again."""
        now, rate = time.monotonic(), key.per_minute / 60
        most = max(1.0, rate * BURST_S)
        left, at = self.buckets.get(key.id, (most, now))
        left = min(most, left + (now - at) * rate)
        if left < 1:
            self.buckets[key.id] = left, now
            return (1 - left) / rate
        self.buckets[key.id] = left - 1, now
        return 0.0


def given_key(scope: Message) -> str:
    """Return the key of the header Authorization: a bearer token, or the password of Basic; empty where there is
    none."""
    for name, value in scope["headers"]:
        if name.lower() == b"authorization":
            kind, _, credentials = value.decode("latin-1").partition(" ")
            if kind.lower() == "bearer":
                return credentials.strip()
            if kind.lower() == "basic":
                try:
                    return b64decode(credentials, validate=True).decode("latin-1").partition(":")[2]
                except ValueError:
                    return ""
    return ""
