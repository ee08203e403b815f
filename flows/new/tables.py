"""The output of `new`, as plain data and as text."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console

from components.recipes import PARAMS
from flows.telling.output import Data

if TYPE_CHECKING:
    from flows.new import Added


def new_summary(added: "Added") -> Data:
    data = asdict(added)
    del data["figures"]["tokens"]  # a number for each row: what was made of them is among the settings
    return data


def new_notes(data: Data, console: Console) -> None:
    """Print what was found and chosen, remarks on it, and the next command."""
    figures, settings = data["figures"], data["settings"]
    console.print(
        f"{data['recipe']}: {figures['num_rows']:,} rows, {len(figures['labels'])} classes, texts of about "
        f"{figures['median_length']:,} characters; it is in {PARAMS}, with the reason for each choice."
    )
    console.print(
        f"Training: {settings['epochs']} epoch{'s' * (settings['epochs'] > 1)}, texts of at most "
        f"{settings['max_tokens']} tokens, about "
        f"{max(1, round(settings['training_s'] / 60))} min on 2 cores."
    )
    for hint in data["hints"]:
        console.print(f"Note: {hint}.", style="yellow", markup=False)
    console.print(f"Next: modelyard run {data['recipe']}")
