"""The schedules, let run for real: a look at the traffic each minute, a retraining each five from a source that grows,
while the worker and Prefect's server are killed at random; `modelyard up` once a minute is cron's.

    python -m tests.soak [--minutes 60] [--kills 10] [--seed 0]

Prints what became of every time that was due. It ends with 1 where a time is unaccounted for, or a run stayed open.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil

from components.package.bento import free_port
from flows.servers.records import process_of, records
from flows.upkeep.times import every, times_of
from tests.patience import PATIENCE_S
from tests.prefect_client import prefect_client
from tests.projects import edit, make_project, run, write_rows
from tests.tiny import tiny_rows

START_ROWS, MORE_ROWS = 240, 20
ADDED_S = 90
"""So long a worker that has just started may take to add what fell due while it was away."""
LOOKED_S = 60
"""The worker sees a time without a run as late as this; where the schedule is due again by then, that is enough."""
SETTLE_S = 240
"""Runs that are at work when the time is over get so long to end."""


@dataclass
class Account:
    """What became of the times that were due."""

    kills: list[str] = field(default_factory=list)
    due: Counter[str] = field(default_factory=Counter)
    """By flow."""
    became: Counter[str] = field(default_factory=Counter)
    """`retrain Completed`, by flow and the name of the run's last state; `caught up` where another run was added, and
    `left to the next` where none was written, as a worker starts, and the next was due before one could be added."""
    missing: list[str] = field(default_factory=list)
    open_runs: list[str] = field(default_factory=list)
    ledger: Counter[str] = field(default_factory=Counter)
    """What became of the models that were made."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="modelyard-soak-") as folder:
        account = soak(
            Path(folder) / "project", minutes=given.minutes, kills=given.kills, seed=given.seed, monitor_s=60,
            retrain_s=300,
        )  # fmt: skip
    for name, value in vars(account).items():
        sys.stdout.write(f"{name}: {dict(value) if isinstance(value, Counter) else value}\n")
    sys.exit(bool(account.missing or account.open_runs))


def soak(folder: Path, *, minutes: float, kills: int, seed: int, monitor_s: int, retrain_s: int) -> Account:
    """Let the schedules of a small recipe run; gives the account of it. `folder` must not exist yet."""
    chance, account = random.Random(seed), Account()
    make_project(folder, num_rows=START_ROWS)
    ports = [str(free_port()) for _ in range(3)]
    for key, interval_s in (("schedule", retrain_s), ("monitoring.schedule", monitor_s)):
        edit(folder, f"tiny.{key}", {"interval_s": interval_s, "timezone": "UTC", "limit_s": 900})
    edit(folder, "tiny.monitoring.min_rows", 30)
    edit(folder, "tiny.service.port", int(ports[2]))
    up = ["modelyard", "up", "--mlflow-port", ports[0], "--prefect-port", ports[1]]
    # Its own copy of the code, whatever becomes of the checkout meanwhile.
    mine = {"PYTHONPATH": str(folder)}
    run(["modelyard", "run", "tiny"], folder, **mine)
    api, service = f"http://127.0.0.1:{ports[1]}/api", f"http://127.0.0.1:{ports[2]}"
    run(up, folder, check=False, **mine)
    began = datetime.now(UTC)
    ends = began + timedelta(minutes=minutes)
    kill_at = sorted(began + timedelta(seconds=chance.uniform(20, minutes * 60 - 20)) for _ in range(kills))
    next_up = next_rows = next_text = began
    num_rows = START_ROWS
    try:
        while (now := datetime.now(UTC)) < ends:
            if kill_at and now >= kill_at[0]:
                kill_at.pop(0)
                account.kills.append(kill(folder, chance.choice(["worker", "prefect"])))
            if now >= next_up:
                next_up = now + timedelta(seconds=60)
                run(up, folder, check=False, **mine)
            if now >= next_rows:
                next_rows = now + timedelta(seconds=retrain_s * 0.7)
                num_rows += MORE_ROWS
                write_rows(folder / "data/rows.csv", tiny_rows(num_rows))
            if now >= next_text:
                next_text = now + timedelta(seconds=20)
                with suppress(httpx.HTTPError):
                    texts = [text for text, _ in chance.sample(tiny_rows(START_ROWS), 8)]
                    httpx.post(f"{service}/classify", json={"texts": texts}, timeout=PATIENCE_S)
            time.sleep(1)
        run(up, folder, check=False, **mine)
        intervals = {"monitor": monitor_s, "retrain": retrain_s}
        give_up_at = time.monotonic() + ADDED_S
        while True:
            settle(api)
            account.due, account.became, account.missing = Counter(), Counter(), []
            count(account, api, began=began, ended=ends, intervals=intervals)
            if not account.missing or time.monotonic() > give_up_at:
                break
            time.sleep(5)
        listed = json.loads(run(["modelyard", "ledger", "tiny", "--json"], folder, **mine).stdout)
        account.ledger = Counter(entry["action"] for entry in listed["entries"])
    finally:
        run(["modelyard", "down", "--force"], folder, check=False, **mine)
    return account


