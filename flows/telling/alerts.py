"""Tells people what happened to a recipe, as `notify:` in params.yaml says: by a webhook, Slack or e-mail.

It is told after the verdict. A target that does not answer is asked again with growing pauses for at most LIMIT_S, and
costs one line of warning, in which nothing secret stands; nothing here stops a run or changes how it ends.
"""

import json
import logging
import os
import smtplib
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from components.params.notify import Email, Event, Notify, Slack, Webhook
from components.plumbing.artifacts import read_json, write_json
from components.plumbing.errors import BusyError, GateError, InputError, ModelyardError, NoTrafficError, StoreError
from components.recipes import PARAMS, load_notify, load_recipe, load_yaml
from components.tracking.store import Store, errors_of_stores, tracking_uri
from serving.requests.keys import is_loopback

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger(__name__)

LIMIT_S = 20.0
"""Seconds for one message to all its targets together, which are told side by side."""
TIMEOUT_S = 5.0
"""Seconds for one try to reach a target."""
PAUSES_S = (1.0, 2.0, 4.0)
TOLD = ".modelyard/alerts"
TITLES: dict[str, str] = {
    "failed_gate": "a gate failed", "drift": "drift", "crash": "a run crashed", "promotion": "the champion changed",
    "sweep": "better settings were found", "test": "a test",
}  # fmt: skip


@dataclass(frozen=True)
class Alert:
    """A message about a recipe."""

    recipe: str
    event: str
    verdict: str
    """What happened, in one line."""
    where: str
    """The command that shows more."""
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])
    run_id: str = ""
    """The id of the MLflow run that it is about; empty where there is none."""
    link: str = ""
    """The address of that run's page, where a server shows it; else empty."""
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def subject(self) -> str:
        return " ".join(f"[modelyard] {self.recipe or 'project'}: {TITLES[self.event]}".split())

    @property
    def body_lines(self) -> list[str]:
        """The message below its subject, line by line: the verdict, the figures, and where to see more."""
        figures = [f"{name}: {value}" for name, value in self.figures.items()]
        run = [f"MLflow run: {self.link or self.run_id}"] if self.run_id else []
        return [self.verdict, *figures, f"See: {self.where}", *run, f"At {self.at}"]


class PermanentError(Exception):
    """The refusal of a target, which another try would not mend."""


def send(root: Path, alert: Alert) -> dict[str, str]:
    """Tell every target of the recipe that wants this event (all, of a test); return what went wrong, by target.

    Never raises, and never takes longer than LIMIT_S and one try.
    """
    try:
        targets = load_notify(root, alert.recipe or None)
    except ModelyardError as error:
        logger.warning("nobody was told of %s: %s", alert.event, error)
        return {"notify": str(error)}
    if alert.run_id:
        alert = replace(alert, link=link_to(root, alert.run_id))
    wanted = {name: target for name, target in targets.items() if alert.event in (*target.events, "test")}
    faults: dict[str, str] = {}
    give_up_at = time.monotonic() + LIMIT_S
    threads = [
        threading.Thread(target=tell, args=(name, target, alert, faults, give_up_at), daemon=True)
        for name, target in wanted.items()
    ]
    for thread in threads:
        thread.start()
    for name, thread in zip(wanted, threads, strict=True):
        thread.join(max(0.0, give_up_at + TIMEOUT_S - time.monotonic()))
        if thread.is_alive():
            faults[name] = "it did not answer in time"
    for name, fault in faults.items():
        logger.warning("notify.%s was not told of %s: %s", name, alert.event, fault)
    return faults


def link_to(root: Path, run_id: str) -> str:
    """Return the address of a run's page on the server that MLFLOW_TRACKING_URI names, or that `modelyard up` runs
    here; else an empty string."""
    from flows.servers.records import process_of, records

    server = tracking_uri(root)
    if not server.startswith(("http://", "https://")):
        here = records(root).get("mlflow")
        server = here.address if here and here.began_in(root) and process_of(here) else ""
    address = urlsplit(server)
    if not address.netloc:
        return ""
    host = address.netloc.rpartition("@")[2]  # without a password
    return f"{address.scheme}://{host}{address.path.rstrip('/')}/#/runs/{run_id}"


