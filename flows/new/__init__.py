"""new: add a recipe for a user's own rows to params.yaml.

Reads the rows once with the reader of `ingest`, proposes the data contract and the settings from them, and writes the
recipe as text, so that every comment of params.yaml stays. Nothing is changed unless the recipe is whole and valid.
"""

import contextlib
import re
import shutil
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from components.params import CsvFormat, FileSource, PlainFormat, Recipe
from components.plumbing.artifacts import replacing
from components.plumbing.errors import ParamsError, SourceError, examples
from components.plumbing.locks import hold
from components.recipes import PARAMS, load_yaml, parse_recipe
from components.sources import fetch_folder
from components.sources.fetched import digest_of
from components.sources.files import matching
from flows.new.bars import KNOWN, OWN, TRAINED, allowing, measure_bars, remarks, with_bars
from flows.new.effort import Effort, fit
from flows.new.figures import Figures, Measured, measure_table
from flows.new.given import by_file, linked, names_of, undone
from flows.new.reading import Trained
from flows.new.settings import RecipeSettings, choose, positions_of
from flows.new.table import WESTERN, find, format_of
from flows.new.template import encoder_text, insert, recipe_text
from flows.new.texts import TextSettings, look_at_texts, remarks_on_length, remarks_on_numbers

if TYPE_CHECKING:
    from components.estimate.recipe import Estimate

