"""The output of `new`, as plain data and as text."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console

from components.recipes import PARAMS
from flows.new.template import minutes
from flows.telling.output import Data

if TYPE_CHECKING:
    from flows.new import Added


def new_summary(added: "Added") -> Data:
    data = asdict(added)
    del data["figures"]["tokens"]  # a number for each row: what was made of them is among the settings
    return data


def of_rows(settings: Data) -> str:
    steps = settings["steps_per_epoch"]
    return "" if steps is None else f" of {steps * settings['batch_size']:,} rows"


def new_notes(data: Data, console: Console) -> None:
    """Print what was found and chosen, remarks on it, and the next command."""
    figures, settings = data["figures"], data["settings"]
    console.print(
        f"{data['recipe']}: {figures['num_rows']:,} rows, {len(figures['labels'])} classes, texts of about "
        f"{figures['median_length']:,} characters; it is in {PARAMS}, with the reason for each choice."
    )
    console.print(
        f"Training: {settings['epochs']} epoch{'s' * (settings['epochs'] > 1)}{of_rows(settings)}, texts of at most "
        f"{settings['max_tokens']} tokens ({1 - settings['cut_share']:.0%} of them fit)."
    )
    if settings["run_s"] is not None:
        console.print(f"A run: about {minutes(settings['run_s'])} min on this machine, with nothing else to do.")
    for hint in data["hints"]:
        console.print(f"Note: {hint}.", style="yellow", markup=False)
    console.print(
        "Once it is served, its log keeps texts as hashes, and 'modelyard monitor' never sees other words; "
        f"service.traffic: text keeps them (below 'monitoring:' in {PARAMS}).",
        markup=False,
    )
    console.print(f"Next: modelyard run {data['recipe']}")