def tell(name: str, target: Webhook | Slack | Email, alert: Alert, faults: dict[str, str], give_up_at: float) -> None:
    """Tell one target, and try again where it did not answer; what went wrong at last goes to `faults`."""
    missing = [variable for variable in target.variables if not os.environ.get(variable)]
    if missing:
        faults[name] = f"the environment variable {missing[0]} is not set"
        return
    for pause_s in (*PAUSES_S, None):
        try:
            deliver(target, alert)
        except PermanentError as error:
            faults[name] = str(error)
            return
        except Exception as error:  # whatever a network does; without its words, which may hold the address
            if refused := certificate_fault(error):
                faults[name] = refused
                return
            faults[name] = f"it did not answer ({type(error).__name__})"
        else:
            faults.pop(name, None)
            return
        if pause_s is None or time.monotonic() + pause_s + TIMEOUT_S > give_up_at:
            return
        time.sleep(pause_s)


def certificate_fault(error: Exception) -> str:
    """Return what is wrong with a server's certificate; empty where something else went wrong."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return ""
    return (
        f"its certificate is not trusted ({cause.verify_message}); the environment variable SSL_CERT_FILE may name a "
        "file with the certificate of your own authority"
    )


def deliver(target: Webhook | Slack | Email, alert: Alert) -> None:
    """Try once to reach a target; PermanentError where another try would not help."""
    if isinstance(target, Email):
        mail(target, alert)
    else:
        post(os.environ[target.url_variable], slack_form(alert) if isinstance(target, Slack) else asdict(alert))


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A handler that follows no redirect: what is posted goes where the user said, or nowhere."""

    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        return None


