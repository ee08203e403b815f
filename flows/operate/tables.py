"""The output of `doctor`, `up`, `status` and `down`: each report as plain data (for --json), and as tables."""

from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from flows.operate.doctor import Check
from flows.operate.up import BAD, Seen
from flows.telling.output import STYLES, Data, plain_table


def doctor_summary(checks: list[Check]) -> Data:
    worst = next((state for state in ("fail", "warn") if any(check.state == state for check in checks)), "ok")
    return {"state": worst, "checks": [asdict(check) for check in checks]}


def doctor_table(data: Data, console: Console) -> None:
    table = plain_table("", "", "")
    table.show_header = False
    for check in data["checks"]:
        found = Text(check["found"])
        if check["mend"]:
            found.append(f"\n→ {check['mend']}", style="cyan")
        table.add_row(Text(check["state"], style=STYLES[check["state"]]), check["name"], found)
    console.print(table)


def up_summary(rows: list[Seen]) -> Data:
    """Return every part as data, and whether none that was started is unwell."""
    return {"is_well": all(row.state not in BAD for row in rows), "parts": [asdict(row) for row in rows]}


def up_table(data: Data, console: Console) -> None:
    table = plain_table("", "", "address", "version", "pid", "")
    for row in data["parts"]:
        state = Text(row["state"], style=STYLES[row["state"]])
        pid = "" if row["pid"] is None else str(row["pid"])
        table.add_row(row["name"], state, row["address"], row["version"], pid, Text(row["note"]))
    console.print(table)
    if all(row["pid"] is None for row in data["parts"]):
        console.print("Nothing runs; 'modelyard up' starts it.")
    for row in data["parts"]:
        if row["state"] in ("crashed", "down", "starting"):
            console.print(Text(f"log of {row['name']}: {row['log']}"))


def down_summary(done: list[tuple[str, bool]]) -> Data:
    return {"stopped": [{"name": name, "when_asked": when_asked} for name, when_asked in done]}


def down_lines(data: Data, console: Console) -> None:
    for one in data["stopped"]:
        console.print(f"{one['name']} stopped" + ("" if one["when_asked"] else " (killed: it did not end when asked)"))
    if not data["stopped"]:
        console.print("Nothing ran.")