LEAST_TOLD_SHARE = 0.0005
"""Below it, a share in percent with one decimal place would say 0.0 %."""
MAX_OVERTIME = 1.15
"""By how much a run's estimate may lie above the minutes that were asked for before that is said."""
NAME = re.compile("[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True)
class Added:
    """The recipe that was added to params.yaml, and what it was proposed from."""

    recipe: str
    figures: Figures
    settings: RecipeSettings
    texts: TextSettings
    hints: tuple[str, ...]
    """Remarks on the rows that a person should know or may want to act on."""


def add_recipe(
    root: Path, name: str, *, data: Path, text: str, label: str, encoder: Path | None, test: Path | None = None,
    split: str | None = None, minutes: float | None = None, encoding: str | None = None,
) -> Added:  # fmt: skip
    """Propose a recipe from the rows of `data` and add it to params.yaml, or change nothing and say why not.

    The test rows may come with the others: in the file `test`, or by the column `split`. Two files are then linked to
    from a folder of the project, `data/NAME`, which the recipe reads. With `minutes`, a run is estimated, and trains no
    more than it has time for. The encoding is found, unless it is given.
    """
    check_name(root, name)
    if test is not None and split is not None:
        raise ParamsError("--test and --split both say which rows are for the test; give one of them")
    path = find(data)
    check_encoding(encoding)
    form = format_of(path, (text, label), encoding=encoding)
    files = pair_of(path, find(test), form, (text, label), encoding) if test is not None else {}
    measured = measure_files(path, files, form, text=text, label=label, split=split)
    max_positions = positions_of(encoder) if encoder else None
    texts, figures, told = look_at_texts(root, measured, encoder)
    settings = choose(figures, max_positions=max_positions)
    allowance = TRAINED if texts.trained else OWN if encoder else KNOWN
    bars = measure_bars(measured.labelled, list(figures.labels), settings, allowance=allowance)
    settings = with_bars(settings, bars)
    with hold(root, "params", doing="modelyard new", wait=True), contextlib.ExitStack() as stack:
        params = (root / PARAMS).resolve()
        before = params.read_bytes().decode("utf-8")
        source = encoder_text(name, before, encoder_source(root, encoder) if encoder else None)
        pattern = None
        if files:
            path = root / "data" / name
            pattern = linked(path, files, root=root).pattern
            stack.enter_context(undone(path))

        def written(settings: RecipeSettings, trained: Trained | None) -> str:
            allowed = allowing(bars, settings)
            settings = with_bars(settings, allowed)
            recipe = recipe_text(
                name, measured, settings, replace(texts, trained=trained), allowed, path=place(root, path),
                encoder=source, pattern=pattern,
            )  # fmt: skip
            return insert(before, recipe, path=params)

        trained = texts.trained
        if minutes is not None:
            effort = effort_of(root, name, settings, trained, written, figures, minutes=minutes, may_freeze=not encoder)
            settings, trained = with_bars(effort.settings, allowing(bars, effort.settings)), effort.trained
            told += too_short(settings, figures)
            told += too_large(effort.told) + too_long(effort, minutes)
        replace_params(params, before, written(settings, trained), name)
        texts = replace(texts, trained=trained)
    told += remarks_on_numbers(measured.sample)
    told += remarks_on_length(measured.sample, cut_share=settings.cut_share, max_tokens=settings.max_tokens)
    found = (*hints(figures, measured.format), *remarks(figures, settings), *told)
    return Added(name, figures, settings, texts, found)


def effort_of(
    root: Path, name: str, settings: RecipeSettings, trained: Trained | None,
    written: Callable[[RecipeSettings, Trained | None], str], figures: Figures, *, minutes: float, may_freeze: bool,
) -> Effort:  # fmt: skip
    """Choose how much is trained, by an estimate of the recipe that would be `written`, and keep the estimate."""
    from flows.pipeline.estimate import keep_estimate, measured_estimate

    def recipe(settings: RecipeSettings, trained: Trained | None) -> Recipe:
        return parse_recipe(name, YAML(typ="safe").load(written(settings, trained))["recipes"][name])

    found = fit(
        settings, trained, lambda settings, trained: measured_estimate(root, name, recipe(settings, trained)),
        minutes=minutes, may_freeze=may_freeze,
        cut_share=lambda length: statistics.fmean(float(tokens > length) for tokens in figures.tokens),
    )  # fmt: skip
    if found.told:
        keep_estimate(root, name, recipe(found.settings, found.trained), found.told)
    return found


def too_short(settings: RecipeSettings, figures: Figures) -> list[str]:
    """Return a remark where the minutes let the training see a part of the rows only."""
    if settings.steps_per_epoch is None:
        return []
    num_seen = settings.steps_per_epoch * settings.batch_size
    return [
        f"the minutes are enough for {settings.steps_per_epoch} steps, {num_seen:,} of {figures.num_texts:,} texts: "
        "the model will be weak, and its gate asks for little; give --minutes more"
    ]


def too_long(effort: Effort, minutes: float) -> list[str]:
    """Return a remark where even the least training takes longer than a run may."""
    if effort.told is None or effort.told.seconds <= MAX_OVERTIME * 60 * minutes:
        return []
    return [
        f"a run takes about {effort.told.seconds / 60:.1f} min, more than the {minutes:g} that were asked for: it "
        "trains as little as is of use already, and the other stages have their time; fewer rows make it shorter"
    ]


def too_large(told: "Estimate | None") -> list[str]:
    if told is None or told.fits:
        return []
    return [
        f"the training needs about {max(one.process_bytes for one in told.trainings) / 1e9:.1f} GB of memory, and "
        f"{told.available_bytes / 1e9:.1f} GB are free: set finetune.micro_batch_size, or lower preprocess.max_tokens"
    ]


def check_encoding(name: str | None) -> None:
    """Raise ParamsError where Python knows no encoding of that name."""
    try:
        "".encode(name or "utf-8")
    except LookupError as error:
        raise ParamsError(
            f"--encoding: '{name}' is no text encoding that Python knows; windows-1251 and gb18030 are some"
        ) from error


def pair_of(
    data: Path, test: Path, form: object, wanted: tuple[str, str], encoding: str | None = None
) -> dict[str, Path]:
    """Return the files of the training and of the test rows by the names that they have beside each other; SourceError
    where one reader cannot read both."""
    names = names_of(data, test)
    if (other := format_of(test, wanted, encoding=encoding)) != form:
        raise SourceError(
            f"{data.name} is read as {shown_format(form)}, but {test.name} as {shown_format(other)}; write one as the "
            "other is"
        )
    return {names["train"]: data, names["test"]: test}


def shown_format(form: object) -> str:
    values = form.model_dump(exclude_defaults=True) if isinstance(form, CsvFormat | PlainFormat) else {}
    return ", ".join(f"{key} {value!r}" for key, value in values.items())


def measure_files(
    path: Path, files: Mapping[str, Path], form: CsvFormat | PlainFormat, *, text: str, label: str, split: str | None
) -> Measured:
    """Measure the rows of the one file, or of the two that say the split."""
    if not files:
        return measure_table(FileSource(kind="file", path=str(path)), form, text=text, label=label, split=split)
    with tempfile.TemporaryDirectory(prefix="modelyard-") as folder:
        source = linked(Path(folder) / "both", files)
        return measure_table(source, form, text=text, label=label, split=by_file(*files))


def check_name(root: Path, name: str) -> None:
    """Raise ParamsError where the name is taken, or cannot be a recipe's."""
    if name in load_yaml(root / PARAMS)["recipes"]:
        raise ParamsError(f"recipe '{name}' is in {PARAMS} already; choose another name, or remove it there first")
    if not NAME.fullmatch(name):
        raise ParamsError(
            f"'{name}' cannot be a recipe's name: at most 63 lower-case letters, digits and underscores, a letter first"
        )


def place(root: Path, path: Path) -> str:
    """Return a path as the recipe holds it: relative within the project, absolute outside."""
    for folder in (root, root.resolve()):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return path.as_posix()


def encoder_source(root: Path, encoder: Path) -> dict[str, str]:
    """Return the encoder's folder as a source, with the sha256 of what is in it now."""
    folder = encoder.resolve()
    fetch_folder(FileSource(kind="file", path=str(folder)), root=root, folder=root)
    return {"kind": "file", "path": place(root, folder), "sha256": digest_of(matching(folder, "**/*"), top=folder)}


def replace_params(params: Path, before: str, after: str, name: str) -> None:
    """Replace params.yaml, whole or not at all, once the new text is found to hold the old
    recipes and a valid new one."""
    with replacing(params) as partial:
        partial.write_bytes(after.encode("utf-8"))
        shutil.copymode(params, partial)
        old, new = load_yaml(params), load_yaml(partial)
        parse_recipe(name, new["recipes"].pop(name))
        if new != old:
            raise ParamsError(f"{params} is laid out in a way that a recipe cannot be added to; nothing was changed")


def hints(figures: Figures, form: object) -> list[str]:
    """Return remarks on the rows that a person should know."""
    found: list[str] = []
    if figures.folded:
        pairs = examples(" = ".join(group) for group in figures.folded)
        found.append(f"labels that differ in case, spaces or invisible characters only are made one: {pairs}")
    if figures.missing:
        named = examples(f"'{name}' ({count:,} texts)" for name, count in figures.missing.items())
        found.append(
            f"{named} looks like a missing value, and is a class of its own here; if it is none, have the query say "
            f"nullif(label, '{next(iter(figures.missing))}') and take it out of validate.contract.labels"
        )
    if figures.mixed_scripts:
        found.append(f"labels with letters of two alphabets may look like others: {examples(figures.mixed_scripts)}")
    if figures.left_out:
        found.append(f"labels with fewer than 5 different texts are left out: {examples(figures.left_out)}")
    if figures.num_bad:
        found.append(f"{figures.num_bad} rows cannot be read: {figures.bad_examples}")
    if skipped := getattr(form, "skip", 0):
        found.append(f"the table begins below line {skipped} of the file; what stands above is skipped")
    encoding = getattr(form, "encoding", "utf-8")
    if encoding in WESTERN:
        found.append(f"the file is not UTF-8 and is read as {encoding}; if letters look wrong, give --encoding")
    if figures.null_share > 0:
        number = round(figures.null_share * figures.num_rows)
        found.append(f"{number:,} of {figures.num_rows:,} rows have no text or no label; they are not used")
    if figures.num_conflicts:
        noun, carry = ("text", "carries") if figures.num_conflicts == 1 else ("texts", "carry")
        share = f" ({figures.conflict_share:.1%})" if figures.conflict_share >= LEAST_TOLD_SHARE else ""
        found.append(f"{figures.num_conflicts:,} {noun}{share} {carry} two labels; preprocess removes them")
    if figures.untested:
        found.append(
            f"no test row is {examples(figures.untested)}, so nothing is measured of that: the figures are of other "
            "classes; add such rows to the test rows"
        )
    if figures.num_leaking:
        found.append(
            f"{figures.num_leaking:,} rows for training have the text of a test row; preprocess leaves them out, and "
            "the test rows stay"
        )
    return found


__all__ = ["Added", "add_recipe"]