def post(url: str, data: Mapping[str, Any]) -> None:
    """Post JSON, by the standard library, which logs nothing: other clients log the address, which is a secret.
    PermanentError where the target refuses it."""
    address = urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise PermanentError("its address is no http:// or https:// address")
    is_local = address.hostname == "localhost" or is_loopback(address.hostname)
    proxies = [urllib.request.ProxyHandler({})] if is_local else []  # else as the environment says
    request = urllib.request.Request(
        url, data=json.dumps(data, default=str).encode(), method="POST",
        headers={"Content-Type": "application/json", "User-Agent": "modelyard"},
    )  # fmt: skip
    try:
        urllib.request.build_opener(NoRedirect, *proxies).open(request, timeout=TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 429 or error.code >= 500:
            raise
        raise PermanentError(f"it answered {error.code}") from None


def slack_form(alert: Alert) -> dict[str, Any]:
    """Return an alert in the form that Slack's incoming webhooks take."""
    escaped = [line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") for line in alert.body_lines]
    text = "\n".join(escaped)[:2900]
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": alert.subject[:150]}},
        {"type": "section", "text": {"type": "mrkdwn", "text": text}},
    ]
    return {"text": f"{alert.subject}: {escaped[0]}"[:2900], "blocks": blocks}


def mail(target: Email, alert: Alert) -> None:
    """Send an alert as a mail by SMTP; PermanentError where the server refuses it."""
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = alert.subject, target.sender, ", ".join(target.to)
    message.set_content("\n".join(alert.body_lines) + "\n")
    context = ssl.create_default_context()
    try:
        with (
            smtplib.SMTP_SSL(target.host, target.port, timeout=TIMEOUT_S, context=context)
            if target.security == "tls"
            else smtplib.SMTP(target.host, target.port, timeout=TIMEOUT_S)
        ) as server:
            if target.security == "starttls":
                server.starttls(context=context)
            if target.user is not None and target.password_variable is not None:
                server.login(target.user, os.environ[target.password_variable])
            if refused := server.send_message(message):
                raise PermanentError(f"it refused {', '.join(refused)}; the others were told")
    except smtplib.SMTPNotSupportedError as error:
        raise PermanentError(f"it cannot do what is asked of it: {error}") from None
    except smtplib.SMTPRecipientsRefused as error:
        if all(code >= 500 for code, _ in error.recipients.values()):
            raise PermanentError(f"it refused {', '.join(error.recipients)}") from None
        raise
    except smtplib.SMTPAuthenticationError as error:
        raise PermanentError(f"it refused the user or the password ({error.smtp_code})") from None
    except smtplib.SMTPResponseException as error:
        if error.smtp_code >= 500:
            raise PermanentError(f"it answered {error.smtp_code}") from None
        raise


# ---------------------------------------------------------------- what happens to a recipe


@dataclass
class Course:
    """Facts about a run that become known on its way."""

    run_id: str = ""
    """The id of its run in MLflow; empty as long as it is not known."""


@contextmanager
def alerting(root: Path, recipe: str, *, where: str, is_by_hand: bool = False) -> Generator[Course]:
    """Warn of targets that cannot be told, and tell of a gate that fails or a run that crashes in the block. Ctrl-C, a
    run that another one keeps from starting and, by hand, words that cannot be used are not told."""
    warn_of_missing(root, recipe)
    course = Course()
    try:
        yield course
    except Exception as error:
        is_refused = isinstance(error, BusyError | NoTrafficError) or (is_by_hand and isinstance(error, InputError))
        if not is_refused and not getattr(error, "is_told", False):
            is_gate = isinstance(error, ModelyardError) and error.exit_code == GateError.exit_code
            figures = report_of(error)
            event: Event = "failed_gate" if is_gate else "crash"
            said = str(error) if isinstance(error, ModelyardError) else f"{type(error).__name__}: {error}"
            run_id: str = getattr(error, "run_id", "") or course.run_id
            send(root, Alert(recipe, event, " ".join(said.split())[:500], where, flat(figures), run_id))
            error.is_told = True  # pyright: ignore[reportAttributeAccessIssue]  (by the innermost of several blocks)
        raise


def report_of(error: Exception) -> Mapping[str, Any]:
    """Return the figures that a failed gate judged, from the error or, where a stage of its own process failed, from
    the file that it left; empty without any."""
    report = getattr(error, "report", None)
    if isinstance(report, Path):
        with suppress(ModelyardError, OSError, ValueError):
            report = read_json(report)
    return report if isinstance(report, dict) else {}


def warn_of_missing(root: Path, recipe: str) -> None:
    for name, variable in missing_variables(load_notify(root, recipe)).items():
        logger.warning("notify.%s cannot be told: the environment variable %s is not set", name, variable)


def missing_variables(targets: Notify) -> dict[str, str]:
    """Return the first environment variable that is not set, by target, of the targets that lack one."""
    return {
        name: missing[0]
        for name, target in targets.items()
        if (missing := [variable for variable in target.variables if not os.environ.get(variable)])
    }


def targets_of_all(root: Path) -> Notify:
    """Return the targets of the project, and those of every recipe that has its own, under `<recipe>.<name>`."""
    targets = load_notify(root)
    for recipe, raw in load_yaml(root / PARAMS)["recipes"].items():
        if isinstance(raw, dict) and raw.get("notify"):
            targets |= {f"{recipe}.{name}": target for name, target in load_notify(root, recipe).items()}
    return targets


def tell_of_verdict(root: Path, recipe: str, state: str, said: str, version: str, run_id: str) -> None:
    """Tell of drift or of a degraded service, once for a version, until the verdict changes."""
    note = root / TOLD / f"{recipe}.json"
    seen = {"state": state, "version": version}
    if note.is_file() and read_json(note) == seen:
        return
    note.parent.mkdir(parents=True, exist_ok=True)
    write_json(note, seen)
    if state in ("drift", "degraded"):
        figures = {"version": version, "state": state}
        send(root, Alert(recipe, "drift", said, f"modelyard monitor {recipe}", figures, run_id))


def tell_of_champion(
    root: Path, recipe: str, state: str, why: str, version: int, figures: Mapping[str, Any], run_id: str
) -> None:
    """Tell that another version is the champion; nothing where it stayed."""
    if state in ("promoted", "rolled back"):
        said = f"version {version} is the champion ({state}): {why}" if why else f"version {version} is the champion"
        send(root, Alert(recipe, "promotion", said, f"modelyard ledger {recipe}", flat(figures), run_id))


def tell_of_settings(root: Path, recipe: str, said: str, changes: Mapping[str, Any], run_id: str) -> None:
    """Tell of settings that a sweep found, with the command that writes them into params.yaml."""
    send(root, Alert(recipe, "sweep", said, f"modelyard sweep {recipe} --apply", flat(changes), run_id))


def tell_of_killed(root: Path, recipes: set[str]) -> None:
    """Tell of runs whose process was killed, found later."""
    for recipe in sorted(recipes):
        said = "the process of its run was killed; the next run carries on"
        send(root, Alert(recipe, "crash", said, f"modelyard why {recipe}", run_id=unfinished_run(root, recipe)))


def unfinished_run(root: Path, recipe: str) -> str:
    """Return the id of the newest pipeline run in MLflow, where it did not come to its end; else an empty string."""
    uri = tracking_uri(root)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        return ""  # opening it would make it
    try:
        found = Store(root, recipe).search("tags.`modelyard.stage` = 'pipeline'", max_results=1)
    except (*errors_of_stores(), StoreError, OSError) as error:
        logger.warning("the run of %s cannot be named: %s", recipe, error)
        return ""
    return found[0].info.run_id if found and found[0].info.status != "FINISHED" else ""


def tell_of_crash(flow: Any, flow_run: Any, state: Any) -> None:
    """Tell of a run that was killed, whose note is left (flows/pipeline/running.py); Prefect calls
    this where a run crashed."""
    del flow, state
    root = Path(flow_run.parameters.get("root", "."))
    if (root / ".modelyard/run/flows" / f"{flow_run.id}.json").is_file():
        tell_of_killed(root, {flow_run.parameters["recipe"]})


def flat(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers and short words among the first 20 plain values of a report."""
    plain = {name: value for name, value in figures.items() if isinstance(value, int | float | str)}
    return {name: value for name, value in list(plain.items())[:20] if len(str(value)) <= 100}


# ---------------------------------------------------------------- modelyard notify


def targets_summary(root: Path, recipe: str | None, *, is_test: bool) -> dict[str, Any]:
    """Return who is told of what, whether each target could be told and, with a test, whether it was."""
    if recipe is not None:
        load_recipe(root, recipe)
    targets = load_notify(root, recipe)
    missing = missing_variables(targets)
    said = Alert(recipe or "", "test", "a message to see whether it arrives", "modelyard notify")
    faults = send(root, said) if is_test else {}
    rows: list[dict[str, Any]] = []
    for name, target in targets.items():
        unset = f"the environment variable {missing[name]} is not set" if name in missing else ""
        note = faults.get(name) or unset or ("told" if is_test else "")
        state = "fail" if name in faults or (unset and is_test) else "warn" if unset else "ok"
        rows.append({"name": name, "kind": target.kind, "events": list(target.events), "state": state, "note": note})
    return {"recipe": recipe, "targets": rows}


def targets_table(data: dict[str, Any], console: "Console") -> None:
    from flows.telling.output import STYLES, plain_table

    table = plain_table("", "target", "kind", "is told of", "")
    for row in data["targets"]:
        state = f"[{STYLES[row['state']]}]{row['state']}[/]"
        table.add_row(state, row["name"], row["kind"], ", ".join(row["events"]), row["note"])
    console.print(table if data["targets"] else "Nobody is told of anything; 'notify:' in params.yaml says who.")
