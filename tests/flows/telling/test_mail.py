"""Alerts by e-mail, through mail servers on this machine: in the clear, with TLS after a greeting or from the start,
and with a password; what they do not take costs a line that says what to mend, without the password."""

import logging
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from components.package.bento import free_port
from flows.telling import alerts
from flows.telling.alerts import Alert, send
from tests.hooks import ALL, listening, project, webhook

PASSWORD = "correct-horse"
GATE = Alert("digits", "failed_gate", "accuracy 0.5\nis below 0.9", "modelyard run digits", run_id="1a2b3c")


class Keeper:
    """Keeps mail for one user, and refuses some recipients."""

    def __init__(self) -> None:
        self.got: list[Any] = []
        self.tries = 0

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:
        if address.startswith("nobody"):
            return "550 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.got.append(envelope)
        return "250 OK"

    def login(self, _server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        self.tries += 1
        assert isinstance(data, LoginPassword)
        return AuthResult(success=(data.login, data.password) == (b"yard", PASSWORD.encode()), handled=False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that signed itself, for 127.0.0.1, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mail")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path = tmp_path_factory.mktemp("certificate") / "mail.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "PAUSES_S", (0.05,))
    monkeypatch.setattr(logging.getLogger("flows"), "propagate", True)


def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@contextmanager
def serving(keeper: Keeper, security: str, certificate: Path) -> Generator[int]:
    """A mail server; gives its port."""
    words: dict[str, Any] = {
        "none": {},
        "starttls": {"tls_context": tls(certificate), "require_starttls": True, "auth_required": True},
        "tls": {"ssl_context": tls(certificate), "auth_require_tls": False},  # which it has from the start
    }[security]
    if security != "none":
        words |= {"authenticator": keeper.login}
    server = Controller(keeper, hostname="127.0.0.1", port=free_port(), **words)
    server.start()
    try:
        yield server.port
    finally:
        server.stop()


def target(port: int, security: str, *to: str) -> dict[str, Any]:
    login = {} if security == "none" else {"user": "yard", "password_variable": "SMTP_PASSWORD"}
    return {
        "kind": "email", "host": "127.0.0.1", "port": port, "security": security, "sender": "yard@example.org",
        "to": list(to or ["team@example.org"]), "events": ALL, **login,
    }  # fmt: skip


@pytest.mark.parametrize("security", ["none", "starttls", "tls"])
def test_mail_arrives(tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch, security: str) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    keeper = Keeper()
    with serving(keeper, security, certificate) as port:
        assert send(project(tmp_path, {"team": target(port, security)}), GATE) == {}
    (envelope,) = keeper.got
    assert envelope.rcpt_tos == ["team@example.org"]
    message = message_from_bytes(envelope.content, policy=default)
    assert message["Subject"] == "[modelyard] digits: a gate failed"
    text = message.get_content()
    assert "accuracy 0.5" in text
    assert "See: modelyard run digits" in text
    assert "MLflow run: 1a2b3c" in text
    assert keeper.tries == (0 if security == "none" else 1)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_certificate_that_nobody_vouches_for_is_refused_and_no_password_is_sent(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch, security: str
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    keeper = Keeper()
    with serving(keeper, security, certificate) as port:
        faults = send(project(tmp_path, {"team": target(port, security)}), GATE)
    assert faults["team"].startswith("its certificate is not trusted (self-signed certificate")
    assert "SSL_CERT_FILE" in faults["team"]
    assert (keeper.got, keeper.tries) == ([], 0)


def test_wrong_password_costs_one_line_without_it(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", "battery-staple")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    keeper = Keeper()
    with serving(keeper, "starttls", certificate) as port:
        send(project(tmp_path, {"team": target(port, "starttls")}), GATE)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "flows.telling.alerts"]
    assert line == "notify.team was not told of failed_gate: it refused the user or the password (535)"
    assert "battery" not in caplog.text
    assert keeper.got == []


def test_what_a_server_cannot_or_will_not_do_is_said_and_not_asked_again(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMTP_PASSWORD", PASSWORD)
    keeper = Keeper()
    with serving(keeper, "none", certificate) as port:
        notify = {
            "plain": target(port, "starttls"),
            "some": target(port, "none", "team@example.org", "nobody@example.org"),
            "none": target(port, "none", "nobody@example.org"),
        }
        faults = send(project(tmp_path, notify), GATE)
    assert faults == {
        "plain": "it cannot do what is asked of it: STARTTLS extension not supported by server.",
        "some": "it refused nobody@example.org; the others were told",
        "none": "it refused nobody@example.org",
    }
    assert len(keeper.got) == 1


def test_webhook_of_an_own_authority(tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening() as hook:
        hook.socket = tls(certificate).wrap_socket(hook.socket, server_side=True)
        monkeypatch.setenv("HOOK", hook.url.replace("http:", "https:"))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        root = project(tmp_path, {"team": webhook()})
        assert send(root, GATE) == {}
        monkeypatch.delenv("SSL_CERT_FILE")
        assert "SSL_CERT_FILE" in send(root, GATE)["team"]
        assert len(hook.got) == 1
