"""The output of promote, rollback, ledger, retrain and deploy."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from components.promotion.ledger import LEDGER, Fault, damage, entries, read_head, verify
from components.summary import named as shown
from flows.pipeline.tables import stages_table
from flows.telling.output import Data, plain_table
from serving.bundle import SHORT

if TYPE_CHECKING:
    from components.promotion.decide import Decision
    from flows.upkeep.retrain import Retrained

MAX_REASON = 200


def decision_summary(decision: "Decision") -> Data:
    return asdict(decision)


def decision_lines(data: Data, console: Console) -> None:
    """Print which version is champion now, the figures beside the former one's, and why."""
    if data["state"] in ("unchanged", "on trial"):
        console.print(f"{data['recipe']}: version {data['version']} stays the champion: {data['why']}", markup=False)
        return
    before = f", after version {data['before']}" if data["before"] not in (None, data["version"]) else ""
    console.print(
        f"{data['recipe']}: {data['state']}; version {data['version']} ({data['tag']}) is the champion{before}"
    )
    if data["figures"]:
        console.print()
        comparison_table(data["figures"], console)
    elif data["why"]:
        console.print(f"Because: {data['why']}", markup=False)


def comparison_table(figures: Data, console: Console) -> None:
    """Print what the gate measured of both versions."""
    table = plain_table(f"on {figures['judged']}", "champion", "challenger", "worse by")
    table.add_row(
        shown(figures["metric"]), written(figures["champion"]), written(figures["challenger"]),
        f"{written(figures['drop'])} ({written(figures['drop_low'])} to {written(figures['drop_high'])})",
    )  # fmt: skip
    if "worst_slice" in figures:
        table.add_row(f"worst slice: {figures['worst_slice']}", "", "", written(figures["worst_slice_drop"]))
    if "best" in figures:
        table.add_row(
            f"best so far: {figures['best']}", written(figures["best_figure"]), written(figures["challenger"]),
            f"{written(figures['best_drop'])} ({written(figures['best_drop_low'])} to "
            f"{written(figures['best_drop_high'])})",
        )  # fmt: skip
    table.add_row(
        f"one {figures['unit']}, p50", f"{figures['champion_p50_ms']:.2f} ms", f"{figures['challenger_p50_ms']:.2f} ms",
        f"{figures['latency_ratio']:.2f} times",
    )  # fmt: skip
    table.add_row(
        "size", f"{figures['champion_size_bytes'] / 1e6:.1f} MB", f"{figures['challenger_size_bytes'] / 1e6:.1f} MB",
        f"{figures['size_ratio']:.2f} times",
    )  # fmt: skip
    console.print(table)
    if "not_compared" in figures:
        console.print(f"Not compared: {figures['not_compared']}, whose bundle cannot be had.", markup=False)


def written(value: Any) -> str:
    """Write a figure with 4 digits after the point; what is not a number is kept as a word."""
    return f"{value:.4f}" if isinstance(value, int | float) else str(value)


def ledger_summary(root: Path, recipe: str | None) -> Data:
    """Return the ledger's lines, of one recipe or of all, and every line of the whole ledger that
    is not as it was written."""
    head = read_head(root)
    return {
        "ledger": LEDGER,
        "head": {"line": head[0], "sha256": head[1]} if head else None,
        "faults": [asdict(fault) for fault in verify(root)],
        "entries": entries(root, recipe),
    }


def ledger_table(data: Data, console: Console) -> None:
    if not data["entries"]:
        console.print("The ledger has no line yet: it begins with the first promotion.")
    else:
        table = plain_table("line", "when (UTC)", "recipe", "", "from", "to", "by", "why")
        for entry in data["entries"]:
            before = entry.get("from") or {}
            reason = str(entry.get("reason", ""))
            table.add_row(
                str(entry["line"]),
                entry["at"][:16].replace("T", " "),
                entry["recipe"],
                Text(
                    entry["action"], style="yellow" if entry["action"] in ("refuse", "force", "rollback") else "green"
                ),
                named_end(entry, before),
                named_end(entry, entry["to"]),
                f"{entry['by']}, {entry['through']}",
                Text(reason if len(reason) <= MAX_REASON else f"{reason[:MAX_REASON]}…"),
            )
        console.print(table)
    if data["head"] and not data["faults"]:
        console.print(f"\nThe chain holds to its end, line {data['head']['line']}: {data['head']['sha256']}")


def named_end(entry: Data, end: Data) -> str:
    """Return how the table names a version: by its number and, where only the build changes, by that."""
    number = str(end.get("version", ""))
    return f"{number} {end['build'][:SHORT]}" if entry["action"] == "build" and end.get("build") else number


def check_ledger(data: Data) -> None:
    """Raise ArtifactError where the ledger's chain is broken."""
    if error := damage([Fault(**fault) for fault in data["faults"]]):
        raise error


def retrain_summary(done: "Retrained") -> Data:
    return asdict(done)


def retrain_lines(data: Data, console: Console) -> None:
    """Print the stages, what was decided, and why."""
    console.print(stages_table(data))
    console.print()
    if data["state"] == "promoted":
        decision_lines(data["decision"], console)
    else:
        console.print(f"{data['recipe']}: {data['state']}: {data['why']}", markup=False)


def deployed_lines(data: Data, console: Console) -> None:
    for one in data["deployments"]:
        console.print(f"{one['name']} is on the work pool {data['pool']}")
    if data["deployments"]:
        console.print(f"Next: prefect worker start --pool {data['pool']}   in this project's folder")