def kill(folder: Path, name: str) -> str:
    """Kill what `modelyard up` started, with no time to say anything; gives what, and when."""
    record = records(folder).get(name)
    process = process_of(record) if record else None
    if process is not None:
        with suppress(psutil.Error):
            process.kill()
            return f"{datetime.now(UTC):%H:%M:%S} {name}"
    return f"{datetime.now(UTC):%H:%M:%S} {name} (was down)"


def asked(api: str, flow_runs: dict[str, Any]) -> list[dict[str, Any]]:
    """Every flow run that a filter of Prefect's names."""
    found: list[dict[str, Any]] = []
    with prefect_client(api) as client:
        while page := client.post(
            "/flow_runs/filter",
            json={"flow_runs": flow_runs, "sort": "EXPECTED_START_TIME_ASC", "limit": 200, "offset": len(found)},
        ).raise_for_status().json():  # fmt: skip
            found += page
    return found


OPEN = {"state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}}


def settle(api: str) -> None:
    """Wait until nothing is at work, and nothing waits; new runs go on falling due meanwhile."""
    give_up_at = time.monotonic() + SETTLE_S
    while time.monotonic() < give_up_at:
        with suppress(httpx.HTTPError):
            if not asked(api, OPEN):
                return
        time.sleep(2)


def count(account: Account, api: str, *, began: datetime, ended: datetime, intervals: dict[str, int]) -> None:
    """Find the run of every time that was due."""
    with prefect_client(api) as client:
        flows = {one["id"]: one["name"] for one in client.post("/flows/filter", json={}).raise_for_status().json()}
    before = {"expected_start_time": {"before_": datetime.now(UTC).isoformat()}}
    runs = [one for one in asked(api, before) if one["deployment_id"]]
    for name, interval_s in intervals.items():
        of_flow = {
            datetime.fromisoformat(one["expected_start_time"]).replace(microsecond=0): one
            for one in runs
            if flows[one["flow_id"]] == name and "catch-up" not in one["tags"]
        }
        added = [
            datetime.fromisoformat(one["expected_start_time"])
            for one in runs
            if flows[one["flow_id"]] == name and "catch-up" in one["tags"]
        ]
        account.became[f"{name} added"] += len(added)
        for time_due in times_of(every(interval_s, "UTC"), start=began, end=ended):
            account.due[name] += 1
            if time_due in of_flow:
                account.became[f"{name} {of_flow[time_due]['state_name']}"] += 1
            elif any(time_due <= one for one in added):
                account.became[f"{name} caught up"] += 1
            elif any(time_due < one <= time_due + timedelta(seconds=LOOKED_S) for one in of_flow):
                account.became[f"{name} left to the next"] += 1
            else:
                account.missing.append(f"{name} {time_due:%H:%M:%S}")
    account.open_runs = [
        f"{flows[one['flow_id']]} {one['expected_start_time'][11:19]} {one['state_name']}"
        for one in asked(api, OPEN)
        if datetime.fromisoformat(one["expected_start_time"]) < ended  # later ones go on falling due
    ]


if __name__ == "__main__":
    main()
